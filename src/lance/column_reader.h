// A column of a table's schema, of one file: its pages, and those of its fields, put together.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "lance/file_reader.h"
#include "lance/page_decoder.h"
#include "lance/schema.h"

namespace pennon::lance_format {

// Errors name the file and the column. From one thread at a time: it keeps what it needs again.
class ColumnReader {
 public:
  virtual ~ColumnReader() = default;

  const FileReader& file() const { return file_; }
  arrow::Result<std::shared_ptr<arrow::Array>> Read(const Ranges& rows);
  // The same in steps, so that several columns are read together: as PageDecoder's.
  virtual arrow::Result<Step> Request(const Ranges& rows, Reads& reads) = 0;

 protected:
  explicit ColumnReader(const FileReader& file) : file_(file) {}

 private:
  const FileReader& file_;
};

// Arrays of several columns of a file, which are read together.
arrow::Result<arrow::ArrayVector> ReadColumns(const FileReader& file,
                                              std::span<const std::unique_ptr<ColumnReader>> columns,
                                              const Ranges& rows);

// Which of a file's columns is that of a field, by its id.
using ColumnsOfFields = std::map<int32_t, int32_t>;
// Where no manifest says it: in the order of the file's own fields.
ColumnsOfFields ColumnsInOrder(const FileReader& file);

// fields: those of the table's schema, which MakeSchema makes of them. Keeps the file.
arrow::Result<std::unique_ptr<ColumnReader>> MakeColumnReader(std::shared_ptr<const FileReader> file,
                                                              const std::vector<Field>& fields,
                                                              const ColumnsOfFields& columns,
                                                              const arrow::Schema& schema, int column);

}  // namespace pennon::lance_format
