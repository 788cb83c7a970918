// From distances to results in the order of the contract: (distance, row id, id).
#pragma once

#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/moments.h"
#include "pennon/params.h"

namespace pennon {

struct ResultOrder {
  bool operator()(const SearchResult& a, const SearchResult& b) const {
    if (a.distance != b.distance) return a.distance < b.distance;
    return a.row_id != b.row_id ? a.row_id < b.row_id : a.id < b.id;
  }
};

// Adds the results that are not there yet, and puts all in order.
inline void Join(std::span<const SearchResult> more, std::vector<SearchResult>* rows) {
  rows->insert(rows->end(), more.begin(), more.end());
  std::sort(rows->begin(), rows->end(), ResultOrder());
  rows->erase(std::unique(rows->begin(), rows->end()), rows->end());
}

constexpr size_t kScanBlock = 64;  // rows that are looked at together

// Leaves those of the ids whose rows may be within the distance, and gives how many.
inline size_t LeaveAll(uint32_t* /*ids*/, size_t n, float /*distance*/) { return n; }

// The k nearest, and no farther than the radius, of the rows below `rows` that pass, by looking at all of them, or at
// those before an interrupt. passing(first) has a bit for each of the 64 rows from there on; rule_out is as LeaveAll.
template <typename RowId, typename Passing, typename RuleOut>
std::vector<SearchResult> Scan(const graph::Probe& probe, uint32_t rows, size_t k, float radius,
                               graph::Scratch& scratch, RowId&& row_id, Passing&& passing, RuleOut&& rule_out,
                               const graph::Interrupt& interrupt, bool* interrupted) {
  std::vector<SearchResult> best;  // a max-heap
  uint32_t ids[kScanBlock];
  float distances[kScanBlock];
  size_t n = 0;
  uint64_t computed = 0;
  auto flush = [&] {
    constexpr size_t kAhead = 4;
    if (n == 0) return;
    n = rule_out(ids, n, best.size() == k ? std::min(radius, best.front().distance) : radius);
    probe.Prefetch(ids, std::min(n, kAhead));
    for (size_t i = 0; i < n; i += kAhead) {
      const size_t next = std::min(n, i + kAhead);
      probe.Prefetch(ids + next, std::min(n - next, kAhead));
      probe.Score(ids + i, next - i, distances + i);
    }
    computed += n;
    for (size_t i = 0; i < n; ++i) {
      if (distances[i] > radius || (best.size() == k && distances[i] > best.front().distance)) continue;
      const SearchResult result{ids[i], row_id(ids[i]), distances[i]};
      if (best.size() == k) {
        if (!ResultOrder()(result, best.front())) continue;
        std::pop_heap(best.begin(), best.end(), ResultOrder());
        best.pop_back();
      }
      best.push_back(result);
      std::push_heap(best.begin(), best.end(), ResultOrder());
    }
    n = 0;
  };
  for (uint64_t first = 0; first < rows; first += 64) {
    if (interrupt()) {
      *interrupted = true;
      break;
    }
    for (uint64_t word = passing(static_cast<uint32_t>(first)); word != 0; word &= word - 1) {
      ids[n++] = static_cast<uint32_t>(first) + static_cast<uint32_t>(std::countr_zero(word));
      if (n == kScanBlock) flush();
    }
  }
  flush();
  std::sort_heap(best.begin(), best.end(), ResultOrder());
  scratch.Count(scratch.scans, 1);
  scratch.Count(scratch.computed, computed);
  return best;
}

// What codes add to distances: what they have been seen to add, and at least `floor`.
inline double SurplusOf(const graph::Moments& added, double floor) {
  constexpr double kDeviations = 3;
  return std::max(floor, added.mean() + kDeviations * added.deviation());
}

// The k best by exact distance of a walk over codes that found at least as many. Rows are ranked in code order until
// the next one's code distance, less what codes add, is beyond the k-th exact distance.
template <typename RowId>
std::vector<SearchResult> RankBeam(const graph::Probe& exact, graph::Scratch& scratch, size_t k, double floor,
                                   RowId&& row_id) {
  constexpr size_t kBlock = 8;
  constexpr size_t kAhead = 16;
  const std::span<const uint64_t> beam(scratch.beam.begin(), scratch.beam.size());
  std::vector<SearchResult> best;  // a max-heap once it has k
  best.reserve(k + 1);
  graph::Moments added;
  size_t ranked = 0;
  size_t asked = 0;  // for memory
  const auto ask = [&](size_t end) {
    uint32_t ids[kAhead];
    size_t n = 0;
    for (end = std::min(end, beam.size()); asked < end; ++asked) ids[n++] = graph::KeyId(beam[asked]);
    exact.Prefetch(ids, n);
  };
  const auto rank = [&](size_t n) {
    uint32_t ids[kBlock];
    float distances[kBlock];
    for (size_t i = 0; i < n; ++i) ids[i] = graph::KeyId(beam[ranked + i]);
    ask(ranked + kAhead);
    exact.Score(ids, n, distances);
    for (size_t i = 0; i < n; ++i) {
      added.Add(double{graph::KeyDistance(beam[ranked + i])} - distances[i]);
      if (best.size() == k && distances[i] > best.front().distance) continue;
      best.push_back({ids[i], row_id(ids[i]), distances[i]});
      std::push_heap(best.begin(), best.end(), ResultOrder());
      if (best.size() <= k) continue;
      std::pop_heap(best.begin(), best.end(), ResultOrder());
      best.pop_back();
    }
    ranked += n;
  };
  while (ranked < beam.size()) {
    if (ranked >= std::max(k, kBlock)) {
      if (graph::KeyDistance(beam[ranked]) - SurplusOf(added, floor) > best.front().distance) break;
    }
    rank(std::min(ranked < k ? std::min(kBlock, k - ranked) : kBlock / 2, beam.size() - ranked));
  }
  scratch.Count(scratch.computed, ranked);
  std::sort_heap(best.begin(), best.end(), ResultOrder());
  return best;
}

// The k best of an exact walk that found at least as many; ties at the k-th distance are settled by row id.
template <typename RowId>
std::vector<SearchResult> BestOfBeam(const graph::Scratch& scratch, size_t k, RowId&& row_id) {
  std::vector<SearchResult> best;
  if (k == 0) return best;
  best.reserve(k);
  const uint32_t kth = graph::KeyOrder(scratch.beam[k - 1]);
  for (uint64_t key : scratch.beam) {
    if (graph::KeyOrder(key) > kth) break;
    best.push_back({graph::KeyId(key), row_id(graph::KeyId(key)), graph::KeyDistance(key)});
  }
  std::sort(best.begin(), best.end(), ResultOrder());
  best.resize(k);
  return best;
}

}  // namespace pennon
