// What of this process is in memory.
#pragma once

#include <cstdint>

namespace pennon::cli {

struct ResidentSet {
  int64_t bytes = 0;
  int64_t peak_bytes = 0;  // since the last Restart, or since the process started where the kernel cannot restart it

  static ResidentSet Get();
  // Gives unused memory back first, so that growth from here on is what is used from here on.
  static ResidentSet Restart();
};

}  // namespace pennon::cli
