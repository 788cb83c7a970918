// How a page of a 2.2 file says what its buffers hold: the message PageLayout of Lance's encodings_v2_1.proto,
// serialised. Of the layouts there are, full-zip alone: a row's bytes lie together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pennon::lance_format {

// What a level of nesting may have in a page; the item is the leaf, or a struct.
enum class RepDefLayer : int32_t {
  kAllValidItem = 1,
  kAllValidList = 2,
  kNullableItem = 3,
  kNullableList = 4,
  kEmptyableList = 5,
  kNullAndEmptyList = 6,
};

struct FullZip {
  uint32_t repetition_bits = 0;  // of control words
  uint32_t definition_bits = 0;
  bool variable = false;  // what `bits` are of: the length before each value, else the values
  uint32_t bits = 0;
  uint32_t items = 0;               // control words, or values if there are none
  uint32_t visible_items = 0;       // those that have a value, be it null
  std::string values;               // a CompressiveEncoding, as below
  std::vector<RepDefLayer> layers;  // innermost first
};

std::string FullZipLayout(const FullZip& page);

std::string FlatValues(uint64_t bits_per_value);
std::string VariableValues(uint64_t bits_per_length);
// validity: bits of the items before those of each list.
std::string ListValues(uint64_t dimension, bool validity, const std::string& items);

}  // namespace pennon::lance_format
