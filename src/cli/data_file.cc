#include "cli/data_file.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include <arrow/builder.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/util/float16.h>
#include <arrow/util/iterator.h>
#include <parquet/arrow/reader.h>

#include "cli/vector_files.h"
#include "pennon/lance.h"

namespace pennon::cli {

using arrow::Result;
using arrow::Status;

namespace {

constexpr int64_t kBatchRows = 1024;

Result<std::shared_ptr<arrow::Table>> ReadTable(const std::shared_ptr<arrow::io::RandomAccessFile>& file,
                                                const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(auto head, file->ReadAt(0, 6));
  if (head->ToString().starts_with("PAR1")) {
    ARROW_ASSIGN_OR_RAISE(auto reader, parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
    return reader->ReadTable();
  }
  if (head->ToString() == "ARROW1") {
    ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchFileReader::Open(file));
    return reader->ToTable();
  }
  if (head->ToString() == "\x93NUMPY") return ReadNpy(*file);
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".fvecs") return ReadFvecs(*file);
  if (extension == ".bvecs") return ReadBvecs(*file);
  if (extension == ".csv") return ReadCsv(file);
  return Status::Invalid("expected a Parquet, Arrow IPC or .npy file, or a name that ends in .fvecs, .bvecs or .csv");
}

// What Arrow has read need not be sound: a list may end beyond its values.
Result<std::shared_ptr<arrow::Table>> ReadSound(const std::shared_ptr<arrow::io::RandomAccessFile>& file,
                                                const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(const auto table, ReadTable(file, path));
  ARROW_RETURN_NOT_OK(table->ValidateFull());
  return table->CombineChunks();
}

// Arrow's default pool gives the memory of each batch back to the system, which costs more than decoding the next one.
arrow::MemoryPool* BatchPool() {
  arrow::MemoryPool* pool = nullptr;
  return arrow::jemalloc_memory_pool(&pool).ok() ? pool : arrow::default_memory_pool();
}

bool IsTable(const std::string& path) {
  std::error_code error;
  return path.find("://") != std::string::npos || std::filesystem::is_directory(path, error);
}

Result<std::shared_ptr<arrow::RecordBatchReader>> ScanTable(const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, lance::Dataset::Open(path));
  return dataset.Scan({.batch_rows = kBatchRows});
}

// The batches of an Arrow IPC file, each read and found sound when it is asked for.
class IpcBatches : public arrow::RecordBatchReader {
 public:
  explicit IpcBatches(std::shared_ptr<arrow::ipc::RecordBatchFileReader> file) : file_(std::move(file)) {}
  std::shared_ptr<arrow::Schema> schema() const override { return file_->schema(); }
  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    *batch = nullptr;
    if (next_ == file_->num_record_batches()) return Status::OK();
    ARROW_ASSIGN_OR_RAISE(*batch, file_->ReadRecordBatch(next_++));
    return (*batch)->ValidateFull();
  }

 private:
  const std::shared_ptr<arrow::ipc::RecordBatchFileReader> file_;
  int next_ = 0;
};

// What the reader gives, and the reader as long as that is needed.
Result<std::shared_ptr<arrow::RecordBatchReader>> OpenBatches(const std::string& path) {
  if (IsTable(path)) return ScanTable(path);
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(path));
  ARROW_ASSIGN_OR_RAISE(auto head, file->ReadAt(0, 6));
  if (head->ToString() == "ARROW1") {
    ARROW_ASSIGN_OR_RAISE(auto ipc, arrow::ipc::RecordBatchFileReader::Open(file));
    return std::make_shared<IpcBatches>(std::move(ipc));
  }
  if (!head->ToString().starts_with("PAR1")) {
    ARROW_ASSIGN_OR_RAISE(auto table, ReadSound(file, path));
    auto batches = std::make_shared<arrow::TableBatchReader>(table);
    batches->set_chunksize(kBatchRows);
    return batches;
  }
  struct Open {
    std::unique_ptr<parquet::arrow::FileReader> file;
    std::unique_ptr<arrow::RecordBatchReader> batches;
  };
  auto open = std::make_shared<Open>();
  ARROW_ASSIGN_OR_RAISE(open->file, parquet::arrow::OpenFile(file, BatchPool()));
  open->file->set_batch_size(kBatchRows);
  ARROW_ASSIGN_OR_RAISE(open->batches, open->file->GetRecordBatchReader());
  return std::shared_ptr<arrow::RecordBatchReader>(open, open->batches.get());
}

Status Named(const std::string& path, const Status& status) {
  return status.message().find(path) != std::string::npos ? status : Status::Invalid(path, ": ", status.message());
}

}  // namespace

Result<DataFile> DataFile::Read(const std::string& path) {
  if (IsTable(path)) {
    ARROW_ASSIGN_OR_RAISE(const auto rows, ScanTable(path));
    ARROW_ASSIGN_OR_RAISE(const auto table, rows->ToTable());
    DataFile data;
    data.path_ = path;
    ARROW_ASSIGN_OR_RAISE(data.table_, table->CombineChunks());
    return data;
  }
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(path));
  return Read(file, path);
}

Result<DataFile> DataFile::Read(const std::shared_ptr<arrow::io::RandomAccessFile>& file, const std::string& path) {
  DataFile data;
  data.path_ = path;
  auto table = ReadSound(file, path);
  if (!table.ok()) return Named(path, table.status());
  data.table_ = *std::move(table);
  return data;
}

Result<std::shared_ptr<arrow::RecordBatchReader>> ReadBatches(const std::string& path, int64_t limit) {
  auto opened = OpenBatches(path);
  if (!opened.ok()) return Named(path, opened.status());
  const auto batches = *std::move(opened);
  const auto next = [path, batches, limit]() mutable -> Result<std::shared_ptr<arrow::RecordBatch>> {
    if (limit == 0) return nullptr;
    auto batch = batches->Next();
    if (!batch.ok()) return Named(path, batch.status());
    if (!*batch) return nullptr;
    const int64_t rows = std::min(limit, (*batch)->num_rows());
    limit -= rows;
    return (*batch)->Slice(0, rows);
  };
  return arrow::RecordBatchReader::MakeFromIterator(arrow::MakeFunctionIterator(next), batches->schema());
}

std::string DataFile::ListColumns() const {
  std::string names;
  for (const auto& field : table_->schema()->fields()) {
    names += (names.empty() ? "" : ", ") + field->name() + " (" + field->type()->ToString() + ")";
  }
  return names;
}

Result<std::shared_ptr<arrow::Array>> DataFile::Column(const std::string& name) const {
  const auto column = table_->GetColumnByName(name);
  if (!column) return Status::Invalid(path_, ": no column '", name, "'; there are: ", ListColumns());
  if (column->num_chunks() == 0) return arrow::MakeEmptyArray(column->type());
  return column->chunk(0);
}

Result<std::shared_ptr<arrow::FixedSizeListArray>> DataFile::Vectors(const std::string& name) const {
  std::string chosen = name;
  for (const auto& field : table_->schema()->fields()) {
    if (!name.empty() || field->type()->id() != arrow::Type::FIXED_SIZE_LIST) continue;
    if (!chosen.empty()) {
      return Status::Invalid(path_,
                             ": more than one FixedSizeList column, choose with --vector; there are: ", ListColumns());
    }
    chosen = field->name();
  }
  if (chosen.empty()) return Status::Invalid(path_, ": no FixedSizeList column; there are: ", ListColumns());
  ARROW_ASSIGN_OR_RAISE(auto column, Column(chosen));
  auto list = std::dynamic_pointer_cast<arrow::FixedSizeListArray>(column);
  if (!list || list->value_length() < 1 ||
      (list->value_type()->id() != arrow::Type::FLOAT && list->value_type()->id() != arrow::Type::HALF_FLOAT)) {
    return Status::Invalid(path_, ": column '", chosen, "' is ", column->type()->ToString(),
                           ", expected FixedSizeList<float or halffloat> of at least 1; there are: ", ListColumns());
  }
  return list;
}

Result<std::shared_ptr<arrow::Array>> DataFile::RowIds(const std::string& name) const {
  ARROW_ASSIGN_OR_RAISE(auto column, Column(name));
  const arrow::Type::type type = column->type_id();
  if ((type != arrow::Type::INT64 && type != arrow::Type::UINT64) || column->null_count() > 0) {
    return Status::Invalid(path_, ": column '", name, "' is ", column->type()->ToString(), " with ",
                           column->null_count(),
                           " nulls, expected int64 or uint64 without; there are: ", ListColumns());
  }
  return column;
}

Result<Queries> Queries::Decode(const arrow::FixedSizeListArray& array) {
  Queries queries;
  arrow::FloatBuilder values;
  const bool half = array.value_type()->id() == arrow::Type::HALF_FLOAT;
  for (int64_t i = 0; i < array.length(); ++i) {
    if (array.IsNull(i)) continue;
    std::vector<float> vector;
    for (int64_t j = array.value_offset(i); j < array.value_offset(i + 1); ++j) {
      if (array.values()->IsNull(j)) return Status::Invalid("queries: the vector at offset ", i, " has a null element");
      vector.push_back(
          half ? arrow::util::Float16::FromBits(static_cast<const arrow::HalfFloatArray&>(*array.values()).Value(j))
                     .ToFloat()
               : static_cast<const arrow::FloatArray&>(*array.values()).Value(j));
    }
    ARROW_RETURN_NOT_OK(values.AppendValues(vector));
    queries.vectors.push_back(std::move(vector));
    queries.offsets.push_back(i);
  }
  ARROW_ASSIGN_OR_RAISE(auto flat, values.Finish());
  ARROW_ASSIGN_OR_RAISE(queries.array, arrow::FixedSizeListArray::FromArrays(flat, array.value_length()));
  return queries;
}

}  // namespace pennon::cli
