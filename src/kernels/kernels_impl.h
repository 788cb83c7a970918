// The kernels, compiled once for each instruction set; PENNON_KERNELS names the table.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(PENNON_NEON)
#include <arm_neon.h>
#endif

namespace pennon {
namespace PENNON_KERNELS {
namespace {

constexpr size_t kLanes = 16;
constexpr float kLeastScale = 1e-36f;

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
#elif defined(PENNON_NEON)
    return (Lanes)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(static_cast<const uint8_t*>(from))));
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

// codes[i] = code_of(vector[i] - centre[i], in steps), the farthest being `steps` away; gives the step, 0 if it is
// below the least.
template <typename Code, typename CodeOf>
float Encode(const float* vector, const float* centre, size_t dim, float steps, Code* codes, CodeOf code_of) {
  float most = 0;
  for (size_t i = 0; i < dim; ++i) most = std::max(most, std::fabs(vector[i] - centre[i]));
  const float scale = most / steps;
  if (!(scale >= kLeastScale)) {
    std::fill_n(codes, dim, code_of(0.0f));
    return 0;
  }
  const float inverse = steps / most;
  for (size_t i = 0; i < dim; ++i) codes[i] = code_of((vector[i] - centre[i]) * inverse);
  return scale;
}

float EncodeQuery(const float* vector, const float* centre, size_t dim, int8_t* codes) {
  return Encode(vector, centre, dim, 127.0f, codes, [](float value) {
    // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves it in the low bits.
    const float shifted = value + 12582912.0f;
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    return static_cast<int8_t>(bits);
  });
}

float EncodeRow(const float* vector, const float* centre, size_t dim, uint8_t* codes) {
  return Encode(vector, centre, dim, 16.0f, codes,
                [](float value) { return static_cast<uint8_t>(std::min(static_cast<int32_t>(value + 16.0f), 31)); });
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

#if defined(PENNON_NEON)

// A byte each: bit i % 8.
inline uint8x16_t EachBit() { return vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201)); }

// Codes 16 * part and up of a block.
inline uint8x16_t CodesOf(const uint8_t* nibbles, uint8x16_t bits, size_t part) {
  const uint8x16_t both = vld1q_u8(nibbles + part % 4 * 16);
  const uint8x16_t four = part < 4 ? vandq_u8(both, vdupq_n_u8(0x0F)) : vshrq_n_u8(both, 4);
  const auto byte = static_cast<uint8_t>(2 * part);
  const uint8x16_t bytes = vqtbl1q_u8(bits, vcombine_u8(vdup_n_u8(byte), vdup_n_u8(byte + 1)));
  return vbslq_u8(vdupq_n_u8(16), vtstq_u8(bytes, EachBit()), four);
}

#endif

// One bit of each of 64 bytes.
inline uint64_t BitsOf(const uint8_t* bytes, size_t bit) {
#if defined(__AVX512VNNI__)
  return _mm512_test_epi8_mask(_mm512_loadu_si512(bytes), _mm512_set1_epi8(static_cast<char>(1 << bit)));
#elif defined(PENNON_NEON)
  uint8x16_t parts[4];
  for (size_t part = 0; part < 4; ++part) {
    const uint8x16_t set = vtstq_u8(vld1q_u8(bytes + 16 * part), vdupq_n_u8(static_cast<uint8_t>(1 << bit)));
    parts[part] = vandq_u8(set, EachBit());
  }
  const uint8x16_t sums = vpaddq_u8(vpaddq_u8(parts[0], parts[1]), vpaddq_u8(parts[2], parts[3]));
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
#else
  uint64_t ones = 0;
  for (size_t i = 0; i < 64; ++i) ones |= static_cast<uint64_t>(bytes[i] >> bit & 1) << i;
  return ones;
#endif
}

void Pack(const uint8_t* __restrict codes, size_t blocks, uint64_t* __restrict bits, uint8_t* __restrict nibbles) {
  constexpr size_t kHalf = kCodeBlock / 2;
  for (size_t word = 0; word < 2 * blocks; ++word) bits[word] = BitsOf(codes + word * kHalf, 4);
  for (size_t block = 0; block < blocks; ++block) {
    const uint8_t* from = codes + block * kCodeBlock;
    for (size_t i = 0; i < kHalf; ++i) {
      nibbles[block * kHalf + i] = static_cast<uint8_t>((from[i] & 0x0F) | from[kHalf + i] << 4);
    }
  }
}

void Unpack(const uint64_t* bits, const uint8_t* nibbles, size_t blocks, int8_t* codes) {
  for (size_t block = 0; block < blocks; ++block, nibbles += kBlockNibbles, bits += 2, codes += kCodeBlock) {
#if defined(__AVX512VNNI__)
    const __m512i nibble = _mm512_set1_epi8(0x0F);
    const __m512i both = _mm512_loadu_si512(nibbles);
    const __m512i halves[] = {_mm512_and_si512(both, nibble), _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble)};
    for (size_t half = 0; half < 2; ++half) {
      const __m512i doubled = _mm512_add_epi8(halves[half], halves[half]);
      const __m512i base = _mm512_mask_mov_epi8(_mm512_set1_epi8(-31), bits[half], _mm512_set1_epi8(1));
      _mm512_storeu_si512(codes + half * 64, _mm512_add_epi8(doubled, base));
    }
#elif defined(PENNON_NEON)
    const uint8x16_t block_bits = vreinterpretq_u8_u64(vld1q_u64(bits));
    for (size_t part = 0; part < 8; ++part) {
      const int8x16_t code = vreinterpretq_s8_u8(CodesOf(nibbles, block_bits, part));
      vst1q_s8(codes + 16 * part, vsubq_s8(vaddq_s8(code, code), vdupq_n_s8(31)));
    }
#else
    for (size_t i = 0; i < kCodeBlock; ++i) {
      const int32_t nibble = i < 64 ? nibbles[i] & 0x0F : nibbles[i - 64] >> 4;
      codes[i] = static_cast<int8_t>(2 * nibble - 31 + static_cast<int32_t>(32 * (bits[i / 64] >> (i % 64) & 1)));
    }
#endif
  }
}

void Slice(const int8_t* codes, size_t blocks, int32_t low, float inverse_step, size_t plane_words, uint64_t* planes) {
  std::memset(planes, 0, 4 * plane_words * sizeof(uint64_t));
  for (size_t word = 0; word < 2 * blocks; ++word) {
    alignas(64) uint8_t levels[64];
    for (size_t i = 0; i < 64; ++i) {
      const auto above = static_cast<float>(codes[64 * word + i] - low);
      levels[i] = static_cast<uint8_t>(static_cast<int32_t>((above + 0.5f) * inverse_step));
    }
    for (size_t plane = 0; plane < 4; ++plane) planes[plane * plane_words + word] = BitsOf(levels, plane);
  }
}

CodeSums Sums(const int8_t* codes, size_t n) {
#if defined(__AVX512VNNI__)
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  __m512i magnitudes = sum;
  __m512i squares = sum;
  for (size_t i = 0; i < n; i += 64) {
    const __m512i code = _mm512_loadu_si512(codes + i);
    const __m512i magnitude = _mm512_abs_epi8(code);
    sum = _mm512_dpbusd_epi32(sum, ones, code);
    magnitudes = _mm512_dpbusd_epi32(magnitudes, magnitude, ones);
    squares = _mm512_dpbusd_epi32(squares, magnitude, magnitude);
  }
  return {_mm512_reduce_add_epi32(sum), _mm512_reduce_add_epi32(magnitudes), _mm512_reduce_add_epi32(squares)};
#else
  CodeSums sums = {};
  for (size_t i = 0; i < n; ++i) {
    const int32_t code = codes[i];
    sums.codes += code;
    sums.magnitudes += std::abs(code);
    sums.squares += code * code;
  }
  return sums;
#endif
}

inline bool Within(const SketchQuery& query, const CodeTerms& terms, int32_t dot, float limit) {
  const uint32_t bits = uint32_t{terms.error} << 16;
  float error;
  std::memcpy(&error, &bits, sizeof(error));
  const float signs =
      query.per_dot * static_cast<float>(dot) + query.per_one * static_cast<float>(terms.ones) + query.rest;
  const float least = terms.bias + terms.sketch_scale * signs - query.slack * error;
  return !(least > limit);
}

#if defined(__AVX512VPOPCNTDQ__)

// The four planes of up to eight words of a query.
struct PlaneWords {
  __mmask8 present;
  __m512i plane[4];

  PlaneWords(const SketchQuery& query, size_t at, size_t words)
      : present(static_cast<__mmask8>(words - at >= 8 ? 0xFF : (1u << (words - at)) - 1)) {
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; ++p) plane[p] = _mm512_loadu_si512(query.planes + p * query.plane_words + at);
  }
  // Sums of bits times levels, a word a lane. What lies behind the words may be another row's, and be written to.
  __m512i Dot(const uint64_t* row) const {
    const __m512i bits = _mm512_maskz_loadu_epi64(present, row);
    __m512i sum = _mm512_popcnt_epi64(_mm512_and_si512(bits, plane[3]));
#pragma GCC unroll 3
    for (size_t p = 3; p-- > 0;) {
      sum = _mm512_add_epi64(_mm512_add_epi64(sum, sum), _mm512_popcnt_epi64(_mm512_and_si512(bits, plane[p])));
    }
    return sum;
  }
};

// kOne: a row has no more than eight words.
template <bool kOne>
size_t SiftFours(const SketchQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float limit,
                 uint32_t* left) {
  const size_t words = 2 * rows.blocks;
  const PlaneWords first(query, 0, words);
  const __m128 per_dot = _mm_set1_ps(query.per_dot);
  const __m128 per_one = _mm_set1_ps(query.per_one);
  const __m128 rest = _mm_set1_ps(query.rest);
  const __m128 slack = _mm_set1_ps(query.slack);
  const __m128 most = _mm_set1_ps(limit);
  size_t kept = 0;
  for (size_t i = 0; i < n; i += 4) {
    const auto present = static_cast<__mmask8>(n - i >= 4 ? 0xF : (1u << (n - i)) - 1);
    const __m128i four = _mm_maskz_loadu_epi32(present, ids + i);
    uint32_t row_ids[4];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row_ids),
                     _mm_mask_mov_epi32(_mm_set1_epi32(static_cast<int>(ids[i])), present, four));
    __m512i sums[4];
    __m128 terms[4];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; ++r) {
      const uint64_t* row = rows.Sketch(row_ids[r]);
      sums[r] = first.Dot(row);
      if constexpr (!kOne) {
        for (size_t at = 8; at < words; at += 8)
          sums[r] = _mm512_add_epi64(sums[r], PlaneWords(query, at, words).Dot(row + at));
      }
      terms[r] = _mm_loadu_ps(reinterpret_cast<const float*>(row + words));
    }
    // Two rows share a register, one in the upper halves of the lanes.
    const __m512i even = _mm512_or_si512(sums[0], _mm512_slli_epi64(sums[1], 32));
    const __m512i odd = _mm512_or_si512(sums[2], _mm512_slli_epi64(sums[3], 32));
    const __m512i both = _mm512_add_epi32(_mm512_unpacklo_epi64(even, odd), _mm512_unpackhi_epi64(even, odd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(both), _mm512_extracti64x4_epi64(both, 1));
    const __m128i dots = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _MM_TRANSPOSE4_PS(terms[0], terms[1], terms[2], terms[3]);
    const __m128i packed = _mm_castps_si128(terms[3]);
    const __m128 ones = _mm_cvtepi32_ps(_mm_and_si128(packed, _mm_set1_epi32(0xFFFF)));
    const __m128 error = _mm_castsi128_ps(_mm_andnot_si128(_mm_set1_epi32(0xFFFF), packed));
    const __m128 signs =
        _mm_add_ps(_mm_add_ps(_mm_mul_ps(per_dot, _mm_cvtepi32_ps(dots)), _mm_mul_ps(per_one, ones)), rest);
    const __m128 least = _mm_sub_ps(_mm_add_ps(terms[2], _mm_mul_ps(terms[1], signs)), _mm_mul_ps(slack, error));
    const __mmask8 inside = _mm_mask_cmp_ps_mask(present, least, most, _CMP_NGT_UQ);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(left + kept), _mm_maskz_compress_epi32(inside, four));
    kept += static_cast<size_t>(__builtin_popcount(inside));
  }
  return kept;
}

size_t Sift(const SketchQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float limit,
            uint32_t* left) {
  return rows.blocks <= 4 ? SiftFours<true>(query, rows, ids, n, limit, left)
                          : SiftFours<false>(query, rows, ids, n, limit, left);
}

#else

// The sum of bits times levels.
inline int32_t DotBits(const SketchQuery& query, const uint64_t* row, size_t words) {
#if defined(PENNON_NEON)
  uint32x4_t sums = vdupq_n_u32(0);
  for (size_t word = 0; word < words; word += 2) {
    const uint64x2_t bits = vld1q_u64(row + word);
    uint8x16_t levels = vdupq_n_u8(0);  // at most 8 * 15 a byte
#pragma GCC unroll 4
    for (size_t plane = 4; plane-- > 0;) {
      const uint64x2_t both = vandq_u64(bits, vld1q_u64(query.planes + plane * query.plane_words + word));
      levels = vaddq_u8(vaddq_u8(levels, levels), vcntq_u8(vreinterpretq_u8_u64(both)));
    }
    sums = vpadalq_u16(sums, vpaddlq_u8(levels));
  }
  return static_cast<int32_t>(vaddvq_u32(sums));
#else
  int32_t dot = 0;
  for (size_t word = 0; word < words; ++word) {
    for (size_t plane = 0; plane < 4; ++plane) {
      dot += __builtin_popcountll(row[word] & query.planes[plane * query.plane_words + word]) << plane;
    }
  }
  return dot;
#endif
}

size_t Sift(const SketchQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float limit,
            uint32_t* left) {
  const size_t words = 2 * rows.blocks;
  size_t kept = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t* row = rows.Sketch(ids[i]);
    CodeTerms terms;
    std::memcpy(&terms, row + words, sizeof(terms));
    left[kept] = ids[i];
    kept += Within(query, terms, DotBits(query, row, words), limit) ? 1 : 0;
  }
  return kept;
}

#endif

// Four rows' codes are multiplied at a time.
struct CodedFour {
  const uint64_t* bits[4];
  const uint8_t* nibbles[4];
};

// out[i] = sum of query[d] * code d of row i. kBlocks: how many blocks there are; 0: as many as `blocks` says.
template <size_t kBlocks>
inline void DotFour(const int8_t* query, const CodedFour& rows, size_t blocks, int32_t* out) {
  if constexpr (kBlocks > 0) blocks = kBlocks;
#if defined(__AVX512VNNI__)
  const __m512i nibble = _mm512_set1_epi8(0x0F);
  const __m512i highest = _mm512_set1_epi8(16);
  __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 4
  for (size_t block = 0; block < blocks; ++block) {
    const __m512i q0 = _mm512_loadu_si512(query + block * kCodeBlock);
    const __m512i q1 = _mm512_loadu_si512(query + block * kCodeBlock + 64);
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; ++r) {
      const __m512i both = _mm512_loadu_si512(rows.nibbles[r] + block * kBlockNibbles);
      // 0xEA: the nibbles, or the highest bits.
      const __m512i first =
          _mm512_ternarylogic_epi64(both, nibble, _mm512_maskz_mov_epi8(rows.bits[r][2 * block], highest), 0xEA);
      const __m512i second = _mm512_ternarylogic_epi64(
          _mm512_srli_epi16(both, 4), nibble, _mm512_maskz_mov_epi8(rows.bits[r][2 * block + 1], highest), 0xEA);
      sums[r] = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sums[r], first, q0), second, q1);
    }
  }
  // Lanes of four rows are added up together.
  const __m512i low =
      _mm512_add_epi32(_mm512_unpacklo_epi32(sums[0], sums[1]), _mm512_unpackhi_epi32(sums[0], sums[1]));
  const __m512i high =
      _mm512_add_epi32(_mm512_unpacklo_epi32(sums[2], sums[3]), _mm512_unpackhi_epi32(sums[2], sums[3]));
  const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
#elif defined(__AVX2__)
  const __m256i nibble = _mm256_set1_epi8(0x0F);
  const __m256i highest = _mm256_set1_epi8(16);
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const auto load = [](const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); };
  for (size_t r = 0; r < 4; ++r) {
    __m256i sums = _mm256_setzero_si256();
    for (size_t block = 0; block < blocks; ++block) {
      const int8_t* q = query + block * kCodeBlock;
      // Pairs are at most 2 * 31 * 127; four of them fit 16 bits.
      __m256i pairs = _mm256_setzero_si256();
#pragma GCC unroll 4
      for (size_t quarter = 0; quarter < 4; ++quarter) {
        const __m256i both = load(rows.nibbles[r] + block * kBlockNibbles + quarter % 2 * 32);
        const __m256i four = _mm256_and_si256(quarter < 2 ? both : _mm256_srli_epi16(both, 4), nibble);
        const auto word = static_cast<int32_t>(rows.bits[r][2 * block + quarter / 2] >> (quarter % 2 * 32));
        const __m256i bytes = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word), spread), bit);
        const __m256i codes = _mm256_or_si256(four, _mm256_and_si256(_mm256_cmpeq_epi8(bytes, bit), highest));
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, load(q + quarter * 32)));
      }
      sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
    }
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    out[r] = _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
  }
#elif defined(PENNON_NEON)
  for (size_t r = 0; r < 4; ++r) {
    int32x4_t sums = vdupq_n_s32(0);
    for (size_t block = 0; block < blocks; ++block) {
      const uint8x16_t bits = vreinterpretq_u8_u64(vld1q_u64(rows.bits[r] + 2 * block));
      // Eight products of at most 31 * 127 fit 16 bits.
      int16x8_t low = vdupq_n_s16(0);
      int16x8_t high = vdupq_n_s16(0);
#pragma GCC unroll 8
      for (size_t part = 0; part < 8; ++part) {
        const int8x16_t codes = vreinterpretq_s8_u8(CodesOf(rows.nibbles[r] + block * kBlockNibbles, bits, part));
        const int8x16_t q = vld1q_s8(query + block * kCodeBlock + 16 * part);
        low = vmlal_s8(low, vget_low_s8(codes), vget_low_s8(q));
        high = vmlal_high_s8(high, codes, q);
      }
      sums = vpadalq_s16(vpadalq_s16(sums, low), high);
    }
    out[r] = vaddvq_s32(sums);
  }
#else
  for (size_t r = 0; r < 4; ++r) {
    int32_t sum = 0;
    for (size_t word = 0; word < 2 * blocks; ++word) {
      const uint8_t* from = rows.nibbles[r] + word / 2 * kBlockNibbles;
      for (size_t i = 0; i < 64; ++i) {
        const int32_t nibble = word % 2 == 0 ? from[i] & 0x0F : from[i] >> 4;
        sum += query[64 * word + i] * (nibble + static_cast<int32_t>(16 * (rows.bits[r][word] >> i & 1)));
      }
    }
    out[r] = sum;
  }
#endif
}

// The distances of up to four rows from their dot products.
inline void DistancesOf(const CodeQuery& query, const CodedFour& rows, size_t blocks, const int32_t* dots, size_t n,
                        float* out) {
#if defined(__AVX512VNNI__)
  __m128 terms[4];
#pragma GCC unroll 4
  for (size_t r = 0; r < 4; ++r) terms[r] = _mm_loadu_ps(reinterpret_cast<const float*>(rows.bits[r] + 2 * blocks));
  _MM_TRANSPOSE4_PS(terms[0], terms[1], terms[2], terms[3]);
  const __m128 dot = _mm_cvtepi32_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(dots)));
  const __m128 product =
      _mm_mul_ps(_mm_mul_ps(_mm_set1_ps(query.scale), terms[0]), _mm_add_ps(dot, _mm_set1_ps(query.rest)));
  const __m128 distance = _mm_add_ps(_mm_add_ps(_mm_set1_ps(query.bias), terms[2]), product);
  const __mmask8 numbers = _mm_cmp_ps_mask(distance, distance, _CMP_ORD_Q);
  _mm_mask_storeu_ps(out, static_cast<__mmask8>((1u << n) - 1),
                     _mm_mask_mov_ps(_mm_set1_ps(FLT_MAX), numbers, distance));
#else
  for (size_t r = 0; r < n; ++r) {
    CodeTerms terms;
    std::memcpy(&terms, rows.bits[r] + 2 * blocks, sizeof(terms));
    const float distance =
        query.bias + terms.bias + query.scale * terms.scale * (static_cast<float>(dots[r]) + query.rest);
    out[r] = distance == distance ? distance : FLT_MAX;
  }
#endif
}

template <size_t kBlocks>
void ScoreFours(const CodeQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float* out) {
  for (size_t i = 0; i < n; i += 4) {
    const size_t present = std::min(n - i, size_t{4});
    CodedFour four;
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; ++r) {
      const uint32_t row = ids[i + std::min(r, present - 1)];
      four.bits[r] = rows.Sketch(row);
      four.nibbles[r] = rows.Nibbles(row);
    }
    int32_t dots[4];
    DotFour<kBlocks>(query.codes, four, rows.blocks, dots);
    DistancesOf(query, four, rows.blocks, dots, present, out + i);
  }
}

void ScoreCodes(const CodeQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float* out) {
  switch (rows.blocks) {
    case 1: return ScoreFours<1>(query, rows, ids, n, out);
    case 2: return ScoreFours<2>(query, rows, ids, n, out);
    case 3: return ScoreFours<3>(query, rows, ids, n, out);
    default: return ScoreFours<0>(query, rows, ids, n, out);
  }
}

size_t Insert(uint64_t* keys, size_t n, uint64_t key) {
#if defined(__AVX512F__)
  // Each is the greater of the one before it, and the lesser of itself and the key: without branches on the keys, but
  // where there are many.
  size_t at = 0;
  while (n - at > 128 && keys[at + 63] < key) at += 64;
  const __m512i every = _mm512_set1_epi64(static_cast<int64_t>(key));
  __m512i before = _mm512_setzero_si512();
  size_t place = at;
  for (; at < n; at += 8) {
    const __m512i block = _mm512_loadu_si512(keys + at);
    place += static_cast<size_t>(__builtin_popcount(_mm512_cmplt_epu64_mask(block, every)));
    const __m512i shifted = _mm512_alignr_epi64(block, before, 7);
    _mm512_storeu_si512(keys + at, _mm512_max_epu64(shifted, _mm512_min_epu64(block, every)));
    before = block;
  }
  return place;
#else
  size_t at = 0;
  for (size_t left = n; left > 0;) {
    const size_t half = (left + 1) / 2;
    at += keys[at + half - 1] < key ? half : 0;
    left -= half;
  }
  if (at == n) return n;
  std::memmove(keys + at + 1, keys + at, (n - at - 1) * sizeof(uint64_t));
  keys[at] = key;
  return at;
#endif
}

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {PENNON_KERNELS_NAME,
                            Sum<L2, F32>,
                            Sum<L2, F16>,
                            Sum<Product, F32>,
                            Sum<Product, F16>,
                            F16ToF32,
                            EncodeQuery,
                            EncodeRow,
                            Squares,
                            Pack,
                            Unpack,
                            Slice,
                            Sums,
                            Sift,
                            ScoreCodes,
                            Insert};

}  // namespace PENNON_KERNELS
}  // namespace pennon
