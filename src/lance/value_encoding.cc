#include "lance/value_encoding.h"

#include <initializer_list>
#include <utility>

#include "lance/message.h"
#include "lance/read_fields.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// encodings_v2_1.proto.
enum class CompressiveTag : Tag {
  kFlat = 1,
  kVariable = 2,
  kConstant = 3,
  kOutOfLineBitpacking = 4,
  kInlineBitpacking = 5,
  kFsst = 6,
  kRle = 8,
  kByteStreamSplit = 9,
  kGeneral = 10,
  kFixedSizeList = 11,
};
// Read as errors alone.
constexpr std::pair<Tag, const char*> kOtherEncodings[] = {
    {7, "dictionary"}, {12, "packed struct"}, {13, "packed struct"}};
enum class FlatTag : Tag { kBitsPerValue = 1, kCompression = 2 };
enum class VariableTag : Tag { kOffsets = 1, kCompression = 2 };
enum class ConstantTag : Tag { kValue = 1 };
enum class OutOfLineTag : Tag { kBits = 1, kValues = 3 };
enum class InlineTag : Tag { kBits = 1, kCompression = 2 };
enum class FsstTag : Tag { kSymbols = 1, kValues = 2 };
enum class RleTag : Tag { kValues = 1, kRunLengths = 2 };
enum class ByteStreamSplitTag : Tag { kValues = 1 };
enum class GeneralTag : Tag { kCompression = 1, kValues = 3 };
enum class CompressionTag : Tag { kScheme = 1 };
enum class FixedSizeListTag : Tag { kItemsPerValue = 1, kValues = 2, kHasValidity = 3 };

constexpr int kDeepest = 8;  // of encodings in each other

Result<ValueEncoding> ParseNode(std::string_view message, int depth);

// A message's encodings, in the order of these tags, all of which it must have.
template <typename Tags>
Status ParseInner(std::string_view message, std::initializer_list<Tags> tags, ValueEncoding& encoding, int depth) {
  std::vector<bool> found(tags.size(), false);
  encoding.inner.resize(tags.size());
  ARROW_RETURN_NOT_OK(ReadFields(
      message,
      [&](Tag tag, std::string_view part) -> Status {
        size_t i = 0;
        for (const Tags wanted : tags) {
          if (Tag(wanted) == tag) {
            found[i] = true;
            return ParseNode(part, depth + 1).Value(&encoding.inner[i]);
          }
          ++i;
        }
        return Status::OK();
      },
      kNoNumbers));
  for (const bool there : found) {
    if (!there) return Status::Invalid("expected an encoding in another, got none");
  }
  return Status::OK();
}

// A message of bits a value, whose buffer is not compressed by itself.
template <typename Tags>
Status ParseBits(std::string_view message, Tags bits, Tags compression, ValueEncoding& encoding) {
  return ReadFields(
      message,
      [&](Tag tag, std::string_view) {
        return tag == Tag(compression) ? Status::NotImplemented("compression of a buffer") : Status::OK();
      },
      [&](Tag tag, uint64_t number) {
        if (tag == Tag(bits)) encoding.bits = number;
      });
}

Status ParseScheme(std::string_view message, ValueEncoding& encoding) {
  uint64_t scheme = 0;
  ARROW_RETURN_NOT_OK(ReadFields(
      message,
      [&](Tag tag, std::string_view part) {
        if (tag != Tag(GeneralTag::kCompression)) return Status::OK();
        return ReadFields(part, kNoMessages, [&](Tag which, uint64_t number) {
          if (which == Tag(CompressionTag::kScheme)) scheme = number;
        });
      },
      kNoNumbers));
  encoding.scheme = static_cast<ValueEncoding::Scheme>(scheme);
  if (encoding.scheme == ValueEncoding::Scheme::kLz4 || encoding.scheme == ValueEncoding::Scheme::kZstd) {
    return Status::OK();
  }
  return Status::NotImplemented("compression number ", std::to_string(scheme));
}

bool IsWord(uint64_t bits) { return bits == 8 || bits == 16 || bits == 32 || bits == 64; }

Result<ValueEncoding> ParseNode(std::string_view message, int depth) {
  if (depth > kDeepest) {
    return Status::Invalid("expected at most ", std::to_string(kDeepest), " encodings in each other");
  }
  using Kind = ValueEncoding::Kind;
  const OneOf part = TakeOneOf(message);
  ValueEncoding encoding;
  const auto unexpected = [&](const char* what) { return Status::NotImplemented("another encoding of ", what); };
  switch (CompressiveTag(part.tag)) {
    case CompressiveTag::kFlat:
      ARROW_RETURN_NOT_OK(ParseBits(part.message, FlatTag::kBitsPerValue, FlatTag::kCompression, encoding));
      return encoding;
    case CompressiveTag::kVariable:
      encoding.kind = Kind::kVariable;
      ARROW_RETURN_NOT_OK(ParseBits(part.message, VariableTag::kOffsets, VariableTag::kCompression, encoding));
      ARROW_RETURN_NOT_OK(ParseInner(part.message, {VariableTag::kOffsets}, encoding, depth));
      if (encoding.inner[0].kind != Kind::kFlat) return unexpected("offsets than flat");
      encoding.bits = encoding.inner[0].bits;
      if (encoding.bits == 32 || encoding.bits == 64) return encoding;
      return Status::NotImplemented("lengths of ", std::to_string(encoding.bits), " bits");
    case CompressiveTag::kConstant:
      encoding.kind = Kind::kNull;
      ARROW_RETURN_NOT_OK(ReadFields(
          part.message,
          [&](Tag tag, std::string_view) {
            return tag == Tag(ConstantTag::kValue) ? unexpected("a constant than null") : Status::OK();
          },
          kNoNumbers));
      return encoding;
    case CompressiveTag::kOutOfLineBitpacking:
      encoding.kind = Kind::kOutOfLineBitpacking;
      ARROW_RETURN_NOT_OK(ParseInner(part.message, {OutOfLineTag::kValues}, encoding, depth));
      ARROW_RETURN_NOT_OK(ReadFields(part.message, kNoMessages, [&](Tag tag, uint64_t number) {
        if (tag == Tag(OutOfLineTag::kBits)) encoding.bits = number;
      }));
      if (encoding.inner[0].kind != Kind::kFlat) return unexpected("packed bits than flat");
      if (IsWord(encoding.bits) && encoding.inner[0].bits <= encoding.bits) return encoding;
      return Status::Invalid("expected values packed to fewer bits, got ", std::to_string(encoding.bits), " packed to ",
                             std::to_string(encoding.inner[0].bits));
    case CompressiveTag::kInlineBitpacking:
      encoding.kind = Kind::kInlineBitpacking;
      ARROW_RETURN_NOT_OK(ParseBits(part.message, InlineTag::kBits, InlineTag::kCompression, encoding));
      if (IsWord(encoding.bits)) return encoding;
      return Status::Invalid("expected packed values of 8 to 64 bits, got ", std::to_string(encoding.bits));
    case CompressiveTag::kFsst:
      encoding.kind = Kind::kFsst;
      ARROW_RETURN_NOT_OK(ParseInner(part.message, {FsstTag::kValues}, encoding, depth));
      ARROW_RETURN_NOT_OK(ReadFields(
          part.message,
          [&](Tag tag, std::string_view symbols) {
            if (tag == Tag(FsstTag::kSymbols)) encoding.symbols = symbols;
            return Status::OK();
          },
          kNoNumbers));
      if (encoding.inner[0].kind == Kind::kVariable) return encoding;
      return unexpected("fsst's bytes than variable");
    case CompressiveTag::kRle:
      encoding.kind = Kind::kRle;
      ARROW_RETURN_NOT_OK(ParseInner(part.message, {RleTag::kValues, RleTag::kRunLengths}, encoding, depth));
      if (IsWord(WidthOf(encoding.inner[0])) && IsWord(WidthOf(encoding.inner[1]))) return encoding;
      return unexpected("runs than numbers of 8 to 64 bits");
    case CompressiveTag::kByteStreamSplit:
      encoding.kind = Kind::kByteStreamSplit;
      ARROW_RETURN_NOT_OK(ParseInner(part.message, {ByteStreamSplitTag::kValues}, encoding, depth));
      if (encoding.inner[0].kind == Kind::kFlat && IsWord(encoding.inner[0].bits)) return encoding;
      return unexpected("split bytes than flat");
    case CompressiveTag::kGeneral:
      encoding.kind = Kind::kGeneral;
      ARROW_RETURN_NOT_OK(ParseInner(part.message, {GeneralTag::kValues}, encoding, depth));
      ARROW_RETURN_NOT_OK(ParseScheme(part.message, encoding));
      if (encoding.inner[0].kind == Kind::kNull) return unexpected("compressed values than constant");
      return encoding;
    case CompressiveTag::kFixedSizeList:
      encoding.kind = Kind::kFixedSizeList;
      ARROW_RETURN_NOT_OK(ParseInner(part.message, {FixedSizeListTag::kValues}, encoding, depth));
      ARROW_RETURN_NOT_OK(ReadFields(part.message, kNoMessages, [&](Tag tag, uint64_t number) {
        if (tag == Tag(FixedSizeListTag::kItemsPerValue)) encoding.dimension = number;
        if (tag == Tag(FixedSizeListTag::kHasValidity)) encoding.item_validity = number != 0;
      }));
      if (const Kind kind = encoding.inner[0].kind;
          kind == Kind::kFlat || kind == Kind::kFixedSizeList || kind == Kind::kNull) {
        return encoding;
      }
      return unexpected("a fixed-size list's items than flat");
  }
  for (const auto& [tag, name] : kOtherEncodings) {
    if (tag == part.tag) return Status::NotImplemented("encoding ", name);
  }
  return Status::NotImplemented("encoding number ", std::to_string(part.tag), " of CompressiveEncoding");
}

}  // namespace

uint64_t WidthOf(const ValueEncoding& encoding) {
  using Kind = ValueEncoding::Kind;
  switch (encoding.kind) {
    case Kind::kFlat:
    case Kind::kOutOfLineBitpacking:
    case Kind::kInlineBitpacking: return encoding.bits;
    case Kind::kRle:
    case Kind::kByteStreamSplit:
    case Kind::kGeneral: return WidthOf(encoding.inner[0]);
    case Kind::kFixedSizeList: {
      const uint64_t bits = WidthOf(encoding.inner[0]);
      return bits > 0 && encoding.dimension <= UINT64_MAX / bits ? encoding.dimension * bits : 0;
    }
    case Kind::kNull:
    case Kind::kVariable:
    case Kind::kFsst: break;
  }
  return 0;
}

std::vector<uint64_t> DimensionsOf(const ValueEncoding& encoding) {
  std::vector<uint64_t> dimensions;
  for (const auto* at = &encoding; at->kind == ValueEncoding::Kind::kFixedSizeList; at = at->inner.data()) {
    dimensions.push_back((dimensions.empty() ? 1 : dimensions.back()) * at->dimension);
  }
  return dimensions;
}

Result<ValueEncoding> ParseValueEncoding(std::string_view message) {
  ARROW_ASSIGN_OR_RAISE(auto encoding, ParseNode(message, 0));
  if (encoding.kind == ValueEncoding::Kind::kNull) return Status::NotImplemented("encoding constant");
  return encoding;
}

}  // namespace pennon::lance_format
