// The kernels, compiled once for each instruction set; PENNON_KERNELS names the table.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace pennon {
namespace PENNON_KERNELS {
namespace {

constexpr size_t kLanes = 16;

// A register's worth of lanes; wider vector types would be spilled.
#if defined(__AVX512F__)
constexpr size_t kWidth = 16;
#elif defined(__AVX__)
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
  static Lanes Load(const void* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof(lanes));
    return lanes;
  }
};

struct F16 {
  static constexpr size_t kBytes = 2;
  static Lanes Load(const void* from) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
#elif defined(__F16C__)
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
  static Lanes Add(Lanes sum, Lanes a, Lanes b) { return sum + (a - b) * (a - b); }
};

struct Product {
  static Lanes Add(Lanes sum, Lanes a, Lanes b) { return sum + a * b; }
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

float Encode(const float* vector, const float* centre, size_t dim, uint8_t* codes) {
  float most = 0;
  for (size_t i = 0; i < dim; ++i) most = std::max(most, std::fabs(vector[i] - centre[i]));
  const float scale = most / 127;
  if (!(scale >= 1e-36f)) {
    std::memset(codes, 128, dim);
    return 0;
  }
  const float inverse = 127 / most;
  // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves it in the low bits.
  constexpr float kRound = 12582912.0f;
  for (size_t i = 0; i < dim; ++i) {
    const float shifted = (vector[i] - centre[i]) * inverse + (kRound + 128);
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    codes[i] = static_cast<uint8_t>(bits);
  }
  return scale;
}

double Squares(const float* vector, size_t dim) {
  double lanes[8] = {};
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += double{vector[i + lane]} * vector[i + lane];
  }
  for (size_t lane = 0; i + lane < dim; ++lane) lanes[lane] += double{vector[i + lane]} * vector[i + lane];
  for (size_t half = 4; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

int32_t CenterCodes(uint8_t* codes, size_t size) {
  int32_t sum = 0;
  for (size_t i = 0; i < size; ++i) {
    sum += codes[i];
    codes[i] ^= 0x80;
  }
  return sum - 128 * static_cast<int32_t>(size);
}

// Bytes of a plane that hold one run of codes in their low nibbles and the next run in their high ones.
constexpr size_t kRun = 64;

inline size_t RunAt(size_t at, size_t plane) { return std::min(kRun, plane - at); }

void Split(const uint8_t* __restrict codes, size_t size, uint8_t* __restrict high, uint8_t* __restrict low) {
  const size_t plane = size / 2;
  for (size_t at = 0; at < plane; at += kRun) {
    const size_t run = RunAt(at, plane);
    const uint8_t* from = codes + 2 * at;
    for (size_t i = 0; i < run; ++i) {
      high[at + i] = static_cast<uint8_t>(from[i] >> 4 | (from[run + i] & 0xF0));
      low[at + i] = static_cast<uint8_t>((from[i] & 0x0F) | from[run + i] << 4);
    }
  }
}

void Join(const uint8_t* __restrict high, const uint8_t* __restrict low, size_t size, uint8_t* __restrict codes) {
  const size_t plane = size / 2;
  for (size_t at = 0; at < plane; at += kRun) {
    const size_t run = RunAt(at, plane);
    uint8_t* to = codes + 2 * at;
    for (size_t i = 0; i < run; ++i) {
      to[i] = static_cast<uint8_t>(high[at + i] << 4 | (low[at + i] & 0x0F));
      to[run + i] = static_cast<uint8_t>((high[at + i] & 0xF0) | low[at + i] >> 4);
    }
  }
}

#if defined(__AVX2__)

// Four sums at a time, so that adding up lanes is shared.
template <size_t kRows>
inline void AddLanes(const __m256i* sums, int32_t minus, int32_t* out) {
  __m128i quarter[4];
  for (size_t r = 0; r < 4; ++r) {
    const __m256i sum = sums[std::min(r, kRows - 1)];
    quarter[r] = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  }
  const __m128i all = _mm_hadd_epi32(_mm_hadd_epi32(quarter[0], quarter[1]), _mm_hadd_epi32(quarter[2], quarter[3]));
  int32_t results[4];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(results), _mm_sub_epi32(all, _mm_set1_epi32(minus)));
  std::copy_n(results, kRows, out);
}

#endif

// Rows as their high nibbles alone.
struct High {
  static constexpr bool kLow = false;
};
// Rows as both planes, the second so many bytes behind the first.
struct Both {
  static constexpr bool kLow = true;
  size_t distance;
};

#if defined(__AVX512VNNI__)

// Bytes without sign against signed ones; of both planes, the surplus of 128 is taken off in the end.
template <size_t kRows, typename Planes>
inline void DotBlock(Planes planes, const int8_t* query, int32_t query_sum, const uint8_t* const* rows, size_t plane,
                     int32_t* out) {
  const __m512i nibble = _mm512_set1_epi8(0x0F);
  __m512i sums[kRows];
  for (size_t r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_si512();
  size_t at = 0;
  for (; at + 64 <= plane; at += 64) {
    const __m512i q0 = _mm512_loadu_si512(query + 2 * at);
    const __m512i q1 = _mm512_loadu_si512(query + 2 * at + 64);
    for (size_t r = 0; r < kRows; ++r) {
      const __m512i high = _mm512_loadu_si512(rows[r] + at);
      __m512i first = _mm512_and_si512(high, nibble);
      __m512i second = _mm512_and_si512(_mm512_srli_epi16(high, 4), nibble);
      if constexpr (Planes::kLow) {
        const __m512i low = _mm512_loadu_si512(rows[r] + planes.distance + at);
        // Nibbles from the second operand where the mask is, else from the first.
        first = _mm512_ternarylogic_epi64(nibble, low, _mm512_slli_epi16(high, 4), 0xCA);
        second = _mm512_ternarylogic_epi64(nibble, _mm512_srli_epi16(low, 4), high, 0xCA);
      }
      sums[r] = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sums[r], first, q0), second, q1);
    }
  }
  __m256i halves[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    halves[r] = _mm256_add_epi32(_mm512_castsi512_si256(sums[r]), _mm512_extracti64x4_epi64(sums[r], 1));
  }
  if (at < plane) {
    const __m256i half_nibble = _mm256_set1_epi8(0x0F);
    const __m256i q0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + 2 * at));
    const __m256i q1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + 2 * at + 32));
    for (size_t r = 0; r < kRows; ++r) {
      const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + at));
      __m256i first = _mm256_and_si256(high, half_nibble);
      __m256i second = _mm256_and_si256(_mm256_srli_epi16(high, 4), half_nibble);
      if constexpr (Planes::kLow) {
        const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + planes.distance + at));
        first = _mm256_ternarylogic_epi64(half_nibble, low, _mm256_slli_epi16(high, 4), 0xCA);
        second = _mm256_ternarylogic_epi64(half_nibble, _mm256_srli_epi16(low, 4), high, 0xCA);
      }
      halves[r] = _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(halves[r], first, q0), second, q1);
    }
  }
  AddLanes<kRows>(halves, Planes::kLow ? 128 * query_sum : 0, out);
}

#elif defined(__AVX2__)

template <size_t kRows, typename Planes>
inline void DotBlock(Planes planes, const int8_t* query, int32_t, const uint8_t* const* rows, size_t plane,
                     int32_t* out) {
  const __m256i bias = _mm256_set1_epi8(static_cast<char>(0x80));
  const __m256i nibble = _mm256_set1_epi8(0x0F);
  const __m256i ones = _mm256_set1_epi16(1);
  // Pairs of |code| * (query with the code's sign): at most 2 * 127 * 127, which 16 bits hold.
  const auto pairs = [&](__m256i row, __m256i q) {
    if constexpr (!Planes::kLow) return _mm256_maddubs_epi16(row, q);
    row = _mm256_xor_si256(row, bias);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(q, row));
  };
  __m256i sums[kRows];
  for (size_t r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
  for (size_t at = 0; at < plane; at += kRun) {
    const size_t run = RunAt(at, plane);
    for (size_t i = at; i < at + run; i += 32) {
      const __m256i q0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + at + i));
      const __m256i q1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + at + i + run));
      for (size_t r = 0; r < kRows; ++r) {
        const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + i));
        __m256i first = _mm256_and_si256(high, nibble);
        __m256i second = _mm256_andnot_si256(nibble, high);
        if constexpr (Planes::kLow) {
          const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + planes.distance + i));
          first = _mm256_or_si256(_mm256_slli_epi16(first, 4), _mm256_and_si256(low, nibble));
          second = _mm256_or_si256(second, _mm256_and_si256(_mm256_srli_epi16(low, 4), nibble));
        } else {
          second = _mm256_srli_epi16(second, 4);
        }
        sums[r] = _mm256_add_epi32(sums[r], _mm256_add_epi32(_mm256_madd_epi16(pairs(first, q0), ones),
                                                             _mm256_madd_epi16(pairs(second, q1), ones)));
      }
    }
  }
  AddLanes<kRows>(sums, 0, out);
}

#else

template <size_t kRows, typename Planes>
inline void DotBlock(Planes planes, const int8_t* query, int32_t query_sum, const uint8_t* const* rows, size_t plane,
                     int32_t* out) {
  for (size_t r = 0; r < kRows; ++r) {
    int32_t sum = 0;
    for (size_t at = 0; at < plane; at += kRun) {
      const size_t run = RunAt(at, plane);
      const int8_t* q = query + 2 * at;
      for (size_t i = 0; i < run; ++i) {
        const uint8_t high = rows[r][at + i];
        int32_t first = high & 0x0F;
        int32_t second = high >> 4;
        if constexpr (Planes::kLow) {
          const uint8_t low = rows[r][planes.distance + at + i];
          first = first << 4 | (low & 0x0F);
          second = second << 4 | low >> 4;
        }
        sum += q[i] * first + q[run + i] * second;
      }
    }
    out[r] = Planes::kLow ? sum - 128 * query_sum : sum;
  }
}

#endif

template <typename Planes>
void Dot(Planes planes, const int8_t* query, int32_t query_sum, const uint8_t* const* rows, size_t n, size_t plane,
         int32_t* out) {
  constexpr size_t kBlock = 4;
  constexpr size_t kAhead = 2 * kBlock;
  const auto prefetch = [&](size_t begin, size_t end) {
    for (size_t r = begin; r < std::min(n, end); ++r) {
      for (size_t at = 0; at < plane; at += 64) {
        __builtin_prefetch(rows[r] + at);
        if constexpr (Planes::kLow) __builtin_prefetch(rows[r] + planes.distance + at);
      }
    }
  };
  prefetch(0, kAhead);
  size_t r = 0;
  for (; r + kBlock <= n; r += kBlock) {
    prefetch(r + kAhead, r + kAhead + kBlock);
    DotBlock<kBlock>(planes, query, query_sum, rows + r, plane, out + r);
  }
  switch (n - r) {
    case 1: return DotBlock<1>(planes, query, query_sum, rows + r, plane, out + r);
    case 2: return DotBlock<2>(planes, query, query_sum, rows + r, plane, out + r);
    case 3: return DotBlock<3>(planes, query, query_sum, rows + r, plane, out + r);
    default: return;
  }
}

void DotHigh(const int8_t* query, const uint8_t* const* rows, size_t n, size_t size, int32_t* out) {
  Dot(High{}, query, 0, rows, n, size / 2, out);
}

void DotCodes(const int8_t* query, int32_t query_sum, const uint8_t* const* rows, size_t low, size_t n, size_t size,
              int32_t* out) {
  Dot(Both{low}, query, query_sum, rows, n, size / 2, out);
}

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {
    PENNON_KERNELS_NAME, Sum<L2, F32>, Sum<L2, F16>, Sum<Product, F32>, Sum<Product, F16>, F16ToF32, Encode, Squares,
    CenterCodes,         Split,        Join,         DotHigh,           DotCodes};

}  // namespace PENNON_KERNELS
}  // namespace pennon
