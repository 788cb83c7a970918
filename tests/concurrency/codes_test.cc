// ctest: labels=contract-3,tsan timeout=120
// Codes of published rows are read while those of new ones are written, next to them.
#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include <arrow/memory_pool.h>
#include <gtest/gtest.h>

#include "index/pool_allocator.h"
#include "support/vectors.h"
#include "vectors/code_store.h"

namespace pennon {
namespace {

TEST(CodeStore, PublishedCodesAreReadWhileOthersAreWritten) {
  for (const int dim : {4, 100, 600}) {
    PoolAllocator::Totals totals;
    PoolAllocator memory(arrow::default_memory_pool(), totals);
    RowStore rows(dim, DistanceKind::kL2, memory);
    CodeStore codes(dim, DistanceKind::kL2, memory);
    const auto append = [&](uint32_t n, uint64_t seed) {
      const auto array = ToArray(Normal(n, dim, seed), dim);
      ASSERT_TRUE(rows.Append(static_cast<const arrow::FixedSizeListArray&>(*array),
                              [](int64_t i) { return static_cast<uint64_t>(i); })
                      .ok());
      ASSERT_TRUE(codes.Append(rows));
    };
    append(CodeStore::kFrom, 1);
    std::atomic<uint32_t> published{codes.size()};
    std::atomic<bool> done{false};
    std::thread reader([&] {
      constexpr size_t kNewest = 64;
      const std::vector<float> query = Normal(1, dim, 5)[0];
      std::vector<CodedVector> scratch(codes.query_bytes() / sizeof(CodedVector) + 1);
      std::vector<float> floats(static_cast<size_t>(dim));
      CodedVector* coded = codes.Encode({query.data(), 1}, floats.data(), scratch.data());
      codes.PrepareSketch(*coded, 1);
      std::vector<uint32_t> ids(kNewest);
      std::vector<uint32_t> left(kNewest + 3);
      std::vector<float> distances(kNewest);
      do {
        std::iota(ids.begin(), ids.end(), published.load(std::memory_order_acquire) - static_cast<uint32_t>(kNewest));
        EXPECT_EQ(codes.Sift(*coded, ids.data(), kNewest, 1e30f, left.data()), kNewest);
        codes.Score(*coded, ids.data(), kNewest, distances.data());
      } while (!done.load(std::memory_order_relaxed));
    });
    for (uint64_t batch = 0; batch < 50; ++batch) {
      append(50, 10 + batch);
      published.store(codes.size(), std::memory_order_release);
    }
    done.store(true, std::memory_order_relaxed);
    reader.join();
  }
}

}  // namespace
}  // namespace pennon
