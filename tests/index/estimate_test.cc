// ctest: labels=contract-5,asan timeout=120
// EstimateMemory beside what indices take.
#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "pennon/pennon.h"
#include "support/vectors.h"

namespace pennon {
namespace {

struct Estimated {
  LiveIndexOptions options;
  EstimateOptions estimate;
  std::set<uint64_t> told;  // rows
};

TEST(EstimateMemory, IsWithinATenthAndFromBelowWithin256KiB) {
  const auto build = [](int m, int ef_construction) { return BuildParams{.m = m, .ef_construction = ef_construction}; };
  for (const Estimated& kind : {
           Estimated{{.dim = 24, .build = build(2, 50)}, {.batch_rows = 50}, {0, 50, 100, 1000, 3000}},
           Estimated{{.dim = 24, .metric = Metric::kDot, .build = build(16, 50)}, {.batch_rows = 50}, {50, 1000, 3000}},
           Estimated{{.dim = 24, .build = build(16, 100)}, {.threads = 3}, {0, 1000, 3000, 9000, 10'000, 15'500}},
           Estimated{{.dim = 24, .metric = Metric::kCosine, .build = build(4, 50)}, {}, {2000, 10'000}},
           Estimated{{.dim = 24, .build = build(16, 50)}, {.batch_rows = 22'000, .copied = false}, {22'000}},
           Estimated{
               {.dim = 48, .build = build(8, 50)}, {.batch_rows = 22'000, .half = true, .copied = false}, {22'000}},
           Estimated{{.dim = 3, .codes = Codes::kNone, .build = build(16, 50)}, {}, {1000, 5000, 10'000}},
           Estimated{{.dim = 16, .build = build(16, 50)}, {.batch_rows = 10'000}, {12'000}},
           Estimated{{.dim = 384, .build = build(4, 50)}, {.batch_rows = 500, .half = true}, {500, 2000, 6000}},
           Estimated{{.dim = 24, .build = build(32, 50)}, {.half = true, .threads = 16}, {3000, 9000}},
           Estimated{{.dim = 24, .build = build(48, 48)}, {.threads = 1}, {3000, 9000, 10'000}},
           Estimated{{.dim = 24, .build = build(64, 100)}, {.batch_rows = 3000}, {3000, 9000, 12'000}},
       }) {
    const auto dim = static_cast<uint64_t>(kind.options.dim);
    LiveIndex index = LiveIndex::Make(kind.options).ValueOrDie();
    uint64_t rows = 0;
    for (const uint64_t told : kind.told) {
      while (rows < told) {
        const uint64_t added = std::min(kind.estimate.batch_rows, told - rows);
        const auto batch = ToArray(Normal(added, kind.options.dim, rows), kind.options.dim, {}, kind.estimate.half);
        ASSERT_TRUE(index.Append(batch, {.threads = kind.estimate.threads}).ok());
        rows += added;
      }
      ASSERT_TRUE(index.Search(std::vector<float>(dim, 1)).ok());
      const MemoryUsage is = index.GetMemoryUsage();
      const MemoryUsage estimated = EstimateMemory(kind.options, rows, kind.estimate).ValueOrDie();
      SCOPED_TRACE(std::to_string(rows) + " rows by " + std::to_string(kind.estimate.batch_rows) + ", dim " +
                   std::to_string(dim) + ", m " + std::to_string(kind.options.build.m));
      EXPECT_LE(std::abs(estimated.total() - is.total()), rows < 10'000 ? 256 << 10 : is.total() / 10)
          << estimated.total() << " for " << is.total();
      // What depends on the data little, or not at all.
      EXPECT_LE(std::abs(estimated.vectors_bytes - is.vectors_bytes), is.vectors_bytes / 100);
      EXPECT_EQ(estimated.codes_bytes, is.codes_bytes);
      EXPECT_EQ(estimated.versions_bytes, is.versions_bytes);
      EXPECT_LE(std::abs(estimated.other_bytes - is.other_bytes), is.other_bytes / 5 + 4096);
      EXPECT_LE(std::abs(estimated.caller_bytes - is.caller_bytes), 64);
      EXPECT_EQ(is.caller_bytes > 0, !kind.estimate.copied);
    }
  }
}

TEST(EstimateMemory, ThreadsOf0AreTheDefault) {
  const auto scratch = [](int threads) {
    return EstimateMemory({.dim = 24}, 20'000, {.threads = threads}).ValueOrDie().other_bytes;
  };
  EXPECT_EQ(scratch(0), scratch(DefaultThreads()));
  EXPECT_GT(scratch(2), scratch(1) + 10'000);
}

TEST(EstimateMemory, RefusesWhatAnIndexWould) {
  EXPECT_TRUE(EstimateMemory({.dim = 0}, 1).status().IsInvalid());
  EXPECT_EQ(EstimateMemory({.dim = 1, .max_rows = 5}, 6).status().message(), "rows: expected at most 5, got 6");
  EXPECT_TRUE(EstimateMemory({.dim = 1}, 6, {.batch_rows = 0}).status().IsInvalid());
  EXPECT_TRUE(EstimateMemory({.dim = 1}, 6, {.threads = -1}).status().IsInvalid());
  EXPECT_GT(EstimateMemory({.dim = 1536, .build = {.m = 32}}, 4'000'000'000).ValueOrDie().total(), int64_t{1} << 44);
}

}  // namespace
}  // namespace pennon
