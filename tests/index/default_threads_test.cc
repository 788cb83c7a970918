// ctest: labels=manners timeout=60
// The default number of threads follows the processors and the time that the process was given.
#include "index/default_threads.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "pennon/params.h"

namespace {

size_t kernels_processors = 0;  // of a kernel with a larger set; 0: this one's

}  // namespace

// In place of the C library's.
extern "C" int sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t* set) noexcept {
  if (kernels_processors == 0) {
    std::memset(set, 0, bytes);
    return syscall(SYS_sched_getaffinity, pid, bytes, set) < 0 ? -1 : 0;
  }
  if (bytes * 8 < kernels_processors) {
    errno = EINVAL;
    return -1;
  }
  std::memset(set, 0, bytes);
  std::memset(set, 0xFF, kernels_processors / 8);
  return 0;
}

namespace pennon {
namespace {

using Files = std::initializer_list<std::pair<const char*, const char*>>;

double QuotaIn(const Files& files) {
  std::string path = testing::TempDir() + "/rootXXXXXX";
  const std::filesystem::path root = mkdtemp(path.data());
  for (const auto& [name, text] : files) {
    const auto file = root / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  const double quota = ProcessorQuota(root.string());
  std::filesystem::remove_all(root);
  return quota;
}

TEST(DefaultThreads, TheQuotaOfVersion2) {
  EXPECT_EQ(QuotaIn({}), INFINITY);
  EXPECT_EQ(QuotaIn({{"proc/self/cgroup", "0::/\n"}}), INFINITY);
  EXPECT_EQ(QuotaIn({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "250000 100000\n"}}), 2.5);
  EXPECT_EQ(QuotaIn({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "max 100000\n"}}), INFINITY);
  EXPECT_EQ(QuotaIn({{"proc/self/cgroup", "0::/a/b\n"}, {"sys/fs/cgroup/a/b/cpu.max", "150000 100000\n"}}), 1.5);
}

TEST(DefaultThreads, TheLeastOfAllGroupsAbove) {
  for (const char* least : {"", "/a", "/a/b"}) {
    const std::string file = std::string("sys/fs/cgroup") + least + "/cpu.max";
    EXPECT_EQ(QuotaIn({{"proc/self/cgroup", "0::/a/b\n"},
                       {"sys/fs/cgroup/cpu.max", "900000 100000\n"},
                       {"sys/fs/cgroup/a/cpu.max", "800000 100000\n"},
                       {"sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
                       {file.c_str(), "20000 10000\n"}}),
              2)
        << least;
  }
}

TEST(DefaultThreads, TheQuotaOfVersion1) {
  const char* groups = "5:memory:/m\n4:cpuacct,cpu:/c\n3:cpuset:/s\n0::/u\n";
  const auto with = [&](const char* quota) {
    return QuotaIn({{"proc/self/cgroup", groups},
                    {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
                    {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
                    {"sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", quota},
                    {"sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "50000\n"},
                    {"sys/fs/cgroup/cpu/s/cpu.cfs_quota_us", "1\n"},
                    {"sys/fs/cgroup/cpu/s/cpu.cfs_period_us", "100000\n"}});
  };
  EXPECT_EQ(with("150000\n"), 3);
  EXPECT_EQ(with("-1\n"), INFINITY);
}

TEST(DefaultThreads, WhatMakesNoSenseIsNoLimit) {
  for (const char* quota :
       {"", "\n", "abc\n", "0 100000\n", "100000 0\n", "-5 100000\n", "99999999999999999999999 1\n"}) {
    EXPECT_EQ(QuotaIn({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", quota}}), INFINITY) << quota;
  }
  for (const char* groups : {"", "\n", "::\n", ":\n:\n", "0::", "0::nothing\n", "4:cpu\n", "0::/../..\n"}) {
    EXPECT_EQ(QuotaIn({{"proc/self/cgroup", groups}}), INFINITY) << groups;
  }
}

TEST(DefaultThreads, FollowTheAffinity) {
  EXPECT_GE(DefaultThreads(), 1);
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  EXPECT_LE(DefaultThreads(), CPU_COUNT(&all));
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
      if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(DefaultThreads(), 1);
  }).join();
}

TEST(DefaultThreads, OfMoreProcessorsThanASetHolds) {
  const double quota = ProcessorQuota("");
  kernels_processors = 4096;
  EXPECT_EQ(DefaultThreads(), std::min(4096.0, std::ceil(quota)));
  kernels_processors = 0;
}

}  // namespace
}  // namespace pennon
