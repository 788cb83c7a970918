#include "cli/rows_writer.h"

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <utility>

#include <arrow/array.h>
#include <arrow/csv/writer.h>
#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <arrow/scalar.h>
#include <arrow/type_traits.h>
#include <arrow/util/base64.h>
#include <arrow/util/float16.h>
#include <parquet/arrow/writer.h>
#include <nlohmann/json.hpp>

#include "cli/ingest.h"
#include "cli/report.h"

namespace pennon::cli {
namespace {

using arrow::Result;
using arrow::Status;
using Json = nlohmann::ordered_json;

// With as few digits as tell it from its neighbours.
double Shortest(float value) {
  char text[64];
  const char* end = std::to_chars(text, text + sizeof(text), value).ptr;
  double number = value;
  std::from_chars(text, end, number);
  return number;
}

Result<Json> ToJson(const arrow::Array& array, int64_t i);

template <typename ArrayType>
Json Number(const arrow::Array& array, int64_t i) {
  return static_cast<const ArrayType&>(array).Value(i);
}

template <typename ListType>
Result<Json> List(const arrow::Array& array, int64_t i) {
  const auto& list = static_cast<const ListType&>(array);
  Json items = Json::array();
  for (int64_t j = list.value_offset(i); j < list.value_offset(i) + list.value_length(i); ++j) {
    ARROW_ASSIGN_OR_RAISE(auto item, ToJson(*list.values(), j));
    items.push_back(std::move(item));
  }
  return items;
}

Result<Json> ToJson(const arrow::Array& array, int64_t i) {
  using arrow::Type;
  if (array.IsNull(i)) return Json();
  switch (array.type_id()) {
    case Type::BOOL: return Number<arrow::BooleanArray>(array, i);
    case Type::INT8: return Number<arrow::Int8Array>(array, i);
    case Type::INT16: return Number<arrow::Int16Array>(array, i);
    case Type::INT32: return Number<arrow::Int32Array>(array, i);
    case Type::INT64: return Number<arrow::Int64Array>(array, i);
    case Type::UINT8: return Number<arrow::UInt8Array>(array, i);
    case Type::UINT16: return Number<arrow::UInt16Array>(array, i);
    case Type::UINT32: return Number<arrow::UInt32Array>(array, i);
    case Type::UINT64: return Number<arrow::UInt64Array>(array, i);
    case Type::HALF_FLOAT:
      return Shortest(
          arrow::util::Float16::FromBits(static_cast<const arrow::HalfFloatArray&>(array).Value(i)).ToFloat());
    case Type::FLOAT: return Shortest(static_cast<const arrow::FloatArray&>(array).Value(i));
    case Type::DOUBLE: return Number<arrow::DoubleArray>(array, i);
    case Type::STRING: return static_cast<const arrow::StringArray&>(array).GetString(i);
    case Type::LARGE_STRING: return static_cast<const arrow::LargeStringArray&>(array).GetString(i);
    case Type::BINARY: return arrow::util::base64_encode(static_cast<const arrow::BinaryArray&>(array).GetView(i));
    case Type::LARGE_BINARY:
      return arrow::util::base64_encode(static_cast<const arrow::LargeBinaryArray&>(array).GetView(i));
    case Type::FIXED_SIZE_BINARY:
      return arrow::util::base64_encode(static_cast<const arrow::FixedSizeBinaryArray&>(array).GetView(i));
    case Type::LIST: return List<arrow::ListArray>(array, i);
    case Type::MAP: return List<arrow::MapArray>(array, i);
    case Type::LARGE_LIST: return List<arrow::LargeListArray>(array, i);
    case Type::FIXED_SIZE_LIST: return List<arrow::FixedSizeListArray>(array, i);
    case Type::STRUCT: {
      Json object = Json::object();
      for (int field = 0; field < array.num_fields(); ++field) {
        const auto values = static_cast<const arrow::StructArray&>(array).field(field);
        ARROW_ASSIGN_OR_RAISE(object[array.type()->field(field)->name()], ToJson(*values, i));
      }
      return object;
    }
    default: {
      ARROW_ASSIGN_OR_RAISE(const auto scalar, array.GetScalar(i));
      return scalar->ToString();
    }
  }
}

// write(batch) for each.
template <typename Write>
Status ForEachBatch(arrow::RecordBatchReader& rows, Write&& write) {
  while (true) {
    if (interrupted != 0) return Status::Cancelled("interrupted");
    ARROW_ASSIGN_OR_RAISE(const auto batch, rows.Next());
    if (!batch) return Status::OK();
    ARROW_RETURN_NOT_OK(write(*batch));
  }
}

// Closed whatever became of the rows.
template <typename Writer>
Status WriteAll(const std::string& path, arrow::RecordBatchReader& rows, Writer& writer) {
  const Status status = ForEachBatch(
      rows, [&](const arrow::RecordBatch& batch) { return NameFile(path, writer.WriteRecordBatch(batch)); });
  const Status closed = NameFile(path, writer.Close());
  return status.ok() ? closed : status;
}

// Bytes and what is nested have no words there.
Status CheckCsv(const std::string& path, const arrow::Schema& schema) {
  for (const auto& field : schema.fields()) {
    const arrow::DataType& type = *field->type();
    if (type.num_fields() == 0 && !arrow::is_binary(type.id()) && type.id() != arrow::Type::FIXED_SIZE_BINARY) continue;
    return Status::Invalid(path, ": column ", field->name(), ": a .csv file cannot hold ", type.ToString(),
                           "; choose other columns, or another kind of file");
  }
  return Status::OK();
}

// Of the kind that the path's end tells, as another file.
Status WriteFile(const std::string& path, const std::string& as, arrow::RecordBatchReader& rows) {
  const std::string extension = std::filesystem::path(path).extension().string();
  ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::FileOutputStream::Open(as));
  if (extension == ".parquet") {
    const auto types = parquet::ArrowWriterProperties::Builder().store_schema()->build();  // else vectors become lists
    auto writer = parquet::arrow::FileWriter::Open(*rows.schema(), arrow::default_memory_pool(), file,
                                                   parquet::default_writer_properties(), types);
    ARROW_RETURN_NOT_OK(NameFile(path, writer.status()));
    ARROW_RETURN_NOT_OK(WriteAll(path, rows, **writer));
  } else {
    auto writer = extension == ".csv" ? arrow::csv::MakeCSVWriter(file, rows.schema())
                                      : arrow::ipc::MakeFileWriter(file, rows.schema());
    ARROW_RETURN_NOT_OK(NameFile(path, writer.status()));
    ARROW_RETURN_NOT_OK(WriteAll(path, rows, **writer));
  }
  return NameFile(path, file->Close());
}

}  // namespace

Status WriteRowsTo(const std::string& path, arrow::RecordBatchReader& rows) {
  namespace fs = std::filesystem;
  const std::string extension = fs::path(path).extension().string();
  const bool ipc = extension == ".arrow" || extension == ".ipc" || extension == ".feather";
  if (extension != ".parquet" && extension != ".csv" && !ipc) {
    return Status::Invalid(path, ": expected a name that ends in .parquet, .arrow, .ipc, .feather or .csv");
  }
  if (extension == ".csv") ARROW_RETURN_NOT_OK(CheckCsv(path, *rows.schema()));
  // A failure leaves what there was. What is no file, as /dev/full, is written to as it is.
  std::error_code error;
  const bool exists = fs::exists(path, error);
  const bool replace = !exists || fs::is_regular_file(path, error);
  const std::string target = fs::is_symlink(path, error) ? fs::weakly_canonical(path, error).string() : path;
  const std::string written = replace ? target + "." + std::to_string(getpid()) + ".tmp" : path;
  Status status = WriteFile(path, written, rows);
  if (status.ok() && replace) {
    if (exists) fs::permissions(written, fs::status(target, error).permissions(), error);
    fs::rename(written, target, error);
    if (error) status = Status::IOError(path, ": cannot rename ", written, " to it: ", error.message());
  }
  if (!status.ok() && replace) fs::remove(written, error);
  return status;
}

Result<Json> RowToJson(const arrow::RecordBatch& batch, int64_t row) {
  Json object = Json::object();
  for (int column = 0; column < batch.num_columns(); ++column) {
    ARROW_ASSIGN_OR_RAISE(object[batch.column_name(column)], ToJson(*batch.column(column), row));
  }
  return object;
}

Status PrintRows(arrow::RecordBatchReader& rows) {
  return ForEachBatch(rows, [&](const arrow::RecordBatch& batch) -> Status {
    std::string lines;
    for (int64_t i = 0; i < batch.num_rows(); ++i) {
      ARROW_ASSIGN_OR_RAISE(const Json row, RowToJson(batch, i));
      lines += row.dump() + "\n";
    }
    if (std::fwrite(lines.data(), 1, lines.size(), stdout) == lines.size()) return Status::OK();
    return Status::IOError("standard output: cannot write");
  });
}

}  // namespace pennon::cli
