// An array that grows without moving: segments of 2 MiB behind a directory of two levels, the first 2 MiB in pieces
// that double from 4 KiB up.
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
      if (segments_ >= kSmall && (segments_ - kSmall) % kFanout == 0) {
        T**& node = directory_[(segments_ - kSmall) / kFanout];
        if (node == nullptr) node = static_cast<T**>(allocator_->Allocate(kFanout * sizeof(T*)));
        if (node == nullptr) return false;
      }
      const size_t elements = SegmentElements(segments_);
      void* memory = allocator_->Allocate(elements * sizeof(T));
      if (memory == nullptr) return false;
      std::memset(memory, 0, elements * sizeof(T));
      Entry(segments_) = static_cast<T*>(memory);
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
      allocator_->Free(Entry(segments_), elements * sizeof(T));
    }
    for (size_t node = segments_ <= kSmall ? 0 : (segments_ - kSmall - 1) / kFanout + 1;
         node < kRoot && directory_[node] != nullptr; ++node) {
      allocator_->Free(directory_[node], kFanout * sizeof(T*));
      directory_[node] = nullptr;
    }
  }

  // What an array of so many elements takes.
  static uint64_t BytesFor(uint64_t size) {
    uint64_t bytes = 0;
    uint64_t capacity = 0;
    for (size_t segment = 0; segment < kSmall && capacity < size; ++segment) {
      capacity += SegmentElements(segment);
      bytes = capacity * sizeof(T);
    }
    if (capacity >= size) return bytes;
    const uint64_t segments = (size - capacity + kPerSegment - 1) / kPerSegment;
    return bytes + segments * kSegmentBytes + (segments + kFanout - 1) / kFanout * kFanout * sizeof(T*);
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
  static constexpr size_t kRoot = (uint64_t{1} << 32) / kPerSegment / kFanout + 1;

  static size_t SegmentElements(size_t segment) {
    if (segment == 0) return kFirst;
    return segment < kSmall ? kFirst << (segment - 1) : kPerSegment;
  }
  T*& Entry(size_t segment) {
    return segment < kSmall ? small_[segment] : directory_[(segment - kSmall) / kFanout][(segment - kSmall) % kFanout];
  }
  T* Locate(uint64_t i) const {
    if (i < kPerSegment) {
      const size_t segment = std::bit_width(i / kFirst);
      const uint64_t start = segment == 0 ? 0 : uint64_t{kFirst} << (segment - 1);
      return small_[segment] + (i - start);
    }
    const size_t segment = i / kPerSegment - 1;
    return directory_[segment / kFanout][segment % kFanout] + i % kPerSegment;
  }

  Allocator* allocator_;
  T* small_[kSmall] = {};
  T** directory_[kRoot] = {};
  uint64_t capacity_ = 0;
  size_t segments_ = 0;
};

}  // namespace pennon
