#include "index/default_threads.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <thread>
#include <vector>

#include "pennon/params.h"

namespace pennon {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

double QuotaOf(const std::string& group, bool version_2) {
  std::string words[2];  // microseconds of time in each period, and the period
  if (version_2) {
    std::ifstream(group + "/cpu.max") >> words[0] >> words[1];
  } else {
    std::ifstream(group + "/cpu.cfs_quota_us") >> words[0];
    std::ifstream(group + "/cpu.cfs_period_us") >> words[1];
  }
  int64_t us[2] = {};
  for (int i = 0; i < 2; ++i) std::from_chars(words[i].data(), words[i].data() + words[i].size(), us[i]);
  return us[0] > 0 && us[1] > 0 ? static_cast<double>(us[0]) / static_cast<double>(us[1]) : kNoLimit;
}

// Of the calling thread. The kernel refuses a set that is smaller than its own.
size_t Processors() {
  for (size_t sets = 1; sets <= 1024; sets *= 2) {
    std::vector<cpu_set_t> set(sets);
    const size_t bytes = sets * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, set.data()) == 0) return static_cast<size_t>(CPU_COUNT_S(bytes, set.data()));
  }
  return std::thread::hardware_concurrency();
}

}  // namespace

double ProcessorQuota(const std::string& root) {
  double least = kNoLimit;
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string hierarchy;  // 0: that of version 2
  std::string controllers;
  std::string path;
  while (std::getline(std::getline(std::getline(groups, hierarchy, ':'), controllers, ':'), path)) {
    const bool version_2 = hierarchy == "0";
    if (!version_2 && std::string(",").append(controllers).append(",").find(",cpu,") == std::string::npos) continue;
    const std::string top = root + (version_2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu");
    // In a container the path may be the host's, of which only the top is there.
    for (size_t end = path.size(); end != std::string::npos; end = path.rfind('/')) {
      path.resize(end);
      least = std::min(least, QuotaOf(top + path, version_2));
    }
  }
  return least;
}

inline namespace PENNON_ABI {

int DefaultThreads() noexcept {
  try {
    static const double quota = ProcessorQuota("");
    return static_cast<int>(std::max(1.0, std::min(static_cast<double>(Processors()), std::ceil(quota))));
  } catch (...) {
    return 1;
  }
}

}  // namespace PENNON_ABI
}  // namespace pennon
