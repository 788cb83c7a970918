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
typedef float Lanes __attribute__((vector_size(64)));
typedef uint32_t IntLanes __attribute__((vector_size(64)));
typedef uint16_t HalfLanes __attribute__((vector_size(32)));

struct F32 {
  static constexpr size_t kBytes = 4;
  static inline __attribute__((always_inline)) void Load(const void* from, Lanes& to) {
    std::memcpy(&to, from, sizeof(to));
  }
};

struct F16 {
  static constexpr size_t kBytes = 2;
  static inline __attribute__((always_inline)) void Load(const void* from, Lanes& to) {
#if defined(__F16C__)
    const __m128i* halves = static_cast<const __m128i*>(from);
    __m256 parts[2] = {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
    std::memcpy(&to, parts, sizeof(to));
#else
    // Exponent and mantissa moved into place, then rescaled by 2^112: exact for every finite value.
    HalfLanes halves;
    std::memcpy(&halves, from, sizeof(halves));
    const IntLanes bits = __builtin_convertvector(halves, IntLanes);
    const IntLanes magnitude = (bits & 0x7FFFu) << 13;
    const IntLanes sign = (bits & 0x8000u) << 16;
    const Lanes scaled = (Lanes)magnitude * 0x1p112f;
    const IntLanes result = (IntLanes)scaled | sign;
    std::memcpy(&to, &result, sizeof(to));
#endif
  }
};

struct L2 {
  static inline __attribute__((always_inline)) void Add(const Lanes& a, const Lanes& b, Lanes& sum) {
    const Lanes difference = a - b;
    sum += difference * difference;
  }
};

struct Dot {
  static inline __attribute__((always_inline)) void Add(const Lanes& a, const Lanes& b, Lanes& sum) { sum += a * b; }
};

template <typename Operation, typename Stored>
float Sum(const float* a, const void* b, size_t dim) {
  const char* stored = static_cast<const char*>(b);
  Lanes sum = {};
  Lanes x;
  Lanes y;
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    F32::Load(a + i, x);
    Stored::Load(stored + i * Stored::kBytes, y);
    Operation::Add(x, y, sum);
  }
  if (i < dim) {
    alignas(64) char tail_a[64] = {};
    alignas(64) char tail_b[64] = {};
    std::memcpy(tail_a, a + i, (dim - i) * sizeof(float));
    std::memcpy(tail_b, stored + i * Stored::kBytes, (dim - i) * Stored::kBytes);
    F32::Load(tail_a, x);
    Stored::Load(tail_b, y);
    Operation::Add(x, y, sum);
  }
  float lanes[kLanes];
  std::memcpy(lanes, &sum, sizeof(lanes));
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

void F16ToF32(const void* from, size_t n, float* to) {
  const char* halves = static_cast<const char*>(from);
  Lanes lanes;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    F16::Load(halves + 2 * i, lanes);
    std::memcpy(to + i, &lanes, sizeof(lanes));
  }
  if (i < n) {
    alignas(64) char tail[32] = {};
    std::memcpy(tail, halves + 2 * i, 2 * (n - i));
    F16::Load(tail, lanes);
    std::memcpy(to + i, &lanes, (n - i) * sizeof(float));
  }
}

}  // namespace

extern const DistanceTable kTable;
const DistanceTable kTable = {PENNON_KERNELS_NAME, Sum<L2, F32>, Sum<L2, F16>, Sum<Dot, F32>, Sum<Dot, F16>, F16ToF32};

}  // namespace PENNON_KERNELS
}  // namespace pennon
