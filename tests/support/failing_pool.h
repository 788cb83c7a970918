// A memory pool that fails when asked to, counts, and calls back.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>

#include <arrow/memory_pool.h>
#include <arrow/status.h>

namespace pennon {

class FailingPool final : public arrow::MemoryPool {
 public:
  std::atomic<int64_t> left{-1};      // allocations until they fail; negative: none does
  bool once = false;                  // only the first of those fails
  bool throws = false;                // instead of failing
  std::stop_source* stops = nullptr;  // instead of failing, a stop is requested
  bool throws_when_freed = false;
  std::function<void()> when_asked;  // called before each allocation

  arrow::Status Allocate(int64_t size, int64_t alignment, uint8_t** out) override {
    if (when_asked) when_asked();
    ARROW_RETURN_NOT_OK(Spend());
    return pool_->Allocate(size, alignment, out);
  }
  arrow::Status Reallocate(int64_t old_size, int64_t size, int64_t alignment, uint8_t** out) override {
    ARROW_RETURN_NOT_OK(Spend());
    return pool_->Reallocate(old_size, size, alignment, out);
  }
  void Free(uint8_t* memory, int64_t size, int64_t alignment) override {
    pool_->Free(memory, size, alignment);
    if (throws_when_freed) throw std::runtime_error("as asked");
  }
  int64_t bytes_allocated() const override { return pool_->bytes_allocated(); }
  int64_t max_memory() const override { return pool_->max_memory(); }
  int64_t total_bytes_allocated() const override { return pool_->total_bytes_allocated(); }
  int64_t num_allocations() const override { return pool_->num_allocations(); }
  std::string backend_name() const override { return "failing"; }

 private:
  arrow::Status Spend() {
    if (left == 0 && once) {
      left = -1;
      return arrow::Status::OutOfMemory("as asked");
    }
    if (left == 0 && stops != nullptr) {
      stops->request_stop();
      return arrow::Status::OK();
    }
    if (left == 0 && throws) throw std::runtime_error("as asked");
    if (left == 0) return arrow::Status::OutOfMemory("as asked");
    if (left > 0) --left;
    return arrow::Status::OK();
  }

  std::unique_ptr<arrow::MemoryPool> pool_ = arrow::MemoryPool::CreateDefault();
};

}  // namespace pennon
