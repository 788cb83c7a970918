// What the graph knows of vectors: a Probe scores blocks of rows against one vector, a Scorer makes probes of rows.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace pennon::graph {

// Cheap to copy; valid as long as what it points to. Its functions are thread-safe.
struct Probe {
  // out[i] = distance to row ids[i]; never NaN.
  void (*score)(const Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept;
  // Asks for the memory that sift will read, or score where there is no sift. May be null.
  void (*prefetch)(const Probe& probe, const uint32_t* ids, size_t n) noexcept = nullptr;
  // Leaves those of the ids whose rows may be within the distance, and asks for the memory that score will read of
  // them; gives how many. `ids` has room for n + 3. Null: every row may be.
  size_t (*sift)(const Probe& probe, uint32_t* ids, size_t n, float distance) noexcept = nullptr;
  const void* source;
  const void* vector;
  const void* coded = nullptr;  // the vector's code
  float scale = 0;
  // What no distance is below, -infinity where that is not known; and what may be noise in distances.
  float least = -std::numeric_limits<float>::infinity();
  float noise = 0;

  void Score(const uint32_t* ids, size_t n, float* out) const { score(*this, ids, n, out); }
  float Score(uint32_t id) const {
    float distance;
    score(*this, &id, 1, &distance);
    return distance;
  }
  void Prefetch(const uint32_t* ids, size_t n) const {
    if (prefetch != nullptr) prefetch(*this, ids, n);
  }
};

// How rows are scored where there are codes.
struct Mode {
  bool coded = false;  // by codes, not exactly
  // Rows are sifted by sketches first, with so much slack, in their errors; infinity: they are not.
  float slack = std::numeric_limits<float>::infinity();

  bool sifted() const { return slack < std::numeric_limits<float>::infinity(); }
  Mode unsifted() const { return {.coded = coded}; }
};

struct Scorer {
  const void* source;
  size_t scratch_bytes;  // that a probe of a row needs
  Probe (*probe)(const Scorer& scorer, uint32_t row, Mode mode, void* scratch) noexcept;
  // Where there are codes: out[i] = by how many of their errors the sketches put row ids[i] beyond distances[i].
  void (*sketch_errors)(const Scorer& scorer, uint32_t row, const uint32_t* ids, size_t n, const float* distances,
                        float* out, void* scratch) noexcept = nullptr;
  // Sifting pays if no more than this share of the rows passes, when they are then scored exactly and by codes.
  float worth_exact = 0;
  float worth_coded = 0;
  float largest_norm = 0;  // of the rows, where the least distance depends on it

  bool has_codes() const { return sketch_errors != nullptr; }
  Probe Of(uint32_t row, void* scratch, Mode mode = {}) const { return probe(*this, row, mode, scratch); }
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
