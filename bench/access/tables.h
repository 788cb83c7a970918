// The rows of bench/access: id, a text of varied length and a float16 vector, made from a sample by number and seed,
// and the ways in which they are stored.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <arrow/record_batch.h>
#include <arrow/result.h>

namespace pennon::access {

// So many rows, a batch at a time. The sample has columns summary (utf8) and embedding (FixedSizeList<halffloat>).
arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> MakeRows(const std::string& sample, int64_t rows);

struct ParquetFormat {
  std::string name;
  int64_t rows_a_group = 1 << 20;  // Arrow's default
  bool pages = false;              // read by pages: one group, without dictionaries
  int64_t rows_a_page = 0;         // 0: Arrow's default
  bool binary = false;             // vectors as FixedSizeBinary, without levels
};

// In the directory: pennon.lance, and a Parquet file for each of the formats.
arrow::Status WriteLance(const std::string& directory, arrow::RecordBatchReader& rows);
arrow::Status WriteParquet(const std::string& path, const ParquetFormat& format, arrow::RecordBatchReader& rows);

}  // namespace pennon::access
