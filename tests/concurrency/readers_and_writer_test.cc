// ctest: labels=contract-1,contract-2,contract-3,tsan,asan timeout=300
// One writer, aborted batches between, and readers that check every answer by its own content.
#include <atomic>
#include <random>
#include <thread>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 4;
constexpr uint32_t kBatch = 20;

// Row r is (r, r, r, r): its distance to a query tells whether the answer is its own.
std::shared_ptr<arrow::Array> Rows(uint32_t first, uint32_t n) {
  Vectors rows(n);
  for (uint32_t i = 0; i < n; ++i) rows[i].assign(kDim, static_cast<float>(first + i));
  return ToArray(rows, kDim);
}

TEST(ReadersAndWriter, EveryAnswerIsOfOneVersion) {
  LiveIndex index = LiveIndex::Make({.dim = kDim, .build = {.m = 4, .ef_construction = 16}}).ValueOrDie();
  std::atomic<bool> done{false};
  std::atomic<uint64_t> answered{0};
  auto read = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    for (bool last = false; !last;) {
      last = done.load();
      const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
      EXPECT_EQ(snapshot.size() % kBatch, 0u);
      const uint32_t rows = snapshot.size();
      if (rows == 0) continue;
      const auto wanted = static_cast<float>(random() % rows);
      const std::vector<float> query(kDim, wanted);
      const Answer first = snapshot.Search(query, {.k = 5, .ef = 16}).ValueOrDie();
      ASSERT_EQ(first.rows.size(), std::min<size_t>(5, rows));
      for (const SearchResult& row : first.rows) {
        ASSERT_LT(row.id, rows);
        const float difference = static_cast<float>(row.id) - wanted;
        ASSERT_EQ(row.distance, kDim * difference * difference);
      }
      const Answer live = index.Search(query, {.k = 5, .ef = 16}).ValueOrDie();
      ASSERT_EQ(live.rows.size(), std::min<size_t>(5, index.size()));
      ASSERT_EQ(snapshot.Search(query, {.k = 5, .ef = 16}).ValueOrDie().rows, first.rows);
      answered.fetch_add(3);
    }
  };
  std::vector<std::thread> readers;
  readers.reserve(3);
  for (uint64_t seed = 0; seed < 3; ++seed) readers.emplace_back(read, seed);
  const auto doomed = Rows(5000, 100'000);
  for (uint32_t first = 0; first < 100 * kBatch; first += kBatch) {
    // Stopped in the middle: after some waves have been linked.
    std::stop_source stop;
    std::jthread stopper([&, distances = index.GetStats().build_distances + 50 * (first / kBatch)] {
      while (index.GetStats().build_distances <= distances) std::this_thread::yield();
      stop.request_stop();
    });
    EXPECT_TRUE(index.Append(doomed, {.threads = 2, .stop_token = stop.get_token()}).status().IsCancelled());
    ASSERT_TRUE(index.Append(Rows(first, kBatch), {.threads = 2}).ok());
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(answered.load(), 0u);
  EXPECT_TRUE(index.Verify().ValueOrDie().ok);
  index.Trim();
  EXPECT_EQ(index.GetStats().live_versions, 1u);
}

}  // namespace
}  // namespace pennon
