// ctest: labels=contract-1,contract-2,contract-5,contract-6,contract-7,contract-8,contract-10,model,asan timeout=600
// Random appends, failed appends, snapshots and searches, against a plain list of rows. A twin index gets only the
// appends that succeed, with another number of threads: both must end as the same graph.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <tuple>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/brute_force.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

class Model {
 public:
  Model(uint64_t seed, Metric metric)
      : random_(seed),
        metric_(metric),
        dim_(static_cast<int>(1 + Below(40))),
        m_(static_cast<int>(2 + Below(7))),
        index_(Make(&pool_)),
        twin_(Make(nullptr)) {}
  ~Model() { held_.clear(); }

  void Step() {
    switch (Below(10)) {
      case 0:
      case 1:
      case 2:
      case 3: return Append();
      case 4: return Hold();
      case 5: return Release();
      case 6: return CheckLive();
      default: return CheckSearch(nullptr);
    }
  }

  void Finish() {
    for (const Held& held : held_) Recheck(held);
    EXPECT_TRUE(Export()->Equals(*twin_.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie(), true));
    held_.clear();
    index_.Trim();
    EXPECT_EQ(index_.GetStats().live_versions, 1u);
    CheckLive();
  }

 private:
  struct Held {
    Snapshot snapshot;
    size_t rows;
    std::vector<std::vector<float>> queries;
    std::vector<Answer> answers;
    std::shared_ptr<arrow::RecordBatch> exported;
  };

  uint64_t Below(uint64_t n) { return random_() % n; }

  LiveIndex Make(arrow::MemoryPool* pool) const {
    return LiveIndex::Make({.dim = dim_,
                            .metric = metric_,
                            .build = {.max_level = 4, .m = m_, .ef_construction = 20},
                            .pool = pool})
        .ValueOrDie();
  }

  // Normal, or one of few points, so that there are ties.
  std::vector<float> Vector() {
    std::vector<float> vector = Normal(1, dim_, Below(3) == 0 ? Below(4) : random_())[0];
    if (Below(50) == 0) std::fill(vector.begin(), vector.end(), 0.0f);
    return vector;
  }

  void Append() {
    const bool half = Below(2) == 0;
    const size_t n = Below(4) == 0 ? Below(3) : Below(120);
    constexpr size_t kPad = 2;  // before and after the slice: never to be read
    Vectors vectors(n + 2 * kPad, std::vector<float>(static_cast<size_t>(dim_), NAN));
    std::set<size_t> nulls;
    std::vector<uint64_t> row_ids(n);
    const uint64_t how = Below(3);
    AppendOptions options{.threads = static_cast<int>(1 + Below(3))};
    const uint64_t first = how == 1 ? Below(1000) : next_row_id_;
    arrow::UInt64Builder unsigned_ids;
    std::vector<ModelRow> added;
    uint64_t next = first + n;
    for (size_t i = 0; i < n; ++i) {
      row_ids[i] = how == 2 ? Below(500) : first + i;
      if (how == 2) next = std::max(i == 0 ? next_row_id_ : next, row_ids[i] + 1);
      EXPECT_TRUE(unsigned_ids.Append(row_ids[i]).ok());
      if (Below(8) == 0) {
        nulls.insert(i + kPad);
        continue;
      }
      vectors[i + kPad] = half ? Halved(Vector()) : Vector();
      added.push_back({vectors[i + kPad], row_ids[i]});
    }
    if (how == 1) options.first_row_id = first;
    if (how == 2) options.row_ids = unsigned_ids.Finish().ValueOrDie();
    if (how == 2 && n == 0) next = next_row_id_;
    const auto array = ToArray(vectors, dim_, nulls, half)->Slice(kPad, static_cast<int64_t>(n));

    const auto before = Export();
    FailSometimes(array, options);
    pool_.left = Below(3) == 0 ? static_cast<int64_t>(Below(12)) : -1;
    auto range = index_.Append(array, options);
    pool_.left = -1;
    if (!range.ok()) {
      EXPECT_TRUE(range.status().IsOutOfMemory()) << range.status().ToString();
      EXPECT_EQ(index_.size(), rows_.size());
      EXPECT_TRUE(before->Equals(*Export(), true));
      range = index_.Append(array, options);
    }
    ASSERT_TRUE(range.ok()) << range.status().ToString();
    EXPECT_EQ(range->first, rows_.size());
    EXPECT_EQ(range->last - range->first, added.size());
    options.threads = 4;
    ASSERT_TRUE(twin_.Append(array, options).ok());
    rows_.insert(rows_.end(), added.begin(), added.end());
    next_row_id_ = next;
  }

  void FailSometimes(const std::shared_ptr<arrow::Array>& array, const AppendOptions& options) {
    if (Below(3) == 0) {
      std::stop_source stop;
      AppendOptions stopped = options;
      stopped.stop_token = stop.get_token();
      stop.request_stop();
      const auto status = index_.Append(array, stopped).status();
      EXPECT_TRUE(array->length() == 0 ? status.ok() : status.IsCancelled()) << status.ToString();
    }
    if (Below(3) == 0) {
      Vectors bad = Normal(10, dim_, random_());
      bad[Below(10)][0] = INFINITY;
      EXPECT_TRUE(index_.Append(ToArray(bad, dim_), options).status().IsInvalid());
    }
  }

  std::shared_ptr<arrow::RecordBatch> Export() {
    return index_.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
  }

  void Hold() {
    Held held{index_.GetSnapshot().ValueOrDie(), rows_.size(), {}, {}, nullptr};
    EXPECT_EQ(held.snapshot.size(), rows_.size());
    for (int i = 0; i < 3; ++i) {
      held.queries.push_back(Vector());
      held.answers.push_back(held.snapshot.Search(held.queries.back(), {.k = 4, .ef = 8}).ValueOrDie());
    }
    held.exported = held.snapshot.ToLanceHnswBatch().ValueOrDie();
    if (Below(2) == 0) held.snapshot = Snapshot(held.snapshot);
    held_.push_back(std::move(held));
  }

  void Release() {
    if (held_.empty()) return;
    const auto at = held_.begin() + static_cast<std::ptrdiff_t>(Below(held_.size()));
    Recheck(*at);
    CheckSearch(&*at);
    held_.erase(at);
  }

  void Recheck(const Held& held) {
    for (size_t i = 0; i < held.queries.size(); ++i) {
      EXPECT_EQ(held.snapshot.Search(held.queries[i], {.k = 4, .ef = 8}).ValueOrDie().rows, held.answers[i].rows);
    }
    EXPECT_TRUE(held.snapshot.ToLanceHnswBatch().ValueOrDie()->Equals(*held.exported, true));
    EXPECT_TRUE(held.snapshot.Verify().ValueOrDie().ok);
  }

  void CheckLive() {
    const VerifyReport report = index_.Verify().ValueOrDie();
    EXPECT_TRUE(report.ok) << report.problem;
    EXPECT_EQ(report.rows, rows_.size());
    // What was exported is in the pool too.
    if (held_.empty()) {
      EXPECT_EQ(index_.GetMemoryUsage().total(), pool_.bytes_allocated());
    }
  }

  void CheckSearch(const Held* held) {
    const std::span<const ModelRow> rows(rows_.data(), held != nullptr ? held->rows : rows_.size());
    const std::vector<float> query = Vector();
    const auto k = static_cast<int64_t>(Below(20));
    const uint64_t modulus = 1 + Below(9);
    const uint64_t first = Below(300);
    arrow::BooleanBuilder bits;
    for (int i = 0; i < 900; ++i) {
      EXPECT_TRUE((Below(7) == 0 ? bits.AppendNull() : bits.Append(Below(3) != 0)).ok());
    }
    const auto bitmap = std::static_pointer_cast<arrow::BooleanArray>(bits.Finish().ValueOrDie()->Slice(5));
    RowFilter filter;
    std::function<bool(uint64_t)> passes = [](uint64_t) { return true; };
    switch (Below(3)) {
      case 0:
        passes = [=](uint64_t row_id) { return row_id % modulus == 0; };
        filter = RowFilter::Predicate(passes);
        break;
      case 1:
        passes = [=](uint64_t row_id) {
          const auto i = static_cast<int64_t>(row_id - first);
          return row_id >= first && i < bitmap->length() && bitmap->IsValid(i) && bitmap->Value(i);
        };
        filter = RowFilter::Bitmap(bitmap, first);
        break;
      default: break;
    }
    const auto search = [&](bool exact) {
      const SearchOptions options{.k = k, .ef = 24, .filter = filter, .exact = exact};
      return (held != nullptr ? held->snapshot.Search(query, options) : index_.Search(query, options))
          .ValueOrDie()
          .rows;
    };
    const auto expected = BruteForce(metric_, rows, query, static_cast<size_t>(k), passes);
    EXPECT_EQ(search(true), expected);
    const auto found = search(false);
    ASSERT_EQ(found.size(), expected.size());
    std::set<uint32_t> ids;
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_LT(found[i].id, rows.size());
      EXPECT_TRUE(ids.insert(found[i].id).second);
      EXPECT_EQ(found[i].row_id, rows[found[i].id].row_id);
      EXPECT_EQ(found[i].distance, Distance(metric_, query, rows[found[i].id].vector));
      EXPECT_TRUE(passes(found[i].row_id));
      EXPECT_GE(found[i].distance, expected[i].distance);
      if (i > 0) {
        EXPECT_LT(std::tie(found[i - 1].distance, found[i - 1].row_id, found[i - 1].id),
                  std::tie(found[i].distance, found[i].row_id, found[i].id));
      }
    }
  }

  std::mt19937_64 random_;
  const Metric metric_;
  const int dim_;
  const int m_;
  FailingPool pool_;
  LiveIndex index_;
  LiveIndex twin_;
  std::vector<ModelRow> rows_;
  uint64_t next_row_id_ = 0;
  std::vector<Held> held_;
};

TEST(Model, RandomHistories) {
  const char* seeds = std::getenv("PENNON_MODEL_SEEDS");
  const uint64_t last = seeds != nullptr ? std::stoull(seeds) : 60;
  for (uint64_t seed = 1; seed <= last; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Model model(seed, static_cast<Metric>(seed % 3));
    for (int step = 0; step < 80 && !::testing::Test::HasFailure(); ++step) model.Step();
    model.Finish();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace pennon
