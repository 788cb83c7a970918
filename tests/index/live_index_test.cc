// ctest: labels=contract-1,contract-2,contract-6,contract-7,contract-8,contract-9,contract-10,contract-11,asan timeout=300
#include "pennon/live_index.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <tuple>

#include <sys/resource.h>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "support/brute_force.h"
#include "support/vectors.h"

namespace pennon {
namespace {

LiveIndex MakeIndex(int dim, Metric metric = Metric::kL2, int m = 8, uint64_t max_rows = 1'000'000) {
  return LiveIndex::Make({.dim = dim, .metric = metric, .build = {.m = m, .ef_construction = 40}, .max_rows = max_rows})
      .ValueOrDie();
}

void ExpectVerified(const LiveIndex& index) {
  const VerifyReport report = index.Verify().ValueOrDie();
  EXPECT_TRUE(report.ok) << report.problem;
  EXPECT_EQ(report.unreachable, 0u);
}

const Metric kMetrics[] = {Metric::kL2, Metric::kCosine, Metric::kDot};

// Of 300 rows, and of so many that codes rule rows out.
TEST(LiveIndex, ExactScanEqualsBruteForce) {
  for (Metric metric : kMetrics) {
    for (const auto& [count, dim] : std::initializer_list<std::pair<size_t, int>>{
             {300, 1}, {300, 7}, {300, 16}, {300, 33}, {2500, 1}, {2500, 7}, {2500, 33}, {2500, 130}}) {
      Vectors rows = Normal(count, dim, 1);
      for (size_t i = 0; i < 40; ++i) rows[i + 100] = rows[i];  // ties
      if (count > 300) {
        for (size_t i = 0; i < 40; ++i) rows[count - 1 - i] = rows[i];
      }
      std::vector<ModelRow> model;
      for (const auto& row : rows) model.push_back({row, 1000 + model.size()});
      LiveIndex index = MakeIndex(dim, metric);
      ASSERT_TRUE(index.Append(ToArray(rows, dim), {.first_row_id = 1000}).ok());
      for (const auto& query : Normal(10, dim, 2)) {
        for (int64_t share : {1, 2, 100, 1000}) {
          const auto passes = [share](uint64_t row_id) { return row_id % static_cast<uint64_t>(share) == 0; };
          const auto answer =
              index.Search(query, {.k = 12, .filter = RowFilter::Predicate(passes), .exact = true}).ValueOrDie();
          const auto expected = BruteForce(metric, model, query, 12, passes);
          EXPECT_EQ(answer.rows, expected) << ToString(metric) << " " << dim;
          const float radius = expected.empty() ? 0 : expected.back().distance;
          const auto within =
              index.SearchRange(query, radius, {.filter = RowFilter::Predicate(passes), .exact = true}).ValueOrDie();
          ASSERT_GE(within.rows.size(), expected.size());
          EXPECT_TRUE(std::equal(expected.begin(), expected.end(), within.rows.begin()));
        }
      }
      ExpectVerified(index);
    }
  }
}

TEST(LiveIndex, KMeansKWithEveryFilter) {
  const int dim = 8;
  const Vectors rows = Normal(3000, dim, 3);
  LiveIndex index = MakeIndex(dim);
  ASSERT_TRUE(index.Append(ToArray(rows, dim)).ok());
  for (uint64_t share : {1, 2, 100, 3000, 100000}) {
    const auto passes = [share](uint64_t row_id) { return row_id % share == share - 1; };
    for (const auto& query : Normal(20, dim, 4)) {
      const auto answer = index.Search(query, {.k = 10, .ef = 40, .filter = RowFilter::Predicate(passes)}).ValueOrDie();
      EXPECT_EQ(answer.rows.size(), std::min<uint64_t>(10, 3000 / share));
      EXPECT_TRUE(answer.complete && answer.reason.empty());
      for (const auto& row : answer.rows) EXPECT_TRUE(passes(row.row_id));
    }
  }
  EXPECT_EQ(index.Search(rows[0], {.k = 1'000'000'000}).ValueOrDie().rows.size(), 3000u);
  EXPECT_EQ(index.Search(rows[0], {.k = 0}).ValueOrDie().rows.size(), 0u);
}

TEST(LiveIndex, EqualGraphsForEveryNumberOfThreads) {
  const int dim = 12;
  const Vectors rows = Normal(2000, dim, 7);
  std::shared_ptr<arrow::RecordBatch> expected;
  for (int threads : {1, 2, 3, 8}) {
    LiveIndex index = MakeIndex(dim);
    for (size_t i = 0; i < rows.size(); i += 400) {
      ASSERT_TRUE(
          index.Append(ToArray(Vectors(rows.begin() + i, rows.begin() + i + 400), dim), {.threads = threads}).ok());
    }
    const auto exported = index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
    EXPECT_TRUE(!expected || exported->Equals(*expected, true)) << threads;
    expected = exported;
  }
}

TEST(LiveIndex, VerifiesOnHardData) {
  for (Metric metric : kMetrics) {
    for (int m : {2, 3, 8}) {
      const int dim = 4;
      Vectors equal(1500, std::vector<float>(dim, 0.5f));
      Vectors sorted(1500, std::vector<float>(dim));
      for (size_t i = 0; i < sorted.size(); ++i) std::fill(sorted[i].begin(), sorted[i].end(), static_cast<float>(i));
      for (const Vectors& rows : {equal, sorted, Normal(1500, dim, 8)}) {
        LiveIndex index = MakeIndex(dim, metric, m);
        for (size_t i = 0; i < rows.size(); i += 300) {
          ASSERT_TRUE(index.Append(ToArray(Vectors(rows.begin() + i, rows.begin() + i + 300), dim)).ok());
          ExpectVerified(index);
        }
      }
    }
  }
}

void HoldSnapshots(Metric metric) {
  const int dim = 6;
  Vectors rows = Normal(2000, dim, 9);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (float& value : rows[i]) value *= 1 + static_cast<float>(i) / 20;
  }
  const Vectors queries = Normal(20, dim, 10);
  LiveIndex index =
      LiveIndex::Make({.dim = dim, .metric = metric, .build = {.m = 6, .ef_construction = 30}}).ValueOrDie();
  struct Held {
    Snapshot snapshot;
    std::vector<Answer> answers;
    std::shared_ptr<arrow::RecordBatch> exported;
  };
  std::vector<Held> held;
  for (size_t i = 0; i < rows.size(); i += 50) {
    std::stop_source stop;
    stop.request_stop();
    EXPECT_TRUE(
        index.Append(ToArray(Normal(70, dim, i), dim), {.stop_token = stop.get_token()}).status().IsCancelled());
    ASSERT_TRUE(index.Append(ToArray(Vectors(rows.begin() + i, rows.begin() + i + 50), dim)).ok());
    if (i % 200 == 0) {
      Snapshot snapshot = index.GetSnapshot().ValueOrDie();
      auto answers = snapshot.SearchBatch(*ToArray(queries, dim), {.k = 5, .ef = 20}).ValueOrDie();
      auto exported = snapshot.ToLanceHnswBatch().ValueOrDie();
      held.push_back({std::move(snapshot), std::move(answers), std::move(exported)});
    }
  }
  for (const Held& h : held) {
    const auto answers = h.snapshot.SearchBatch(*ToArray(queries, dim), {.k = 5, .ef = 20}).ValueOrDie();
    for (size_t q = 0; q < queries.size(); ++q) EXPECT_EQ(answers[q].rows, h.answers[q].rows);
    EXPECT_TRUE(h.snapshot.ToLanceHnswBatch().ValueOrDie()->Equals(*h.exported, true));
    EXPECT_TRUE(h.snapshot.Verify().ValueOrDie().ok);
  }
  EXPECT_GT(index.GetStats().live_versions, 5u);
  held.clear();
  index.Trim();
  EXPECT_EQ(index.GetStats().live_versions, 1u);
  EXPECT_LT(index.GetMemoryUsage().versions_bytes, 16384);
}

TEST(LiveIndex, HeldSnapshotsKeepTheirAnswersAndMemoryReturns) { HoldSnapshots(Metric::kL2); }

TEST(LiveIndex, HeldSnapshotsKeepTheirAnswersWhileNormsGrow) { HoldSnapshots(Metric::kDot); }

// A beam that was expanded whole fills anew when the walk comes upon nearer rows.
TEST(LiveIndex, AWalkLeavesAClusterThatFillsItsBeam) {
  const int dim = 6;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const size_t cluster = 60 * (1 + seed % 2);
    Vectors rows = Normal(cluster + 400, dim, seed);
    for (size_t i = cluster; i < rows.size(); ++i) rows[i][0] += 12;
    LiveIndex index =
        LiveIndex::Make({.dim = dim, .build = {.m = 4, .ef_construction = 60, .seed = seed}}).ValueOrDie();
    ASSERT_TRUE(index.Append(ToArray(rows, dim)).ok());
    for (const int64_t ef : {56, 120}) {
      size_t found = 0;
      for (const auto& query : rows) {
        found += index.Search(query, {.k = 1, .ef = ef}).ValueOrDie().rows[0].distance == 0 ? 1 : 0;
      }
      EXPECT_GE(found, rows.size() - rows.size() / 20) << ef;
    }
  }
}

TEST(LiveIndex, FailedFirstBatchLeavesNoTrace) {
  const int dim = 6;
  const Vectors rows = Normal(600, dim, 11);
  LiveIndex tried = MakeIndex(dim);
  LiveIndex clean = MakeIndex(dim);
  std::stop_source half;
  half.request_stop();
  EXPECT_TRUE(
      tried.Append(ToArray(Normal(900, dim, 12), dim), {.stop_token = half.get_token()}).status().IsCancelled());
  EXPECT_EQ(tried.size(), 0u);
  ASSERT_TRUE(tried.Append(ToArray(rows, dim)).ok());
  ASSERT_TRUE(clean.Append(ToArray(rows, dim)).ok());
  EXPECT_TRUE(tried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(
      *clean.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie(), true));
}

TEST(LiveIndex, SnapshotOutlivesTheIndex) {
  const Vectors rows = Normal(100, 4, 13);
  const auto pool = arrow::MemoryPool::CreateDefault();
  auto index = std::make_unique<LiveIndex>(LiveIndex::Make({.dim = 4, .pool = pool.get()}).ValueOrDie());
  ASSERT_TRUE(index->Append(ToArray(rows, 4)).ok());
  {
    const Snapshot snapshot = index->GetSnapshot().ValueOrDie();
    const int64_t bytes = pool->bytes_allocated();
    index.reset();
    EXPECT_EQ(pool->bytes_allocated(), bytes);
    EXPECT_EQ(snapshot.Search(rows[42], {.k = 1}).ValueOrDie().rows[0].id, 42u);
  }
  EXPECT_EQ(pool->bytes_allocated(), 0);
}

TEST(LiveIndex, NullsAreSkippedAndRowIdsKept) {
  const Vectors rows = Normal(10, 4, 14);
  LiveIndex index = MakeIndex(4);
  const auto range = index.Append(ToArray(rows, 4, {0, 3, 9}), {.first_row_id = 50}).ValueOrDie();
  EXPECT_EQ(range.last - range.first, 7u);
  EXPECT_EQ(index.Search(rows[4], {.k = 1}).ValueOrDie().rows[0].row_id, 54u);
  ASSERT_TRUE(index.Append(ToArray(rows, 4, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})).ok());
  EXPECT_EQ(index.GetStats().versions_published, 1u);
}

TEST(LiveIndex, BadInputIsRefusedAndNothingChanges) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  LiveIndex index = MakeIndex(2, Metric::kL2, 8, 5);
  ASSERT_TRUE(index.Append(ToArray({{1, 2}, {3, 4}}, 2)).ok());
  auto message = [&](const Vectors& rows, int dim) { return index.Append(ToArray(rows, dim)).status(); };
  EXPECT_NE(message({{1, 2, 3}}, 3).ToString().find("expected dimension 2, got 3"), std::string::npos);
  EXPECT_NE(message({{1, 2}, {1, nan}}, 2).ToString().find("offset 1"), std::string::npos);
  EXPECT_TRUE(message({{infinity, 2}}, 2).IsInvalid());
  EXPECT_TRUE(message({{1.5e19f, 2}}, 2).IsInvalid());
  EXPECT_TRUE(message({{1, 1}, {2, 2}, {3, 3}, {4, 4}}, 2).IsCapacityError());
  EXPECT_TRUE(index.Append(arrow::MakeArrayOfNull(arrow::int32(), 3).ValueOrDie()).status().IsInvalid());
  EXPECT_TRUE(index.Search(std::vector<float>{1}, {}).status().IsInvalid());
  EXPECT_TRUE(index.Search(std::vector<float>{1, nan}, {}).status().IsInvalid());
  EXPECT_TRUE(index.Search(std::vector<float>{1, 2}, {.k = -1}).status().IsInvalid());
  EXPECT_FALSE(
      index
          .Search(std::vector<float>{1, 2}, {.k = 1, .filter = RowFilter::Predicate([](uint64_t) -> bool { throw 1; })})
          .ok());
  EXPECT_EQ(index.size(), 2u);
  EXPECT_EQ(index.Search(std::vector<float>{1, 2}, {.k = 5}).ValueOrDie().rows.size(), 2u);
  EXPECT_EQ(index.Search(std::vector<float>{1, 2}, {.k = 2}).ValueOrDie().rows[1].distance, 8.0f);
}

TEST(LiveIndex, ErrorsNameTheArgument) {
  LiveIndex index = MakeIndex(2);
  const auto rows = ToArray({{1, 2}, {3, 4}}, 2);
  const auto refused = [&](const std::shared_ptr<arrow::Array>& array, const AppendOptions& options,
                           const std::string& words) {
    const arrow::Status status = index.Append(array, options).status();
    EXPECT_TRUE(status.IsInvalid()) << status.ToString();
    EXPECT_NE(status.message().find(words), std::string::npos) << status.ToString();
  };
  const auto list_of = [](const std::shared_ptr<arrow::Array>& values, int size) {
    return std::make_shared<arrow::FixedSizeListArray>(arrow::fixed_size_list(values->type(), size),
                                                       size == 0 ? 0 : values->length() / size, values);
  };
  arrow::FloatBuilder floats;
  ASSERT_TRUE(floats.AppendValues({1, 2, 3}).ok() && floats.AppendNull().ok());
  refused(list_of(floats.Finish().ValueOrDie(), 2), {}, "offset 1 has a null element");
  arrow::DoubleBuilder doubles;
  ASSERT_TRUE(doubles.AppendValues({1, 2}).ok());
  refused(list_of(doubles.Finish().ValueOrDie(), 2), {}, "got fixed_size_list<item: double>[2]");
  refused(list_of(floats.Finish().ValueOrDie(), 0), {}, "expected dimension 2, got 0");
  refused(arrow::MakeArrayOfNull(arrow::list(arrow::float32()), 1).ValueOrDie(), {}, "got list<item: float>");
  const auto& numbers = static_cast<const arrow::FixedSizeListArray&>(*rows).values();
  refused(std::make_shared<arrow::FixedSizeListArray>(rows->type(), 3, numbers), {}, "expected 6 numbers");
  refused(nullptr, {}, "vectors");
  refused(rows, {.threads = -1}, "threads");

  arrow::Int64Builder ids;
  ASSERT_TRUE(ids.AppendValues({5, -6}).ok());
  const auto negative = ids.Finish().ValueOrDie();
  refused(rows, {.row_ids = negative}, "got -6 at offset 1");
  refused(rows, {.first_row_id = 1, .row_ids = negative}, "got both");
  refused(rows, {.row_ids = negative->Slice(0, 1)}, "one for each of 2 vectors, got 1");
  refused(rows, {.row_ids = arrow::MakeArrayOfNull(arrow::uint64(), 2).ValueOrDie()}, "no nulls");
  refused(rows, {.row_ids = arrow::MakeArrayOfNull(arrow::utf8(), 2).ValueOrDie()}, "got string");
  refused(rows, {.first_row_id = ~uint64_t{0}}, "first_row_id");

  const auto batch = arrow::RecordBatch::Make(
      arrow::schema({arrow::field("a", rows->type()), arrow::field("b", rows->type())}), 2, {rows, rows});
  EXPECT_NE(index.Append(*batch).status().message().find("found two"), std::string::npos);
  LiveIndex named = LiveIndex::Make({.dim = 2, .vector_column = "b", .row_id_column = "id"}).ValueOrDie();
  EXPECT_NE(named.Append(*batch).status().message().find("expected one column 'id'"), std::string::npos);
  EXPECT_NE(named.Append(*batch->RemoveColumn(1).ValueOrDie()).status().message().find("no column 'b'"),
            std::string::npos);

  EXPECT_EQ(index.size(), 0u);
  EXPECT_EQ(index.GetMemoryUsage().vectors_bytes, 0);
  // What is allowed: ids that repeat, ef below k, sliced and empty arrays.
  arrow::UInt64Builder repeated;
  ASSERT_TRUE(repeated.AppendValues({7, 7}).ok());
  ASSERT_TRUE(index.Append(rows, {.row_ids = repeated.Finish().ValueOrDie()}).ok());
  ASSERT_TRUE(index.Append(rows->Slice(1, 1)).ok());
  ASSERT_TRUE(index.Append(rows->Slice(0, 0)).ok());
  EXPECT_EQ(index.Search(std::vector<float>{1, 2}, {.k = 3, .ef = 1}).ValueOrDie().rows.size(), 3u);
}

// A row that is coded and rows that are not, huge and tiny side by side.
TEST(LiveIndex, CodesTakeExtremes) {
  for (const Metric metric : kMetrics) {
    Vectors rows = Normal(3000, 5, 20);
    std::mt19937_64 random(21);
    for (size_t i = 0; i < rows.size(); i += 3) {
      const float scale = std::pow(10.0f, static_cast<float>(random() % 30) - 12);
      for (float& value : rows[i]) value *= scale;
    }
    rows[1500].assign(5, 0.0f);
    rows[1501].assign(5, 4.1e18f);
    rows[1502].assign(5, -4.1e18f);
    LiveIndex index = MakeIndex(5, metric);
    for (size_t i = 0; i < rows.size(); i += 500) {
      ASSERT_TRUE(index.Append(ToArray(Vectors(rows.begin() + i, rows.begin() + i + 500), 5)).ok());
      ExpectVerified(index);
    }
    EXPECT_GT(index.GetMemoryUsage().codes_bytes, 0);
    for (size_t i = 0; i < rows.size(); i += 100) {
      const auto found = index.Search(rows[i], {.k = 10}).ValueOrDie().rows;
      ASSERT_EQ(found.size(), 10u);
      for (const auto& row : found) {
        EXPECT_FALSE(std::isnan(row.distance));
        EXPECT_EQ(row.distance, Distance(metric, rows[i], rows[row.id])) << ToString(metric) << " " << i;
      }
    }
  }
}

TEST(LiveIndex, ParametersAreChecked) {
  for (const BuildParams& build : {BuildParams{.m = 1}, BuildParams{.max_level = 0}, BuildParams{.max_level = 65},
                                   BuildParams{.m = 20, .ef_construction = 19}}) {
    EXPECT_TRUE(LiveIndex::Make({.dim = 4, .build = build}).status().IsInvalid());
  }
  EXPECT_TRUE(LiveIndex::Make({.dim = 0}).status().IsInvalid());
}

TEST(LiveIndex, CosineTakesZeroAndTinyVectors) {
  LiveIndex index = MakeIndex(2, Metric::kCosine);
  ASSERT_TRUE(index.Append(ToArray({{0, 0}, {1e-30f, 0}, {0, 3}}, 2)).ok());
  const auto rows = index.Search(std::vector<float>{2e-30f, 0}, {.k = 3}).ValueOrDie().rows;
  EXPECT_EQ(rows[0].id, 1u);
  EXPECT_FLOAT_EQ(rows[0].distance, 0);
  EXPECT_EQ(rows[1].distance, 1);
  EXPECT_EQ(rows[2].distance, 1);
}

TEST(LiveIndex, NothingOfManyDimensionsCostsNothing) {
  constexpr int32_t kMany = 250'000'000;
  const auto peak = [] {
    rusage usage = {};
    EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
  };
  const auto before = peak();
  const LiveIndex index = LiveIndex::Make({.dim = kMany}).ValueOrDie();
  const auto none = arrow::MakeEmptyArray(arrow::fixed_size_list(arrow::float32(), kMany)).ValueOrDie();
  EXPECT_TRUE(index.SearchBatch(*none, {}, {.threads = 8}).ValueOrDie().empty());
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  EXPECT_EQ(snapshot.ToRecordBatch().ValueOrDie()->num_rows(), 0);
  EXPECT_EQ(snapshot.ToLanceHnswBatch().ValueOrDie()->num_rows(), 0);
  EXPECT_LT(peak() - before, 512 << 10) << "KiB";
}

}  // namespace
}  // namespace pennon
