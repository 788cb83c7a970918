// Arrow arrays of one field to pages of its physical columns, in the encodings of file version 2.0. A page is given
// away as soon as its buffers reach a budget, so that memory does not grow with the rows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/array.h>
#include <arrow/memory_pool.h>
#include <arrow/result.h>
#include <arrow/type.h>

namespace pennon::lance_format {

struct Page {
  int32_t column = 0;
  std::vector<std::string_view> buffers;  // valid during the call that brings the page
  std::string encoding;                   // an ArrayEncoding
  uint64_t rows = 0;                      // of the column: items, where it is a list's
  uint64_t first_row = 0;                 // of the table
};
using PageSink = std::function<arrow::Status(const Page&)>;

struct PageOptions {
  int64_t budget = 8 << 20;  // bytes of a column's page; a larger row has a page of its own
  arrow::MemoryPool* pool = nullptr;
};

class Encoder {
 public:
  virtual ~Encoder() = default;
  // Takes a copy. row: of the table, that the first value belongs to.
  virtual arrow::Status Append(const arrow::Array& array, uint64_t row) = 0;
  // Gives away what is there, as shorter pages.
  virtual arrow::Status Flush() = 0;
};

// For a field of a type that MakeFields takes. Its columns are numbered from `column` on, which is moved behind them.
// The sink outlives the encoder.
std::unique_ptr<Encoder> MakeEncoder(const arrow::DataType& type, int32_t& column, const PageSink& sink,
                                     const PageOptions& options);

}  // namespace pennon::lance_format
