#include "lance/dictionary.h"

#include <string>
#include <vector>

#include <arrow/buffer_builder.h>
#include <arrow/util/bit_util.h>

#include "lance/page_decoder.h"

namespace pennon::lance_format {

using arrow::Result;
using arrow::Status;
using ArrayPtr = std::shared_ptr<arrow::Array>;
using BufferPtr = std::shared_ptr<arrow::Buffer>;

Result<Dictionary> Dictionary::Make(const std::shared_ptr<arrow::DataType>& type, const DecodedValues& values,
                                    arrow::MemoryPool* pool) {
  // What is not UTF-8 shall not be met later.
  if (!values.offsets.empty()) {
    ARROW_RETURN_NOT_OK(MakeBinary(type, values.offsets, values.bytes, nullptr, 0, pool).status());
  }
  return Dictionary(type, values);
}

Result<ArrayPtr> Dictionary::Take(const arrow::Array& places, const BufferPtr& validity,
                                  arrow::MemoryPool* pool) const {
  const arrow::ArrayData& data = *places.data();
  const auto count = static_cast<uint64_t>(places.length());
  switch (places.type_id()) {
    case arrow::Type::UINT8: return TakeAs(data.GetValues<uint8_t>(1), count, validity, pool);
    case arrow::Type::UINT16: return TakeAs(data.GetValues<uint16_t>(1), count, validity, pool);
    case arrow::Type::UINT32: return TakeAs(data.GetValues<uint32_t>(1), count, validity, pool);
    default: return TakeAs(data.GetValues<uint64_t>(1), count, validity, pool);
  }
}

template <typename Place>
Result<ArrayPtr> Dictionary::TakeAs(const Place* places, uint64_t count, const BufferPtr& validity,
                                    arrow::MemoryPool* pool) const {
  const bool variable = !values_.offsets.empty();
  const uint64_t width = WidthOf(*type_) / 8;
  const char* from = reinterpret_cast<const char*>(values_.bytes->data());
  arrow::BufferBuilder bytes(pool);
  std::vector<int64_t> offsets = {0};
  if (variable) {
    offsets.reserve(count + 1);
  } else {
    ARROW_RETURN_NOT_OK(bytes.Reserve(static_cast<int64_t>(count * width)));
  }
  for (uint64_t i = 0; i < count; ++i) {
    const bool valid = !validity || arrow::bit_util::GetBit(validity->data(), static_cast<int64_t>(i));
    if (valid && places[i] >= values_.count) {
      return Status::Invalid("expected one of ", std::to_string(values_.count), " values of a dictionary, got number ",
                             std::to_string(places[i]));
    }
    if (!variable) {
      if (valid) {
        bytes.UnsafeAppend(from + places[i] * width, static_cast<int64_t>(width));
      } else {
        bytes.UnsafeAppend(static_cast<int64_t>(width), 0);
      }
      continue;
    }
    if (valid) {
      const int64_t first = values_.offsets[places[i]];
      const int64_t size = values_.offsets[places[i] + 1] - first;
      ARROW_RETURN_NOT_OK(CheckSize(static_cast<uint64_t>(offsets.back() + size), 8));
      ARROW_RETURN_NOT_OK(bytes.Append(from + first, size));
    }
    offsets.push_back(bytes.length());
  }
  ARROW_ASSIGN_OR_RAISE(auto buffer, bytes.Finish());
  DecodedValues taken{.count = count, .bytes = std::move(buffer)};
  if (variable) taken.offsets = std::move(offsets);
  return MakeValues(type_, taken, pool);
}

}  // namespace pennon::lance_format
