// Errors whose numbers read the same in every locale: Status itself writes them as std::locale::global and LC_NUMERIC
// say, 1024 as 1.024.
#pragma once

#include <charconv>
#include <string>
#include <type_traits>

#include <arrow/status.h>

namespace pennon {

template <typename Word>
decltype(auto) Plain(const Word& word) {
  if constexpr (std::is_arithmetic_v<Word>) {
    char text[32];
    return std::string(text, std::to_chars(text, text + sizeof(text), word).ptr);
  } else {
    return (word);
  }
}

template <typename... Words>
arrow::Status Invalid(const Words&... words) {
  return arrow::Status::Invalid(Plain(words)...);
}

template <typename... Words>
arrow::Status CapacityError(const Words&... words) {
  return arrow::Status::CapacityError(Plain(words)...);
}

}  // namespace pennon
