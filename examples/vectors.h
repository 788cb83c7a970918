// Random vectors as Arrow has them: FixedSizeList<float32>[dim].
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/result.h>

inline std::vector<float> RandomFloats(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

inline arrow::Result<std::shared_ptr<arrow::Array>> ToVectors(std::span<const float> values, int32_t dim) {
  arrow::FloatBuilder builder;
  ARROW_RETURN_NOT_OK(builder.AppendValues(values.data(), static_cast<int64_t>(values.size())));
  ARROW_ASSIGN_OR_RAISE(const auto array, builder.Finish());
  return arrow::FixedSizeListArray::FromArrays(array, dim);
}
