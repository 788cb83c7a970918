// ctest: labels=contract-6 timeout=120
// The same graph for every number of threads, whatever their work's order, on every kernel table, with codes and
// without: all are held against hashes that were written down, so that a change of the graph is seen in a review.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <arrow/util/key_value_metadata.h>
#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "pennon/live_index.h"
#include "support/steps.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 20;
constexpr uint64_t kNoShuffle = 0;

struct Golden {
  const char* name;
  Metric metric;
  Codes codes;
  uint64_t hash;  // of the graph
};

constexpr Golden kGolden[] = {
    {"l2", Metric::kL2, Codes::kNone, 1691774679493596033u},
    {"l2, codes", Metric::kL2, Codes::kQuantized, 18398719746316881124u},
    {"cosine", Metric::kCosine, Codes::kNone, 12415388730418616996u},
    {"cosine, codes", Metric::kCosine, Codes::kQuantized, 8357149665893060595u},
    {"dot", Metric::kDot, Codes::kNone, 16477101545454468823u},
    {"dot, codes", Metric::kDot, Codes::kQuantized, 1325034079269630061u},
};

// Around 30 centres, of small whole numbers: the same on every machine.
Vectors Rows(size_t n, uint64_t seed) {
  std::mt19937_64 centres(1);
  std::vector<std::vector<int>> centre(30, std::vector<int>(kDim));
  for (auto& values : centre) {
    for (int& value : values) value = static_cast<int>(centres() % 256);
  }
  std::mt19937_64 random(seed);
  Vectors rows(n, std::vector<float>(kDim));
  for (auto& row : rows) {
    const auto& from = centre[random() % centre.size()];
    for (size_t d = 0; d < row.size(); ++d) row[d] = static_cast<float>(from[d] + static_cast<int>(random() % 64)) / 16;
  }
  return rows;
}

// FNV-1a.
uint64_t Hash(const arrow::RecordBatch& batch) {
  uint64_t hash = 0xCBF29CE484222325u;
  const auto add = [&](const void* data, int64_t bytes) {
    for (int64_t i = 0; i < bytes; ++i) hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3u;
  };
  const std::string metadata = batch.schema()->metadata()->Get("lance:hnsw").ValueOrDie();
  add(metadata.data(), static_cast<int64_t>(metadata.size()));
  add(batch.column_data(0)->GetValues<uint32_t>(1), 4 * batch.num_rows());
  for (const int column : {1, 2}) {
    const auto& lists = static_cast<const arrow::ListArray&>(*batch.column(column));
    add(lists.raw_value_offsets(), 4 * (batch.num_rows() + 1));
    add(lists.values()->data()->GetValues<uint32_t>(1), 4 * lists.values()->length());
  }
  return hash;
}

uint64_t Build(const Golden& golden, int threads, uint64_t shuffle) {
  bool walked_by_codes = false;
  LiveIndex index = LiveIndex::Make({.dim = kDim,
                                     .metric = golden.metric,
                                     .codes = golden.codes,
                                     .build = {.m = 6, .ef_construction = 30},
                                     .logger =
                                         [&](LogLevel, std::string_view message) {
                                           walked_by_codes |=
                                               message.find("walks go by codes") != std::string_view::npos;
                                         }})
                        .ValueOrDie();
  graph::task_order = shuffle;
  uint64_t seed = 2;
  for (const size_t rows : {700, 1, 499, 400}) {
    const bool half = rows == 499;
    EXPECT_TRUE(index.Append(ToArray(Rows(rows, seed++), kDim, {}, half), {.threads = threads}).ok());
  }
  graph::task_order = kNoShuffle;
  EXPECT_EQ(walked_by_codes, golden.codes == Codes::kQuantized) << "or the test tells nothing of codes";
  return Hash(*index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie());
}

TEST(Determinism, TheGraphIsWhatItWas) {
  for (const Golden& golden : kGolden) {
    const uint64_t hash = Build(golden, 1, kNoShuffle);
    EXPECT_EQ(hash, golden.hash) << golden.name
                                 << ": the graph of the same rows has changed. If that is meant, say so in the commit, "
                                    "and write this number into kGolden: "
                                 << hash << "u";
  }
}

TEST(Determinism, ThreadsInAnyOrder) {
  for (const Golden& golden : kGolden) {
    for (const int threads : {1, 2, 3, 8}) {
      const auto shuffle = static_cast<uint64_t>(threads);
      EXPECT_EQ(Build(golden, threads, shuffle), golden.hash)
          << golden.name << ", " << threads << " threads, work shuffled by seed " << shuffle;
    }
  }
}

// The table is chosen once in a process, so each has one.
TEST(Determinism, KernelTables) {
  for (const KernelTable* table : AvailableKernels()) {
    if (table == &Kernels()) continue;
    const pid_t child = fork();
    if (child == 0) {
      setenv("PENNON_SIMD", table->name, 1);
      execl("/proc/self/exe", "determinism_test", "--gtest_filter=Determinism.TheGraphIsWhatItWas", nullptr);
      _exit(127);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << table->name;
  }
}

}  // namespace
}  // namespace pennon
