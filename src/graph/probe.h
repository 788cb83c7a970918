// What the graph knows of vectors: a Probe scores blocks of rows against one vector, a Scorer makes probes of rows.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace pennon::graph {

// Cheap to copy; valid as long as what it points to.
struct Probe {
  // out[i] = distance to row ids[i]; never NaN. Thread-safe.
  void (*score)(const Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept;
  const void* source;
  const void* vector;
  float scale;
  // What no distance is below, -infinity where that is not known; and what may be noise in distances.
  float least = -std::numeric_limits<float>::infinity();
  float noise = 0;

  void Score(const uint32_t* ids, size_t n, float* out) const { score(*this, ids, n, out); }
  float Score(uint32_t id) const {
    float distance;
    score(*this, &id, 1, &distance);
    return distance;
  }
};

struct Scorer {
  const void* source;
  size_t scratch_bytes;  // that a probe of a row needs
  Probe (*probe)(const Scorer& scorer, uint32_t row, void* scratch) noexcept;
  // The same with distances that are less precise and cheaper; may be null.
  Probe (*coarse)(const Scorer& scorer, uint32_t row, void* scratch) noexcept = nullptr;

  Probe Of(uint32_t row, void* scratch) const { return probe(*this, row, scratch); }
};

// (distance, id) as one integer of the same order.
inline uint64_t Key(float distance, uint32_t id) {
  const uint32_t bits = std::bit_cast<uint32_t>(distance + 0.0f);
  const uint32_t ordered = bits ^ ((bits >> 31) != 0 ? 0xFFFFFFFFu : 0x80000000u);
  return uint64_t{ordered} << 32 | id;
}
inline uint32_t KeyId(uint64_t key) { return static_cast<uint32_t>(key); }
inline uint32_t KeyOrder(uint64_t key) { return static_cast<uint32_t>(key >> 32); }
inline float KeyDistance(uint64_t key) {
  const uint32_t ordered = KeyOrder(key);
  return std::bit_cast<float>(ordered ^ ((ordered >> 31) != 0 ? 0x80000000u : 0xFFFFFFFFu));
}

}  // namespace pennon::graph
