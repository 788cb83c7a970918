#include "lance/array_encoding.h"

#include <protozero/pbf_builder.hpp>

#include "lance/message.h"

namespace pennon::lance_format {
namespace {

// encodings_v2_0.proto.
enum class ArrayEncoding : Tag { kFlat = 1, kNullable = 2, kFixedSizeList = 3, kList = 4, kStruct = 5, kBinary = 6 };
enum class FlatTag : Tag { kBitsPerValue = 1, kBuffer = 2 };
enum class BufferTag : Tag { kIndex = 1 };
enum class NullableTag : Tag { kNoNulls = 1, kSomeNulls = 2 };
enum class NoNullsTag : Tag { kValues = 1 };
enum class SomeNullsTag : Tag { kValidity = 1, kValues = 2 };
enum class FixedSizeListTag : Tag { kDimension = 1, kItems = 2 };
enum class ListTag : Tag { kEnds = 1, kNullAdjustment = 2, kItems = 3 };
enum class BinaryTag : Tag { kEnds = 1, kBytes = 2, kNullAdjustment = 3 };
// file2.proto.
enum class EncodingTag : Tag { kDirect = 2 };
enum class DirectTag : Tag { kBytes = 1 };

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

std::string PageEncoding(const std::string& array_encoding) {
  return Encoding(Any("/lance.encodings.ArrayEncoding", array_encoding));
}

std::string LayoutEncoding(const std::string& page_layout) {
  return Encoding(Any("/lance.encodings21.PageLayout", page_layout));
}

std::string ColumnEncoding() {
  enum class ColumnTag : Tag { kValues = 1 };
  return Encoding(Any("/lance.encodings.ColumnEncoding",
                      Message<ColumnTag>([](auto& column) { column.add_message(ColumnTag::kValues, std::string()); })));
}

}  // namespace pennon::lance_format
