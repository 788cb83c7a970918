// An array that grows without moving: segments of 2 MiB, the first 2 MiB in pieces that double from 4 KiB up, behind
// a directory of two levels.
//
// Threads: one writer (Reserve, Truncate). A reader may use an element if something else, such as a published
// version, has told it that the element exists; nothing it then touches is written again.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "memory/allocator.h"

namespace pennon {

template <typename T>
class SegmentedArray {
  static_assert(std::is_trivially_destructible_v<T> && std::has_single_bit(sizeof(T)));

 public:
  explicit SegmentedArray(Allocator& allocator) : allocator_(&allocator) {}
  SegmentedArray(const SegmentedArray&) = delete;
  SegmentedArray& operator=(const SegmentedArray&) = delete;
  ~SegmentedArray() { Truncate(0); }

  // Makes room for elements [0, size), new ones zero. At most 2^32.
  [[nodiscard]] bool Reserve(uint64_t size) noexcept {
    while (capacity_ < size) {
      const size_t segment = segments_;
      const size_t elements = SegmentElements(segment);
      T** entry = Entry(segment);
      if (entry == nullptr) {
        void* node = allocator_->Allocate(kFanout * sizeof(T*));
        if (node == nullptr) return false;
        std::memset(node, 0, kFanout * sizeof(T*));
        directory_[segment / kFanout] = static_cast<T**>(node);
        entry = Entry(segment);
      }
      void* memory = allocator_->Allocate(elements * sizeof(T));
      if (memory == nullptr) return false;
      std::memset(memory, 0, elements * sizeof(T));
      *entry = static_cast<T*>(memory);
      capacity_ += elements;
      ++segments_;
    }
    return true;
  }

  // Frees the segments that lie wholly at or beyond `size`.
  void Truncate(uint64_t size) noexcept {
    while (segments_ > 0) {
      const size_t elements = SegmentElements(segments_ - 1);
      if (capacity_ - elements < size) break;
      --segments_;
      capacity_ -= elements;
      T** entry = Entry(segments_);
      allocator_->Free(*entry, elements * sizeof(T));
      *entry = nullptr;
      if (segments_ % kFanout == 0) {
        allocator_->Free(directory_[segments_ / kFanout], kFanout * sizeof(T*));
        directory_[segments_ / kFanout] = nullptr;
      }
    }
  }

  T& operator[](uint64_t i) { return *Locate(i); }
  const T& operator[](uint64_t i) const { return *Locate(i); }

 private:
  static constexpr size_t kFirstBytes = 4096;
  static constexpr size_t kSegmentBytes = size_t{2} << 20;
  static constexpr size_t kFirst = kFirstBytes / sizeof(T);
  static constexpr size_t kPerSegment = kSegmentBytes / sizeof(T);
  static constexpr size_t kSmall = std::bit_width(kPerSegment / kFirst);  // pieces of the first 2 MiB
  static constexpr size_t kFanout = 256;
  static constexpr size_t kRoot = ((uint64_t{1} << 32) / kPerSegment + kSmall) / kFanout + 1;

  static size_t SegmentElements(size_t segment) {
    if (segment == 0) return kFirst;
    return segment < kSmall ? kFirst << (segment - 1) : kPerSegment;
  }
  T** Entry(size_t segment) {
    T** node = directory_[segment / kFanout];
    return node == nullptr ? nullptr : node + segment % kFanout;
  }
  T* Locate(uint64_t i) const {
    if (i < kPerSegment) {
      const size_t segment = std::bit_width(i / kFirst);
      const uint64_t start = segment == 0 ? 0 : uint64_t{kFirst} << (segment - 1);
      return directory_[0][segment] + (i - start);
    }
    const size_t segment = i / kPerSegment - 1 + kSmall;
    return directory_[segment / kFanout][segment % kFanout] + i % kPerSegment;
  }

  Allocator* allocator_;
  T** directory_[kRoot] = {};
  uint64_t capacity_ = 0;
  size_t segments_ = 0;
};

}  // namespace pennon
