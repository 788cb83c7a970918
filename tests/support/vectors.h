// Vectors for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <arrow/api.h>
#include <arrow/util/float16.h>
#include <gtest/gtest.h>

namespace pennon {

using Vectors = std::vector<std::vector<float>>;

inline std::shared_ptr<arrow::Array> ToArray(const Vectors& vectors, int dim, const std::set<size_t>& nulls = {},
                                             bool half = false) {
  arrow::HalfFloatBuilder halves;
  arrow::FloatBuilder floats;
  arrow::TypedBufferBuilder<bool> valid;
  for (size_t i = 0; i < vectors.size(); ++i) {
    EXPECT_TRUE(valid.Append(!nulls.contains(i)).ok());
    for (float value : vectors[i]) {
      EXPECT_TRUE((half ? halves.Append(arrow::util::Float16::FromFloat(value).bits()) : floats.Append(value)).ok());
    }
  }
  const auto values = half ? halves.Finish().ValueOrDie() : floats.Finish().ValueOrDie();
  return std::make_shared<arrow::FixedSizeListArray>(arrow::fixed_size_list(values->type(), dim),
                                                     static_cast<int64_t>(vectors.size()), values,
                                                     valid.Finish().ValueOrDie());
}

// What float16 keeps of it.
inline std::vector<float> Halved(std::vector<float> vector) {
  for (float& value : vector) value = arrow::util::Float16::FromFloat(value).ToFloat();
  return vector;
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
