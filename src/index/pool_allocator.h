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
  // total and peak are shared by the allocators of one index.
  struct Totals {
    std::atomic<int64_t> bytes{0};
    std::atomic<int64_t> peak{0};
  };
  PoolAllocator(arrow::MemoryPool* pool, Totals& totals) : pool_(pool), totals_(totals) {}

  void* Allocate(size_t size) noexcept override {
    uint8_t* memory = nullptr;
    try {
      if (!pool_->Allocate(static_cast<int64_t>(size), 64, &memory).ok()) return nullptr;
    } catch (...) {
      return nullptr;
    }
    bytes_.fetch_add(static_cast<int64_t>(size), std::memory_order_relaxed);
    const int64_t now =
        totals_.bytes.fetch_add(static_cast<int64_t>(size), std::memory_order_relaxed) + static_cast<int64_t>(size);
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
  arrow::MemoryPool* const pool_;
  Totals& totals_;
  std::atomic<int64_t> bytes_{0};
};

}  // namespace pennon
