// ctest: labels=contract-6 timeout=60
// Every table against plain definitions of the kernels, bit for bit, and all results against those of other machines.
// Without Arrow, so that tools/test_aarch64.sh can build it for another processor.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/kernels.h"

namespace pennon {
namespace {

// What all results come to. It changes with the inputs below and with what the kernels are to give, and with nothing
// else.
constexpr uint64_t kDigest = 9465519261569796864u;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

namespace plain {

float F32(const void* from, size_t i) {
  float value;
  std::memcpy(&value, static_cast<const char*>(from) + 4 * i, sizeof(value));
  return value;
}

float F16(const void* from, size_t i) {
  uint16_t half;
  std::memcpy(&half, static_cast<const char*>(from) + 2 * i, sizeof(half));
  const int32_t exponent = half >> 10 & 31;
  const int32_t mantissa = half & 1023;
  const double value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>(half >> 15 == 0 ? value : -value);
}

template <size_t kLanes, typename Value>
auto Sum(size_t n, Value value) {
  decltype(value(0)) lanes[kLanes] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % kLanes] += value(i);
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

template <float (*kLoad)(const void*, size_t)>
float L2(const float* a, const void* b, size_t dim) {
  return Sum<16>(dim, [&](size_t i) { return (a[i] - kLoad(b, i)) * (a[i] - kLoad(b, i)); });
}

template <float (*kLoad)(const void*, size_t)>
float Product(const float* a, const void* b, size_t dim) {
  return Sum<16>(dim, [&](size_t i) { return a[i] * kLoad(b, i); });
}

void F16ToF32(const void* from, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) to[i] = F16(from, i);
}

template <typename Code, typename Round>
float Encode(const float* vector, const float* centre, size_t dim, Code* codes, float steps, Code zero, Round round) {
  float most = 0;
  for (size_t i = 0; i < dim; ++i) most = std::max(most, std::fabs(vector[i] - centre[i]));
  const bool none = most / steps < 1e-36f;
  for (size_t i = 0; i < dim; ++i) codes[i] = none ? zero : round((vector[i] - centre[i]) * (steps / most));
  return none ? 0 : most / steps;
}

float EncodeQuery(const float* vector, const float* centre, size_t dim, int8_t* codes) {
  return Encode(vector, centre, dim, codes, 127, int8_t{0},
                [](float level) { return static_cast<int8_t>(std::nearbyint(level)); });
}

float EncodeRow(const float* vector, const float* centre, size_t dim, uint8_t* codes) {
  return Encode(vector, centre, dim, codes, 16, uint8_t{16},
                [](float level) { return static_cast<uint8_t>(std::clamp(std::floor(level + 16), 0.0f, 31.0f)); });
}

double Squares(const float* vector, size_t dim) {
  return Sum<8>(dim, [&](size_t i) { return double{vector[i]} * vector[i]; });
}

void Pack(const uint8_t* codes, size_t blocks, uint64_t* bits, uint8_t* nibbles) {
  std::memset(bits, 0, blocks * kBlockBits);
  std::memset(nibbles, 0, blocks * kBlockNibbles);
  for (size_t d = 0; d < blocks * kCodeBlock; ++d) {
    bits[d / 64] |= uint64_t{codes[d] >= 16} << (d % 64);
    nibbles[d / 128 * 64 + d % 64] |= static_cast<uint8_t>(codes[d] % 16 * (d % 128 < 64 ? 1 : 16));
  }
}

uint64_t Bit(const uint64_t* bits, size_t d) { return bits[d / 64] >> (d % 64) & 1; }

int32_t Code(const uint64_t* bits, const uint8_t* nibbles, size_t d) {
  const int32_t both = nibbles[d / 128 * 64 + d % 64];
  return static_cast<int32_t>(16 * Bit(bits, d)) + (d % 128 < 64 ? both % 16 : both / 16);
}

void Unpack(const uint64_t* bits, const uint8_t* nibbles, size_t blocks, int8_t* codes) {
  for (size_t d = 0; d < blocks * kCodeBlock; ++d) codes[d] = static_cast<int8_t>(2 * Code(bits, nibbles, d) - 31);
}

void Slice(const int8_t* codes, size_t blocks, int32_t low, float inverse_step, size_t plane_words, uint64_t* planes) {
  std::memset(planes, 0, 4 * plane_words * sizeof(uint64_t));
  for (size_t d = 0; d < blocks * kCodeBlock; ++d) {
    const auto level = static_cast<uint64_t>(std::floor((static_cast<float>(codes[d] - low) + 0.5f) * inverse_step));
    for (size_t p = 0; p < 4; ++p) planes[p * plane_words + d / 64] |= (level >> p & 1) << (d % 64);
  }
}

CodeTerms TermsOf(const CodedRows& rows, uint32_t row) {
  CodeTerms terms;
  std::memcpy(&terms, rows.Sketch(row) + 2 * rows.blocks, sizeof(terms));
  return terms;
}

float Least(const SketchQuery& query, const CodedRows& rows, uint32_t row) {
  uint64_t dot = 0;
  for (size_t d = 0; d < rows.blocks * kCodeBlock; ++d) {
    for (size_t p = 0; p < 4; ++p) {
      dot += (Bit(rows.Sketch(row), d) & Bit(query.planes + p * query.plane_words, d)) << p;
    }
  }
  const CodeTerms terms = TermsOf(rows, row);
  const uint16_t upper[] = {0, terms.error};
  const float signs =
      query.per_dot * static_cast<float>(dot) + query.per_one * static_cast<float>(terms.ones) + query.rest;
  return terms.bias + terms.sketch_scale * signs - query.slack * F32(upper, 0);
}

size_t Sift(const SketchQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float limit,
            uint32_t* left) {
  return static_cast<size_t>(
      std::copy_if(ids, ids + n, left, [&](uint32_t row) { return !(Least(query, rows, row) > limit); }) - left);
}

void ScoreCodes(const CodeQuery& query, const CodedRows& rows, const uint32_t* ids, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    int64_t dot = 0;
    for (size_t d = 0; d < rows.blocks * kCodeBlock; ++d) {
      dot += query.codes[d] * Code(rows.Sketch(ids[i]), rows.Nibbles(ids[i]), d);
    }
    const CodeTerms terms = TermsOf(rows, ids[i]);
    const float distance = query.bias + terms.bias + query.scale * terms.scale * (static_cast<float>(dot) + query.rest);
    out[i] = std::isnan(distance) ? FLT_MAX : distance;
  }
}

CodeSums Sums(const int8_t* codes, size_t n) {
  CodeSums sums = {};
  for (const int32_t code : std::span(codes, n)) {
    sums.codes += code;
    sums.magnitudes += std::abs(code);
    sums.squares += code * code;
  }
  return sums;
}

size_t Insert(uint64_t* keys, size_t n, uint64_t key) {
  uint64_t* place = std::lower_bound(keys, keys + n, key);
  if (place == keys + n) return n;
  std::copy_backward(place, keys + n - 1, keys + n);
  *place = key;
  return static_cast<size_t>(place - keys);
}

const KernelTable kTable = {"plain", L2<F32>, L2<F16>, Product<F32>, Product<F16>, F16ToF32, EncodeQuery, EncodeRow,
                            Squares, Pack,    Unpack,  Slice,        Sums,         Sift,     ScoreCodes,  Insert};

}  // namespace plain

// All that a table gives for the same inputs.
class Results {
 public:
  struct Result {
    std::string what;
    std::vector<char> bytes;
  };

  explicit Results(const KernelTable& table) : table_(table) {
    std::vector<size_t> dims = {255, 256, 257, 384, 511, 640, 769, 1536};
    for (size_t dim = 1; dim <= 130; ++dim) dims.push_back(dim);
    for (const size_t dim : dims) {
      for (const float magnitude : {1.0f, 1e17f, 1e-30f, 1e-40f, 0.0f}) Floats(dim, magnitude);
    }
    // The last is longer than 16 bits can add up.
    for (const size_t blocks : {1, 2, 3, 4, 5, 12, 300}) Codes(blocks);
    for (const size_t n : {8, 16, 64, 120, 128, 136, 192, 264, 1000}) Keys(n);
  }

  std::vector<Result> all;

 private:
  static constexpr uint32_t kRows = 13;
  static constexpr size_t kGuard = 16;  // elements behind an output that stay as they are

  template <typename T>
  void Add(const std::string& kernel, const std::vector<T>& values) {
    const char* bytes = reinterpret_cast<const char*>(values.data());
    all.push_back({kernel + where_, std::vector<char>(bytes, bytes + values.size() * sizeof(T))});
  }
  template <typename T>
  static std::vector<T> Guarded(size_t n) {
    return std::vector<T>(n + kGuard, T{77});
  }
  // From -1 to 1. The standard's distributions differ between libraries.
  float Draw() { return static_cast<float>(static_cast<int64_t>(random_() >> 40) - (1 << 23)) * 0x1p-23f; }
  int32_t Draw(int32_t least, int32_t most) {
    return least + static_cast<int32_t>(random_() % static_cast<uint64_t>(most - least + 1));
  }

  void Floats(size_t dim, float magnitude) {
    where_ = " dim " + std::to_string(dim) + " magnitude " + std::to_string(magnitude);
    std::vector<float> a(dim);
    std::vector<float> b(dim);
    std::vector<float> centre(dim);
    std::vector<uint16_t> halves(dim);
    for (size_t i = 0; i < dim; ++i) {
      a[i] = magnitude * Draw();
      b[i] = magnitude * Draw();
      centre[i] = i % 3 == 0 ? 0 : magnitude * Draw();
      halves[i] = static_cast<uint16_t>(random_());
      if ((halves[i] >> 10 & 31) == 31) halves[i] ^= 1 << 14;  // finite
    }
    for (size_t offset = 0; offset < 4; ++offset) {
      std::vector<char> b_at(offset + 4 * dim);
      std::vector<char> halves_at(offset + 2 * dim);
      std::memcpy(b_at.data() + offset, b.data(), 4 * dim);
      std::memcpy(halves_at.data() + offset, halves.data(), 2 * dim);
      const char* f32 = b_at.data() + offset;
      const char* f16 = halves_at.data() + offset;
      Add("distances", std::vector<float>{table_.l2_f32(a.data(), f32, dim), table_.l2_f16(a.data(), f16, dim),
                                          table_.dot_f32(a.data(), f32, dim), table_.dot_f16(a.data(), f16, dim)});
      std::vector<float> widened = Guarded<float>(dim);
      table_.f16_to_f32(f16, dim, widened.data());
      Add("f16_to_f32", widened);
    }
    Add("squares", std::vector<double>{table_.squares(a.data(), dim)});
    if (dim % 2 == 0) a[dim / 2] *= 1000;
    std::vector<int8_t> query = Guarded<int8_t>(dim);
    std::vector<uint8_t> row = Guarded<uint8_t>(dim);
    Add("scales", std::vector<float>{table_.encode_query(a.data(), centre.data(), dim, query.data()),
                                     table_.encode_row(a.data(), centre.data(), dim, row.data())});
    Add("encode_query", query);
    Add("encode_row", row);
  }

  void Codes(size_t blocks) {
    where_ = " blocks " + std::to_string(blocks);
    const size_t dim = blocks * kCodeBlock;
    const size_t sketch_bytes = blocks * kBlockBits + sizeof(CodeTerms);
    CodedRows rows = {nullptr, 2, blocks, sketch_bytes <= 32 ? 32 : (sketch_bytes + 63) / 64 * 64};
    std::vector<std::vector<char>> segments((kRows + 3) / 4, std::vector<char>(rows.segment_bytes(), 77));
    std::vector<const char*> pointers(segments.size());
    for (size_t i = 0; i < segments.size(); ++i) pointers[i] = segments[i].data();
    rows.segments = pointers.data();
    for (uint32_t row = 0; row < kRows; ++row) Place(rows, row);

    std::vector<int8_t> codes(dim);
    for (const int32_t most : {127, 20, -90}) {
      const int32_t least = std::max(-127, most - 250);
      for (int8_t& code : codes) code = static_cast<int8_t>(Draw(least, most));
      codes[0] = static_cast<int8_t>(least);
      codes[dim - 1] = static_cast<int8_t>(most);
      Search(rows, codes, least, 16 / static_cast<float>(most - least + 1));
    }
    // The largest sums, then the least.
    std::fill(codes.begin(), codes.end(), int8_t{127});
    Search(rows, codes, -127, 16 / 255.0f);
    std::fill(codes.begin(), codes.end(), int8_t{-127});
    Search(rows, codes, -128, 10.0f);
  }

  void Place(const CodedRows& rows, uint32_t row) {
    std::vector<uint8_t> codes(rows.blocks * kCodeBlock);
    for (uint8_t& code : codes) {
      code = static_cast<uint8_t>(row < 4 ? std::vector{31, 0, 15, 16}[row] : Draw(0, 31));
    }
    std::vector<uint64_t> bits = Guarded<uint64_t>(2 * rows.blocks);
    std::vector<uint8_t> nibbles = Guarded<uint8_t>(rows.blocks * kBlockNibbles);
    table_.pack(codes.data(), rows.blocks, bits.data(), nibbles.data());
    Add("pack, bits", bits);
    Add("pack, nibbles", nibbles);
    std::vector<int8_t> back = Guarded<int8_t>(codes.size());
    table_.unpack(bits.data(), nibbles.data(), rows.blocks, back.data());
    Add("unpack", back);

    CodeTerms terms = {.scale = Draw(),
                       .sketch_scale = row < 4 ? 1 : 1 + Draw(),
                       .bias = row < 4 ? 0 : 100 * Draw(),
                       .ones = static_cast<uint16_t>(random_()),
                       .error = static_cast<uint16_t>(Draw(0x3F00, 0x40FF))};
    if (row == 5) terms.bias = kNaN;
    if (row == 6) terms.bias = kInfinity;
    char* sketch = const_cast<char*>(reinterpret_cast<const char*>(rows.Sketch(row)));
    std::memcpy(sketch, bits.data(), rows.blocks * kBlockBits);
    std::memcpy(sketch + rows.blocks * kBlockBits, &terms, sizeof(terms));
    std::memcpy(const_cast<uint8_t*>(rows.Nibbles(row)), nibbles.data(), rows.blocks * kBlockNibbles);
  }

  void Search(const CodedRows& rows, const std::vector<int8_t>& codes, int32_t low, float inverse_step) {
    const size_t plane_words = (2 * rows.blocks + 7) / 8 * 8;
    std::vector<uint64_t> planes = Guarded<uint64_t>(4 * plane_words);
    table_.slice(codes.data(), rows.blocks, low, inverse_step, plane_words, planes.data());
    Add("slice", planes);
    const CodeSums sums = table_.sums(codes.data(), codes.size());
    Add("sums", std::vector<int32_t>{sums.codes, sums.magnitudes, sums.squares});
    const SketchQuery exact = {planes.data(), plane_words, 1, 0, 0, 0};
    const SketchQuery sketch = {planes.data(), plane_words, -0.37f, 0.011f, 12.5f, 3.7f};
    for (const size_t n : {1, 2, 3, 4, 5, 8, 11}) {
      std::vector<uint32_t> ids(n);
      for (uint32_t& id : ids) id = static_cast<uint32_t>(Draw(0, kRows - 1));
      ids[n / 2] = static_cast<uint32_t>(n % 4);
      for (const SketchQuery& query : {exact, sketch}) {
        const float at = plain::Least(query, rows, ids[n / 2]);
        for (const float limit : {at, std::nextafter(at, -kInfinity), std::nextafter(at, kInfinity), kInfinity, kNaN}) {
          std::vector<uint32_t> left = Guarded<uint32_t>(n + 3);
          std::copy(ids.begin(), ids.end(), left.begin());
          const size_t kept = table_.sift(query, rows, left.data(), n, limit, left.data());
          std::fill(left.begin() + static_cast<int64_t>(kept), left.begin() + static_cast<int64_t>(n + 3), 0);
          Add("sift", left);
        }
      }
      const CodeQuery sum = {codes.data(), 0, 1, 0};
      const CodeQuery usual = {codes.data(), -3.3f, -0.7f, 1234.5f};
      const CodeQuery infinite = {codes.data(), -kInfinity, 1, 0};
      for (const CodeQuery& query : {sum, usual, infinite}) {
        std::vector<float> out = Guarded<float>(n);
        table_.score_codes(query, rows, ids.data(), n, out.data());
        Add("score_codes", out);
      }
    }
  }

  // From an empty beam on, with keys that are there before, and the least and the greatest.
  void Keys(size_t n) {
    where_ = " keys " + std::to_string(n);
    std::vector<uint64_t> keys = Guarded<uint64_t>(n);
    std::fill_n(keys.begin(), n, ~uint64_t{0});
    std::vector<uint64_t> places;
    for (size_t i = 0; i < 3 * n; ++i) {
      uint64_t key = random_() >> 1;
      if (i % 5 == 4) key = keys[i % n];
      if (i == 2 * n) key = 0;
      if (i % n == 7) key = ~uint64_t{0};
      places.push_back(table_.insert(keys.data(), n, key));
      if (i % 16 == 0) Add("insert", keys);
    }
    Add("insert", keys);
    Add("insert, places", places);
  }

  const KernelTable& table_;
  std::mt19937_64 random_{1};
  std::string where_;
};

TEST(SameBits, EveryTableGivesWhatTheDefinitionsGive) {
  const Results expected(plain::kTable);
  for (const KernelTable* table : AvailableKernels()) {
    const Results results(*table);
    ASSERT_EQ(results.all.size(), expected.all.size());
    for (size_t i = 0; i < results.all.size(); ++i) {
      ASSERT_EQ(results.all[i].bytes, expected.all[i].bytes) << table->name << ": " << results.all[i].what;
    }
  }
  uint64_t digest = 0xCBF29CE484222325;  // FNV-1a
  for (const auto& result : expected.all) {
    for (const char byte : result.bytes) digest = (digest ^ static_cast<uint8_t>(byte)) * 0x100000001B3;
  }
  EXPECT_EQ(digest, kDigest) << "other results than on other machines";
}

TEST(SameBits, TheBestTableIsChosenUnlessAnotherIsNamed) {
#if defined(__aarch64__)
  EXPECT_STREQ(AvailableKernels().back()->name, "neon");
#endif
  const char* named = std::getenv("PENNON_SIMD");
  const bool any = named == nullptr || *named == 0;
  EXPECT_STREQ(Kernels().name, any ? AvailableKernels().back()->name : named);
}

}  // namespace
}  // namespace pennon
