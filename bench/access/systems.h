// What takes rows of the files, and scans them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "tables.h"

namespace pennon::access {

class System {
 public:
  virtual ~System() = default;
  // Of all columns or of the vectors alone, in the order of the rows, which ascend.
  virtual arrow::Result<std::shared_ptr<arrow::RecordBatch>> Take(std::span<const uint64_t> rows, bool vectors) = 0;
  // How many rows there are, after all columns of each were in memory.
  virtual arrow::Result<int64_t> Scan() = 0;
};

arrow::Result<std::unique_ptr<System>> OpenLance(const std::string& path);
// Reads the row groups of the rows.
arrow::Result<std::unique_ptr<System>> OpenRowGroups(const std::string& path);
// Reads the pages of the rows, which its index tells. Of a format with pages.
arrow::Result<std::unique_ptr<System>> OpenPages(const std::string& path, const ParquetFormat& format);

}  // namespace pennon::access
