// ctest: labels=contract-7,contract-8,recall timeout=600
// The graph's own recall, exact scans counted and none allowed, on kinds of data that are easy and hard.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 24;
constexpr size_t kRows = 6000;

Vectors Uniform(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform;
  Vectors vectors(n, std::vector<float>(kDim));
  for (auto& vector : vectors) std::generate(vector.begin(), vector.end(), [&] { return uniform(random); });
  return vectors;
}

// `centres` points, and rows around them.
Vectors Around(size_t n, size_t centres, float spread, uint64_t seed, int dim = kDim) {
  const Vectors centre = Normal(centres, dim, 1);
  Vectors vectors = Normal(n, dim, seed);
  std::mt19937_64 random(seed);
  for (auto& vector : vectors) {
    const auto& from = centre[random() % centres];
    for (size_t d = 0; d < vector.size(); ++d) vector[d] = from[d] + spread * vector[d];
  }
  return vectors;
}

// Arms from the origin along random directions, dense near it.
Vectors Star(size_t n, uint64_t seed) {
  const Vectors arm = Normal(20, kDim, 2);
  std::mt19937_64 random(seed);
  std::exponential_distribution<float> length;
  Vectors vectors = Normal(n, kDim, seed);
  for (auto& vector : vectors) {
    const auto& along = arm[random() % arm.size()];
    const float at = length(random);
    for (size_t d = 0; d < vector.size(); ++d) vector[d] = at * along[d] + 0.01f * vector[d];
  }
  return vectors;
}

Vectors Sorted(size_t n, uint64_t seed) {
  Vectors vectors = Normal(n, kDim, seed);
  std::sort(vectors.begin(), vectors.end());
  return vectors;
}

// Norms over three orders of magnitude.
Vectors WideNorms(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> exponent(-1.5f, 1.5f);
  Vectors vectors = Normal(n, kDim, seed);
  for (auto& vector : vectors) {
    const float norm = std::pow(10.0f, exponent(random));
    for (float& value : vector) value *= norm;
  }
  return vectors;
}

// Every vector is longer than the one before it, the last a thousand times as long as the first.
Vectors GrowingNorms(size_t n, uint64_t seed) {
  Vectors vectors = Normal(n, kDim, seed);
  for (size_t i = 0; i < n; ++i) {
    const float norm = std::pow(1000.0f, static_cast<float>(i) / static_cast<float>(n));
    for (float& value : vectors[i]) value *= norm;
  }
  return vectors;
}

struct Kind {
  const char* name;
  Metric metric;
  std::function<Vectors(size_t n, uint64_t seed)> make;
  double recall;  // at ef 64, stated
};

const Kind kKinds[] = {
    {"uniform", Metric::kL2, Uniform, 0.96},
    {"normal, cosine", Metric::kCosine, [](size_t n, uint64_t s) { return Normal(n, kDim, s); }, 0.96},
    {"normal, dot", Metric::kDot, [](size_t n, uint64_t s) { return Normal(n, kDim, s); }, 0.96},
    {"clustered", Metric::kL2, [](size_t n, uint64_t s) { return Around(n, 60, 0.2f, s); }, 0.97},
    {"near duplicates", Metric::kL2, [](size_t n, uint64_t s) { return Around(n, 300, 1e-4f, s); }, 0.97},
    {"star", Metric::kL2, Star, 0.96},
    {"sorted", Metric::kL2, Sorted, 0.96},
    {"equal", Metric::kL2, [](size_t n, uint64_t) { return Vectors(n, std::vector<float>(kDim, 0.25f)); }, 1.0},
    {"wide norms, dot", Metric::kDot, WideNorms, 0.97},
    {"growing norms, dot", Metric::kDot, GrowingNorms, 0.95},
};
TEST(Recall, OfTheGraphAlone) {
  for (const Kind& kind : kKinds) {
    double of_exact = 0;
    for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
      LiveIndex index =
          LiveIndex::Make(
              {.dim = kDim, .metric = kind.metric, .codes = codes, .build = {.m = 16, .ef_construction = 100}})
              .ValueOrDie();
      const Vectors rows = kind.make(kRows, 3);
      for (size_t i = 0; i < kRows; i += 1000) {
        const auto first = rows.begin() + static_cast<std::ptrdiff_t>(i);
        ASSERT_TRUE(index.Append(ToArray(Vectors(first, first + 1000), kDim)).ok());
      }
      const Vectors queries = kind.make(100, 4);
      size_t found = 0;
      for (const auto& query : queries) {
        const auto exact = index.Search(query, {.k = 10, .exact = true}).ValueOrDie();
        const auto walked = index.Search(query, {.k = 10, .ef = 64}).ValueOrDie();
        ASSERT_EQ(walked.rows.size(), 10u);
        for (const auto& row : walked.rows) found += row.distance <= exact.rows.back().distance;
      }
      const double recall = static_cast<double>(found) / 1000;
      EXPECT_GE(recall, kind.recall) << kind.name;
      if (codes == Codes::kNone) of_exact = recall;
      EXPECT_GE(recall, of_exact - 0.015) << kind.name << ": codes against exact distances";
      EXPECT_EQ(index.GetStats().exact_scans, queries.size()) << kind.name << ": only those asked for";
      EXPECT_TRUE(index.Verify().ValueOrDie().ok) << kind.name;
    }
  }
}

// In clusters that are tight for codes, a walk that keeps few rows must not be by codes, or must keep more.
TEST(Recall, OfNarrowWalks) {
  constexpr int kWide = 128;
  const auto queries = Around(300, 60, 0.1f, 4, kWide);
  const RowFilter odd = RowFilter::Predicate([](uint64_t row_id) { return row_id % 2 == 1; });
  for (const float spread : {0.1f, 0.4f}) {
    const auto rows = Around(kRows, 60, spread, 3, kWide);
    for (const RowFilter& filter : {RowFilter(), odd}) {
      for (const int64_t k : {1, 10}) {
        double of_exact = 0;
        for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
          LiveIndex index = LiveIndex::Make({.dim = kWide, .codes = codes}).ValueOrDie();
          ASSERT_TRUE(index.Append(ToArray(rows, kWide)).ok());
          int64_t found = 0;
          for (const auto& query : queries) {
            const auto exact = index.Search(query, {.k = k, .filter = filter, .exact = true}).ValueOrDie();
            for (const auto& row : index.Search(query, {.k = k, .ef = k, .filter = filter}).ValueOrDie().rows) {
              found += row.distance <= exact.rows.back().distance ? 1 : 0;
            }
          }
          const double recall = static_cast<double>(found) / static_cast<double>(k * int64_t{300});
          if (codes == Codes::kNone) of_exact = recall;
          EXPECT_GE(recall, of_exact - (k == 1 ? 0.045 : 0.015))  // 300 results tell less than 3,000
              << "spread " << spread << ", k " << k << (filter.all() ? "" : ", filtered");
        }
      }
    }
  }
}

TEST(Verify, AfterEachBatchOfEveryKind) {
  for (const Kind& kind : kKinds) {
    for (const int m : {2, 3, 6}) {
      LiveIndex index =
          LiveIndex::Make({.dim = kDim, .metric = kind.metric, .build = {.m = m, .ef_construction = 20}}).ValueOrDie();
      for (uint64_t batch = 0; batch < 6; ++batch) {
        ASSERT_TRUE(index.Append(ToArray(kind.make(300, batch), kDim)).ok());
        const VerifyReport report = index.Verify().ValueOrDie();
        EXPECT_TRUE(report.ok && report.unreachable == 0) << kind.name << ", m " << m << ": " << report.problem;
      }
    }
  }
}

TEST(Cost, EqualVectorsCostAtMostTwiceRandomOnes) {
  constexpr size_t kMany = 100'000;
  const auto cost = [](const Vectors& rows) {
    LiveIndex index = LiveIndex::Make({.dim = 8, .build = {.m = 8, .ef_construction = 40}}).ValueOrDie();
    for (size_t i = 0; i < kMany; i += 10'000) {
      const auto first = rows.begin() + static_cast<std::ptrdiff_t>(i);
      EXPECT_TRUE(index.Append(ToArray(Vectors(first, first + 10'000), 8)).ok());
    }
    EXPECT_TRUE(index.Verify().ValueOrDie().ok);
    return static_cast<double>(index.GetStats().build_distances);
  };
  const double equal = cost(Vectors(kMany, std::vector<float>(8, 1.0f)));
  const double random = cost(Normal(kMany, 8, 5));
  EXPECT_LE(equal, 2 * random);
}

// How far a walk goes under dot depends on the largest norm; one row must not send all walks to the ends of the index.
TEST(Cost, OneLongRowCostsOtherSearchesLittle) {
  Vectors rows = Normal(5000, kDim, 6);
  for (auto& row : rows) {
    const float norm = std::sqrt(std::inner_product(row.begin(), row.end(), row.begin(), 0.0f));
    for (float& value : row) value /= norm;
  }
  for (const float norm : {1.5f, 3.0f, 100.0f, 1e5f, 1e15f}) {
    LiveIndex index =
        LiveIndex::Make({.dim = kDim, .metric = Metric::kDot, .build = {.m = 16, .ef_construction = 100}}).ValueOrDie();
    const auto cost = [&] {
      const uint64_t before = index.GetStats().search_distances;
      for (size_t i = 0; i < 100; ++i) EXPECT_TRUE(index.Search(rows[i], {.k = 10, .ef = 64}).ok());
      return static_cast<double>(index.GetStats().search_distances - before);
    };
    ASSERT_TRUE(index.Append(ToArray(rows, kDim)).ok());
    const double among_equals = cost();
    Vectors longer = {rows.back()};
    for (float& value : longer[0]) value *= norm;
    ASSERT_TRUE(index.Append(ToArray(longer, kDim)).ok());
    EXPECT_LE(cost(), 2.5 * among_equals) << norm;
  }
}

}  // namespace
}  // namespace pennon
