#include "support/failing_heap.h"

#include <cstdlib>
#include <new>

namespace {

thread_local int64_t allocations_left = -1;

}  // namespace

void* operator new(size_t size, const std::nothrow_t&) noexcept {
  if (allocations_left >= 0 && allocations_left-- == 0) return nullptr;
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new(size_t size) {
  if (void* memory = operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace pennon {

FailingHeap::FailingHeap(int64_t left) { allocations_left = left; }
FailingHeap::~FailingHeap() { allocations_left = -1; }

}  // namespace pennon
