// float32 to float16, rounded to nearest, ties to even, without branches, so that a loop over it is vectorised: Arrow's
// is a call a value.
#pragma once

#include <bit>
#include <cstdint>

namespace pennon::lance_format {

inline uint16_t HalfBits(float value) {
  constexpr uint32_t kInfinity = 0x7F800000;
  constexpr uint32_t kOverflow = 0x477FF000;        // 65520, which rounds to infinity
  constexpr uint32_t kSmallestNormal = 0x38800000;  // 2^-14
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  // The exponent's bias is 112 less, and 13 bits of the fraction go.
  const uint32_t normal = (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
  // Beside 0.5 a float's last bit is 2^-24, which is a subnormal half's.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000;
  const uint32_t large = magnitude > kInfinity ? 0x7E00 : 0x7C00;
  const uint32_t half = magnitude < kSmallestNormal ? subnormal : magnitude < kOverflow ? normal : large;
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | half);
}

}  // namespace pennon::lance_format
