// ctest: labels=contract-6,asan timeout=60
#include "kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
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

TEST(Codes, EveryTableEncodesAlikeAndCountsExactly) {
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal;
  for (size_t dim = 1; dim <= 200; ++dim) {
    const size_t size = (dim + kCodeBlock - 1) / kCodeBlock * kCodeBlock;
    std::vector<float> centre(dim);
    for (float& value : centre) value = normal(random);
    std::vector<std::vector<uint8_t>> rows(5, std::vector<uint8_t>(size, 128));
    for (size_t r = 0; r < rows.size(); ++r) {
      std::vector<float> vector = centre;  // row 0 is the centre itself
      for (float& value : vector) value += r == 0 ? 0 : normal(random) * (r == 1 ? 1e30f : r == 2 ? 1e-30f : 1);
      if (r == 3) vector[dim / 2] = 1e6f;  // an outlier
      float most = 0;
      for (size_t i = 0; i < dim; ++i) most = std::max(most, std::fabs(vector[i] - centre[i]));
      for (const KernelTable* table : AvailableKernels()) {
        std::vector<uint8_t> codes(size, 128);
        const float scale = table->encode(vector.data(), centre.data(), dim, codes.data());
        EXPECT_EQ(scale, most / 127) << table->name << " " << dim;
        for (size_t i = 0; i < dim && scale > 0; ++i) {
          const double value = (static_cast<double>(codes[i]) - 128) * scale;
          EXPECT_NEAR(value, vector[i] - centre[i], 0.5001 * scale) << table->name << " " << dim;
          EXPECT_GE(codes[i], 1);
        }
        if (table != AvailableKernels().front()) {
          EXPECT_EQ(codes, rows[r]) << table->name << " " << dim;
        }
        rows[r] = codes;
      }
    }
    // The extremes that a byte and its sign may take.
    std::vector<int8_t> query(size, 0);
    for (size_t i = 0; i < dim; ++i) query[i] = static_cast<int8_t>(i % 3 == 0 ? -127 : 127);
    for (size_t i = 0; i < dim; ++i) rows[4][i] = static_cast<uint8_t>(i % 3 == 0 ? 1 : 255);
    int32_t sum = 0;
    for (int8_t value : query) sum += value;
    std::vector<std::vector<uint8_t>> first;
    for (const KernelTable* table : AvailableKernels()) {
      constexpr size_t kGap = 3;  // between the planes
      std::vector<std::vector<uint8_t>> planes;
      std::vector<const uint8_t*> pointers;
      for (const auto& row : rows) {
        planes.emplace_back(size + kGap);
        uint8_t* high = planes.back().data();
        table->split(row.data(), size, high, high + size / 2 + kGap);
        std::vector<uint8_t> joined(size);
        table->join(high, high + size / 2 + kGap, size, joined.data());
        EXPECT_EQ(joined, row) << table->name << " " << dim;
        pointers.push_back(high);
      }
      if (first.empty()) first = planes;
      EXPECT_EQ(planes, first) << table->name << " " << dim;
      for (size_t n = 1; n <= rows.size(); ++n) {
        const size_t skipped = rows.size() - n;
        int32_t dots[5];
        int32_t coarse[5];
        table->dot_codes(query.data(), sum, pointers.data() + skipped, size / 2 + kGap, n, size, dots);
        table->dot_high(query.data(), pointers.data() + skipped, n, size, coarse);
        for (size_t r = 0; r < n; ++r) {
          int64_t expected = 0;
          int64_t expected_coarse = 0;
          for (size_t i = 0; i < size; ++i) {
            expected += int64_t{query[i]} * (rows[skipped + r][i] - 128);
            expected_coarse += int64_t{query[i]} * (rows[skipped + r][i] >> 4);
          }
          EXPECT_EQ(dots[r], expected) << table->name << " " << dim;
          EXPECT_EQ(coarse[r], expected_coarse) << table->name << " " << dim;
        }
      }
    }
  }
}

}  // namespace
}  // namespace pennon
