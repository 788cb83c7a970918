// Random UUIDs, of version 4.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace pennon::lance_format {

struct Uuid {
  std::array<uint8_t, 16> bytes;

  static Uuid Random();
  std::string ToString() const;  // with hyphens
};

}  // namespace pennon::lance_format
