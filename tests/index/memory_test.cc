// ctest: labels=contract-5,contract-1,asan,tsan timeout=120
// The limit, what Trim gives back, and many small indices.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <latch>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/memory_pool.h>
#include <gtest/gtest.h>

#include "pennon/pennon.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 24;

std::shared_ptr<arrow::Array> Batch(size_t rows, uint64_t seed) { return ToArray(Normal(rows, kDim, seed), kDim); }

int ThreadsOfThisProcess() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Threads:")) return std::stoi(line.substr(8));
  }
  return -1;
}

TEST(MemoryLimit, RefusesABatchWholeAndTheNextOnesThatFitGiveTheSameGraph) {
  const auto pool = arrow::MemoryPool::CreateDefault();
  constexpr int64_t kLimit = 3 << 20;
  LiveIndexOptions options = {.dim = kDim, .build = {.m = 8, .ef_construction = 40}, .pool = pool.get()};
  LiveIndex unlimited = LiveIndex::Make(options).ValueOrDie();
  options.memory_limit = kLimit;
  LiveIndex index = LiveIndex::Make(options).ValueOrDie();
  const auto query = Normal(1, kDim, 99)[0];
  size_t refused = 0;
  size_t taken = 0;
  for (uint64_t round = 0; round < 40; ++round) {
    const size_t rows = round % 5 == 4 ? 12'000 : 200;
    const std::vector<SearchResult> before = index.Search(query, {.k = 50}).ValueOrDie().rows;
    const uint32_t size = index.size();
    const auto result = index.Append(Batch(rows, round));
    EXPECT_LE(index.GetMemoryUsage().total(), kLimit);
    if (result.ok()) {
      ASSERT_TRUE(unlimited.Append(Batch(rows, round)).ok());
      ++taken;
      continue;
    }
    ++refused;
    EXPECT_TRUE(result.status().IsCapacityError()) << result.status().ToString();
    EXPECT_NE(result.status().message().find("memory: the limit is 3145728 bytes"), std::string::npos)
        << result.status().message();
    EXPECT_EQ(index.size(), size);
    EXPECT_EQ(index.Search(query, {.k = 50}).ValueOrDie().rows, before);
  }
  EXPECT_GT(refused, 3u);
  EXPECT_GT(taken, 15u);
  const auto graph = [](const LiveIndex& of) { return of.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie(); };
  EXPECT_TRUE(graph(index)->Equals(*graph(unlimited)));
  EXPECT_TRUE(index.Verify().ValueOrDie().ok);
}

TEST(MemoryLimit, IsCheckedAndReportedForAnEmptyIndex) {
  EXPECT_EQ(LiveIndex::Make({.dim = 4, .memory_limit = -1}).status().message(),
            "memory_limit: expected 0 or more, got -1");
  const arrow::Status status = LiveIndex::Make({.dim = 4, .memory_limit = 10}).status();
  EXPECT_TRUE(status.IsCapacityError()) << status.ToString();
}

TEST(MemoryLimit, DoesNotRefuseSearches) {
  LiveIndexOptions options = {.dim = kDim};
  LiveIndex sized = LiveIndex::Make(options).ValueOrDie();
  ASSERT_TRUE(sized.Append(Batch(5000, 1)).ok());
  options.memory_limit = sized.GetMemoryUsage().total() + 1000;
  LiveIndex index = LiveIndex::Make(options).ValueOrDie();
  ASSERT_TRUE(index.Append(Batch(5000, 1)).ok());
  EXPECT_EQ(index.Search(Normal(1, kDim, 2)[0], {.k = 2000, .ef = 4000}).ValueOrDie().rows.size(), 2000u);
  EXPECT_TRUE(index.Append(Batch(1000, 2)).status().IsCapacityError());
}

TEST(MemoryLimit, ScratchThatLiesAboutIsGivenBackBeforeABatchIsRefused) {
  LiveIndexOptions options = {.dim = kDim};
  LiveIndex sized = LiveIndex::Make(options).ValueOrDie();
  for (uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(sized.Append(Batch(1000, i)).ok());
  options.memory_limit = sized.GetMemoryUsage().total() + 20'000;
  LiveIndex index = LiveIndex::Make(options).ValueOrDie();
  for (uint64_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(index.Append(Batch(1000, i)).ok()) << i;
    if (i != 3) continue;
    ASSERT_TRUE(index.Search(Normal(1, kDim, 2)[0], {.k = 1500, .ef = 1900}).ok());
  }
}

TEST(MemoryUsage, WhatMayComeIsNotAllocatedFor) {
  const auto bytes = [](const LiveIndexOptions& options, const SearchOptions& search) {
    const auto pool = arrow::MemoryPool::CreateDefault();
    LiveIndexOptions with_pool = options;
    with_pool.pool = pool.get();
    LiveIndex index = LiveIndex::Make(with_pool).ValueOrDie();
    const int64_t empty = pool->bytes_allocated();
    EXPECT_TRUE(index.Append(Batch(300, 1), {.threads = 1}).ok());
    EXPECT_EQ(index.Search(std::vector<float>(kDim), search).ValueOrDie().rows.size(), 10u);
    return std::pair(empty, pool->max_memory());
  };
  const auto tight = bytes({.dim = kDim, .max_rows = 300}, {});
  EXPECT_LT(tight.first, 2'000);
  EXPECT_EQ(bytes({.dim = kDim, .max_rows = 0xFFFFFFFF}, {}), tight);
  EXPECT_EQ(bytes({.dim = kDim, .max_rows = 300, .memory_limit = int64_t{1} << 50}, {}), tight);
  EXPECT_EQ(bytes({.dim = kDim, .build = {.max_level = 64, .m = 16, .ef_construction = 100}, .max_rows = 300}, {}),
            tight);
  const auto graph = [](uint64_t capacity) {
    const auto pool = arrow::MemoryPool::CreateDefault();
    const HnswGraph made = HnswGraph::Make({}, {.capacity = capacity, .pool = pool.get()}).ValueOrDie();
    return pool->bytes_allocated();
  };
  EXPECT_EQ(graph(0xFFFFFFFF), graph(1));
  // A wide search takes what the rows need.
  const auto all = SearchOptions{.k = 10, .ef = int64_t{1} << 40};
  EXPECT_LT(bytes({.dim = kDim, .max_rows = 300}, all).second, tight.second + 20'000);
}

TEST(MemoryLimit, ARefusedBatchLeavesNothingBehind) {
  LiveIndexOptions options = {.dim = kDim, .build = {.m = 16, .ef_construction = 800}};
  LiveIndex sized = LiveIndex::Make(options).ValueOrDie();
  ASSERT_TRUE(sized.Append(Batch(2000, 1), {.threads = 2}).ok());
  options.memory_limit = sized.GetMemoryUsage().total() + 300'000;
  LiveIndex index = LiveIndex::Make(options).ValueOrDie();
  ASSERT_TRUE(index.Append(Batch(2000, 1), {.threads = 2}).ok());
  const int64_t graph = index.GetMemoryUsage().graph_bytes;
  ASSERT_TRUE(index.Append(Batch(8000, 2), {.threads = 2}).status().IsCapacityError());
  EXPECT_LE(index.GetMemoryUsage().total(), options.memory_limit);
  EXPECT_EQ(index.GetMemoryUsage().graph_bytes, graph);
  EXPECT_TRUE(index.Append(Batch(1, 3), {.threads = 2}).ok());
}

TEST(SmallIndices, ALargeEfConstructionTakesNoMemoryThatRowsDoNotNeed) {
  LiveIndex index = LiveIndex::Make({.dim = kDim, .build = {.m = 4, .ef_construction = 1'000'000'000}}).ValueOrDie();
  ASSERT_TRUE(index.Append(Batch(100, 1)).ok());
  EXPECT_LT(index.GetMemoryUsage().total(), 300'000);
}

TEST(Trim, GivesScratchAndThreadsBackAndCountersStay) {
  const int threads = ThreadsOfThisProcess();
  const auto pool = arrow::MemoryPool::CreateDefault();
  LiveIndex index = LiveIndex::Make({.dim = kDim, .pool = pool.get()}).ValueOrDie();
  ASSERT_TRUE(index.Append(Batch(4000, 1), {.threads = 3}).ok());
  const auto query = Normal(1, kDim, 2)[0];
  const auto rows = index.Search(query).ValueOrDie().rows;
  const MemoryUsage before = index.GetMemoryUsage();
  const Stats stats = index.GetStats();
  EXPECT_EQ(ThreadsOfThisProcess(), threads + 2);
  index.Trim();
  // The kernel counts a thread that was joined for a little longer.
  for (int i = 0; i < 10'000 && ThreadsOfThisProcess() != threads; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(ThreadsOfThisProcess(), threads);
  const MemoryUsage after = index.GetMemoryUsage();
  EXPECT_GT(before.other_bytes, 100'000);
  EXPECT_LT(after.other_bytes, 10'000);
  EXPECT_EQ(after.total(), pool->bytes_allocated());
  EXPECT_EQ(index.GetStats().search_distances, stats.search_distances);
  EXPECT_EQ(index.Search(query).ValueOrDie().rows, rows);
  ASSERT_TRUE(index.Append(Batch(1000, 3)).ok());
  LiveIndex untrimmed = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  ASSERT_TRUE(untrimmed.Append(Batch(4000, 1)).ok());
  ASSERT_TRUE(untrimmed.Append(Batch(1000, 3)).ok());
  const Snapshot left = index.GetSnapshot().ValueOrDie();
  const Snapshot right = untrimmed.GetSnapshot().ValueOrDie();
  EXPECT_TRUE(left.ToLanceHnswBatch().ValueOrDie()->Equals(*right.ToLanceHnswBatch().ValueOrDie()));
  EXPECT_TRUE(left.ToRecordBatch().ValueOrDie()->Equals(*right.ToRecordBatch().ValueOrDie()));
}

TEST(Trim, GivesUpWhatOnlyASearchHasNeeded) {
  LiveIndex index = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  ASSERT_TRUE(index.Append(Batch(2000, 1)).ok());
  const int64_t one_version = index.GetMemoryUsage().versions_bytes;
  const RowFilter appends = RowFilter::Predicate([&](uint64_t row_id) {
    if (row_id == 0) {
      EXPECT_TRUE(index.Append(Batch(500, 2)).ok());
    }
    return true;
  });
  ASSERT_TRUE(index.Search(Normal(1, kDim, 3)[0], {.filter = appends, .exact = true}).ok());
  EXPECT_EQ(index.GetStats().live_versions, 2u);
  EXPECT_GT(index.GetMemoryUsage().versions_bytes, one_version + 10'000);
  index.Trim();
  EXPECT_EQ(index.GetStats().live_versions, 1u);
  EXPECT_EQ(index.GetMemoryUsage().versions_bytes, one_version);
}

TEST(Trim, WaitsForAnAppend) {
  FailingPool pool;
  LiveIndex index = LiveIndex::Make({.dim = kDim, .pool = &pool}).ValueOrDie();
  std::latch inside(1);
  std::latch on(1);
  std::atomic<bool> first = true;
  pool.when_asked = [&] {
    if (!first.exchange(false)) return;
    inside.count_down();
    on.wait();
  };
  std::jthread appender([&] { EXPECT_TRUE(index.Append(Batch(300, 1)).ok()); });
  inside.wait();
  std::atomic<bool> trimmed = false;
  std::jthread trimmer([&] {
    index.Trim();
    trimmed = true;
  });
  // One that does not wait is done by then, nearly always.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(trimmed);
  on.count_down();
  appender.join();
  trimmer.join();
  EXPECT_TRUE(index.Verify().ValueOrDie().ok);
}

TEST(Trim, BesideSearches) {
  LiveIndex index = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  ASSERT_TRUE(index.Append(Batch(3000, 1)).ok());
  const auto query = Normal(1, kDim, 2)[0];
  const auto rows = index.Search(query).ValueOrDie().rows;
  std::vector<std::jthread> readers;
  readers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) ASSERT_EQ(index.Search(query).ValueOrDie().rows, rows);
    });
  }
  for (int i = 0; i < 2000; ++i) index.Trim();
}

TEST(SmallIndices, AThousandOfTenRowsCostLittle) {
  const auto pool = arrow::MemoryPool::CreateDefault();
  const int threads = ThreadsOfThisProcess();
  std::vector<LiveIndex> indices;
  for (uint64_t i = 0; i < 1000; ++i) {
    indices.push_back(LiveIndex::Make({.dim = kDim, .pool = pool.get()}).ValueOrDie());
    ASSERT_TRUE(indices.back().Append(Batch(10, i), {.threads = 8}).ok());
    ASSERT_EQ(indices.back().Search(std::vector<float>(kDim)).ValueOrDie().rows.size(), 10u);
  }
  EXPECT_LT(pool->bytes_allocated(), 1000 * (52 << 10));
  EXPECT_LE(ThreadsOfThisProcess(), threads) << "ten rows are no work for more than the caller";
}

}  // namespace
}  // namespace pennon
