// ctest: labels=contract-1,contract-5,asan timeout=300
// Each allocation of an append fails once: nothing changes, and the next append gives the graph as if nothing had
// been tried.
#include <functional>
#include <stop_token>
#include <thread>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 4;

std::shared_ptr<arrow::Array> Rows(int n, uint64_t seed) {
  return ToArray(Normal(static_cast<size_t>(n), kDim, seed), kDim);
}

TEST(Failure, EachAllocationOfAnAppend) {
  FailingPool pool;
  const LiveIndexOptions options{
      .dim = kDim, .metric = Metric::kCosine, .build = {.m = 4, .ef_construction = 16}, .pool = &pool};
  {
    LiveIndex clean = LiveIndex::Make(options).ValueOrDie();
    LiveIndex tried = LiveIndex::Make(options).ValueOrDie();
    int failures = 0;
    for (uint64_t batch = 0; batch < 3; ++batch) {
      ASSERT_TRUE(clean.Append(Rows(600, batch), {.threads = 1}).ok());
      bool done = false;
      for (int64_t left = 0; !done; ++left) {
        pool.left = left;
        const auto appended = tried.Append(Rows(600, batch), {.threads = 1});
        pool.left = -1;
        done = appended.ok();
        if (done) break;
        ++failures;
        ASSERT_TRUE(appended.status().IsOutOfMemory()) << appended.status().ToString();
        ASSERT_EQ(tried.size(), batch * 600);
        ASSERT_TRUE(tried.Verify().ValueOrDie().ok);
      }
      ASSERT_TRUE(tried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(
          *clean.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie(), true));
    }
    EXPECT_GT(failures, 20);
    const MemoryUsage of_clean = clean.GetMemoryUsage();
    const MemoryUsage of_tried = tried.GetMemoryUsage();
    const int64_t used = of_clean.total() + of_tried.total();
    EXPECT_NEAR(static_cast<double>(used), static_cast<double>(pool.bytes_allocated()),
                0.05 * static_cast<double>(pool.bytes_allocated()));
  }
  EXPECT_EQ(pool.bytes_allocated(), 0);
}

// A batch that is stopped between waves, and then another: the graph is as if the first had not been.
void StopInTheMiddle(const LiveIndexOptions& options, const std::function<Vectors(size_t n, uint64_t seed)>& make) {
  LiveIndex clean = LiveIndex::Make(options).ValueOrDie();
  LiveIndex tried = LiveIndex::Make(options).ValueOrDie();
  const auto append_both = [&](size_t n, uint64_t seed) {
    ASSERT_TRUE(clean.Append(ToArray(make(n, seed), kDim), {.threads = 1}).ok());
    ASSERT_TRUE(tried.Append(ToArray(make(n, seed), kDim), {.threads = 1}).ok());
  };
  append_both(1100, 1);
  for (const uint64_t stop_after : {500, 2000, 8000}) {
    std::stop_source stop;
    std::jthread stopper([&, from = tried.GetStats().build_distances] {
      while (tried.GetStats().build_distances < from + stop_after) std::this_thread::yield();
      stop.request_stop();
    });
    EXPECT_TRUE(tried.Append(ToArray(make(200'000, 2), kDim), {.threads = 1, .stop_token = stop.get_token()})
                    .status()
                    .IsCancelled());
    append_both(200, stop_after);
    ASSERT_TRUE(tried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(
        *clean.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie(), true));
  }
}

TEST(Failure, StoppedBatchesOfOtherRows) {
  StopInTheMiddle({.dim = kDim, .build = {.m = 6, .ef_construction = 16}},
                  [](size_t n, uint64_t seed) { return Normal(n, kDim, seed); });
}

// What the version knows of its rows' norms goes back, too.
TEST(Failure, StoppedBatchesOfLongerRows) {
  StopInTheMiddle({.dim = kDim, .metric = Metric::kDot, .build = {.m = 6, .ef_construction = 16}},
                  [](size_t n, uint64_t seed) {
                    Vectors vectors = Normal(n, kDim, seed);
                    for (auto& vector : vectors) {
                      for (float& value : vector) value *= seed == 2 ? 100.0f : 1.0f;
                    }
                    return vectors;
                  });
}

// Equal vectors soon leave the nearest rows without room, so that parents come from the open row's cursor.
TEST(Failure, StoppedBatchesOfEqualRows) {
  StopInTheMiddle({.dim = kDim, .build = {.m = 2, .ef_construction = 4}},
                  [](size_t n, uint64_t) { return Vectors(n, std::vector<float>(kDim, 1.0f)); });
}

}  // namespace
}  // namespace pennon
