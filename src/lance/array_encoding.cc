#include "lance/array_encoding.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include <protozero/pbf_builder.hpp>

#include "lance/message.h"
#include "lance/read_fields.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// encodings_v2_0.proto.
enum class ArrayEncoding : Tag {
  kFlat = 1,
  kNullable = 2,
  kFixedSizeList = 3,
  kList = 4,
  kStruct = 5,
  kBinary = 6,
  kDictionary = 7,
  kFsst = 8,
};
// Read as errors alone.
constexpr std::pair<Tag, const char*> kOtherEncodings[] = {{9, "packed struct"},
                                                           {10, "bitpacked"},
                                                           {11, "fixed-size binary"},
                                                           {12, "bitpacked for non-negative"},
                                                           {13, "constant"},
                                                           {14, "inline bitpacking"},
                                                           {15, "out-of-line bitpacking"},
                                                           {16, "variable"},
                                                           {17, "packed struct"},
                                                           {18, "block"},
                                                           {19, "rle"},
                                                           {20, "general"},
                                                           {21, "byte stream split"}};
enum class FlatTag : Tag { kBitsPerValue = 1, kBuffer = 2, kCompression = 3 };
enum class CompressionTag : Tag { kScheme = 1 };
enum class BufferTag : Tag { kIndex = 1, kType = 2 };
enum class NullableTag : Tag { kNoNulls = 1, kSomeNulls = 2, kAllNulls = 3 };
enum class NoNullsTag : Tag { kValues = 1 };
enum class SomeNullsTag : Tag { kValidity = 1, kValues = 2 };
enum class FixedSizeListTag : Tag { kDimension = 1, kItems = 2 };
enum class ListTag : Tag { kEnds = 1, kNullAdjustment = 2, kItems = 3 };
enum class BinaryTag : Tag { kEnds = 1, kBytes = 2, kNullAdjustment = 3 };
enum class DictionaryTag : Tag { kPlaces = 1, kItems = 2, kCount = 3 };
enum class FsstTag : Tag { kBinary = 1, kSymbols = 2 };
// file2.proto.
enum class EncodingTag : Tag { kDirect = 2 };
enum class DirectTag : Tag { kBytes = 1 };

constexpr int kDeepest = 8;  // of encodings in each other

Result<ArrayNode> ParseNode(std::string_view message, int depth);

// The node of a field, as one of the inner ones.
Status AddInner(ArrayNode& node, size_t place, std::string_view message, int depth) {
  if (node.inner.size() <= place) node.inner.resize(place + 1);
  return ParseNode(message, depth + 1).Value(&node.inner[place]);
}

Status ParseFlat(std::string_view message, ArrayNode& node) {
  return ReadFields(
      message,
      [&](Tag tag, std::string_view inner) -> Status {
        uint64_t type = 0;
        if (tag == Tag(FlatTag::kBuffer)) {
          ARROW_RETURN_NOT_OK(ReadFields(inner, kNoMessages, [&](Tag which, uint64_t number) {
            if (which == Tag(BufferTag::kIndex))
              node.buffer = static_cast<uint32_t>(std::min<uint64_t>(number, UINT32_MAX));
            if (which == Tag(BufferTag::kType)) type = number;
          }));
        } else if (tag == Tag(FlatTag::kCompression)) {
          node.compression = TakeOneOf(inner).message;
          if (node.compression == "none") node.compression.clear();
        }
        if (type != 0) return Status::NotImplemented("buffers of other kinds than a page's");
        return Status::OK();
      },
      [&](Tag tag, uint64_t number) {
        if (tag == Tag(FlatTag::kBitsPerValue)) node.bits = number;
      });
}

Status ParseNullable(std::string_view message, ArrayNode& node, int depth) {
  const OneOf nullable = TakeOneOf(message);
  switch (NullableTag(nullable.tag)) {
    case NullableTag::kNoNulls:
      node.kind = ArrayNode::Kind::kNoNulls;
      node.inner.resize(1);
      return ReadFields(
          nullable.message,
          [&](Tag tag, std::string_view inner) {
            return tag == Tag(NoNullsTag::kValues) ? AddInner(node, 0, inner, depth) : Status::OK();
          },
          kNoNumbers);
    case NullableTag::kSomeNulls:
      node.kind = ArrayNode::Kind::kSomeNulls;
      node.inner.resize(2);
      return ReadFields(
          nullable.message,
          [&](Tag tag, std::string_view inner) {
            return tag == Tag(SomeNullsTag::kValidity) ? AddInner(node, 0, inner, depth)
                   : tag == Tag(SomeNullsTag::kValues) ? AddInner(node, 1, inner, depth)
                                                       : Status::OK();
          },
          kNoNumbers);
    case NullableTag::kAllNulls: node.kind = ArrayNode::Kind::kAllNulls; return Status::OK();
  }
  return Status::Invalid("expected what is known of nulls, got nothing");
}

// A message with encodings and numbers: of each kind the tags, in the order of what they go to.
Status ParseParts(std::string_view message, std::initializer_list<Tag> encodings,
                  std::initializer_list<std::pair<Tag, uint64_t*>> numbers, ArrayNode& node, int depth) {
  node.inner.resize(encodings.size());
  return ReadFields(
      message,
      [&](Tag tag, std::string_view inner) {
        const auto* found = std::find(encodings.begin(), encodings.end(), tag);
        if (found == encodings.end()) return Status::OK();
        return AddInner(node, static_cast<size_t>(found - encodings.begin()), inner, depth);
      },
      [&](Tag tag, uint64_t number) {
        for (const auto& [which, to] : numbers) {
          if (which == tag) *to = number;
        }
      });
}

Result<ArrayNode> ParseNode(std::string_view message, int depth) {
  if (depth > kDeepest)
    return Status::Invalid("expected at most ", std::to_string(kDeepest), " encodings in each other");
  const OneOf encoding = TakeOneOf(message);
  ArrayNode node;
  switch (ArrayEncoding(encoding.tag)) {
    case ArrayEncoding::kFlat: ARROW_RETURN_NOT_OK(ParseFlat(encoding.message, node)); return node;
    case ArrayEncoding::kNullable: ARROW_RETURN_NOT_OK(ParseNullable(encoding.message, node, depth)); return node;
    case ArrayEncoding::kFixedSizeList:
      node.kind = ArrayNode::Kind::kFixedSizeList;
      ARROW_RETURN_NOT_OK(ParseParts(encoding.message, {Tag(FixedSizeListTag::kItems)},
                                     {{Tag(FixedSizeListTag::kDimension), &node.dimension}}, node, depth));
      return node;
    case ArrayEncoding::kList:
      node.kind = ArrayNode::Kind::kList;
      ARROW_RETURN_NOT_OK(ParseParts(
          encoding.message, {Tag(ListTag::kEnds)},
          {{Tag(ListTag::kNullAdjustment), &node.null_adjustment}, {Tag(ListTag::kItems), &node.items}}, node, depth));
      return node;
    case ArrayEncoding::kStruct: node.kind = ArrayNode::Kind::kStruct; return node;
    case ArrayEncoding::kBinary:
      node.kind = ArrayNode::Kind::kBinary;
      ARROW_RETURN_NOT_OK(ParseParts(encoding.message, {Tag(BinaryTag::kEnds), Tag(BinaryTag::kBytes)},
                                     {{Tag(BinaryTag::kNullAdjustment), &node.null_adjustment}}, node, depth));
      return node;
    case ArrayEncoding::kDictionary:
      node.kind = ArrayNode::Kind::kDictionary;
      ARROW_RETURN_NOT_OK(ParseParts(encoding.message, {Tag(DictionaryTag::kPlaces), Tag(DictionaryTag::kItems)},
                                     {{Tag(DictionaryTag::kCount), &node.items}}, node, depth));
      return node;
    case ArrayEncoding::kFsst:
      node.kind = ArrayNode::Kind::kFsst;
      ARROW_RETURN_NOT_OK(ParseParts(encoding.message, {Tag(FsstTag::kBinary)}, {}, node, depth));
      ARROW_RETURN_NOT_OK(ReadFields(
          encoding.message,
          [&](Tag tag, std::string_view symbols) {
            if (tag == Tag(FsstTag::kSymbols)) node.symbols = symbols;
            return Status::OK();
          },
          kNoNumbers));
      return node;
  }
  for (const auto& [tag, name] : kOtherEncodings) {
    if (tag == encoding.tag) return Status::NotImplemented("encoding ", name);
  }
  return Status::NotImplemented("encoding number ", std::to_string(encoding.tag), " of ArrayEncoding");
}

std::string Encoding(const std::string& any) {
  return Message<EncodingTag>([&](auto& encoding) {
    encoding.add_message(EncodingTag::kDirect,
                         Message<DirectTag>([&](auto& direct) { direct.add_bytes(DirectTag::kBytes, any); }));
  });
}

std::string Nullable(NullableTag tag, const std::string& inner) {
  return Message<ArrayEncoding>([&](auto& array) {
    array.add_message(ArrayEncoding::kNullable,
                      Message<NullableTag>([&](auto& nullable) { nullable.add_message(tag, inner); }));
  });
}

}  // namespace

std::string Flat(uint64_t bits_per_value, uint32_t buffer) {
  const std::string which = Message<BufferTag>([&](auto& message) {
    if (buffer != 0) message.add_uint32(BufferTag::kIndex, buffer);
  });
  return Message<ArrayEncoding>([&](auto& array) {
    array.add_message(ArrayEncoding::kFlat, Message<FlatTag>([&](auto& flat) {
                        flat.add_uint64(FlatTag::kBitsPerValue, bits_per_value);
                        flat.add_message(FlatTag::kBuffer, which);
                      }));
  });
}

std::string NoNulls(const std::string& values) {
  return Nullable(NullableTag::kNoNulls,
                  Message<NoNullsTag>([&](auto& inner) { inner.add_message(NoNullsTag::kValues, values); }));
}

std::string SomeNulls(const std::string& validity, const std::string& values) {
  return Nullable(NullableTag::kSomeNulls, Message<SomeNullsTag>([&](auto& inner) {
                    inner.add_message(SomeNullsTag::kValidity, validity);
                    inner.add_message(SomeNullsTag::kValues, values);
                  }));
}

std::string FixedSizeList(uint32_t dimension, const std::string& items) {
  return Message<ArrayEncoding>([&](auto& array) {
    array.add_message(ArrayEncoding::kFixedSizeList, Message<FixedSizeListTag>([&](auto& list) {
                        list.add_uint32(FixedSizeListTag::kDimension, dimension);
                        list.add_message(FixedSizeListTag::kItems, items);
                      }));
  });
}

std::string Binary(const std::string& ends, const std::string& bytes, uint64_t null_adjustment) {
  return Message<ArrayEncoding>([&](auto& array) {
    array.add_message(ArrayEncoding::kBinary, Message<BinaryTag>([&](auto& binary) {
                        binary.add_message(BinaryTag::kEnds, ends);
                        binary.add_message(BinaryTag::kBytes, bytes);
                        binary.add_uint64(BinaryTag::kNullAdjustment, null_adjustment);
                      }));
  });
}

std::string List(const std::string& ends, uint64_t null_adjustment, uint64_t items) {
  return Message<ArrayEncoding>([&](auto& array) {
    array.add_message(ArrayEncoding::kList, Message<ListTag>([&](auto& list) {
                        list.add_message(ListTag::kEnds, ends);
                        list.add_uint64(ListTag::kNullAdjustment, null_adjustment);
                        list.add_uint64(ListTag::kItems, items);
                      }));
  });
}

std::string Struct() {
  return Message<ArrayEncoding>([](auto& array) { array.add_message(ArrayEncoding::kStruct, std::string()); });
}

const char* Name(ArrayNode::Kind kind) {
  switch (kind) {
    case ArrayNode::Kind::kFlat: return "flat";
    case ArrayNode::Kind::kNoNulls:
    case ArrayNode::Kind::kSomeNulls:
    case ArrayNode::Kind::kAllNulls: return "nullable";
    case ArrayNode::Kind::kFixedSizeList: return "fixed-size list";
    case ArrayNode::Kind::kList: return "list";
    case ArrayNode::Kind::kStruct: return "struct";
    case ArrayNode::Kind::kDictionary: return "dictionary";
    case ArrayNode::Kind::kFsst: return "fsst";
    case ArrayNode::Kind::kBinary: break;
  }
  return "binary";
}

Result<ArrayNode> ParseArrayEncoding(std::string_view message) {
  return Parsed("encoding", [&] { return ParseNode(message, 0); });
}

Result<TypedMessage> ParseEncoding(std::string_view encoding) {
  return Parsed("encoding", [&]() -> Result<TypedMessage> {
    const OneOf place = TakeOneOf(encoding);
    if (place.tag != Tag(EncodingTag::kDirect)) return Status::NotImplemented("encodings that are kept elsewhere");
    TypedMessage typed;
    ARROW_RETURN_NOT_OK(ReadFields(
        TakeOneOf(place.message).message,
        [&](Tag tag, std::string_view inner) {
          if (tag == Tag(AnyTag::kTypeUrl)) typed.type_url = inner;
          if (tag == Tag(AnyTag::kValue)) typed.value = inner;
          return Status::OK();
        },
        kNoNumbers));
    return typed;
  });
}

std::string PageEncoding(const std::string& array_encoding) { return Encoding(Any(kArrayEncoding, array_encoding)); }

std::string LayoutEncoding(const std::string& page_layout) {
  return Encoding(Any("/lance.encodings21.PageLayout", page_layout));
}

std::string ColumnEncoding() {
  enum class ColumnTag : Tag { kValues = 1 };
  return Encoding(Any("/lance.encodings.ColumnEncoding",
                      Message<ColumnTag>([](auto& column) { column.add_message(ColumnTag::kValues, std::string()); })));
}

}  // namespace pennon::lance_format
