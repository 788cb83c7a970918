#include "cli/vector_files.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/csv/api.h>
#include <arrow/type.h>

namespace pennon::cli {

using arrow::Result;
using arrow::Status;
using arrow::io::RandomAccessFile;
using TableResult = Result<std::shared_ptr<arrow::Table>>;

namespace {

constexpr int64_t kMaxDim = std::numeric_limits<int32_t>::max();

Result<std::unique_ptr<arrow::Buffer>> ReadAt(RandomAccessFile& file, int64_t offset, int64_t bytes) {
  ARROW_ASSIGN_OR_RAISE(auto buffer, arrow::AllocateBuffer(bytes));
  ARROW_ASSIGN_OR_RAISE(const int64_t read, file.ReadAt(offset, bytes, buffer->mutable_data()));
  if (read != bytes) return Status::Invalid("expected ", bytes, " bytes at offset ", offset, ", got ", read);
  return buffer;
}

TableResult ToTable(const std::shared_ptr<arrow::DataType>& type, int64_t rows, int64_t dim,
                    std::shared_ptr<arrow::Buffer> values) {
  const auto flat = arrow::MakeArray(arrow::ArrayData::Make(type, rows * dim, {nullptr, std::move(values)}, 0));
  ARROW_ASSIGN_OR_RAISE(auto vectors, arrow::FixedSizeListArray::FromArrays(flat, static_cast<int32_t>(dim)));
  return arrow::Table::Make(arrow::schema({arrow::field("vector", vectors->type())}), {vectors});
}

template <typename From>
Result<std::unique_ptr<arrow::Buffer>> ToFloats(const From* values, int64_t n) {
  ARROW_ASSIGN_OR_RAISE(auto floats, arrow::AllocateBuffer(n * int64_t{sizeof(float)}));
  std::transform(values, values + n, floats->mutable_data_as<float>(),
                 [](From value) { return static_cast<float>(value); });
  return floats;
}

// A .npy header: the literal of a Python dict with these three keys.
struct NpyHeader {
  std::string_view descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;

  static std::optional<NpyHeader> Parse(std::string_view text);
};

std::optional<NpyHeader> NpyHeader::Parse(std::string_view text) {
  const auto take = [&](std::string_view token) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
    if (!text.starts_with(token)) return false;
    text.remove_prefix(token.size());
    return true;
  };
  NpyHeader header;
  if (!take("{")) return std::nullopt;
  while (!take("}")) {
    if (take("'descr'")) {
      if (!take(":") || !take("'")) return std::nullopt;
      header.descr = text.substr(0, text.find('\''));
      text.remove_prefix(header.descr.size());
      if (!take("'")) return std::nullopt;
    } else if (take("'fortran_order'")) {
      if (!take(":")) return std::nullopt;
      header.fortran_order = take("True");
      if (!*header.fortran_order && !take("False")) return std::nullopt;
    } else if (take("'shape'")) {
      if (!take(":") || !take("(")) return std::nullopt;
      header.shape.emplace();
      while (!take(")")) {
        int64_t size = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
        if (error != std::errc()) return std::nullopt;
        text.remove_prefix(static_cast<size_t>(end - text.data()));
        header.shape->push_back(size);
        if (!take(",") && !text.starts_with(")")) return std::nullopt;
      }
    } else {
      return std::nullopt;
    }
    if (!take(",") && !text.starts_with("}")) return std::nullopt;
  }
  take("");
  return text.empty() && header.fortran_order && header.shape ? std::optional(header) : std::nullopt;
}

template <typename Value>
TableResult ReadVecs(RandomAccessFile& file, const char* kind) {
  constexpr int64_t kWord = sizeof(int32_t);
  ARROW_ASSIGN_OR_RAISE(const int64_t size, file.GetSize());
  ARROW_ASSIGN_OR_RAISE(const std::shared_ptr<arrow::Buffer> bytes, ReadAt(file, 0, size));
  uint8_t* const data = bytes->mutable_data();
  const auto dim_at = [&](int64_t offset) {
    int32_t dim = 0;
    std::memcpy(&dim, data + offset, kWord);
    return int64_t{dim};
  };
  if (size < kWord) return Status::Invalid(kind, ": expected the dimension in 4 bytes, got ", size);
  const int64_t dim = dim_at(0);
  if (dim < 1) return Status::Invalid(kind, ": expected a dimension of at least 1, got ", dim);
  const int64_t values = dim * int64_t{sizeof(Value)};
  const int64_t rows = size / (kWord + values);
  if (size % (kWord + values) != 0) {
    return Status::Invalid(kind, ": expected rows of ", kWord + values, " bytes for dimension ", dim, ", got ", size,
                           " bytes");
  }
  // In place, without the dimensions between them.
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t from = row * (kWord + values);
    if (dim_at(from) != dim) {
      return Status::Invalid(kind, ": expected dimension ", dim, " as in the first row, got ", dim_at(from), " in row ",
                             row);
    }
    std::memmove(data + row * values, data + from + kWord, static_cast<size_t>(values));
  }
  if constexpr (std::is_same_v<Value, float>) {
    return ToTable(arrow::float32(), rows, dim, arrow::SliceBuffer(bytes, 0, rows * values));
  } else {
    ARROW_ASSIGN_OR_RAISE(auto floats, ToFloats(data, rows * dim));
    return ToTable(arrow::float32(), rows, dim, std::move(floats));
  }
}

// A column into every dim-th place.
template <typename Array>
void Scatter(const arrow::ChunkedArray& column, int64_t dim, float* out) {
  for (const auto& chunk : column.chunks()) {
    for (int64_t i = 0; i < chunk->length(); ++i, out += dim) {
      *out = static_cast<float>(static_cast<const Array&>(*chunk).Value(i));
    }
  }
}

}  // namespace

TableResult ReadNpy(RandomAccessFile& file) {
  constexpr int64_t kPrefix = 12;  // of version 1 the last two are the header's
  ARROW_ASSIGN_OR_RAISE(const int64_t size, file.GetSize());
  if (size < kPrefix) return Status::Invalid(".npy: expected a header, got ", size, " bytes");
  ARROW_ASSIGN_OR_RAISE(const auto prefix, ReadAt(file, 0, kPrefix));
  const uint8_t* const bytes = prefix->data();
  const int version = bytes[6];
  if (version < 1 || version > 3) return Status::Invalid(".npy: expected version 1, 2 or 3, got ", version);
  const int64_t header_at = version == 1 ? kPrefix - 2 : kPrefix;
  int64_t header_size = 0;
  for (int64_t i = header_at - 1; i >= 8; --i) header_size = header_size << 8 | bytes[i];
  if (header_size > size - header_at) {
    return Status::Invalid(".npy: expected a header of ", header_size, " bytes, got ", size - header_at);
  }
  ARROW_ASSIGN_OR_RAISE(const auto text, ReadAt(file, header_at, header_size));
  const auto header = NpyHeader::Parse(std::string_view(*text));
  const bool half = header && header->descr == "<f2";
  const bool wide = header && header->descr == "<f8";
  const bool sound = header && (half || wide || header->descr == "<f4") && !*header->fortran_order &&
                     header->shape->size() == 2 && (*header->shape)[0] >= 0 && (*header->shape)[1] >= 1 &&
                     (*header->shape)[1] <= kMaxDim;
  if (!sound) {
    std::string_view shown(*text);
    shown = shown.substr(0, 200);
    shown = {shown.begin(), std::find_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; })};
    return Status::Invalid(
        ".npy: expected an array of two dimensions, the second at least 1, of '<f4', '<f2' or '<f8' in C order, got ",
        shown);
  }
  const int64_t rows = (*header->shape)[0];
  const int64_t dim = (*header->shape)[1];
  const int64_t row_bytes = dim * (half ? 2 : wide ? 8 : 4);
  const int64_t data_at = header_at + header_size;
  if (rows != (size - data_at) / row_bytes || (size - data_at) % row_bytes != 0) {
    return Status::Invalid(".npy: expected ", rows, " rows of ", row_bytes, " bytes, got ", size - data_at, " bytes");
  }
  ARROW_ASSIGN_OR_RAISE(auto values, ReadAt(file, data_at, rows * row_bytes));
  if (wide) {
    ARROW_ASSIGN_OR_RAISE(values, ToFloats(values->data_as<double>(), rows * dim));
  }
  return ToTable(half ? arrow::float16() : arrow::float32(), rows, dim, std::move(values));
}

TableResult ReadFvecs(RandomAccessFile& file) { return ReadVecs<float>(file, ".fvecs"); }
TableResult ReadBvecs(RandomAccessFile& file) { return ReadVecs<uint8_t>(file, ".bvecs"); }

TableResult ReadCsv(const std::shared_ptr<RandomAccessFile>& file) {
  ARROW_ASSIGN_OR_RAISE(const auto head, file->ReadAt(0, 64));
  ARROW_RETURN_NOT_OK(file->Seek(0));
  std::string_view first(*head);
  if (first.starts_with("\xEF\xBB\xBF")) first.remove_prefix(3);
  first.remove_prefix(std::min(first.find_first_not_of(" \t\""), first.size()));
  double number = 0;
  const auto [end, error] = std::from_chars(first.data(), first.data() + first.size(), number);
  auto read = arrow::csv::ReadOptions::Defaults();
  read.autogenerate_column_names = error != std::errc::invalid_argument &&
                                   (end == first.data() + first.size() || std::strchr(", \t\r\n\"", *end) != nullptr);
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::csv::TableReader::Make(arrow::io::default_io_context(), file, read,
                                                                   arrow::csv::ParseOptions::Defaults(),
                                                                   arrow::csv::ConvertOptions::Defaults()));
  ARROW_ASSIGN_OR_RAISE(const auto table, reader->Read());
  const int64_t rows = table->num_rows();
  const int64_t dim = table->num_columns();
  ARROW_ASSIGN_OR_RAISE(auto values, arrow::AllocateBuffer(rows * dim * int64_t{sizeof(float)}));
  for (int i = 0; i < dim; ++i) {
    const arrow::ChunkedArray& column = *table->column(i);
    float* const out = values->mutable_data_as<float>() + i;
    if (column.null_count() == 0 && column.type()->id() == arrow::Type::INT64) {
      Scatter<arrow::Int64Array>(column, dim, out);
    } else if (column.null_count() == 0 && column.type()->id() == arrow::Type::DOUBLE) {
      Scatter<arrow::DoubleArray>(column, dim, out);
    } else {
      return Status::Invalid("CSV: expected a number in every row of column '", table->field(i)->name(), "', got ",
                             column.type()->ToString(), " with ", column.null_count(), " nulls");
    }
  }
  return ToTable(arrow::float32(), rows, dim, std::move(values));
}

}  // namespace pennon::cli
