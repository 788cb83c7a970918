// A Lance file of version 2.0 or 2.2: pages as they fill, then the schema, the columns' metadata, tables of their
// places and a footer. Data files and index files alike.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "io/file_system.h"
#include "lance/encoder.h"
#include "lance/schema.h"

namespace pennon::lance_format {

using Metadata = std::vector<std::pair<std::string, std::string>>;

// Invalid unless batches of one schema may be written as the other: what has no nulls may be where there may be some.
arrow::Status CheckFits(const arrow::Schema& from, const arrow::Schema& to);

class FileWriter {
 public:
  // NotImplemented for a type that the format here does not have in that version.
  static arrow::Result<std::unique_ptr<FileWriter>> Make(std::unique_ptr<io::OutputFile> file,
                                                         const std::shared_ptr<arrow::Schema>& schema,
                                                         const PageOptions& options = {});

  const std::vector<Field>& fields() const { return fields_; }
  // Of each physical column. In 2.0 every field has one; in 2.2, those that have no fields below.
  const std::vector<int32_t>& column_fields() const { return column_fields_; }
  uint64_t rows() const { return rows_; }

  // A batch of the schema given.
  arrow::Status Write(const arrow::RecordBatch& batch);
  // The n-th call makes global buffer n; buffer 0 is the schema.
  arrow::Status AddGlobalBuffer(std::string_view bytes);
  // Returns the size of the file, which is durable.
  arrow::Result<uint64_t> Close(const Metadata& metadata = {});

 private:
  struct Column {
    std::string metadata;  // ColumnMetadata
    uint64_t rows = 0;
  };
  struct Place {
    uint64_t position;
    uint64_t size;
  };

  FileWriter(std::unique_ptr<io::OutputFile> file, std::shared_ptr<arrow::Schema> schema, std::vector<Field> fields,
             const PageOptions& options);

  arrow::Status WritePage(const Page& page);
  arrow::Result<Place> WriteAligned(std::string_view bytes);

  const std::unique_ptr<io::OutputFile> file_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::vector<Field> fields_;
  const FileVersion version_;
  const PageSink sink_;
  std::vector<std::unique_ptr<Encoder>> encoders_;  // one a column of the schema
  std::vector<Column> columns_;
  std::vector<int32_t> column_fields_;
  std::vector<Place> global_buffers_;
  uint64_t position_ = 0;
  uint64_t rows_ = 0;
};

}  // namespace pennon::lance_format
