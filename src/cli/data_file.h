// A file as a table, and its columns by name: Parquet or Arrow IPC, the directory of a Lance table, or what
// vector_files.h reads. Errors name the file and list its columns.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/table.h>

namespace pennon::cli {

class DataFile {
 public:
  static arrow::Result<DataFile> Read(const std::string& path);
  // An open file; the path is for errors, and for its ending.
  static arrow::Result<DataFile> Read(const std::shared_ptr<arrow::io::RandomAccessFile>& file,
                                      const std::string& path);

  int64_t rows() const { return table_->num_rows(); }
  void Limit(int64_t rows) { table_ = table_->Slice(0, rows); }

  arrow::Result<std::shared_ptr<arrow::Array>> Column(const std::string& name) const;
  // An empty name: the only FixedSizeList column.
  arrow::Result<std::shared_ptr<arrow::FixedSizeListArray>> Vectors(const std::string& name) const;
  arrow::Result<std::shared_ptr<arrow::Array>> RowIds(const std::string& name) const;

 private:
  std::string ListColumns() const;

  std::string path_;
  std::shared_ptr<arrow::Table> table_;
};

// The file's rows in order, no more than `limit`, which is 0 or more; of Parquet a piece of a row group at a time, of
// Arrow IPC and Lance a batch, so that memory does not grow with the file.
arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ReadBatches(const std::string& path, int64_t limit);

// Queries decoded once, so that timing a search leaves decoding out. Null vectors are no queries.
struct Queries {
  std::shared_ptr<arrow::Array> array;  // FixedSizeList<float32>
  std::vector<std::vector<float>> vectors;
  std::vector<int64_t> offsets;  // where each was

  static arrow::Result<Queries> Decode(const arrow::FixedSizeListArray& array);
};

}  // namespace pennon::cli
