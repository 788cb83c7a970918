// The functions that depend on the instruction set: distances of float vectors, codes and their products, and sorted
// keys.
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

// A row's code has 5 bits a dimension, c from 0 to 31, for the value scale * (c - 15.5). Its highest bits lie together,
// a bit a dimension (word w holds dimensions 64 w and up), and are a first, coarse code, the sketch. The other four
// bits lie elsewhere, 64 bytes a block of dimensions: those of its first half in the low nibbles, of its second in the
// high ones. A query's code has 8 bits a dimension, from -127 to 127.
constexpr size_t kCodeBlock = 128;
constexpr size_t kBlockBits = kCodeBlock / 8;
constexpr size_t kBlockNibbles = kCodeBlock / 2;

// What distances to a row need beside its bits; lies behind them.
struct CodeTerms {
  float scale;
  float sketch_scale;  // for sums over the bits' signs
  float bias;
  uint16_t ones;   // bits that are set
  uint16_t error;  // of a sketch's distance, a unit vector's deviation: the upper half of a float
};
static_assert(sizeof(CodeTerms) == 16);

struct CodeSums {
  int32_t codes;
  int32_t magnitudes;
  int32_t squares;
};

// A query as the sketches need it: 4 bits a dimension, in planes of a bit a dimension.
struct SketchQuery {
  const uint64_t* planes;  // four, each of plane_words, zero beyond the last dimension
  size_t plane_words;      // a multiple of 8
  // distance = bias + sketch_scale * (per_dot * dot + per_one * ones + rest), give or take slack * error
  float per_dot;
  float per_one;
  float rest;
  float slack;
};

struct CodeQuery {
  const int8_t* codes;
  float bias;
  float scale;
  float rest;
};

// Where the codes of rows lie: in segments of 2^segment_shift rows, first their sketches (bits, then terms), then their
// nibbles, then by how much they are off, the upper half of a float a row.
struct CodedRows {
  const char* const* segments;
  uint32_t segment_shift;
  size_t blocks;
  size_t sketch_bytes;

  const uint64_t* Sketch(uint32_t row) const {
    return reinterpret_cast<const uint64_t*>(segments[row >> segment_shift] + At(row) * sketch_bytes);
  }
  const uint8_t* Nibbles(uint32_t row) const {
    return reinterpret_cast<const uint8_t*>(segments[row >> segment_shift]) + (sketch_bytes << segment_shift) +
           At(row) * blocks * kBlockNibbles;
  }
  const uint16_t* Off(uint32_t row) const {
    const char* behind = segments[row >> segment_shift] + ((sketch_bytes + blocks * kBlockNibbles) << segment_shift);
    return reinterpret_cast<const uint16_t*>(behind) + At(row);
  }
  size_t At(uint32_t row) const { return row & ((uint32_t{1} << segment_shift) - 1); }
  size_t segment_bytes() const { return (sketch_bytes + blocks * kBlockNibbles + sizeof(uint16_t)) << segment_shift; }
};

struct KernelTable {
  const char* name;
  float (*l2_f32)(const float* a, const void* b, size_t dim);
  float (*l2_f16)(const float* a, const void* b, size_t dim);
  float (*dot_f32)(const float* a, const void* b, size_t dim);
  float (*dot_f16)(const float* a, const void* b, size_t dim);
  void (*f16_to_f32)(const void* from, size_t n, float* to);
  // codes[i] = round((vector[i] - centre[i]) / scale) with scale = max |vector[i] - centre[i]| / 127; gives the scale,
  // 0 if it is below 1e-36. Finite input.
  float (*encode_query)(const float* vector, const float* centre, size_t dim, int8_t* codes);
  // codes[i] = floor((vector[i] - centre[i]) / scale + 16), at most 31, with scale = max |vector[i] - centre[i]| / 16;
  // gives the scale, 0 if it is below 1e-36.
  float (*encode_row)(const float* vector, const float* centre, size_t dim, uint8_t* codes);
  // The squared norm in double, in 8 lanes: element i in lane i % 8, added pairwise, 4 apart, 2, 1.
  double (*squares)(const float* vector, size_t dim);
  void (*pack)(const uint8_t* codes, size_t blocks, uint64_t* bits, uint8_t* nibbles);
  // codes[i] = 2 c - 31
  void (*unpack)(const uint64_t* bits, const uint8_t* nibbles, size_t blocks, int8_t* codes);
  // floor((codes[i] - low + 0.5) * inverse_step), from 0 to 15, in planes of a bit a dimension, plane_words apart.
  void (*slice)(const int8_t* codes, size_t blocks, int32_t low, float inverse_step, size_t plane_words,
                uint64_t* planes);
  // Of n codes from -127 to 127, a multiple of 64.
  CodeSums (*sums)(const int8_t* codes, size_t n);
  // The ids whose rows are at most `limit` away by their sketches; gives how many. `left` has room for n + 3 and may
  // be ids.
  size_t (*sift)(const SketchQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float limit,
                 uint32_t* left);
  // out[i] = bias + the row's bias + scale * the row's scale * (sum of query[d] * code d of row ids[i] + rest); FLT_MAX
  // for NaN, as infinities may meet near the largest floats.
  void (*score_codes)(const CodeQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float* out);
  // Puts the key in its place among n ascending ones, a multiple of 8, of which the last drops out; gives the place, n
  // if there is none.
  size_t (*insert)(uint64_t* keys, size_t n, uint64_t key);
};

// The best table that this processor can run, or the one that the environment's PENNON_SIMD names; chosen once.
const KernelTable& Kernels();

// All tables that this processor can run, the best one last.
std::span<const KernelTable* const> AvailableKernels();

// PENNON_SIMD if it is set and names no available table, else empty.
std::string_view UnknownSimd();

}  // namespace pennon
