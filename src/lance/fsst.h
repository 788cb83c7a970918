// Strings compressed by FSST: each byte stands for a symbol of up to 8 bytes, one byte for the next one itself.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

namespace pennon::lance_format {

class FsstTable {
 public:
  // Invalid if the bytes are no table as Lance keeps it.
  static arrow::Result<FsstTable> Make(std::string_view bytes);

  // Of one string. At most 8 times as many bytes as there are.
  arrow::Status Decode(std::string_view compressed, std::string& to) const;

 private:
  FsstTable() = default;

  bool enabled_ = false;  // else strings are as they were
  uint64_t count_ = 0;
  std::array<std::array<char, 8>, 255> symbols_ = {};
  std::array<uint8_t, 255> lengths_ = {};
};

}  // namespace pennon::lance_format
