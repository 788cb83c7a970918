// Blocks of 1024 numbers of a few bits each, interleaved as in the FastLanes layout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lance/little_endian.h"

namespace pennon::lance_format {

inline constexpr size_t kPackedBlock = 1024;  // numbers

// That a block of numbers of so many bits takes.
constexpr size_t PackedBytes(uint64_t width) { return kPackedBlock / 8 * width; }

// The numbers go around in lanes of one word: a lane's numbers are one stream of bits in its words, and its words are
// those lanes apart. width is at most the word's.
template <typename Word>
void Unpack(const char* packed, uint64_t width, Word* values) {
  constexpr size_t kBits = 8 * sizeof(Word);
  constexpr size_t kLanes = kPackedBlock / kBits;
  constexpr std::array<size_t, 8> kOrder = {0, 4, 2, 6, 1, 5, 3, 7};
  const uint64_t mask = width == 0 ? 0 : ~uint64_t{0} >> (64 - width);
  for (size_t row = 0; row < kBits; ++row) {
    const size_t first = row * width / kBits * kLanes;  // word
    const size_t shift = row * width % kBits;
    const bool two_words = shift + width > kBits;
    Word* to = values + kOrder[row / 8] * 16 + row % 8 * 128;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      uint64_t bits = 0;
      if (width > 0) bits = uint64_t{Get<Word>(packed + (first + lane) * sizeof(Word))} >> shift;
      if (two_words) {
        bits |= uint64_t{Get<Word>(packed + (first + kLanes + lane) * sizeof(Word))} << (kBits - shift);
      }
      to[lane] = static_cast<Word>(bits & mask);
    }
  }
}

}  // namespace pennon::lance_format
