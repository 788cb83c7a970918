#include "lance/page_layout.h"

#include <protozero/pbf_builder.hpp>

#include "lance/message.h"

namespace pennon::lance_format {
namespace {

// encodings_v2_1.proto.
enum class PageLayoutTag : Tag { kFullZip = 3 };
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
enum class CompressiveTag : Tag { kFlat = 1, kVariable = 2, kFixedSizeList = 11 };
enum class FlatTag : Tag { kBitsPerValue = 1 };
enum class VariableTag : Tag { kOffsets = 1 };
enum class FixedSizeListTag : Tag { kItemsPerValue = 1, kValues = 2, kHasValidity = 3 };

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

}  // namespace pennon::lance_format
