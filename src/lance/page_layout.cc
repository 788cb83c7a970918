#include "lance/page_layout.h"

#include <utility>

#include <protozero/pbf_builder.hpp>

#include "lance/message.h"
#include "lance/read_fields.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// encodings_v2_1.proto.
enum class PageLayoutTag : Tag { kMiniBlock = 1, kConstant = 2, kFullZip = 3 };
// Read as errors alone.
constexpr std::pair<Tag, const char*> kOtherLayouts[] = {{4, "blob"}, {5, "delta blob"}};
enum class FullZipTag : Tag {
  kBitsRep = 1,
  kBitsDef = 2,
  kBitsPerValue = 3,
  kBitsPerOffset = 4,
  kItems = 5,
  kVisibleItems = 6,
  kValues = 7,
  kLayers = 8,
};
enum class MiniBlockTag : Tag {
  kRepetition = 1,
  kDefinition = 2,
  kValues = 3,
  kDictionary = 4,
  kDictionaryValues = 5,
  kLayers = 6,
  kBuffers = 7,
  kIndexDepth = 8,
  kItems = 9,
  kLargeChunks = 10,
};
enum class ConstantTag : Tag {
  kLayers = 5,
  kValue = 6,
  kRepetition = 7,
  kDefinition = 8,
  kRepetitionValues = 9,
  kDefinitionValues = 10,
};
enum class CompressiveTag : Tag { kFlat = 1, kVariable = 2, kFixedSizeList = 11 };
enum class FlatTag : Tag { kBitsPerValue = 1 };
enum class VariableTag : Tag { kOffsets = 1 };
enum class FixedSizeListTag : Tag { kItemsPerValue = 1, kValues = 2, kHasValidity = 3 };

std::vector<uint64_t> ParseLayers(std::string_view message, Tag layers) {
  std::vector<uint64_t> found;
  ReadMessage(message, [&](protozero::pbf_reader& reader) {
    using protozero::pbf_wire_type;
    const bool numbers =
        reader.wire_type() == pbf_wire_type::varint || reader.wire_type() == pbf_wire_type::length_delimited;
    if (reader.tag() != layers || !numbers) return false;
    return Take(reader, found), true;
  });
  return found;
}

Status ParseFullZip(std::string_view message, FullZipInfo& info) {
  return ReadFields(
      message,
      [&](Tag tag, std::string_view part) {
        return tag == Tag(FullZipTag::kValues) ? ParseValueEncoding(part).Value(&info.values) : Status::OK();
      },
      [&](Tag tag, uint64_t number) {
        if (tag == Tag(FullZipTag::kBitsRep)) info.repetition_bits = number;
        if (tag == Tag(FullZipTag::kBitsDef)) info.definition_bits = number;
        if (tag == Tag(FullZipTag::kBitsPerValue)) info.bits_per_value = number;
        if (tag == Tag(FullZipTag::kBitsPerOffset)) info.bits_per_offset = number;
      });
}

Status ParseMiniBlock(std::string_view message, MiniBlockInfo& info) {
  return ReadFields(
      message,
      [&](Tag tag, std::string_view part) -> Status {
        switch (MiniBlockTag(tag)) {
          case MiniBlockTag::kRepetition: return ParseValueEncoding(part).Value(&info.repetition.emplace());
          case MiniBlockTag::kDefinition: return ParseValueEncoding(part).Value(&info.definition.emplace());
          case MiniBlockTag::kValues: return ParseValueEncoding(part).Value(&info.values);
          case MiniBlockTag::kDictionary: return ParseValueEncoding(part).Value(&info.dictionary.emplace());
          default: return Status::OK();
        }
      },
      [&](Tag tag, uint64_t number) {
        if (tag == Tag(MiniBlockTag::kDictionaryValues)) info.dictionary_values = number;
        if (tag == Tag(MiniBlockTag::kBuffers)) info.buffers = number;
        if (tag == Tag(MiniBlockTag::kIndexDepth)) info.index_depth = number;
        if (tag == Tag(MiniBlockTag::kItems)) info.items = number;
        if (tag == Tag(MiniBlockTag::kLargeChunks)) info.large_chunks = number != 0;
      });
}

Status ParseConstant(std::string_view message, ConstantInfo& info) {
  return ReadFields(
      message,
      [&](Tag tag, std::string_view part) -> Status {
        if (tag == Tag(ConstantTag::kValue)) info.value = part;
        if (tag == Tag(ConstantTag::kRepetition)) return ParseValueEncoding(part).Value(&info.repetition.emplace());
        if (tag == Tag(ConstantTag::kDefinition)) return ParseValueEncoding(part).Value(&info.definition.emplace());
        return Status::OK();
      },
      [&](Tag tag, uint64_t number) {
        if (tag == Tag(ConstantTag::kRepetitionValues)) info.repetition_values = number;
        if (tag == Tag(ConstantTag::kDefinitionValues)) info.definition_values = number;
      });
}

}  // namespace

std::string FullZipLayout(const FullZip& page) {
  return Message<PageLayoutTag>([&](auto& layout) {
    layout.add_message(PageLayoutTag::kFullZip, Message<FullZipTag>([&](auto& zip) {
                         if (page.repetition_bits > 0) zip.add_uint32(FullZipTag::kBitsRep, page.repetition_bits);
                         if (page.definition_bits > 0) zip.add_uint32(FullZipTag::kBitsDef, page.definition_bits);
                         zip.add_uint32(page.variable ? FullZipTag::kBitsPerOffset : FullZipTag::kBitsPerValue,
                                        page.bits);
                         zip.add_uint32(FullZipTag::kItems, page.items);
                         zip.add_uint32(FullZipTag::kVisibleItems, page.visible_items);
                         zip.add_message(FullZipTag::kValues, page.values);
                         std::vector<int32_t> layers;
                         layers.reserve(page.layers.size());
                         for (const RepDefLayer layer : page.layers) layers.push_back(static_cast<int32_t>(layer));
                         zip.add_packed_enum(FullZipTag::kLayers, layers.begin(), layers.end());
                       }));
  });
}

std::string FlatValues(uint64_t bits_per_value) {
  return Message<CompressiveTag>([&](auto& values) {
    values.add_message(CompressiveTag::kFlat,
                       Message<FlatTag>([&](auto& flat) { flat.add_uint64(FlatTag::kBitsPerValue, bits_per_value); }));
  });
}

std::string VariableValues(uint64_t bits_per_length) {
  return Message<CompressiveTag>([&](auto& values) {
    values.add_message(CompressiveTag::kVariable, Message<VariableTag>([&](auto& variable) {
                         variable.add_message(VariableTag::kOffsets, FlatValues(bits_per_length));
                       }));
  });
}

std::string ListValues(uint64_t dimension, bool validity, const std::string& items) {
  return Message<CompressiveTag>([&](auto& values) {
    values.add_message(CompressiveTag::kFixedSizeList, Message<FixedSizeListTag>([&](auto& list) {
                         list.add_uint64(FixedSizeListTag::kItemsPerValue, dimension);
                         list.add_message(FixedSizeListTag::kValues, items);
                         if (validity) list.add_bool(FixedSizeListTag::kHasValidity, true);
                       }));
  });
}

Result<LayoutInfo> ParsePageLayout(std::string_view message) {
  return Parsed("layout", [&]() -> Result<LayoutInfo> {
    const OneOf layout = TakeOneOf(message);
    LayoutInfo info;
    switch (PageLayoutTag(layout.tag)) {
      case PageLayoutTag::kMiniBlock:
        info.layers = ParseLayers(layout.message, Tag(MiniBlockTag::kLayers));
        ARROW_RETURN_NOT_OK(ParseMiniBlock(layout.message, info.mini_block.emplace()));
        return info;
      case PageLayoutTag::kConstant:
        info.layers = ParseLayers(layout.message, Tag(ConstantTag::kLayers));
        ARROW_RETURN_NOT_OK(ParseConstant(layout.message, info.constant));
        return info;
      case PageLayoutTag::kFullZip:
        info.layers = ParseLayers(layout.message, Tag(FullZipTag::kLayers));
        ARROW_RETURN_NOT_OK(ParseFullZip(layout.message, info.full_zip.emplace()));
        return info;
    }
    for (const auto& [tag, name] : kOtherLayouts) {
      if (tag == layout.tag) return Status::NotImplemented("layout ", name);
    }
    return Status::NotImplemented("layout number ", std::to_string(layout.tag), " of PageLayout");
  });
}

}  // namespace pennon::lance_format
