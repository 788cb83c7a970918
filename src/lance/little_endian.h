// Numbers as files hold them. Pennon builds for little-endian machines alone.
#pragma once

#include <string>

namespace pennon::lance_format {

template <typename Number>
void Put(std::string& bytes, Number number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

}  // namespace pennon::lance_format
