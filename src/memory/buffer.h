// A growable array of trivial elements over an Allocator. Growth can fail and says so; nothing throws.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "memory/allocator.h"

namespace pennon {

template <typename T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  explicit Buffer(Allocator& allocator) : allocator_(&allocator) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(allocator_, other.allocator_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~Buffer() { Release(); }

  // Gives its memory back.
  void Release() noexcept {
    if (data_ != nullptr) allocator_->Free(data_, capacity_ * sizeof(T));
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

  [[nodiscard]] bool Reserve(size_t capacity) noexcept {
    if (capacity <= capacity_) return true;
    capacity = std::max(capacity, 2 * capacity_);
    void* memory = allocator_->Allocate(capacity * sizeof(T));
    if (memory == nullptr) return false;
    if (data_ != nullptr) {
      std::memcpy(memory, data_, size_ * sizeof(T));
      allocator_->Free(data_, capacity_ * sizeof(T));
    }
    data_ = static_cast<T*>(memory);
    capacity_ = capacity;
    return true;
  }
  // Where there is no room for `size`, room for that and the margin alone; what was there is then lost.
  [[nodiscard]] bool Fit(size_t size, size_t margin = 0) noexcept {
    if (size <= capacity_) return true;
    Release();
    return Reserve(size + margin);
  }
  // New elements are zero.
  [[nodiscard]] bool Resize(size_t size) noexcept {
    if (!Reserve(size)) return false;
    if (size > size_) std::memset(static_cast<void*>(data_ + size_), 0, (size - size_) * sizeof(T));
    size_ = size;
    return true;
  }
  // Within the reserved capacity.
  void Push(T value) noexcept { data_[size_++] = value; }
  T Pop() noexcept { return data_[--size_]; }
  void Truncate(size_t size) noexcept { size_ = size; }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }

 private:
  Allocator* allocator_ = nullptr;
  T* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace pennon
