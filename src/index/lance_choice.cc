#include "index/lance_choice.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

namespace pennon {
namespace {

using arrow::Result;

constexpr uint32_t kAsked = 100;     // rows
constexpr size_t kNearest = 10;      // whose loss is counted
constexpr size_t kCandidates = 200;  // that codes are to rank
constexpr size_t kRefine = 3;
// Codes are good enough from these shares on: of what a query finds without a refine_factor, and with that of kRefine.
constexpr double kEnough = 0.9;
constexpr double kEnoughRefined = 0.99;

// As Lance does it: of the query's code, too.
double CodeDistance(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b, lance_format::Distance distance,
                    double low, double step) {
  int64_t squares = 0;
  double product = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const int difference = int{a[i]} - int{b[i]};
    squares += difference * difference;
    product += (low + a[i] * step) * (low + b[i] * step);
  }
  return distance == lance_format::Distance::kDot ? -product : static_cast<double>(squares);
}

}  // namespace

Result<LanceChoice> ChooseLanceIndex(
    const lance_format::HnswIndex& index,
    const std::function<Result<std::vector<uint32_t>>(uint32_t row, int64_t k)>& nearest) {
  std::vector<float> scratch(static_cast<size_t>(index.dim));
  if (index.half && index.distance == lance_format::Distance::kCosine) {
    for (uint32_t row = 0; row < index.rows; ++row) {
      const float* const vector = index.read(row, scratch.data());
      if (!std::all_of(vector, vector + index.dim, [](float value) { return value == 0; })) continue;
      return LanceChoice{lance_format::Storage::kSq,
                         "sq: there are zero vectors, which flat cannot hold as float16 under cosine"};
    }
  }
  const lance_format::CodeRange range = lance_format::RangeOf(index);
  const auto code_of = [&](uint32_t row) {
    std::vector<uint8_t> code(scratch.size());
    lance_format::ScalarCodes({index.read(row, scratch.data()), scratch.size()}, range, code.data());
    return code;
  };
  const double step = (range.high - range.low) / 255;
  const uint32_t asked = std::min(kAsked, index.rows);
  uint64_t wanted = 0;
  uint64_t found = 0;
  uint64_t refined = 0;
  for (uint32_t i = 0; i < asked; ++i) {
    const auto row = static_cast<uint32_t>(uint64_t{i} * index.rows / asked);
    ARROW_ASSIGN_OR_RAISE(std::vector<uint32_t> candidates, nearest(row, kCandidates));
    std::erase(candidates, row);
    const std::vector<uint8_t> query = code_of(row);
    std::vector<std::pair<double, size_t>> ranked;  // by codes, with the exact rank
    ranked.reserve(candidates.size());
    for (size_t rank = 0; rank < candidates.size(); ++rank) {
      ranked.emplace_back(CodeDistance(query, code_of(candidates[rank]), index.distance, range.low, step), rank);
    }
    std::sort(ranked.begin(), ranked.end());
    const size_t k = std::min(kNearest, ranked.size());
    const auto share = [&](size_t from) {
      const auto end = ranked.begin() + static_cast<int64_t>(std::min(from, ranked.size()));
      return static_cast<uint64_t>(std::count_if(ranked.begin(), end, [&](const auto& one) { return one.second < k; }));
    };
    wanted += k;
    found += share(kNearest);
    refined += share(kNearest * kRefine);
  }
  // One row alone has nothing to lose.
  const double plain = wanted == 0 ? 1 : static_cast<double>(found) / static_cast<double>(wanted);
  const double better = wanted == 0 ? 1 : static_cast<double>(refined) / static_cast<double>(wanted);
  const bool sq = plain >= kEnough && better >= kEnoughRefined;
  const double values = static_cast<double>(index.rows) * index.dim / 1e6;
  std::array<char, 300> text;
  std::snprintf(
      text.data(), text.size(),
      "%s: of the %zu rows nearest to each of %u, codes find %.3f, and %.3f with a refine_factor of %zu; %.1f MB "
      "instead of %.1f MB",
      sq ? "sq" : "flat", kNearest, asked, plain, better, kRefine, values, values * (index.half ? 2 : 4));
  return LanceChoice{sq ? lance_format::Storage::kSq : lance_format::Storage::kFlat, text.data()};
}

}  // namespace pennon
