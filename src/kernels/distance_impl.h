// The kernels, compiled once for each instruction set; PENNON_KERNELS names the table.
#include <cstring>

#include "kernels/distance.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace pennon {
namespace PENNON_KERNELS {
namespace {

constexpr size_t kLanes = 16;

// A register's worth of lanes; wider vector types would be spilled.
#if defined(__AVX__)
constexpr size_t kWidth = 8;
#else
constexpr size_t kWidth = 4;
#endif
typedef float Lanes __attribute__((vector_size(kWidth * sizeof(float))));
typedef uint32_t IntLanes __attribute__((vector_size(kWidth * sizeof(float))));
typedef uint16_t HalfLanes __attribute__((vector_size(kWidth * sizeof(uint16_t))));
constexpr size_t kParts = kLanes / kWidth;

struct F32 {
  static constexpr size_t kBytes = 4;
  static inline Lanes Load(const void* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof(lanes));
    return lanes;
  }
};

struct F16 {
  static constexpr size_t kBytes = 2;
  static inline Lanes Load(const void* from) {
#if defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from)));
#else
    // Exponent and mantissa moved into place, then rescaled by 2^112: exact for every finite value.
    HalfLanes halves;
    std::memcpy(&halves, from, sizeof(halves));
    const IntLanes bits = __builtin_convertvector(halves, IntLanes);
    const Lanes magnitude = (Lanes)((bits & 0x7FFFu) << 13) * 0x1p112f;
    return (Lanes)((IntLanes)magnitude | (bits & 0x8000u) << 16);
#endif
  }
};

struct L2 {
  static inline Lanes Add(Lanes sum, Lanes a, Lanes b) { return sum + (a - b) * (a - b); }
};

struct Dot {
  static inline Lanes Add(Lanes sum, Lanes a, Lanes b) { return sum + a * b; }
};

template <typename Operation, typename Stored>
inline void AddBlock(const char* a, const char* b, Lanes* sums) {
#pragma GCC unroll 4
  for (size_t part = 0; part < kParts; ++part) {
    sums[part] = Operation::Add(sums[part], F32::Load(a + part * kWidth * sizeof(float)),
                                Stored::Load(b + part * kWidth * Stored::kBytes));
  }
}

template <typename Operation, typename Stored>
float Sum(const float* a, const void* b, size_t dim) {
  const char* query = reinterpret_cast<const char*>(a);
  const char* stored = static_cast<const char*>(b);
  Lanes sums[kParts] = {};
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    AddBlock<Operation, Stored>(query + i * sizeof(float), stored + i * Stored::kBytes, sums);
  }
  if (i < dim) {
    char tail_a[kLanes * sizeof(float)] = {};
    char tail_b[kLanes * Stored::kBytes] = {};
    std::memcpy(tail_a, query + i * sizeof(float), (dim - i) * sizeof(float));
    std::memcpy(tail_b, stored + i * Stored::kBytes, (dim - i) * Stored::kBytes);
    AddBlock<Operation, Stored>(tail_a, tail_b, sums);
  }
#pragma GCC unroll 2
  for (size_t half = kParts / 2; half > 0; half /= 2) {
    for (size_t part = 0; part < half; ++part) sums[part] += sums[part + half];
  }
  float lanes[kWidth];
  std::memcpy(lanes, sums, sizeof(lanes));
  for (size_t half = kWidth / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

void F16ToF32(const void* from, size_t n, float* to) {
  const char* halves = static_cast<const char*>(from);
  size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Lanes lanes = F16::Load(halves + 2 * i);
    std::memcpy(to + i, &lanes, sizeof(lanes));
  }
  if (i < n) {
    char tail[2 * kWidth] = {};
    std::memcpy(tail, halves + 2 * i, 2 * (n - i));
    const Lanes lanes = F16::Load(tail);
    std::memcpy(to + i, &lanes, (n - i) * sizeof(float));
  }
}

}  // namespace

extern const DistanceTable kTable;
const DistanceTable kTable = {PENNON_KERNELS_NAME, Sum<L2, F32>, Sum<L2, F16>, Sum<Dot, F32>, Sum<Dot, F16>, F16ToF32};

}  // namespace PENNON_KERNELS
}  // namespace pennon
