// The functions that depend on the instruction set: distances of float vectors, codes, and dot products of codes.
//
// Every table gives the same bits. Float products are summed in 16 lanes (element i in lane i % 16) and the lanes are
// added pairwise, 8 apart, 4, 2, 1; no fused multiply-add. Products of codes are exact integers. Stored vectors may
// have any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pennon {

// A code is an integer from -127 to 127, plus 128 as a byte. Rows of codes are a multiple of this long. They are stored
// in two planes of half that length, of their high nibbles and of their low ones, in an order that Split knows.
constexpr size_t kCodeBlock = 64;

struct KernelTable {
  const char* name;
  float (*l2_f32)(const float* a, const void* b, size_t dim);
  float (*l2_f16)(const float* a, const void* b, size_t dim);
  float (*dot_f32)(const float* a, const void* b, size_t dim);
  float (*dot_f16)(const float* a, const void* b, size_t dim);
  void (*f16_to_f32)(const void* from, size_t n, float* to);
  // codes[i] = round((vector[i] - centre[i]) / scale) with scale = max |vector[i] - centre[i]| / 127; gives the scale,
  // 0 if it is below 1e-36. Finite input.
  float (*encode)(const float* vector, const float* centre, size_t dim, uint8_t* codes);
  // The squared norm in double, in 8 lanes: element i in lane i % 8, added pairwise, 4 apart, 2, 1.
  double (*squares)(const float* vector, size_t dim);
  // Takes off the 128 in place; gives the sum.
  int32_t (*center_codes)(uint8_t* codes, size_t size);
  void (*split)(const uint8_t* codes, size_t size, uint8_t* high, uint8_t* low);
  void (*join)(const uint8_t* high, const uint8_t* low, size_t size, uint8_t* codes);
  // out[i] = sum of query[d] * high nibble d of rows[i], from 0 to 15.
  void (*dot_high)(const int8_t* query, const uint8_t* const* rows, size_t n, size_t size, int32_t* out);
  // out[i] = sum of query[d] * code d of rows[i], whose low nibbles lie `low` bytes behind the high ones. query_sum is
  // the sum of the query.
  void (*dot_codes)(const int8_t* query, int32_t query_sum, const uint8_t* const* rows, size_t low, size_t n,
                    size_t size, int32_t* out);
};

// The best table that this processor can run, or the one that the environment's PENNON_SIMD names; chosen once.
const KernelTable& Kernels();

// All tables that this processor can run, the best one last.
std::span<const KernelTable* const> AvailableKernels();

// PENNON_SIMD if it is set and names no available table, else empty.
std::string_view UnknownSimd();

}  // namespace pennon
