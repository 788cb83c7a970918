// All columns of a Lance file, and that they are sound.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <arrow/array.h>
#include <arrow/result.h>

#include "lance/column_reader.h"
#include "lance/file_reader.h"
#include "lance/schema.h"

namespace pennon::lance_format {

// What is wrong with the file; or nothing, and then it calls visit(column, array) for its first rows in a few batches.
// A column of a type or an encoding that is not known is left out.
template <typename Visit>
arrow::Status ReadFile(std::unique_ptr<io::InputFile> input, uint64_t batch_rows, int batches, Visit&& visit) {
  ARROW_ASSIGN_OR_RAISE(const auto file, FileReader::Open(std::move(input), arrow::default_memory_pool()));
  ARROW_ASSIGN_OR_RAISE(const auto schema, MakeSchema(file->fields()));
  const auto columns = ColumnsInOrder(*file);
  arrow::Status first;
  for (int column = 0; column < schema->num_fields(); ++column) {
    const auto read = [&]() -> arrow::Status {
      ARROW_ASSIGN_OR_RAISE(const auto reader, MakeColumnReader(file, file->fields(), columns, *schema, column));
      for (uint64_t row = 0; row < file->rows() && row < static_cast<uint64_t>(batches) * batch_rows;
           row += batch_rows) {
        const Range rows{row, std::min(batch_rows, file->rows() - row)};
        ARROW_ASSIGN_OR_RAISE(const auto array, reader->Read({rows}));
        visit(*array, rows);
      }
      return arrow::Status::OK();
    };
    const arrow::Status status = read();
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace pennon::lance_format
