// Values of one width, and lists of so many of them, as they lie in an array.
#pragma once

#include <cstdint>
#include <string_view>

#include <arrow/array.h>

namespace pennon::lance_format {

// Of `count` elements, null or not. dimension 0: no lists. Bits: a multiple of 8.
inline std::string_view FixedBytes(const arrow::Array& array, int64_t bits, int32_t dimension, int64_t first,
                                   int64_t count) {
  const arrow::Array* values = &array;
  if (dimension > 0) {
    const auto& lists = static_cast<const arrow::FixedSizeListArray&>(array);
    values = lists.values().get();
    first = lists.value_offset(first);
    count *= dimension;
  }
  const auto* const bytes = values->data()->GetValues<char>(1, 0);
  return {bytes + (values->offset() + first) * bits / 8, static_cast<size_t>(count * bits / 8)};
}

}  // namespace pennon::lance_format
