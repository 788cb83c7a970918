// Arrow arrays of one field to pages of its physical columns. A page is given away before its buffers pass a budget, so
// that memory does not grow with the rows.
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

enum class FileVersion { k2_0, k2_2 };

struct Page {
  int32_t column = 0;
  std::vector<std::string_view> buffers;  // valid during the call that brings the page
  std::string encoding;                   // 2.0: an ArrayEncoding; 2.2: a PageLayout
  uint64_t rows = 0;                      // of the column: in 2.0 items, where it is a list's
};
using PageSink = std::function<arrow::Status(const Page&)>;

struct PageOptions {
  FileVersion version = FileVersion::k2_2;
  int64_t budget = 8 << 20;  // bytes of a column's page; a larger row has a page of its own
  arrow::MemoryPool* pool = nullptr;
};

// Bytes of the caller's from which on they are a page as they are.
inline constexpr int64_t kWorthAPage = 1 << 20;

class Encoder {
 public:
  virtual ~Encoder() = default;
  // Keeps nothing of the array.
  virtual arrow::Status Append(const arrow::Array& array) = 0;
  // Gives away what is there, as shorter pages.
  virtual arrow::Status Flush() = 0;
};

// For a field of a type that MakeFields takes; 2.2 has no structs without fields. Its columns are numbered from
// `column` on, which is moved behind them. The sink outlives the encoder.
std::unique_ptr<Encoder> MakeEncoder(const arrow::DataType& type, int32_t& column, const PageSink& sink,
                                     const PageOptions& options);

}  // namespace pennon::lance_format
