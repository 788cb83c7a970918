#include "lance/roaring.h"

#include <algorithm>

#include "lance/little_endian.h"

namespace pennon::lance_format {
namespace {

constexpr uint32_t kNoRuns = 12346;  // the first word: a cookie, and the number of containers follows
constexpr uint32_t kRuns = 12347;    // in its low half; the high one is the number of containers - 1
constexpr uint32_t kMostOfArray = 4096;
constexpr size_t kBytesOfBits = 8192;
// With runs, and fewer containers than this, there are no places of containers.
constexpr uint32_t kFewContainers = 4;

}  // namespace

std::string RoaringBitmap(const std::vector<uint32_t>& values) {
  // A container for each high half that occurs: the low halves, or a bitset where these are many.
  std::string headers;
  std::string containers;
  std::vector<size_t> places;  // of the containers among them
  for (auto first = values.begin(); first != values.end();) {
    const uint32_t high = *first >> 16;
    const auto last = std::find_if(first, values.end(), [&](uint32_t value) { return value >> 16 != high; });
    const auto size = static_cast<size_t>(last - first);
    Put(headers, static_cast<uint16_t>(high));
    Put(headers, static_cast<uint16_t>(size - 1));
    places.push_back(containers.size());
    if (size <= kMostOfArray) {
      for (auto value = first; value != last; ++value) Put(containers, static_cast<uint16_t>(*value));
    } else {
      std::string bits(kBytesOfBits, '\0');
      for (auto value = first; value != last; ++value) {
        char& byte = bits[(*value & 0xFFFF) / 8];
        byte = static_cast<char>(byte | 1 << *value % 8);
      }
      containers += bits;
    }
    first = last;
  }
  std::string bitmap;
  Put(bitmap, kNoRuns);
  Put(bitmap, static_cast<uint32_t>(places.size()));
  bitmap += headers;
  const size_t start = bitmap.size() + 4 * places.size();
  for (const size_t place : places) Put(bitmap, static_cast<uint32_t>(start + place));
  return bitmap + containers;
}

arrow::Result<RoaringView> RoaringView::Make(std::string_view bytes) {
  const auto invalid = [] { return arrow::Status::Invalid("expected a Roaring bitmap, got other bytes"); };
  // The next bytes, or null.
  const auto take = [&](size_t size) -> const char* {
    if (bytes.size() < size) return nullptr;
    const char* taken = bytes.data();
    bytes.remove_prefix(size);
    return taken;
  };
  const char* first = take(4);
  if (first == nullptr) return invalid();
  const auto cookie = Get<uint32_t>(first);
  const bool with_runs = (cookie & 0xFFFF) == kRuns;
  uint32_t count = (cookie >> 16) + 1;
  if (!with_runs) {
    const char* number = take(4);
    if (cookie != kNoRuns || number == nullptr) return invalid();
    count = Get<uint32_t>(number);
    if (count > 1 << 16) return invalid();
  }
  const char* run_bits = with_runs ? take((count + 7) / 8) : nullptr;
  if (with_runs && run_bits == nullptr) return invalid();
  const char* headers = take(size_t{4} * count);
  if (headers == nullptr) return invalid();
  // Containers follow each other, wherever their places say that they are.
  if ((!with_runs || count >= kFewContainers) && take(size_t{4} * count) == nullptr) return invalid();

  RoaringView view;
  for (uint32_t i = 0; i < count; ++i) {
    Container container{.high = Get<uint16_t>(headers + 4 * i), .kind = Kind::kArray, .count = 0, .values = nullptr};
    if (i > 0 && view.containers_.back().high >= container.high) return invalid();
    const uint32_t values = uint32_t{Get<uint16_t>(headers + 4 * i + 2)} + 1;
    container.count = values;
    view.size_ += values;
    if (with_runs && (run_bits[i / 8] >> i % 8 & 1) != 0) {
      const char* number = take(2);
      if (number == nullptr) return invalid();
      container.kind = Kind::kRuns;
      container.count = Get<uint16_t>(number);
      container.values = take(size_t{4} * container.count);
    } else if (values > kMostOfArray) {
      container.kind = Kind::kBits;
      container.values = take(kBytesOfBits);
    } else {
      container.values = take(size_t{2} * values);
    }
    if (container.values == nullptr) return invalid();
    view.containers_.push_back(container);
  }
  return view;
}

bool RoaringView::Contains(uint32_t value) const {
  const auto high = static_cast<uint16_t>(value >> 16);
  const auto low = static_cast<uint16_t>(value);
  const auto found = std::lower_bound(containers_.begin(), containers_.end(), high,
                                      [](const Container& container, uint16_t key) { return container.high < key; });
  if (found == containers_.end() || found->high != high) return false;
  if (found->kind == Kind::kBits) return (found->values[low / 8] >> low % 8 & 1) != 0;
  // The number of values, or of starts of runs, that are at most the one looked for.
  const size_t width = found->kind == Kind::kRuns ? 4 : 2;
  size_t from = 0;
  for (size_t to = found->count; from < to;) {
    const size_t middle = (from + to) / 2;
    Get<uint16_t>(found->values + width * middle) <= low ? from = middle + 1 : to = middle;
  }
  if (from == 0) return false;
  const char* last = found->values + width * (from - 1);
  const uint32_t length = found->kind == Kind::kRuns ? Get<uint16_t>(last + 2) : 0;
  return low - uint32_t{Get<uint16_t>(last)} <= length;
}

arrow::Status RoaringView::Visit(const std::function<arrow::Status(uint64_t first, uint64_t count)>& visit) const {
  for (const Container& container : containers_) {
    const uint64_t high = uint64_t{container.high} << 16;
    if (container.kind == Kind::kBits) {
      for (uint32_t low = 0; low < 8 * kBytesOfBits; ++low) {
        if ((container.values[low / 8] >> low % 8 & 1) != 0) ARROW_RETURN_NOT_OK(visit(high + low, 1));
      }
      continue;
    }
    const size_t width = container.kind == Kind::kRuns ? 4 : 2;
    for (size_t i = 0; i < container.count; ++i) {
      const char* at = container.values + width * i;
      const uint64_t more = container.kind == Kind::kRuns ? Get<uint16_t>(at + 2) : 0;
      ARROW_RETURN_NOT_OK(visit(high + Get<uint16_t>(at), more + 1));
    }
  }
  return arrow::Status::OK();
}

}  // namespace pennon::lance_format
