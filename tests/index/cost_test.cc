// ctest: labels=contract-1,contract-4,contract-5,asan timeout=300
// What a publish costs and what old versions keep, counted.
#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/steps.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 4;
constexpr int kM = 4;
// Of level 0: 40 bytes, 2 m ids, their bits.
constexpr int64_t kRecord = 40 + 2 * kM * 4 + 8;

LiveIndex Filled(arrow::MemoryPool* pool, size_t rows) {
  LiveIndex index =
      LiveIndex::Make({.dim = kDim, .build = {.m = kM, .ef_construction = 16}, .pool = pool}).ValueOrDie();
  EXPECT_TRUE(index.Append(ToArray(Normal(rows, kDim, 1), kDim)).ok());
  return index;
}

// Of one row's append and publish, on the average of many.
struct CostOfARow {
  double allocations = 0;
  double bytes = 0;  // allocated
  std::map<std::string, double> steps;
  // The least that was seen.
  int64_t append_nanos = std::numeric_limits<int64_t>::max();
  int64_t publish_nanos = std::numeric_limits<int64_t>::max();
};

CostOfARow Measure(size_t rows, Codes codes) {
  constexpr int kAppends = 400;
  FailingPool pool;
  LiveIndex index =
      LiveIndex::Make({.dim = kDim, .codes = codes, .build = {.m = kM, .ef_construction = 16}, .pool = &pool})
          .ValueOrDie();
  EXPECT_TRUE(index.Append(ToArray(Normal(rows, kDim, 1), kDim)).ok());
  const Snapshot held = index.GetSnapshot().ValueOrDie();
  const std::vector<float> query(kDim);
  CostOfARow cost;
  for (const auto& row : Normal(kAppends, kDim, 2)) {
    const auto batch = ToArray({row}, kDim);
    const int64_t allocations = pool.num_allocations();
    const int64_t bytes = pool.total_bytes_allocated();
    std::chrono::nanoseconds taken{};
    bool appended = false;
    const auto append = [&](uint64_t) {
      if (std::exchange(appended, true)) return true;
      graph::after_step = [&](std::string_view step) { cost.steps[std::string(step)] += 1.0 / kAppends; };
      const auto start = std::chrono::steady_clock::now();
      EXPECT_TRUE(index.Append(batch, {.threads = 1}).ok());
      taken = std::chrono::steady_clock::now() - start;
      graph::after_step = nullptr;
      return true;
    };
    // Beside a search, which holds a slot.
    EXPECT_TRUE(index.Search(query, {.filter = RowFilter::Predicate(append)}).ok());
    cost.allocations += static_cast<double>(pool.num_allocations() - allocations) / kAppends;
    cost.bytes += static_cast<double>(pool.total_bytes_allocated() - bytes) / kAppends;
    cost.append_nanos = std::min<int64_t>(cost.append_nanos, taken.count());
    cost.publish_nanos = std::min(cost.publish_nanos, index.GetStats().last_publish_nanos);
  }
  return cost;
}

TEST(Cost, OneRowCostsTheSameInASmallIndexAndInALargeOne) {
  for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
    const CostOfARow small = Measure(1'100, codes);
    const CostOfARow large = Measure(100'000, codes);
    // The version itself, and now and then a segment or a block of records.
    EXPECT_LE(small.allocations, 1.2);
    EXPECT_LE(large.allocations, 1.2);
    // Blocks are of a sixteenth of what there is, segments of as much, up to 2 MiB each.
    EXPECT_LE(large.bytes, 40'000);
    for (const auto& [step, times] : large.steps) {
      const auto of_small = small.steps.find(step);
      ASSERT_NE(of_small, small.steps.end()) << step;
      // Walks are a little longer, and visit a little more.
      EXPECT_LE(times, (step == "read" ? 2 : 1.25) * of_small->second + 0.1) << step;
      EXPECT_LT(times, 60) << step;
    }
    EXPECT_GE(large.steps.at("slot"), 1);
    EXPECT_LE(large.steps.at("forget"), 2) << "visited sets cleared: one a level";
    // So long a walk over all rows would be seen.
    EXPECT_LE(large.publish_nanos, small.publish_nanos + 20'000);
    EXPECT_LE(large.append_nanos, 3 * small.append_nanos + 20'000);
  }
}

TEST(Cost, APublishKeepsOneOldCopyOfEachChangedList) {
  for (size_t rows : {1'000, 50'000}) {
    LiveIndex index = Filled(nullptr, rows);
    const int64_t before = index.GetMemoryUsage().versions_bytes;
    const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
    ASSERT_TRUE(index.Append(ToArray(Normal(1, kDim, 3), kDim)).ok());
    const int64_t kept = index.GetMemoryUsage().versions_bytes - before;
    EXPECT_GT(kept, 0);
    // A row changes at most m lists and its parent's at each level.
    EXPECT_LE(kept, 64 + 3 * (kM + 1) * kRecord) << rows;
  }
}

TEST(Cost, OldVersionsAreBoundedByTheListsAndReturn) {
  LiveIndex index = Filled(nullptr, 2'000);
  const int64_t before = index.GetMemoryUsage().graph_bytes;
  {
    const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
    for (uint64_t i = 0; i < 300; ++i) ASSERT_TRUE(index.Append(ToArray(Normal(10, kDim, i), kDim)).ok());
    // 300 publishes, but the one held version keeps at most one copy of the 2,000 rows' lists.
    EXPECT_LT(index.GetMemoryUsage().versions_bytes, 1.1 * static_cast<double>(before));
  }
  ASSERT_TRUE(index.Append(ToArray(Normal(10, kDim, 1000), kDim)).ok());
  EXPECT_LT(index.GetMemoryUsage().versions_bytes, 200);
  EXPECT_EQ(index.GetStats().live_versions, 1u);
}

TEST(Cost, ASnapshotKeepsOneCopyOfEachListWhateverFollows) {
  constexpr size_t kRows = 3'000;
  constexpr int64_t kPublishes = 10'000;
  LiveIndex index = Filled(nullptr, kRows);
  LiveIndex without = Filled(nullptr, kRows);
  const int64_t before = index.GetMemoryUsage().versions_bytes;
  std::optional<Snapshot> held = index.GetSnapshot().ValueOrDie();
  // Every list that there was is one that the rows' list may change, and few do not.
  const int64_t lists = held->ToLanceHnswBatch().ValueOrDie()->num_rows();
  for (const auto& row : Normal(kPublishes, kDim, 2)) {
    ASSERT_TRUE(index.Append(ToArray({row}, kDim), {.threads = 1}).ok());
    ASSERT_TRUE(without.Append(ToArray({row}, kDim), {.threads = 1}).ok());
  }
  EXPECT_EQ(index.GetStats().live_versions, 2u);
  const int64_t kept = index.GetMemoryUsage().versions_bytes - before;
  EXPECT_GT(kept, lists / 2 * kRecord);
  EXPECT_LE(kept, lists * kRecord + 128);
  held.reset();
  EXPECT_EQ(index.GetMemoryUsage().versions_bytes, before);
  EXPECT_EQ(index.GetStats().live_versions, 1u);
  // The copies' records serve new lists.
  const int64_t graph = index.GetMemoryUsage().graph_bytes;
  EXPECT_LE(graph, without.GetMemoryUsage().graph_bytes + kept + (kept >> 2));
  for (const auto& row : Normal(kRows / 2, kDim, 3)) {
    ASSERT_TRUE(index.Append(ToArray({row}, kDim), {.threads = 1}).ok());
  }
  EXPECT_EQ(index.GetMemoryUsage().graph_bytes, graph);
}

// What the pool counts is what the parts say, while there are scratch, old versions and codes.
TEST(Cost, MemoryUsageIsWhatThePoolCounts) {
  for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
    const auto pool = arrow::MemoryPool::CreateDefault();
    LiveIndex index =
        LiveIndex::Make({.dim = 4, .codes = codes, .build = {.m = 3, .ef_construction = 8}, .pool = pool.get()})
            .ValueOrDie();
    std::vector<Snapshot> held;
    const std::vector<float> query(4);
    for (const size_t rows : {1'000, 10'000, 100'000}) {
      if (codes == Codes::kNone && rows == 100'000) break;
      held.push_back(index.GetSnapshot().ValueOrDie());
      ASSERT_TRUE(index.Append(ToArray(Normal(rows - index.size(), 4, rows), 4)).ok());
      ASSERT_TRUE(index.Search(query).ok());
      const MemoryUsage usage = index.GetMemoryUsage();
      const auto counted = static_cast<double>(pool->bytes_allocated());
      EXPECT_NEAR(static_cast<double>(usage.total()), counted, 0.05 * counted) << rows;
      EXPECT_LE(usage.total(), usage.peak_bytes);
      EXPECT_LE(usage.peak_bytes, pool->max_memory());
      for (const int64_t part : {usage.vectors_bytes, usage.graph_bytes, usage.versions_bytes, usage.other_bytes}) {
        EXPECT_GT(part, 0);
      }
      EXPECT_EQ(usage.codes_bytes > 0, codes == Codes::kQuantized && rows > 1'000);
    }
    held.clear();
    index.Trim();
    EXPECT_NEAR(static_cast<double>(index.GetMemoryUsage().total()), static_cast<double>(pool->bytes_allocated()), 100);
  }
}

TEST(Cost, ManyPublishesNeedNoMoreMemoryThanOne) {
  const LiveIndex whole = Filled(nullptr, 5'000);
  const Vectors rows = Normal(5'000, kDim, 1);
  LiveIndex single = LiveIndex::Make(whole.options()).ValueOrDie();
  for (const auto& row : rows) ASSERT_TRUE(single.Append(ToArray({row}, kDim), {.threads = 1}).ok());
  EXPECT_LT(static_cast<double>(single.GetMemoryUsage().graph_bytes),
            1.3 * static_cast<double>(whole.GetMemoryUsage().graph_bytes));
}

TEST(Cost, StatisticsDoNotWaitForAnAppendAndAStopEndsIt) {
  LiveIndex index = Filled(nullptr, 500);
  const auto before = index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
  const uint64_t distances = index.GetStats().build_distances;
  std::stop_source stop;
  std::jthread stopper([&] {
    while (index.GetStats().build_distances < distances + 1000) std::this_thread::yield();
    EXPECT_EQ(index.size(), 500u);
    EXPECT_GT(index.GetMemoryUsage().total(), 0);
    stop.request_stop();
  });
  EXPECT_TRUE(
      index.Append(ToArray(Normal(200'000, kDim, 2), kDim), {.stop_token = stop.get_token()}).status().IsCancelled());
  EXPECT_LT(index.GetStats().build_distances, distances + 200'000 * 16);
  EXPECT_TRUE(index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(*before, true));
  EXPECT_EQ(index.GetStats().appends_failed, 1u);
}

}  // namespace
}  // namespace pennon
