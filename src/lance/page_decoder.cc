#include "lance/page_decoder.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include <arrow/array/util.h>
#include <arrow/util/bit_util.h>
#include <arrow/util/bitmap_ops.h>

#include "lance/utf8.h"

namespace pennon::lance_format {

using arrow::Result;
using arrow::Status;

constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // that need no bytes of the file's

uint64_t CountOf(std::span<const Range> ranges) {
  uint64_t count = 0;
  for (const Range& range : ranges) count += range.count;
  return count;
}

bool Steps::last() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const Part& part) { return bool{part.step.decode}; });
}

Status Steps::Next(BuffersRead read, Reads& more) {
  for (Part& part : parts_) {
    const BuffersRead own = read.first(part.reads);
    read = read.subspan(part.reads);
    const size_t before = more.size();
    if (!part.step.decode) {
      // Not part.step: that is being replaced by what it gives.
      const auto next = std::move(part.step.next);
      ARROW_ASSIGN_OR_RAISE(part.step, next(own, more));
    } else if (!own.empty()) {
      part.kept.assign(own.begin(), own.end());
    }
    part.reads = more.size() - before;
  }
  return Status::OK();
}

Result<arrow::ArrayVector> Steps::Decode(BuffersRead read, Expansion* expansion) const {
  arrow::ArrayVector arrays;
  for (const Part& part : parts_) {
    const BuffersRead own = part.kept.empty() ? read.first(part.reads) : BuffersRead(part.kept);
    read = read.subspan(part.reads);
    ARROW_ASSIGN_OR_RAISE(auto array, part.step.decode(own));
    if (expansion != nullptr) ARROW_RETURN_NOT_OK(expansion->Add(own, *array));
    arrays.push_back(std::move(array));
  }
  return arrays;
}

Status CheckExpansion(uint64_t read_bytes, uint64_t value_bytes) {
  constexpr uint64_t kMostTimes = 16;
  if (value_bytes <= kMostBytes || value_bytes / kMostTimes <= read_bytes) return Status::OK();
  return Status::CapacityError("expected fewer rows at a time: ", std::to_string(read_bytes), " bytes are more than ",
                               std::to_string(kMostBytes), " as values");
}

uint64_t BytesOf(const arrow::ArrayData& array) {
  uint64_t bytes = 0;
  for (const auto& buffer : array.buffers) bytes += buffer ? static_cast<uint64_t>(buffer->size()) : 0;
  for (const auto& child : array.child_data) bytes += BytesOf(*child);
  return bytes;
}

Status Expansion::Add(BuffersRead read, const arrow::Array& array) {
  for (const auto& buffer : read) read_bytes += static_cast<uint64_t>(buffer->size());
  value_bytes += BytesOf(*array.data());
  return CheckExpansion(read_bytes, value_bytes);
}

Ranges Times(const Ranges& rows, uint64_t dimension) {
  Ranges values = rows;
  for (Range& range : values) range = {range.first * dimension, range.count * dimension};
  return values;
}

uint64_t WidthOf(const arrow::DataType& type) {
  if (type.id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
    return static_cast<uint64_t>(list.list_size()) * WidthOf(*list.value_type());
  }
  const bool fixed = type.num_fields() == 0 && type.bit_width() > 0;
  return fixed ? static_cast<uint64_t>(type.bit_width()) : 0;
}

uint64_t LeastWidthOf(const arrow::DataType& type) {
  if (type.id() != arrow::Type::STRUCT) return WidthOf(type);
  uint64_t width = 0;
  for (const auto& field : type.fields()) {
    const uint64_t of_field = LeastWidthOf(*field->type());
    width += std::min(of_field, UINT64_MAX - width);
  }
  return width;
}

std::vector<uint64_t> DimensionsOf(const arrow::DataType& type) {
  std::vector<uint64_t> dimensions;
  for (const auto* at = &type; at->id() == arrow::Type::FIXED_SIZE_LIST; at = at->field(0)->type().get()) {
    const auto size = static_cast<const arrow::FixedSizeListType*>(at)->list_size();
    dimensions.push_back((dimensions.empty() ? 1 : dimensions.back()) * static_cast<uint64_t>(size));
  }
  return dimensions;
}

Status CheckSize(uint64_t rows, uint64_t bits_a_row) {
  if (rows <= kMostBytes && bits_a_row / 8 <= kMostBytes / std::max<uint64_t>(rows, 1)) return Status::OK();
  return Status::CapacityError("expected fewer rows at a time than ", std::to_string(rows), " of ",
                               std::to_string(bits_a_row), " bits that the file does not hold");
}

Result<std::shared_ptr<arrow::Buffer>> Zeros(uint64_t rows, uint64_t bits_a_row, arrow::MemoryPool* pool) {
  ARROW_RETURN_NOT_OK(CheckSize(rows, bits_a_row));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer,
                        arrow::AllocateBuffer(static_cast<int64_t>((rows * bits_a_row + 7) / 8), pool));
  std::memset(buffer->mutable_data(), 0, static_cast<size_t>(buffer->size()));
  return buffer;
}

Result<std::shared_ptr<arrow::Array>> Nulls(const std::shared_ptr<arrow::DataType>& type, uint64_t rows,
                                            arrow::MemoryPool* pool) {
  ARROW_RETURN_NOT_OK(CheckSize(rows, std::max<uint64_t>(LeastWidthOf(*type), 64)));
  return arrow::MakeArrayOfNull(type, static_cast<int64_t>(rows), pool);
}

Result<FixedWidth> FixedWidth::Make(const io::ByteRange& place, uint64_t bits, uint64_t values) {
  if (bits != 1 && (bits == 0 || bits % 8 != 0)) {
    return Status::NotImplemented("values of ", std::to_string(bits), " bits");
  }
  if (values > 0 && (bits > place.length * 8 || values > place.length * 8 / bits)) {
    return Status::Invalid("expected ", std::to_string(values), " values of ", std::to_string(bits),
                           " bits in a buffer, got ", std::to_string(place.length), " bytes");
  }
  return FixedWidth(place, bits);
}

void FixedWidth::Request(std::span<const Range> values, Reads& reads) const {
  for (const Range& range : values) {
    const uint64_t first = range.first * bits_ / 8;
    reads.push_back({place_.offset + first, (range.end() * bits_ + 7) / 8 - first});
  }
}

Result<std::shared_ptr<arrow::Buffer>> FixedWidth::Take(std::span<const Range> values,
                                                        const std::shared_ptr<arrow::Buffer>* reads,
                                                        arrow::MemoryPool* pool) const {
  constexpr uintptr_t kAlignment = 16;  // of the widest values
  const auto aligned = [](const uint8_t* data) { return reinterpret_cast<uintptr_t>(data) % kAlignment == 0; };
  if (values.size() == 1 && values[0].first * bits_ % 8 == 0 && aligned(reads[0]->data())) return reads[0];
  const uint64_t bits = CountOf(values) * bits_;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer,
                        arrow::AllocateBuffer(static_cast<int64_t>((bits + 7) / 8), pool));
  uint8_t* to = buffer->mutable_data();
  if (bits_ == 1 && buffer->size() > 0) to[buffer->size() - 1] = 0;
  int64_t at = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (bits_ == 1) {
      const auto count = static_cast<int64_t>(values[i].count);
      arrow::internal::CopyBitmap(reads[i]->data(), static_cast<int64_t>(values[i].first % 8), count, to, at);
      at += count;
    } else {
      std::memcpy(to + at, reads[i]->data(), static_cast<size_t>(reads[i]->size()));
      at += reads[i]->size();
    }
  }
  return buffer;
}

std::shared_ptr<arrow::Array> WithValidity(const std::shared_ptr<arrow::Array>& array,
                                           std::shared_ptr<arrow::Buffer> validity) {
  if (!validity) return array;
  const auto data = array->data()->Copy();
  data->buffers[0] = std::move(validity);
  data->null_count = arrow::kUnknownNullCount;
  return arrow::MakeArray(data);
}

Result<std::shared_ptr<arrow::Buffer>> MakeOffsets(const std::vector<int64_t>& offsets, bool large,
                                                   arrow::MemoryPool* pool) {
  const size_t width = large ? sizeof(int64_t) : sizeof(int32_t);
  if (!large && offsets.back() > std::numeric_limits<int32_t>::max()) {
    return Status::CapacityError("expected fewer rows at a time: they hold ", std::to_string(offsets.back()),
                                 " bytes or items, and the type's most is 2^31 - 1");
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer,
                        arrow::AllocateBuffer(static_cast<int64_t>(offsets.size() * width), pool));
  if (large) {
    std::memcpy(buffer->mutable_data(), offsets.data(), offsets.size() * width);
  } else {
    std::copy(offsets.begin(), offsets.end(), reinterpret_cast<int32_t*>(buffer->mutable_data()));
  }
  return buffer;
}

std::shared_ptr<arrow::Array> MakeFixed(const std::shared_ptr<arrow::DataType>& type, int64_t count,
                                        std::span<const std::shared_ptr<arrow::Buffer>> validity,
                                        std::shared_ptr<arrow::Buffer> values) {
  const auto own = validity.empty() ? nullptr : validity[0];
  if (type->id() != arrow::Type::FIXED_SIZE_LIST) {
    return arrow::MakeArray(arrow::ArrayData::Make(type, count, {own, std::move(values)}));
  }
  const int64_t items = count * static_cast<const arrow::FixedSizeListType&>(*type).list_size();
  const auto below = validity.empty() ? validity : validity.subspan(1);
  return arrow::MakeArray(arrow::ArrayData::Make(
      type, count, {own}, {MakeFixed(type->field(0)->type(), items, below, std::move(values))->data()}));
}

Result<std::shared_ptr<arrow::Array>> MakeBinary(const std::shared_ptr<arrow::DataType>& type,
                                                 const std::vector<int64_t>& offsets,
                                                 std::shared_ptr<arrow::Buffer> bytes,
                                                 std::shared_ptr<arrow::Buffer> validity, int64_t null_count,
                                                 arrow::MemoryPool* pool) {
  const arrow::Type::type id = type->id();
  if (id == arrow::Type::STRING || id == arrow::Type::LARGE_STRING) {
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      const char* text = reinterpret_cast<const char*>(bytes->data()) + offsets[i];
      if (IsUtf8({text, static_cast<size_t>(offsets[i + 1] - offsets[i])})) continue;
      return Status::Invalid("expected UTF-8, got other bytes");
    }
  }
  const bool large = id == arrow::Type::LARGE_STRING || id == arrow::Type::LARGE_BINARY;
  ARROW_ASSIGN_OR_RAISE(auto ends, MakeOffsets(offsets, large, pool));
  return arrow::MakeArray(arrow::ArrayData::Make(type, static_cast<int64_t>(offsets.size()) - 1,
                                                 {std::move(validity), std::move(ends), std::move(bytes)}, null_count));
}

}  // namespace pennon::lance_format
