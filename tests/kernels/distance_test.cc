// ctest: labels=contract-6,asan timeout=60
#include "kernels/distance.h"

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
  const DistanceTable& first = *AvailableDistanceTables().front();
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
      for (const DistanceTable* table : AvailableDistanceTables()) {
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

}  // namespace
}  // namespace pennon
