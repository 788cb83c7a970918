// The rows of a version of a table. What it opens and learns of files it keeps, so that the next rows of a fragment are
// read at once: 4 bytes or so a row of strings and lists of version 2.1 on, and what the files' ends say.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "io/file_system.h"
#include "lance/column_reader.h"
#include "lance/manifest.h"
#include "lance/row_ids.h"

namespace pennon::lance_format {

struct ScanSettings {
  std::vector<std::string> columns = {};  // names; empty: all
  int64_t batch_rows = 8192;              // at most; fewer where rows are large
  bool row_ids = false;                   // a column _rowid, after the others
};

// From one thread at a time.
class TableReader {
 public:
  // Files must outlive it, and what it gives.
  TableReader(io::FileSystem& files, std::string directory, Manifest manifest, std::shared_ptr<arrow::Schema> schema,
              arrow::MemoryPool* pool);

  // All rows, in order. Opens files anew, one fragment's and the next one's at a time; independent of this.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> Scan(const ScanSettings& settings) const;
  // In the order of the ids, each as often as it is there. Invalid for an id that no row has.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Take(std::span<const uint64_t> row_ids,
                                                          const std::vector<std::string>& columns);
  // The same of rows by their place in a scan. Invalid beyond the last.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> TakePositions(std::span<const uint64_t> positions,
                                                                   const std::vector<std::string>& columns);
  // Likewise by addresses of rows, as row_ids.h gives them.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> TakeAddresses(std::span<const uint64_t> addresses,
                                                                   const std::vector<std::string>& columns);

 private:
  class Scanner;
  struct State;
  struct OpenFragment;
  class FragmentRead;

  arrow::Result<const Fragment*> Find(uint64_t address) const;
  // What is open is kept until there are too many files.
  bool HasRoomFor(const Fragment& fragment) const;
  std::shared_ptr<OpenFragment> Open(const Fragment& fragment);

  std::shared_ptr<const State> state_;
  std::optional<RowIds> row_ids_;                           // once they were asked for
  std::map<uint64_t, std::shared_ptr<OpenFragment>> open_;  // by fragment
  size_t most_files_ = 0;                                   // that they have
};

}  // namespace pennon::lance_format
