// ctest: labels=contract-5,contract-1,asan,tsan timeout=120
// The limit, the estimate, what Trim gives back, and many small indices.
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <arrow/memory_pool.h>
#include <gtest/gtest.h>

#include "pennon/pennon.h"
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

TEST(EstimateMemory, IsWithinATenthAndFromBelowWithin256KiB) {
  for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
    for (const int m : {4, 16}) {
      for (const uint64_t batch : {50, 1000, 25'000}) {
        const LiveIndexOptions options = {.dim = kDim, .metric = metric, .build = {.m = m, .ef_construction = 50}};
        LiveIndex index = LiveIndex::Make(options).ValueOrDie();
        for (uint64_t rows = 0; rows <= 25'000; rows += batch) {
          for (const uint64_t told : {0, 50, 100, 1000, 1050, 3000, 9000, 10'000, 25'000}) {
            if (told != rows) continue;
            ASSERT_TRUE(index.Search(std::vector<float>(kDim, 1)).ok());
            const int64_t is = index.GetMemoryUsage().total();
            const int64_t estimated =
                EstimateMemory(options, rows, {.batch_rows = batch, .copied = batch < 25'000, .threads = 2})
                    .ValueOrDie()
                    .total();
            if (rows < 10'000) {
              EXPECT_LE(std::abs(estimated - is), 256 << 10) << rows << " rows by " << batch << ", m " << m;
            } else {
              EXPECT_NEAR(static_cast<double>(estimated), static_cast<double>(is), 0.1 * static_cast<double>(is))
                  << rows << " rows by " << batch << ", m " << m;
            }
          }
          if (rows == (batch == 50 ? 3000 : 25'000)) break;
          ASSERT_TRUE(index.Append(Batch(batch, rows), {.threads = 2}).ok());
        }
      }
    }
  }
}

TEST(EstimateMemory, RefusesWhatAnIndexWould) {
  EXPECT_TRUE(EstimateMemory({.dim = 0}, 1).status().IsInvalid());
  EXPECT_EQ(EstimateMemory({.dim = 1, .max_rows = 5}, 6).status().message(), "rows: expected at most 5, got 6");
  EXPECT_TRUE(EstimateMemory({.dim = 1}, 6, {.batch_rows = 0}).status().IsInvalid());
  EXPECT_TRUE(EstimateMemory({.dim = 1}, 6, {.threads = -1}).status().IsInvalid());
  EXPECT_GT(EstimateMemory({.dim = 1536, .build = {.m = 32}}, 4'000'000'000).ValueOrDie().total(), int64_t{1} << 44);
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
  EXPECT_EQ(ThreadsOfThisProcess(), threads);
  const MemoryUsage after = index.GetMemoryUsage();
  EXPECT_GT(before.other_bytes, 100'000);
  EXPECT_LT(after.other_bytes, 10'000);
  EXPECT_EQ(after.total(), pool->bytes_allocated());
  EXPECT_EQ(index.GetStats().search_distances, stats.search_distances);
  EXPECT_EQ(index.Search(query).ValueOrDie().rows, rows);
  ASSERT_TRUE(index.Append(Batch(1000, 3)).ok());
  EXPECT_TRUE(index.Verify().ValueOrDie().ok);
}

TEST(Trim, BesideSearches) {
  LiveIndex index = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  ASSERT_TRUE(index.Append(Batch(3000, 1)).ok());
  const auto query = Normal(1, kDim, 2)[0];
  const auto rows = index.Search(query).ValueOrDie().rows;
  std::vector<std::jthread> readers;
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
  EXPECT_EQ(ThreadsOfThisProcess(), threads) << "ten rows are no work for more than the caller";
}

}  // namespace
}  // namespace pennon
