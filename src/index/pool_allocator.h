// An arrow::MemoryPool as the Allocator of the rooms below.
#pragma once

#include <atomic>
#include <cstdint>

#include <arrow/memory_pool.h>
#include <arrow/status.h>

#include "memory/allocator.h"

namespace pennon {

class PoolAllocator final : public Allocator {
 public:
  // Shared by the allocators of one index.
  struct Totals {
    int64_t limit = 0;  // 0: none
    std::atomic<int64_t> bytes{0};
    std::atomic<int64_t> peak{0};
    std::atomic<int64_t> refused{0};  // what there would have been without the limit, at the last refusal
  };
  // Past the limit, allocators that are `limited` give nothing.
  enum class Limited { kNo, kYes };
  PoolAllocator(arrow::MemoryPool* pool, Totals& totals, Limited limited = Limited::kNo)
      : pool_(pool), totals_(totals), limited_(limited == Limited::kYes && totals.limit > 0) {}

  void* Allocate(size_t size) noexcept override {
    const auto bytes = static_cast<int64_t>(size);
    const int64_t now = totals_.bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    uint8_t* memory = nullptr;
    if (limited_ && now > totals_.limit) {
      totals_.refused.store(now, std::memory_order_relaxed);
    } else {
      memory = Ask(bytes);
    }
    if (memory == nullptr) {
      totals_.bytes.fetch_sub(bytes, std::memory_order_relaxed);
      return nullptr;
    }
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    int64_t peak = totals_.peak.load(std::memory_order_relaxed);
    while (now > peak && !totals_.peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
    return memory;
  }
  void Free(void* memory, size_t size) noexcept override {
    bytes_.fetch_sub(static_cast<int64_t>(size), std::memory_order_relaxed);
    totals_.bytes.fetch_sub(static_cast<int64_t>(size), std::memory_order_relaxed);
    try {
      pool_->Free(static_cast<uint8_t*>(memory), static_cast<int64_t>(size), 64);
    } catch (...) {
      return;  // what becomes of the memory is the pool's matter
    }
  }
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  uint8_t* Ask(int64_t bytes) noexcept {
    uint8_t* memory = nullptr;
    try {
      return pool_->Allocate(bytes, 64, &memory).ok() ? memory : nullptr;
    } catch (...) {
      return nullptr;
    }
  }

  arrow::MemoryPool* const pool_;
  Totals& totals_;
  const bool limited_;
  std::atomic<int64_t> bytes_{0};
};

}  // namespace pennon
