#include "cli/resident_set.h"

#include <fstream>
#include <string>

#include <arrow/memory_pool.h>

namespace pennon::cli {

ResidentSet ResidentSet::Get() {
  ResidentSet set;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const bool peak = line.starts_with("VmHWM:");
    if (peak || line.starts_with("VmRSS:")) (peak ? set.peak_bytes : set.bytes) = 1024 * std::stoll(line.substr(6));
  }
  return set;
}

ResidentSet ResidentSet::Restart() {
  arrow::default_memory_pool()->ReleaseUnused();
  arrow::system_memory_pool()->ReleaseUnused();
  std::ofstream("/proc/self/clear_refs") << "5";
  return Get();
}

}  // namespace pennon::cli
