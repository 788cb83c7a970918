// Vectors for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

namespace pennon {

using Vectors = std::vector<std::vector<float>>;

inline std::shared_ptr<arrow::Array> ToArray(const Vectors& vectors, int dim, const std::set<size_t>& nulls = {}) {
  arrow::FixedSizeListBuilder builder(arrow::default_memory_pool(), std::make_shared<arrow::FloatBuilder>(), dim);
  auto* values = static_cast<arrow::FloatBuilder*>(builder.value_builder());
  for (size_t i = 0; i < vectors.size(); ++i) {
    if (nulls.contains(i)) {
      EXPECT_TRUE(builder.AppendNull().ok());
      continue;
    }
    EXPECT_TRUE(builder.Append().ok());
    EXPECT_TRUE(values->AppendValues(vectors[i]).ok());
  }
  return builder.Finish().ValueOrDie();
}

inline Vectors Normal(size_t n, int dim, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Vectors vectors(n, std::vector<float>(static_cast<size_t>(dim)));
  for (auto& vector : vectors) {
    for (float& value : vector) value = normal(random);
  }
  return vectors;
}

}  // namespace pennon
