// Distances of one float32 vector to one stored vector, which is float32 or float16.
//
// Every table gives the same bits: products are summed in 16 lanes (element i in lane i % 16) and the lanes are added
// pairwise, 8 apart, 4, 2, 1; no fused multiply-add. Stored vectors may have any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pennon {

struct DistanceTable {
  const char* name;
  float (*l2_f32)(const float* a, const void* b, size_t dim);
  float (*l2_f16)(const float* a, const void* b, size_t dim);
  float (*dot_f32)(const float* a, const void* b, size_t dim);
  float (*dot_f16)(const float* a, const void* b, size_t dim);
  void (*f16_to_f32)(const void* from, size_t n, float* to);
};

// The best table that this processor can run; chosen once.
const DistanceTable& Distances();

// All tables that this processor can run.
std::span<const DistanceTable* const> AvailableDistanceTables();

}  // namespace pennon
