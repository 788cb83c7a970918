// Where the rooms below Arrow get their memory.
#pragma once

#include <cstddef>
#include <new>

namespace pennon {

// Thread-safe. Allocate gives 64-byte aligned memory, or null on failure; neither function throws.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual void* Allocate(size_t bytes) noexcept = 0;
  virtual void Free(void* memory, size_t bytes) noexcept = 0;
};

// An Allocator for the standard library's containers; throws std::bad_alloc.
template <typename T>
struct StdAllocator {
  using value_type = T;

  explicit StdAllocator(Allocator& a) : allocator(&a) {}
  template <typename U>
  StdAllocator(const StdAllocator<U>& other) : allocator(other.allocator) {}

  T* allocate(size_t n) {
    void* memory = allocator->Allocate(n * sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t n) { allocator->Free(memory, n * sizeof(T)); }
  bool operator==(const StdAllocator&) const = default;

  Allocator* allocator;
};

}  // namespace pennon
