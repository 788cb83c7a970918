// ctest: labels=contract-1,contract-4,contract-5,asan timeout=120
// What a publish costs and what old versions keep, counted.
#include <thread>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 4;
constexpr int kM = 4;

LiveIndex Filled(arrow::MemoryPool* pool, size_t rows) {
  LiveIndex index =
      LiveIndex::Make({.dim = kDim, .build = {.m = kM, .ef_construction = 16}, .pool = pool}).ValueOrDie();
  EXPECT_TRUE(index.Append(ToArray(Normal(rows, kDim, 1), kDim)).ok());
  return index;
}

TEST(Cost, OneRowAllocatesAsMuchInASmallIndexAsInALargeOne) {
  constexpr int64_t kAppends = 400;
  const Vectors more = Normal(kAppends, kDim, 2);
  for (size_t rows : {1'000, 50'000}) {
    FailingPool pool;
    LiveIndex index = Filled(&pool, rows);
    int64_t before = pool.num_allocations();
    for (const auto& row : more) ASSERT_TRUE(index.Append(ToArray({row}, kDim), {.threads = 1}).ok());
    // The version itself, and now and then a segment or a block of records.
    EXPECT_LE(pool.num_allocations() - before, kAppends + 40) << rows;
  }
}

TEST(Cost, APublishKeepsOneOldCopyOfEachChangedList) {
  // A record of level 0: 40 bytes, 2 m ids, their bits; a row changes at most m lists and its parent's at each level.
  constexpr int64_t kRecord = 40 + 2 * kM * 4 + 8;
  for (size_t rows : {1'000, 50'000}) {
    LiveIndex index = Filled(nullptr, rows);
    const int64_t before = index.GetMemoryUsage().versions_bytes;
    const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
    ASSERT_TRUE(index.Append(ToArray(Normal(1, kDim, 3), kDim)).ok());
    const int64_t kept = index.GetMemoryUsage().versions_bytes - before;
    EXPECT_GT(kept, 0);
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
