// ctest: labels=contract-6,asan timeout=60
#include "kernels/kernels.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <arrow/util/float16.h>
#include <gtest/gtest.h>

namespace pennon {
namespace {

TEST(Distance, EveryTableAgainstDoubleAndEachOther) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  const KernelTable& first = *AvailableKernels().front();
  for (size_t dim = 1; dim <= 130; ++dim) {
    for (size_t offset : {0, 1, 3}) {
      std::vector<float> a(dim);
      std::vector<char> floats(4 * dim + offset);
      std::vector<char> halves(2 * dim + offset);
      double l2 = 0;
      double dot = 0;
      for (size_t i = 0; i < dim; ++i) {
        a[i] = normal(random);
        // Some are subnormal as halves.
        const auto half = arrow::util::Float16::FromFloat(normal(random) * (i % 5 == 4 ? 1e-6f : 1.0f));
        const float b = half.ToFloat();
        const uint16_t bits = half.bits();
        std::memcpy(floats.data() + offset + 4 * i, &b, 4);
        std::memcpy(halves.data() + offset + 2 * i, &bits, 2);
        l2 += (double{a[i]} - b) * (double{a[i]} - b);
        dot += double{a[i]} * b;
      }
      for (const KernelTable* table : AvailableKernels()) {
        const float l2_f32 = table->l2_f32(a.data(), floats.data() + offset, dim);
        const float dot_f32 = table->dot_f32(a.data(), floats.data() + offset, dim);
        EXPECT_NEAR(l2_f32, l2, 1e-5 * (1 + l2)) << table->name << " " << dim;
        EXPECT_NEAR(dot_f32, dot, 1e-5 * (1 + l2)) << table->name << " " << dim;
        EXPECT_EQ(l2_f32, table->l2_f16(a.data(), halves.data() + offset, dim));
        EXPECT_EQ(dot_f32, table->dot_f16(a.data(), halves.data() + offset, dim));
        EXPECT_EQ(l2_f32, first.l2_f32(a.data(), floats.data() + offset, dim));
        EXPECT_EQ(dot_f32, first.dot_f32(a.data(), floats.data() + offset, dim));
        std::vector<float> decoded(dim);
        table->f16_to_f32(halves.data() + offset, dim, decoded.data());
        EXPECT_EQ(std::memcmp(decoded.data(), floats.data() + offset, 4 * dim), 0) << table->name << " " << dim;
      }
    }
  }
}

// Once for each table; skipped where the processor cannot run it.
class Codes : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const KernelTable* available : AvailableKernels()) {
      if (std::string(available->name) == GetParam()) table_ = available;
    }
    if (table_ != nullptr) return;
    bool can_run = true;
    for (const char* flag : FlagsOf(GetParam())) can_run = can_run && ProcessorHas(flag);
    ASSERT_FALSE(can_run) << "this processor can run " << GetParam();
    GTEST_SKIP() << "this processor cannot run " << GetParam();
  }
  // Of processors that can run the table, at least.
  static std::vector<const char*> FlagsOf(const std::string& table) {
    if (table == "avx2") return {"avx2"};
    if (table == "avx512") return {"avx512_vnni", "avx512_vpopcntdq"};
    if (table == "neon") return {"asimd"};
    return {};
  }
  static bool ProcessorHas(const std::string& flag) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with("flags") && !line.starts_with("Features")) continue;
      std::istringstream flags(line);
      for (std::string word; flags >> word;) {
        if (word == flag) return true;
      }
      return false;
    }
    return false;
  }

  const KernelTable* table_ = nullptr;
  const KernelTable& first_ = *AvailableKernels().front();
  std::mt19937_64 random_{2};
};
INSTANTIATE_TEST_SUITE_P(Table, Codes, testing::Values("portable", "avx2", "avx512", "neon"),
                         [](const auto& of) { return std::string(of.param); });

constexpr size_t kGuard = 16;  // elements behind an array that stay as they are

std::vector<size_t> Dims() {
  std::vector<size_t> dims = {384, 640, 1536};
  for (size_t dim = 1; dim <= 130; ++dim) dims.push_back(dim);
  return dims;
}

size_t BlocksOf(size_t dim) { return (dim + kCodeBlock - 1) / kCodeBlock; }

struct Case {
  std::string name;
  std::vector<float> vector;
  std::vector<float> centre;

  double Value(size_t i) const { return vector[i] - centre[i]; }
  float Farthest() const {
    float most = 0;
    for (size_t i = 0; i < vector.size(); ++i) most = std::max(most, std::fabs(vector[i] - centre[i]));
    return most;
  }
};

std::vector<Case> CasesOf(size_t dim, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  const auto draw = [&](float times) {
    std::vector<float> values(dim);
    for (float& value : values) value = times * normal(random);
    return values;
  };
  const std::vector<float> origin(dim);
  const std::vector<float> centre = draw(1);
  std::vector<Case> cases = {{"normal", draw(1), centre},
                             {"huge", draw(1e30f), centre},
                             {"tiny", draw(1e-30f), origin},
                             {"denormal", draw(1e-40f), origin},
                             {"the centre", centre, centre},
                             {"an outlier", draw(1), centre},
                             {"constant", std::vector<float>(dim, 0.25f), origin},
                             {"constant below", std::vector<float>(dim, -0.75f), origin}};
  cases[5].vector[dim / 2] = 1e6f;
  return cases;
}

TEST_P(Codes, AQueryIsWithinHalfAStepOfItsCode) {
  for (const size_t dim : Dims()) {
    for (const Case& c : CasesOf(dim, random_)) {
      std::vector<int8_t> codes(dim + kGuard, 77);
      std::vector<int8_t> expected = codes;
      const float scale = table_->encode_query(c.vector.data(), c.centre.data(), dim, codes.data());
      EXPECT_EQ(scale, first_.encode_query(c.vector.data(), c.centre.data(), dim, expected.data()));
      ASSERT_EQ(codes, expected) << c.name << " " << dim;
      EXPECT_EQ(scale, c.Farthest() / 127 >= 1e-36f ? c.Farthest() / 127 : 0) << c.name << " " << dim;
      int32_t most = 0;
      for (size_t i = 0; i < dim; ++i) {
        ASSERT_GE(codes[i], -127) << c.name << " " << dim;
        most = std::max(most, std::abs(int32_t{codes[i]}));
        if (scale == 0) continue;
        ASSERT_NEAR(codes[i] * double{scale}, c.Value(i), 0.50001 * scale) << c.name << " " << dim;
      }
      ASSERT_EQ(most, scale > 0 ? 127 : 0) << c.name << " " << dim;
      for (size_t i = dim; i < codes.size(); ++i) ASSERT_EQ(codes[i], 77) << c.name << " " << dim;
    }
  }
}

TEST_P(Codes, ARowIsWithinHalfAStepOfItsCode) {
  for (const size_t dim : Dims()) {
    for (const Case& c : CasesOf(dim, random_)) {
      std::vector<uint8_t> codes(dim + kGuard, 77);
      std::vector<uint8_t> expected = codes;
      const float scale = table_->encode_row(c.vector.data(), c.centre.data(), dim, codes.data());
      EXPECT_EQ(scale, first_.encode_row(c.vector.data(), c.centre.data(), dim, expected.data()));
      ASSERT_EQ(codes, expected) << c.name << " " << dim;
      EXPECT_EQ(scale, c.Farthest() / 16 >= 1e-36f ? c.Farthest() / 16 : 0) << c.name << " " << dim;
      for (size_t i = 0; i < dim; ++i) {
        ASSERT_LE(codes[i], 31) << c.name << " " << dim;
        if (scale == 0) {
          ASSERT_EQ(codes[i], 16) << c.name << " " << dim;
          continue;
        }
        ASSERT_NEAR((codes[i] - 15.5) * scale, c.Value(i), 0.50001 * scale) << c.name << " " << dim;
        // The farthest above would have a level of its own, 32.
        if (std::fabs(c.Value(i)) != c.Farthest()) continue;
        ASSERT_EQ(codes[i], c.Value(i) > 0 ? 31 : 0) << c.name << " " << dim;
      }
      for (size_t i = dim; i < codes.size(); ++i) ASSERT_EQ(codes[i], 77) << c.name << " " << dim;
    }
  }
}

TEST_P(Codes, LevelsOfARowBeginAtMultiplesOfItsStep) {
  constexpr size_t kDim = 65;  // value i lies at (i - 32) / 2 steps
  std::vector<float> vector(kDim);
  const std::vector<float> origin(kDim);
  for (size_t i = 0; i < kDim; ++i) vector[i] = (static_cast<float>(i) - 32) / 2;
  std::vector<uint8_t> codes(kDim);
  EXPECT_EQ(table_->encode_row(vector.data(), origin.data(), kDim, codes.data()), 1);
  for (size_t i = 0; i < kDim; ++i) EXPECT_EQ(codes[i], std::min(i / 2, size_t{31})) << i;
}

TEST_P(Codes, ScalesBelowTheLeastAreZero) {
  const float origin = 0;
  int8_t query;
  uint8_t row;
  for (const float sign : {1.0f, -1.0f}) {
    const float query_above = sign * 1.28e-34f;
    const float query_below = sign * 1.26e-34f;
    const float row_above = sign * 1.61e-35f;
    const float row_below = sign * 1.59e-35f;
    EXPECT_GT(table_->encode_query(&query_above, &origin, 1, &query), 0);
    EXPECT_EQ(query, sign > 0 ? 127 : -127);
    EXPECT_EQ(table_->encode_query(&query_below, &origin, 1, &query), 0);
    EXPECT_EQ(query, 0);
    EXPECT_GT(table_->encode_row(&row_above, &origin, 1, &row), 0);
    EXPECT_EQ(row, sign > 0 ? 31 : 0);
    EXPECT_EQ(table_->encode_row(&row_below, &origin, 1, &row), 0);
    EXPECT_EQ(row, 16);
  }
}

std::vector<uint8_t> DrawCodes(size_t n, std::mt19937_64& random) {
  std::vector<uint8_t> codes(n);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 32);
  return codes;
}

uint64_t BitOf(const uint64_t* bits, size_t d) { return bits[d / 64] >> (d % 64) & 1; }

TEST_P(Codes, PackedCodesLieWhereTheyShouldAndComeBack) {
  for (const size_t blocks : {1, 2, 3, 5, 12}) {
    const size_t size = blocks * kCodeBlock;
    std::vector<uint8_t> codes = DrawCodes(size, random_);
    for (size_t i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(i);  // every one at least once
    std::vector<uint64_t> bits(2 * blocks + 1, 0xA5A5A5A5A5A5A5A5);
    std::vector<uint8_t> nibbles(blocks * kBlockNibbles + kGuard, 0xA5);
    table_->pack(codes.data(), blocks, bits.data(), nibbles.data());
    for (size_t d = 0; d < size; ++d) {
      EXPECT_EQ(BitOf(bits.data(), d), codes[d] >> 4) << d;
      const size_t in_block = d % kCodeBlock;
      const uint8_t both = nibbles[d / kCodeBlock * kBlockNibbles + in_block % 64];
      EXPECT_EQ(in_block < 64 ? both & 0x0F : both >> 4, codes[d] & 0x0F) << d;
    }
    EXPECT_EQ(bits.back(), 0xA5A5A5A5A5A5A5A5);
    for (size_t i = 0; i < kGuard; ++i) EXPECT_EQ(nibbles[blocks * kBlockNibbles + i], 0xA5);
    std::vector<int8_t> back(size + kGuard, 77);
    table_->unpack(bits.data(), nibbles.data(), blocks, back.data());
    for (size_t d = 0; d < size; ++d) EXPECT_EQ(back[d], 2 * codes[d] - 31) << d;
    for (size_t i = 0; i < kGuard; ++i) EXPECT_EQ(back[size + i], 77);
  }
}

TEST_P(Codes, SlicesAreLevelsOfAQuery) {
  for (const size_t blocks : {1, 2, 3, 4, 5, 12}) {
    const size_t plane_words = (2 * blocks + 7) / 8 * 8;
    for (const int32_t high : {127, 8, -100}) {
      const int32_t low = std::max(-127, high - 250);
      std::vector<int8_t> codes(blocks * kCodeBlock);
      for (int8_t& code : codes) code = static_cast<int8_t>(low + static_cast<int32_t>(random_() % (high - low + 1)));
      codes[0] = static_cast<int8_t>(low);
      codes[1] = static_cast<int8_t>(high);
      const float inverse_step = 16 / static_cast<float>(high - low + 1);
      std::vector<uint64_t> planes(4 * plane_words + 1, ~uint64_t{0});
      std::vector<uint64_t> expected = planes;
      table_->slice(codes.data(), blocks, low, inverse_step, plane_words, planes.data());
      first_.slice(codes.data(), blocks, low, inverse_step, plane_words, expected.data());
      EXPECT_EQ(planes, expected) << blocks;
      for (size_t d = 0; d < codes.size(); ++d) {
        uint64_t level = 0;
        for (size_t p = 0; p < 4; ++p) level |= BitOf(planes.data() + p * plane_words, d) << p;
        ASSERT_NEAR(static_cast<double>(level) + 0.5, (codes[d] - low + 0.5) * double{inverse_step}, 0.50001) << d;
      }
      EXPECT_EQ(planes[0] & 3, 2u);  // the lowest and the highest
      for (size_t p = 0; p < 4; ++p) {
        for (size_t word = 2 * blocks; word < plane_words; ++word) ASSERT_EQ(planes[p * plane_words + word], 0u);
      }
      EXPECT_EQ(planes.back(), ~uint64_t{0});
    }
  }
}

// Rows in several segments, put there bit by bit. What is not theirs is not zero.
class Placed {
 public:
  static constexpr uint32_t kRows = 13;
  static constexpr uint32_t kShift = 2;

  Placed(size_t blocks, std::mt19937_64& random)
      : terms(kRows, {.scale = 1, .sketch_scale = 1, .bias = 0, .ones = 0, .error = 0}) {
    const size_t bytes = blocks * kBlockBits + sizeof(CodeTerms);
    rows = {nullptr, kShift, blocks, bytes <= 32 ? 32 : (bytes + 63) / 64 * 64};
    for (uint32_t row = 0; row < kRows; ++row) codes.push_back(DrawCodes(blocks * kCodeBlock, random));
    for (uint32_t first = 0; first < kRows; first += 1u << kShift) {
      segments_.emplace_back(rows.segment_bytes());
      for (char& byte : segments_.back()) byte = static_cast<char>(random());
    }
    for (const auto& segment : segments_) pointers_.push_back(segment.data());
    rows.segments = pointers_.data();
  }
  void Write() {
    for (uint32_t row = 0; row < kRows; ++row) {
      char* segment = segments_[row >> kShift].data();
      const size_t at = row % (1u << kShift);
      char* sketch = segment + at * rows.sketch_bytes;
      char* nibbles = segment + (rows.sketch_bytes << kShift) + at * rows.blocks * kBlockNibbles;
      for (size_t d = 0; d < codes[row].size(); ++d) {
        SetBits(sketch[d / 8], 1, d % 8, codes[row][d] >> 4);
        char& both = nibbles[d / kCodeBlock * kBlockNibbles + d % 64];
        SetBits(both, 0x0F, d % kCodeBlock < 64 ? 0 : 4, codes[row][d] & 0x0F);
      }
      std::memcpy(sketch + rows.blocks * kBlockBits, &terms[row], sizeof(CodeTerms));
    }
  }

  CodedRows rows;
  std::vector<std::vector<uint8_t>> codes;
  std::vector<CodeTerms> terms;

 private:
  static void SetBits(char& byte, int mask, size_t shift, int value) {
    byte = static_cast<char>((byte & ~(mask << shift)) | value << shift);
  }
  std::vector<std::vector<char>> segments_;
  std::vector<const char*> pointers_;
};

// Row ids, some of them twice.
std::vector<uint32_t> DrawIds(size_t n, std::mt19937_64& random) {
  std::vector<uint32_t> ids(n);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(random() % Placed::kRows);
  if (n > 1) ids[n - 1] = ids[n / 2];
  return ids;
}

float FromUpperHalf(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// A query's sketch of random levels.
struct Sketched {
  Sketched(size_t blocks, std::mt19937_64& random) : levels(blocks * kCodeBlock) {
    const size_t plane_words = (2 * blocks + 7) / 8 * 8;
    planes.resize(4 * plane_words);
    for (size_t d = 0; d < levels.size(); ++d) {
      levels[d] = static_cast<uint32_t>(random() % 16);
      for (size_t p = 0; p < 4; ++p) planes[p * plane_words + d / 64] |= uint64_t{levels[d] >> p & 1} << (d % 64);
    }
    query = {planes.data(), plane_words, 1, 0, 0, 0};
  }
  // What is compared with the limit, in the very order of operations that the tables use.
  float Least(const Placed& placed, uint32_t row) const {
    uint32_t dot = 0;
    for (size_t d = 0; d < levels.size(); ++d) dot += levels[d] * (placed.codes[row][d] >> 4);
    const CodeTerms& terms = placed.terms[row];
    const float signs =
        query.per_dot * static_cast<float>(dot) + query.per_one * static_cast<float>(terms.ones) + query.rest;
    return terms.bias + terms.sketch_scale * signs - query.slack * FromUpperHalf(terms.error);
  }

  std::vector<uint32_t> levels;
  std::vector<uint64_t> planes;
  SketchQuery query;
};

void CheckSift(const KernelTable& table, const Sketched& sketched, const Placed& placed,
               const std::vector<uint32_t>& ids, float limit) {
  constexpr uint32_t kUntouched = 0xDEADBEEF;
  std::vector<uint32_t> left(ids.size() + 3 + kGuard, kUntouched);
  std::vector<uint32_t> expected;
  for (uint32_t id : ids) {
    if (!(sketched.Least(placed, id) > limit)) expected.push_back(id);
  }
  const size_t kept = table.sift(sketched.query, placed.rows, ids.data(), ids.size(), limit, left.data());
  ASSERT_EQ(kept, expected.size()) << "blocks " << placed.rows.blocks << " limit " << limit;
  for (size_t i = 0; i < kept; ++i) ASSERT_EQ(left[i], expected[i]) << "blocks " << placed.rows.blocks;
  for (size_t i = ids.size() + 3; i < left.size(); ++i) ASSERT_EQ(left[i], kUntouched) << ids.size();
}

TEST_P(Codes, SiftKeepsTheRowsThatMayBeWithinTheLimit) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::normal_distribution<float> normal;
  for (const size_t blocks : {1, 2, 3, 4, 5, 12}) {
    Placed placed(blocks, random_);
    Sketched sketched(blocks, random_);
    for (CodeTerms& terms : placed.terms) {
      terms = {.scale = std::numeric_limits<float>::quiet_NaN(),  // not the sketches' business
               .sketch_scale = 1 + std::fabs(normal(random_)),
               .bias = 100 * normal(random_),
               .ones = static_cast<uint16_t>(random_()),
               .error = static_cast<uint16_t>(0x3F80 + random_() % 256)};
    }
    placed.terms[0].ones = 0xFFFF;
    placed.terms[1].error = 0;
    placed.Write();
    sketched.query.per_dot = -0.37f;
    sketched.query.per_one = 0.011f;
    sketched.query.rest = 12.5f;
    sketched.query.slack = 3.7f;
    for (size_t n = 1; n <= 40; ++n) {
      const std::vector<uint32_t> ids = DrawIds(n, random_);
      const float at = sketched.Least(placed, ids[random_() % n]);
      for (const float limit : {at, std::nextafter(at, -kInfinity), std::nextafter(at, kInfinity), -kInfinity}) {
        ASSERT_NO_FATAL_FAILURE(CheckSift(*table_, sketched, placed, ids, limit)) << n;
      }
    }
  }
}

TEST_P(Codes, SiftSumsLevelsExactly) {
  for (const size_t blocks : {1, 2, 3, 4, 5, 12}) {
    Placed placed(blocks, random_);
    std::fill(placed.codes[0].begin(), placed.codes[0].end(), uint8_t{31});
    std::fill(placed.codes[1].begin(), placed.codes[1].end(), uint8_t{15});
    placed.Write();
    Sketched sketched(blocks, random_);
    for (uint32_t row = 0; row < Placed::kRows; ++row) {
      uint32_t dot = 0;
      for (size_t d = 0; d < sketched.levels.size(); ++d) dot += sketched.levels[d] * (placed.codes[row][d] >> 4);
      ASSERT_EQ(dot == 0, row == 1);
      uint32_t left[4];
      const auto limit = static_cast<float>(dot);
      EXPECT_EQ(table_->sift(sketched.query, placed.rows, &row, 1, limit, left), 1u) << blocks;
      EXPECT_EQ(left[0], row);
      EXPECT_EQ(table_->sift(sketched.query, placed.rows, &row, 1, limit - 0.5f, left), 0u) << blocks;
    }
  }
}

TEST_P(Codes, SiftKeepsWhatIsNotKnownToBeFarther) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const size_t blocks : {1, 3, 5}) {
    Placed placed(blocks, random_);
    Sketched sketched(blocks, random_);
    for (CodeTerms& terms : placed.terms) terms.bias = 1000;
    placed.terms[2].bias = kNaN;
    placed.terms[3].bias = kInfinity;
    placed.terms[5].sketch_scale = kNaN;
    placed.Write();
    const std::vector<uint32_t> ids = {0, 1, 2, 3, 4, 5, 2};
    const auto sift = [&](float limit) {
      std::vector<uint32_t> left(ids.size() + 3);
      left.resize(table_->sift(sketched.query, placed.rows, ids.data(), ids.size(), limit, left.data()));
      return left;
    };
    EXPECT_EQ(sift(kInfinity), ids);
    EXPECT_EQ(sift(kNaN), ids);
    EXPECT_EQ(sift(0), (std::vector<uint32_t>{2, 5, 2}));
    EXPECT_EQ(sift(FLT_MAX), (std::vector<uint32_t>{0, 1, 2, 4, 5, 2}));
  }
}

int32_t Dot(const std::vector<int8_t>& query, const std::vector<uint8_t>& codes) {
  int32_t sum = 0;
  for (size_t i = 0; i < query.size(); ++i) sum += query[i] * codes[i];
  return sum;
}

// The out of n rows; checks that nothing behind it is written.
std::vector<float> ScoreOf(const KernelTable& table, const CodeQuery& query, const Placed& placed,
                           const std::vector<uint32_t>& ids) {
  std::vector<float> out(ids.size() + kGuard, 77);
  table.score_codes(query, placed.rows, ids.data(), ids.size(), out.data());
  for (size_t i = ids.size(); i < out.size(); ++i) EXPECT_EQ(out[i], 77) << ids.size();
  out.resize(ids.size());
  return out;
}

TEST_P(Codes, ScoresAreExactSums) {
  for (const size_t blocks : {1, 2, 3, 4, 5, 12}) {
    Placed placed(blocks, random_);
    std::fill(placed.codes[0].begin(), placed.codes[0].end(), uint8_t{31});
    std::fill(placed.codes[1].begin(), placed.codes[1].end(), uint8_t{0});
    placed.Write();
    std::vector<std::vector<int8_t>> queries(4, std::vector<int8_t>(blocks * kCodeBlock));
    for (size_t d = 0; d < queries[0].size(); ++d) {
      queries[0][d] = 127;
      queries[1][d] = -127;
      queries[2][d] = static_cast<int8_t>(placed.codes[2][d] < 16 ? -127 : 127);
      queries[3][d] = static_cast<int8_t>(static_cast<int32_t>(random_() % 255) - 127);
    }
    for (const auto& codes : queries) {
      const CodeQuery query = {codes.data(), 0, 1, 0};
      for (size_t n = 1; n <= 9; ++n) {
        std::vector<uint32_t> ids = DrawIds(n, random_);
        ids[0] = static_cast<uint32_t>(n % 3);
        const std::vector<float> out = ScoreOf(*table_, query, placed, ids);
        for (size_t i = 0; i < n; ++i) {
          ASSERT_EQ(static_cast<int32_t>(out[i]), Dot(codes, placed.codes[ids[i]])) << blocks << " " << n;
        }
      }
    }
  }
}

TEST_P(Codes, ScoresHaveTheirTerms) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::normal_distribution<float> normal;
  for (const size_t blocks : {1, 2, 3, 5, 12}) {
    Placed placed(blocks, random_);
    for (CodeTerms& terms : placed.terms) {
      terms = {.scale = normal(random_),
               .sketch_scale = std::numeric_limits<float>::quiet_NaN(),  // the sketches' business
               .bias = 1000 * normal(random_),
               .ones = 0xFFFF,
               .error = 0xFFFF};
    }
    placed.terms[4].bias = -kInfinity;
    placed.terms[5].bias = kInfinity;
    placed.Write();
    std::vector<int8_t> codes(blocks * kCodeBlock);
    for (int8_t& code : codes) code = static_cast<int8_t>(static_cast<int32_t>(random_() % 255) - 127);
    for (const float bias : {-3.3f, kInfinity}) {
      const CodeQuery query = {codes.data(), bias, -0.7f, 1234.5f};
      for (size_t n = 1; n <= 9; ++n) {
        std::vector<uint32_t> ids = DrawIds(n, random_);
        ids[n / 2] = n % 2 == 0 ? 4 : 5;
        const std::vector<float> out = ScoreOf(*table_, query, placed, ids);
        for (size_t i = 0; i < n; ++i) {
          const CodeTerms& terms = placed.terms[ids[i]];
          const float distance =
              query.bias + terms.bias +
              query.scale * terms.scale * (static_cast<float>(Dot(codes, placed.codes[ids[i]])) + query.rest);
          ASSERT_EQ(out[i], std::isnan(distance) ? FLT_MAX : distance) << blocks << " " << n;
        }
      }
    }
  }
}

// From floats to distances, so that what lies beyond the last dimension has to be harmless.
TEST_P(Codes, RaggedDimensionsScoreWhatTheirFloatsAreWorth) {
  for (const size_t dim : Dims()) {
    const std::vector<Case> cases = CasesOf(dim, random_);
    const Case& row = cases[0];
    const Case& other = cases[5];
    const size_t size = BlocksOf(dim) * kCodeBlock;
    Placed placed(BlocksOf(dim), random_);
    for (uint32_t r = 0; r < Placed::kRows; ++r) {
      const Case& c = r % 2 == 0 ? row : other;
      std::fill(placed.codes[r].begin(), placed.codes[r].end(), uint8_t{0});
      placed.terms[r].scale = table_->encode_row(c.vector.data(), c.centre.data(), dim, placed.codes[r].data());
    }
    placed.Write();
    std::vector<int8_t> codes(size);
    std::vector<float> vector = other.centre;
    for (size_t i = 0; i < dim; ++i) vector[i] += static_cast<float>(i % 7) - 3.5f;
    const float scale = table_->encode_query(vector.data(), other.centre.data(), dim, codes.data());
    int32_t sum = 0;
    for (const int8_t code : codes) sum += code;
    const CodeQuery query = {codes.data(), 0, scale, -15.5f * static_cast<float>(sum)};
    const std::vector<float> out = ScoreOf(*table_, query, placed, {0, 1, 12, 7, 5});
    for (const size_t i : {0, 1}) {
      const Case& c = i == 0 ? row : other;
      double dot = 0;
      double off = 0;
      for (size_t d = 0; d < dim; ++d) {
        const double value = double{vector[d]} - other.centre[d];
        dot += value * c.Value(d);
        off += std::fabs(value) * placed.terms[i].scale / 2 +
               (std::fabs(c.Value(d)) + placed.terms[i].scale / 2) * scale / 2;
      }
      EXPECT_NEAR(out[i], dot, 1.0001 * off) << dim;
    }
    EXPECT_EQ(out[0], out[2]) << dim;
    EXPECT_EQ(out[1], out[3]) << dim;
    EXPECT_EQ(out[1], out[4]) << dim;
  }
}

}  // namespace
}  // namespace pennon
