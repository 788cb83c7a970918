// ctest: labels=contract-5,asan timeout=60
#include "vectors/code_store.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <arrow/memory_pool.h>
#include <gtest/gtest.h>

#include "index/pool_allocator.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr uint32_t kRows = CodeStore::kFrom + 100;

struct Stores {
  Stores(const Vectors& vectors, DistanceKind kind)
      : dim(static_cast<int32_t>(vectors[0].size())), rows(dim, kind, memory), codes(dim, kind, memory) {
    const auto array = ToArray(vectors, dim);
    EXPECT_TRUE(rows.Check(*array, "vectors").ok());
    EXPECT_TRUE(rows.Append(static_cast<const arrow::FixedSizeListArray&>(*array),
                            [](int64_t i) { return static_cast<uint64_t>(i); })
                    .ok());
    EXPECT_TRUE(codes.Append(rows));
  }

  PoolAllocator::Totals totals;
  PoolAllocator memory{arrow::default_memory_pool(), totals};
  int32_t dim;
  RowStore rows;
  CodeStore codes;
};

struct Distances {
  std::vector<float> exact = std::vector<float>(kRows);
  std::vector<float> coded = std::vector<float>(kRows);
  std::vector<float> coarse = std::vector<float>(kRows);
};

Distances From(const Stores& stores, const ScoredVector& query) {
  std::vector<uint32_t> ids(kRows);
  std::iota(ids.begin(), ids.end(), 0u);
  std::vector<CodedVector> scratch(stores.codes.query_bytes() / sizeof(CodedVector) + 1);
  std::vector<float> floats(static_cast<size_t>(stores.dim));
  const CodedVector* coded = stores.codes.Encode(query, floats.data(), scratch.data());
  Distances all;
  stores.rows.Score(query, ids.data(), kRows, all.exact.data());
  stores.codes.Score(*coded, ids.data(), kRows, all.coded.data());
  stores.codes.ScoreCoarse(*coded, ids.data(), kRows, all.coarse.data());
  return all;
}

double Norm(const std::vector<float>& vector) {
  return std::sqrt(std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0));
}

// Rounding moves a coordinate by half a scale, a high nibble alone by 8.5 scales.
TEST(CodeStore, DistancesAreAsFarOffAsRoundingAllows) {
  for (const int dim : {1, 24, 65, 384}) {
    for (const DistanceKind kind : {DistanceKind::kL2, DistanceKind::kCosine, DistanceKind::kDot}) {
      Vectors vectors = Normal(kRows, dim, 7);
      vectors[3].back() = 1000;  // an outlier
      for (float& value : vectors[4]) value *= 1e-3f;
      const Stores stores(vectors, kind);
      for (const auto& values : Normal(5, dim, 8)) {
        const Distances all = From(stores, stores.rows.MakeQuery(values.data()));
        for (uint32_t row = 0; row < kRows; ++row) {
          std::vector<float> query = values;
          std::vector<float> other = vectors[row];
          if (kind == DistanceKind::kCosine) {
            const double norms[] = {Norm(query), Norm(other)};
            for (float& value : query) value = static_cast<float>(value / norms[0]);
            for (float& value : other) value = static_cast<float>(value / norms[1]);
          }
          // No coordinate of the centre is beyond 1.
          const auto scale = [](const std::vector<float>& v) {
            return (1.0 + std::fabs(*std::max_element(v.begin(), v.end(),
                                                      [](float a, float b) { return std::fabs(a) < std::fabs(b); }))) /
                   127;
          };
          const double root = std::sqrt(static_cast<double>(dim));
          for (const bool coarse : {false, true}) {
            const double row_off = root * scale(other) * (coarse ? 8.5 : 0.5);
            const double query_off = root * scale(query) * 0.5;
            const double off = row_off + query_off;
            double bound = Norm(query) * row_off + Norm(other) * query_off + row_off * query_off;
            if (kind != DistanceKind::kDot) {
              const double l2 = std::sqrt(std::max(0.0, double{all.exact[row]}) * (kind == DistanceKind::kL2 ? 1 : 2));
              bound = (2 * l2 * off + 2 * off * off) * (kind == DistanceKind::kL2 ? 1 : 0.5);
            }
            EXPECT_NEAR(coarse ? all.coarse[row] : all.coded[row], all.exact[row],
                        bound + 1e-4 * (1 + std::fabs(all.exact[row])))
                << "dim " << dim << " kind " << static_cast<int>(kind) << " row " << row << " coarse " << coarse;
          }
        }
      }
    }
  }
}

TEST(CodeStore, CoarseDistancesAreOffByLittleOnTheAverage) {
  constexpr int kDim = 384;
  constexpr int kQueries = 20;
  const auto moved = [](Vectors vectors, float by) {
    for (auto& vector : vectors) {
      for (float& value : vector) value += by;
    }
    return vectors;
  };
  // The queries lie to one side of the centre, and the centre to one side of the origin.
  const Vectors vectors = moved(Normal(kRows, kDim, 7), 2);
  const Vectors queries = moved(Normal(kQueries, kDim, 9), 3);
  for (const DistanceKind kind : {DistanceKind::kL2, DistanceKind::kCosine, DistanceKind::kDot}) {
    const Stores stores(vectors, kind);
    double sum = 0;
    double squares = 0;
    for (const auto& query : queries) {
      const Distances all = From(stores, stores.rows.MakeQuery(query.data()));
      const double mean = std::accumulate(all.exact.begin(), all.exact.end(), 0.0) / kRows;
      double spread = 0;
      for (float distance : all.exact) spread += (distance - mean) * (distance - mean) / kRows;
      for (uint32_t row = 0; row < kRows; ++row) {
        const double off = (double{all.coarse[row]} - all.exact[row]) / std::sqrt(spread);
        sum += off / (kQueries * kRows);
        squares += off * off / (kQueries * kRows);
      }
    }
    EXPECT_LT(std::fabs(sum), 0.05) << "kind " << static_cast<int>(kind);
    EXPECT_LT(std::sqrt(squares), 0.2) << "kind " << static_cast<int>(kind);
  }
}

TEST(CodeStore, EqualVectorsAreAtDistanceZero) {
  for (const float value : {0.25f, 1e-40f, 1e18f}) {
    const Stores stores(Vectors(kRows, std::vector<float>(16, value)), DistanceKind::kL2);
    const std::vector<float> query(16, value);
    const Distances all = From(stores, stores.rows.MakeQuery(query.data()));
    for (uint32_t row = 0; row < kRows; ++row) {
      EXPECT_EQ(all.coded[row], 0) << value;
      EXPECT_EQ(all.coarse[row], 0) << value;
    }
  }
}

}  // namespace
}  // namespace pennon
