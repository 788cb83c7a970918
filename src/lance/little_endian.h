// Numbers as files hold them. Pennon builds for little-endian machines alone.
#pragma once

#include <cstring>
#include <string>

namespace pennon::lance_format {

template <typename Number>
void Put(std::string& bytes, Number number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

// Wherever it lies.
template <typename Number>
Number Get(const char* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

}  // namespace pennon::lance_format
