// The portable 32-bit Roaring bitmap, as Lance keeps fragments and deleted rows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace pennon::lance_format {

// Of ascending values.
std::string RoaringBitmap(const std::vector<uint32_t>& values);

// A bitmap where it lies: the bytes outlive it. Takes memory for each container and none for the values.
class RoaringView {
 public:
  // Invalid if the bytes are no such bitmap.
  static arrow::Result<RoaringView> Make(std::string_view bytes);
  static arrow::Result<RoaringView> Make(std::string&& bytes) = delete;

  bool Contains(uint32_t value) const;
  uint64_t size() const { return size_; }
  // Calls visit(first, count) for values that follow each other, until it returns an error. They ascend but for runs of
  // a bitmap that nobody writes.
  arrow::Status Visit(const std::function<arrow::Status(uint64_t first, uint64_t count)>& visit) const;

 private:
  enum class Kind : uint8_t { kArray, kBits, kRuns };
  struct Container {
    uint16_t high;
    Kind kind;
    uint32_t count;      // of values, or of runs
    const char* values;  // u16 each, or 8 KiB of bits, or pairs of first and length - 1
  };

  std::vector<Container> containers_;  // ascending
  uint64_t size_ = 0;
};

}  // namespace pennon::lance_format
