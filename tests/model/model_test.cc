// ctest: labels=contract-1,contract-2,contract-5,contract-6,contract-7,contract-8,contract-9,contract-10,model,asan timeout=600
// Random appends, failed appends, snapshots, searches, exports and re-imports, against a plain list of rows. A twin
// index gets only the appends that succeed, with another number of threads: both must end as the same graph.
//
// A history depends on its seed alone, but for where a deadline cuts a search short. PENNON_MODEL_SEED=7 replays one,
// PENNON_MODEL_SEEDS=100 plays the first hundred, PENNON_MODEL_SECONDS=3600 plays on for so long.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <optional>
#include <random>
#include <set>
#include <stop_token>
#include <string>
#include <tuple>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/pennon.h"
#include "support/brute_force.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

using Results = std::vector<SearchResult>;
using Clock = std::chrono::steady_clock;

bool SameBits(const Results& a, const Results& b) {
  return std::ranges::equal(a, b, [](const SearchResult& x, const SearchResult& y) {
    return x.id == y.id && x.row_id == y.row_id &&
           std::bit_cast<uint32_t>(x.distance) == std::bit_cast<uint32_t>(y.distance);
  });
}

// What histories came to.
struct Totals {
  uint64_t histories = 0;
  uint64_t rows = 0;
  uint64_t appended = 0;
  uint64_t failed = 0;  // appends, by allocation
  uint64_t stopped = 0;
  uint64_t refused = 0;  // by the memory limit
  uint64_t coded = 0;    // searches where there were codes
  uint64_t searches = 0;
  uint64_t cut_short = 0;
  uint64_t held = 0;  // snapshots, asked again when they were let go
};

std::ostream& operator<<(std::ostream& out, const Totals& t) {
  return out << t.histories << " histories: " << t.rows << " rows, " << t.appended << " appends, " << t.failed
             << " failed, " << t.stopped << " stopped, " << t.refused << " refused; " << t.searches << " searches, "
             << t.coded << " with codes, " << t.cut_short << " cut short; " << t.held << " snapshots held";
}

// The model's rows, as HnswGraph asks for them.
struct Source {
  Metric metric;
  std::span<const ModelRow> rows;

  size_t size() const { return rows.size(); }
  size_t dim() const { return rows.empty() ? 1 : rows[0].vector.size(); }
  uint64_t row_id(uint32_t id) const { return rows[id].row_id; }
  float DistanceTo(std::span<const float> query, uint32_t id) const {
    return Distance(metric, {query.begin(), query.end()}, rows[id].vector);
  }
  float DistanceBetween(uint32_t a, uint32_t b) const { return Distance(metric, rows[a].vector, rows[b].vector); }
};

class Model {
 public:
  Model(uint64_t seed, Totals& totals)
      : random_(seed),
        totals_(totals),
        metric_(static_cast<Metric>(seed % 3)),
        codes_(Below(4) == 0 ? Codes::kNone : Codes::kQuantized),
        dim_(static_cast<int>(1 + Below(24))),
        m_(static_cast<int>(2 + Below(7))),
        limit_(Below(4) == 0 ? static_cast<int64_t>(200'000 + Below(3'000'000)) : 0),
        index_(Make(&pool_, limit_)),
        twin_(Make(nullptr, 0)) {
    ++totals_.histories;
    // Half of the histories begin with enough rows for codes.
    if (Below(2) == 0) Append(900 + Below(400));
  }

  void Step() {
    switch (Below(12)) {
      case 0:
      case 1:
      case 2: return Append(BatchSize());
      case 3: return Hold();
      case 4: return Release();
      case 5: return CheckLive();
      case 6: return CheckRange(Of(nullptr));
      case 7: return CheckPages(Of(nullptr));
      case 8: return CheckCutShort(Of(nullptr));
      default: return CheckSearch(Of(nullptr));
    }
  }

  void Finish() {
    CheckReimports();
    while (!held_.empty() && !::testing::Test::HasFailure()) Release();
    EXPECT_TRUE(Export(index_)->Equals(*Export(twin_), true));
    index_.Trim();
    EXPECT_EQ(index_.GetStats().live_versions, 1u);
    CheckLive();
  }

 private:
  using Ask = std::function<Results(const Snapshot&)>;
  struct Held {
    Snapshot snapshot;
    size_t rows;
    std::vector<std::pair<Ask, Results>> answers;
    std::shared_ptr<arrow::RecordBatch> exported;
  };
  struct Filter {
    RowFilter filter;
    std::function<bool(const SearchResult& row)> passes = [](const SearchResult&) { return true; };
  };
  // A snapshot and the rows that it shows.
  struct View {
    Snapshot snapshot;
    std::span<const ModelRow> rows;
  };

  uint64_t Below(uint64_t n) { return random_() % n; }

  LiveIndex Make(arrow::MemoryPool* pool, int64_t limit) const {
    return LiveIndex::Make({.dim = dim_,
                            .metric = metric_,
                            .codes = codes_,
                            .build = {.max_level = 4, .m = m_, .ef_construction = 20},
                            .memory_limit = limit,
                            .pool = pool})
        .ValueOrDie();
  }

  // Normal, or one of few points, so that there are ties.
  std::vector<float> Vector() {
    std::vector<float> vector = Normal(1, dim_, Below(3) == 0 ? Below(4) : random_())[0];
    if (Below(50) == 0) std::fill(vector.begin(), vector.end(), 0.0f);
    return vector;
  }

  size_t BatchSize() {
    switch (Below(32)) {
      case 0: return 1 + Below(5000);
      case 1:
      case 2:
      case 3: return 1 + Below(600);
      case 4:
      case 5:
      case 6:
      case 7:
      case 8:
      case 9: return Below(3);
      default: return 1 + Below(100);
    }
  }

  void Append(size_t n) {
    const bool half = Below(2) == 0;
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

    const auto before = Below(4) == 0 ? Export(index_) : nullptr;
    AppendBad(options);
    arrow::Result<LiveIndex::IdRange> range = AppendInTrouble(array, options);
    if (!range.ok()) {
      EXPECT_EQ(index_.size(), rows_.size());
      if (before != nullptr) {
        EXPECT_TRUE(before->Equals(*Export(index_), true)) << range.status().ToString();
      }
      range = index_.Append(array, options);
    }
    if (range.status().IsCapacityError()) {
      EXPECT_GT(limit_, 0);
      EXPECT_EQ(index_.size(), rows_.size());
      ++totals_.refused;
      return;
    }
    ASSERT_TRUE(range.ok()) << range.status().ToString();
    if (limit_ > 0 && !added.empty()) {  // searches may have passed it
      EXPECT_LE(index_.GetMemoryUsage().total(), limit_);
    }
    EXPECT_EQ(range->first, rows_.size());
    EXPECT_EQ(range->last - range->first, added.size());
    options.threads = 4;
    ASSERT_TRUE(twin_.Append(array, options).ok());
    rows_.insert(rows_.end(), added.begin(), added.end());
    next_row_id_ = next;
    ++totals_.appended;
    totals_.rows += added.size();
  }

  // May fail at an allocation, or be stopped at one, or not.
  arrow::Result<LiveIndex::IdRange> AppendInTrouble(const std::shared_ptr<arrow::Array>& array, AppendOptions options) {
    std::stop_source stop;
    options.stop_token = stop.get_token();
    const uint64_t how = Below(4);
    if (how == 0) stop.request_stop();
    if (how == 1) pool_.stops = &stop;
    if (how <= 2) pool_.left = static_cast<int64_t>(Below(how == 1 ? 30 : 12));
    auto range = index_.Append(array, options);
    pool_.left = -1;
    pool_.stops = nullptr;
    if (range.ok()) return range;
    const arrow::Status& status = range.status();
    EXPECT_TRUE(status.IsCapacityError() || (how <= 1 && status.IsCancelled()) ||
                (how != 1 && how != 3 && status.IsOutOfMemory()))
        << status.ToString();
    ++(status.IsCancelled() ? totals_.stopped : totals_.failed);
    return range;
  }

  void AppendBad(const AppendOptions& options) {
    if (Below(8) != 0) return;
    Vectors bad = Normal(10, dim_, random_());
    bad[Below(10)][0] = INFINITY;
    AppendOptions plain = {.threads = options.threads};
    EXPECT_TRUE(index_.Append(ToArray(bad, dim_), plain).status().IsInvalid());
  }

  static std::shared_ptr<arrow::RecordBatch> Export(const LiveIndex& index) {
    return index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
  }

  View Of(const Held* held) {
    if (held == nullptr) return {index_.GetSnapshot().ValueOrDie(), rows_};
    return {held->snapshot, std::span(rows_).first(held->rows)};
  }

  std::shared_ptr<arrow::BooleanArray> Bits(int64_t length) {
    arrow::BooleanBuilder bits;
    for (int64_t i = 0; i < length; ++i) {
      EXPECT_TRUE((Below(7) == 0 ? bits.AppendNull() : bits.Append(Below(3) != 0)).ok());
    }
    const auto slice = bits.Finish().ValueOrDie()->Slice(static_cast<int64_t>(Below(9)));
    return std::static_pointer_cast<arrow::BooleanArray>(slice);
  }

  Filter RandomFilter() {
    static constexpr auto at = [](const arrow::BooleanArray& bits, uint64_t i) {
      const auto place = static_cast<int64_t>(i);
      return i < static_cast<uint64_t>(bits.length()) && bits.IsValid(place) && bits.Value(place);
    };
    switch (Below(7)) {
      case 0: {
        const uint64_t modulus = 1 + Below(9);
        return {RowFilter::Predicate([=](uint64_t row_id) { return row_id % modulus == 0; }),
                [=](const SearchResult& row) { return row.row_id % modulus == 0; }};
      }
      case 1: {
        const auto bits = Bits(900);
        const uint64_t first = Below(300);
        return {RowFilter::Bitmap(bits, first),
                [=](const SearchResult& row) { return row.row_id >= first && at(*bits, row.row_id - first); }};
      }
      case 2: {
        const auto bits = Bits(10 + static_cast<int64_t>(Below(2000)));
        return {RowFilter::IdBitmap(bits), [=](const SearchResult& row) { return at(*bits, row.id); }};
      }
      case 3: {
        arrow::UInt64Builder builder;
        std::set<uint64_t> ids;
        for (uint64_t i = Below(300); i > 0; --i) {
          const uint64_t id = Below(1200);
          ids.insert(id);
          EXPECT_TRUE(builder.Append(id).ok());
        }
        return {RowFilter::RowIds(*builder.Finish().ValueOrDie()).ValueOrDie(),
                [=](const SearchResult& row) { return ids.contains(row.row_id); }};
      }
      default: return {};
    }
  }

  // All rows of a view that pass, from the nearest to the farthest.
  Results Ranked(const View& view, const std::vector<float>& query, const Filter& filter) const {
    Results all = BruteForce(metric_, view.rows, query, view.rows.size(), [](uint64_t) { return true; });
    std::erase_if(all, [&](const SearchResult& row) { return !filter.passes(row); });
    return all;
  }

  // Rows of the ranking, in its order and with its bits.
  static void ExpectPartOf(const Results& found, const Results& ranked) {
    auto from = ranked.begin();
    for (const SearchResult& row : found) {
      const auto at = std::find(from, ranked.end(), row);
      ASSERT_NE(at, ranked.end()) << "row " << row.id << " at " << row.distance;
      from = at + 1;
    }
  }

  SearchOptions RandomSearch(const Filter& filter) {
    const auto k = static_cast<int64_t>(Below(8) == 0 ? Below(3000) : Below(20));
    return {.k = k, .ef = static_cast<int64_t>(4 + Below(40)), .filter = filter.filter};
  }

  void CheckSearch(const View& view) {
    const std::vector<float> query = Vector();
    const Filter filter = RandomFilter();
    SearchOptions options = RandomSearch(filter);
    const Results ranked = Ranked(view, query, filter);
    const auto wanted = std::min(ranked.size(), static_cast<size_t>(options.k));
    const Results nearest(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(wanted));
    const Answer found = view.snapshot.Search(query, options).ValueOrDie();
    EXPECT_TRUE(found.complete);
    EXPECT_EQ(found.rows.size(), wanted);
    ExpectPartOf(found.rows, ranked);
    const Vectors queries = {query, Vector()};
    const int threads = static_cast<int>(1 + Below(3));
    const auto both = view.snapshot.SearchBatch(*ToArray(queries, dim_), options, {.threads = threads}).ValueOrDie();
    EXPECT_TRUE(SameBits(both[0].rows, found.rows));
    EXPECT_TRUE(SameBits(both[1].rows, view.snapshot.Search(queries[1], options).ValueOrDie().rows));
    options.exact = true;
    EXPECT_TRUE(SameBits(view.snapshot.Search(query, options).ValueOrDie().rows, nearest));
    Count(view, 4);
  }

  void CheckRange(const View& view) {
    const std::vector<float> query = Vector();
    const Filter filter = RandomFilter();
    const Results ranked = Ranked(view, query, filter);
    const float radius =
        ranked.empty() ? 1
                       : ranked[Below(Below(2) == 0 ? std::min<size_t>(ranked.size(), 30) : ranked.size())].distance;
    const auto last = std::upper_bound(ranked.begin(), ranked.end(), radius,
                                       [](float r, const SearchResult& row) { return r < row.distance; });
    const Results within(ranked.begin(), last);
    const auto ef = static_cast<int64_t>(4 + Below(40));
    const auto range = [&](bool exact) {
      return view.snapshot.SearchRange(query, radius, {.ef = ef, .filter = filter.filter, .exact = exact}).ValueOrDie();
    };
    EXPECT_TRUE(SameBits(range(true).rows, within));
    const Answer found = range(false);
    EXPECT_TRUE(found.complete);
    ExpectPartOf(found.rows, within);
    Count(view, 2);
  }

  // To the end, or for some pages.
  void CheckPages(const View& view) {
    const std::vector<float> query = Vector();
    const Filter filter = RandomFilter();
    const Results ranked = Ranked(view, query, filter);
    const bool exact = Below(2) == 0;
    Pager pager = Pager::Make(view.snapshot, query, {.ef = 16, .filter = filter.filter, .exact = exact}).ValueOrDie();
    const int64_t page_rows = Below(2) == 0 ? 1 + static_cast<int64_t>(Below(20)) : 2000;
    Results given;
    std::set<uint32_t> ids;
    for (int page = 0; page < 8; ++page) {
      const Results rows = pager.Next(page_rows).ValueOrDie().rows;
      ExpectPartOf(rows, ranked);
      for (const SearchResult& row : rows) EXPECT_TRUE(ids.insert(row.id).second) << "row " << row.id << " twice";
      given.insert(given.end(), rows.begin(), rows.end());
      EXPECT_EQ(given.size(), std::min(ranked.size(), static_cast<size_t>((page + 1) * page_rows)));
      if (::testing::Test::HasFailure()) return;
    }
    if (exact) {
      EXPECT_TRUE(SameBits(given, {ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(given.size())}));
    }
    Count(view, 8);
  }

  // By a deadline that is past, or near, or by a stop.
  void CheckCutShort(const View& view) {
    const std::vector<float> query = Vector();
    const Filter filter = RandomFilter();
    SearchOptions options = RandomSearch(filter);
    options.exact = Below(2) == 0;
    std::stop_source stop;
    const uint64_t how = Below(3);
    if (how == 0) stop.request_stop();
    options.stop_token = stop.get_token();
    if (how != 0) options.deadline = Clock::now() + std::chrono::microseconds(how == 1 ? 0 : Below(60));
    const Results ranked = Ranked(view, query, filter);
    if (how == 2) options.deadline = Clock::now() + std::chrono::microseconds(Below(60));
    const Answer found = view.snapshot.Search(query, options).ValueOrDie();
    const auto wanted = std::min(ranked.size(), static_cast<size_t>(options.k));
    ExpectPartOf(found.rows, ranked);
    EXPECT_LE(found.rows.size(), wanted);
    EXPECT_EQ(found.complete, found.reason.empty());
    if (found.complete) {
      EXPECT_EQ(found.rows.size(), wanted);
    }
    if (how != 2 && options.k > 0 && !view.rows.empty()) {
      EXPECT_FALSE(found.complete);
    }
    totals_.cut_short += found.complete ? 0 : 1;
    Count(view, 1);
  }

  void Count(const View& view, uint64_t searches) {
    totals_.searches += searches;
    totals_.coded += codes_ == Codes::kQuantized && view.rows.size() >= 1024 ? searches : 0;
  }

  Ask RandomAsk() {
    const std::vector<float> query = Vector();
    const SearchOptions options = RandomSearch(RandomFilter());
    switch (Below(4)) {
      case 0: {
        const auto radius = static_cast<float>(Below(100)) / 50 * static_cast<float>(dim_);
        return [=](const Snapshot& of) {
          return of.SearchRange(query, radius, {.ef = options.ef, .filter = options.filter}).ValueOrDie().rows;
        };
      }
      case 1:
        return [=](const Snapshot& of) {
          Pager pager = Pager::Make(of, query, {.ef = options.ef, .filter = options.filter}).ValueOrDie();
          Results rows = pager.Next(3).ValueOrDie().rows;
          for (const SearchResult& row : pager.Next(40).ValueOrDie().rows) rows.push_back(row);
          return rows;
        };
      default: return [=](const Snapshot& of) { return of.Search(query, options).ValueOrDie().rows; };
    }
  }

  void Hold() {
    Held held{index_.GetSnapshot().ValueOrDie(), rows_.size(), {}, nullptr};
    EXPECT_EQ(held.snapshot.size(), rows_.size());
    for (int i = 0; i < 5; ++i) {
      const Ask ask = RandomAsk();
      held.answers.emplace_back(ask, ask(held.snapshot));
    }
    if (Below(2) == 0) held.exported = held.snapshot.ToLanceHnswBatch().ValueOrDie();
    if (Below(2) == 0) held.snapshot = Snapshot(held.snapshot);
    held_.push_back(std::move(held));
  }

  void Release() {
    if (held_.empty()) return;
    const auto at = held_.begin() + static_cast<std::ptrdiff_t>(Below(held_.size()));
    for (const auto& [ask, answer] : at->answers) EXPECT_TRUE(SameBits(ask(at->snapshot), answer));
    if (at->exported != nullptr) {
      EXPECT_TRUE(at->snapshot.ToLanceHnswBatch().ValueOrDie()->Equals(*at->exported, true));
      EXPECT_TRUE(at->snapshot.Verify().ValueOrDie().ok);
    }
    CheckSearch(Of(&*at));
    held_.erase(at);
    ++totals_.held;
  }

  void CheckLive() {
    const VerifyReport report = index_.Verify().ValueOrDie();
    EXPECT_TRUE(report.ok) << report.problem;
    EXPECT_EQ(report.rows, rows_.size());
    const bool exported = std::ranges::any_of(held_, [](const Held& held) { return held.exported != nullptr; });
    if (!exported) {
      EXPECT_EQ(index_.GetMemoryUsage().total(), pool_.bytes_allocated());
    }
  }

  // What an export says is read back: the graph over the model's rows, and the rows into another index.
  void CheckReimports() {
    const View view = Of(nullptr);
    if (view.rows.empty()) return;
    const auto lists = view.snapshot.ToLanceHnswBatch().ValueOrDie();
    HnswGraph graph = HnswGraph::FromLanceHnswBatch(*lists).ValueOrDie();
    EXPECT_TRUE(graph.Verify().ok()) << graph.Verify().ToString();
    const Source source{metric_, view.rows};
    EXPECT_TRUE(HnswGraph::FromLanceHnswBatch(*graph.ToLanceHnswBatch(source).ValueOrDie()).ok());
    const auto rows = view.snapshot.ToRecordBatch().ValueOrDie();
    LiveIndexOptions options = index_.options();
    options.memory_limit = 0;
    options.vector_column = "flat";
    options.row_id_column = "_rowid";
    LiveIndex again = LiveIndex::Make(options).ValueOrDie();
    ASSERT_TRUE(again.Append(*rows).ok());
    EXPECT_TRUE(rows->Equals(*again.GetSnapshot().ValueOrDie().ToRecordBatch().ValueOrDie(), true));
    for (int i = 0; i < 3; ++i) {
      const std::vector<float> query = Vector();
      const Results ranked = Ranked(view, query, {});
      const Results found = graph.Search(query, {.k = 7, .ef = 16}, source).ValueOrDie();
      EXPECT_EQ(found.size(), std::min<size_t>(7, ranked.size()));
      ExpectPartOf(found, ranked);
      const auto first = ranked.begin() + static_cast<std::ptrdiff_t>(found.size());
      EXPECT_TRUE(SameBits(again.Search(query, {.k = 7, .exact = true}).ValueOrDie().rows, {ranked.begin(), first}));
    }
  }

  std::mt19937_64 random_;
  Totals& totals_;
  const Metric metric_;
  const Codes codes_;
  const int dim_;
  const int m_;
  const int64_t limit_;
  FailingPool pool_;
  LiveIndex index_;
  LiveIndex twin_;
  std::vector<ModelRow> rows_;
  uint64_t next_row_id_ = 0;
  std::vector<Held> held_;
};

std::optional<uint64_t> Number(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr ? std::optional<uint64_t>(std::stoull(value)) : std::nullopt;
}

TEST(Model, RandomHistories) {
  const std::optional<uint64_t> one = Number("PENNON_MODEL_SEED");
  const std::optional<uint64_t> seconds = Number("PENNON_MODEL_SECONDS");
  const uint64_t first = one.value_or(1);
  const uint64_t last = one ? *one : Number("PENNON_MODEL_SEEDS").value_or(seconds ? ~uint64_t{0} : 25);
  const auto end = Clock::now() + std::chrono::seconds(seconds.value_or(0));
  Totals totals;
  for (uint64_t seed = first; seed <= last && (!seconds || Clock::now() < end); ++seed) {
    SCOPED_TRACE("PENNON_MODEL_SEED=" + std::to_string(seed));
    Model model(seed, totals);
    for (int step = 0; step < 80 && !HasFailure(); ++step) model.Step();
    if (!HasFailure()) model.Finish();
    if (HasFailure()) return;
  }
  if (seconds) std::cout << totals << std::endl;
  if (!one) {
    for (const uint64_t some : {totals.failed, totals.stopped, totals.coded, totals.cut_short, totals.held}) {
      EXPECT_GT(some, 0u) << totals;
    }
  }
}

}  // namespace
}  // namespace pennon
