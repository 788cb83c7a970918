// How a page of a 2.2 file says what its buffers hold: the message PageLayout of Lance's encodings_v2_1.proto,
// serialised, and read. Of the layouts there are full-zip, where a row's bytes lie together; and, read alone,
// mini-block and constant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "lance/value_encoding.h"

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

// What a message says. Of a full-zip page:
struct FullZipInfo {
  uint64_t repetition_bits = 0;
  uint64_t definition_bits = 0;
  uint64_t bits_per_value = 0;
  uint64_t bits_per_offset = 0;
  ValueEncoding values;
};
// Of one of chunks:
struct MiniBlockInfo {
  std::optional<ValueEncoding> repetition;
  std::optional<ValueEncoding> definition;
  std::optional<ValueEncoding> dictionary;
  ValueEncoding values;  // or places in the dictionary
  uint64_t dictionary_values = 0;
  uint64_t buffers = 0;      // of values, in a chunk
  uint64_t index_depth = 0;  // of the index of rows
  uint64_t items = 0;        // values
  bool large_chunks = false;
};
// Of one whose values are all the same or, without a value, null:
struct ConstantInfo {
  std::optional<std::string> value;
  // Absent: levels are u16 as they are.
  std::optional<ValueEncoding> repetition;
  std::optional<ValueEncoding> definition;
  uint64_t repetition_values = 0;
  uint64_t definition_values = 0;
};
struct LayoutInfo {
  std::vector<uint64_t> layers;  // as RepDefLayer, if they are known
  std::optional<FullZipInfo> full_zip;
  std::optional<MiniBlockInfo> mini_block;
  ConstantInfo constant;  // else
};

inline constexpr std::string_view kPageLayout = "/lance.encodings21.PageLayout";

// Invalid if it is none; NotImplemented, with its name, for another layout or encoding.
arrow::Result<LayoutInfo> ParsePageLayout(std::string_view message);

}  // namespace pennon::lance_format
