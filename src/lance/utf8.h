#pragma once

#include <string_view>

#include <arrow/util/utf8.h>

namespace pennon::lance_format {

inline bool IsUtf8(std::string_view text) {
  arrow::util::InitializeUTF8();  // else all is
  return arrow::util::ValidateUTF8(text);
}

}  // namespace pennon::lance_format
