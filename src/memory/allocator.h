// Where the rooms below Arrow get their memory.
#pragma once

#include <cstddef>

namespace pennon {

// Thread-safe. Allocate gives 64-byte aligned memory, or null on failure; neither function throws.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual void* Allocate(size_t bytes) noexcept = 0;
  virtual void Free(void* memory, size_t bytes) noexcept = 0;
};

}  // namespace pennon
