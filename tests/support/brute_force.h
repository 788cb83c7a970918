// Distances and searches written out plainly, to the bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <tuple>
#include <vector>

#include "pennon/params.h"

namespace pennon {

struct ModelRow {
  std::vector<float> vector;
  uint64_t row_id;
};

// The kernels' order of summation.
inline float Sum16(const std::vector<float>& a, const std::vector<float>& b, bool l2) {
  float lanes[16] = {};
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = a[i] - b[i];
    lanes[i % 16] += l2 ? difference * difference : a[i] * b[i];
  }
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// Blocks of 64, each in 8 lanes.
inline float InverseNorm(const std::vector<float>& a) {
  double sum = 0;
  for (size_t begin = 0; begin < a.size(); begin += 64) {
    double lanes[8] = {};
    for (size_t i = begin; i < std::min(a.size(), begin + 64); ++i) lanes[i % 8] += double{a[i]} * a[i];
    for (int half = 4; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    sum += lanes[0];
  }
  return sum == 0 ? 0 : static_cast<float>(1 / std::sqrt(sum));
}

inline float Distance(Metric metric, const std::vector<float>& a, const std::vector<float>& b) {
  switch (metric) {
    case Metric::kL2: return Sum16(a, b, true);
    case Metric::kDot: return 1 - Sum16(a, b, false);
    case Metric::kCosine: break;
  }
  return 1 - Sum16(a, b, false) * InverseNorm(a) * InverseNorm(b);
}

inline std::vector<SearchResult> BruteForce(Metric metric, std::span<const ModelRow> rows,
                                            const std::vector<float>& query, size_t k,
                                            const std::function<bool(uint64_t row_id)>& passes) {
  std::vector<SearchResult> all;
  for (uint32_t i = 0; i < rows.size(); ++i) {
    if (passes(rows[i].row_id)) all.push_back({i, rows[i].row_id, Distance(metric, query, rows[i].vector)});
  }
  std::sort(all.begin(), all.end(), [](const SearchResult& a, const SearchResult& b) {
    return std::tie(a.distance, a.row_id, a.id) < std::tie(b.distance, b.row_id, b.id);
  });
  all.resize(std::min(k, all.size()));
  return all;
}

}  // namespace pennon
