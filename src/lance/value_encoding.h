// What a page of version 2.1 on says of how values, or levels, are written: the message CompressiveEncoding of Lance's
// encodings_v2_1.proto, as a tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace pennon::lance_format {

struct ValueEncoding {
  enum class Kind {
    kFlat,
    kVariable,
    kOutOfLineBitpacking,
    kInlineBitpacking,
    kFsst,
    kRle,
    kByteStreamSplit,
    kGeneral,
    kFixedSizeList,
    kNull,  // in lists of a fixed size alone: all items are null, and take no bytes
  };
  enum class Scheme : uint64_t { kLz4 = 1, kZstd = 2 };  // of kGeneral

  Kind kind = Kind::kFlat;
  uint64_t bits = 0;           // of a value before it was packed, or of a variable one's length or offset
  uint64_t dimension = 0;      // of a list
  bool item_validity = false;  // of a list
  Scheme scheme = Scheme::kLz4;
  std::string symbols = {};  // a table of fsst
  // Values; or values and how many times each is there.
  std::vector<ValueEncoding> inner = {};
};

// Of a value once it is decoded; 0: not the same for all.
uint64_t WidthOf(const ValueEncoding& encoding);

// As of types: how many items there are in each list of a fixed size, from the outermost.
std::vector<uint64_t> DimensionsOf(const ValueEncoding& encoding);

// Throws protozero::exception at what is no message; NotImplemented, with its name, for what is not known.
arrow::Result<ValueEncoding> ParseValueEncoding(std::string_view message);

}  // namespace pennon::lance_format
