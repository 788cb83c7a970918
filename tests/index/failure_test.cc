// ctest: labels=contract-1,contract-5,asan timeout=300
// Each allocation of an append fails once: nothing changes, and the next append gives the graph as if nothing had
// been tried.
#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 4;

class FailingPool final : public arrow::MemoryPool {
 public:
  int64_t left = -1;  // allocations until one fails; negative: none does

  arrow::Status Allocate(int64_t size, int64_t alignment, uint8_t** out) override {
    if (left == 0) return arrow::Status::OutOfMemory("as asked");
    if (left > 0) --left;
    return pool_->Allocate(size, alignment, out);
  }
  arrow::Status Reallocate(int64_t old_size, int64_t size, int64_t alignment, uint8_t** out) override {
    return pool_->Reallocate(old_size, size, alignment, out);
  }
  void Free(uint8_t* memory, int64_t size, int64_t alignment) override { pool_->Free(memory, size, alignment); }
  int64_t bytes_allocated() const override { return pool_->bytes_allocated(); }
  int64_t max_memory() const override { return pool_->max_memory(); }
  int64_t total_bytes_allocated() const override { return pool_->total_bytes_allocated(); }
  int64_t num_allocations() const override { return pool_->num_allocations(); }
  std::string backend_name() const override { return "failing"; }

 private:
  std::unique_ptr<arrow::MemoryPool> pool_ = arrow::MemoryPool::CreateDefault();
};

std::shared_ptr<arrow::Array> Rows(int n, uint64_t seed) {
  return ToArray(Normal(static_cast<size_t>(n), kDim, seed), kDim);
}

TEST(Failure, EachAllocationOfAnAppend) {
  FailingPool pool;
  const LiveIndexOptions options{.dim = kDim, .metric = Metric::kCosine, .build = {.m = 4, .ef_construction = 16},
                                 .pool = &pool};
  {
    LiveIndex clean = LiveIndex::Make(options).ValueOrDie();
    LiveIndex tried = LiveIndex::Make(options).ValueOrDie();
    int failures = 0;
    for (uint64_t batch = 0; batch < 3; ++batch) {
      ASSERT_TRUE(clean.Append(Rows(300, batch), {.threads = 1}).ok());
      bool done = false;
      for (int64_t left = 0; !done; ++left) {
        pool.left = left;
        const auto appended = tried.Append(Rows(300, batch), {.threads = 1});
        pool.left = -1;
        done = appended.ok();
        if (done) break;
        ++failures;
        ASSERT_TRUE(appended.status().IsOutOfMemory()) << appended.status().ToString();
        ASSERT_EQ(tried.size(), batch * 300);
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

}  // namespace
}  // namespace pennon
