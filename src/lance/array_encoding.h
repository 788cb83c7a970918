// How a page of a 2.0 file says what its buffers hold: the message ArrayEncoding of Lance's encodings_v2_0.proto,
// serialised, and read. Buffers are named by their place in the page.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace pennon::lance_format {

std::string Flat(uint64_t bits_per_value, uint32_t buffer);
std::string NoNulls(const std::string& values);
// validity: a bit a row, lowest first, 1 = valid.
std::string SomeNulls(const std::string& validity, const std::string& values);
std::string FixedSizeList(uint32_t dimension, const std::string& items);
// Both hold ends, u64, counted from the page's start. An end of at least the adjustment is a null row's, and that
// much too large.
std::string Binary(const std::string& ends, const std::string& bytes, uint64_t null_adjustment);
std::string List(const std::string& ends, uint64_t null_adjustment, uint64_t items);
std::string Struct();

// The message Encoding of file2.proto around one of them, or around a PageLayout of 2.2; and the only one there is for
// a column as a whole.
std::string PageEncoding(const std::string& array_encoding);
std::string LayoutEncoding(const std::string& page_layout);
std::string ColumnEncoding();

inline constexpr std::string_view kArrayEncoding = "/lance.encodings.ArrayEncoding";

// What the message says, as a tree.
struct ArrayNode {
  enum class Kind {
    kFlat,
    kNoNulls,
    kSomeNulls,
    kAllNulls,
    kFixedSizeList,
    kList,
    kStruct,
    kBinary,
    kDictionary,
    kFsst
  };

  Kind kind = Kind::kFlat;
  uint64_t bits = 0;             // of a value, where it is flat
  uint32_t buffer = 0;           // of the page
  uint64_t dimension = 0;        // of fixed-size lists
  uint64_t null_adjustment = 0;  // of lists and binary; 0: there are no nulls
  uint64_t items = 0;            // of lists and dictionaries
  std::string symbols = {};      // a table of fsst
  std::string compression = {};  // of a flat buffer as a whole, by name
  // Values; validity and values; items; ends; ends and bytes; places and items; binary.
  std::vector<ArrayNode> inner = {};
};
const char* Name(ArrayNode::Kind kind);
// Invalid if it is none; NotImplemented, with its name, for another encoding.
arrow::Result<ArrayNode> ParseArrayEncoding(std::string_view message);

// The Any in a message Encoding.
struct TypedMessage {
  std::string type_url;
  std::string value;
};
arrow::Result<TypedMessage> ParseEncoding(std::string_view encoding);

}  // namespace pennon::lance_format
