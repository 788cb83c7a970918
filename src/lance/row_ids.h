// The table's row ids. An address is a fragment's number << 32 and the offset in that, and the row id where the table
// does not have stable ones. Those count up from 0 over all rows ever appended, and a row keeps its own when it is
// updated or compacted into another fragment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "io/file_system.h"
#include "lance/manifest.h"

namespace pennon::lance_format {

// Rows that follow each other, and so do their ids.
struct IdRun {
  uint64_t id = 0;       // of the first
  uint64_t address = 0;  // likewise
  uint64_t rows = 0;
};
using IdRuns = std::vector<IdRun>;

// Of all rows of a fragment in order, deleted ones, too: what lies closely takes one run, what does not 24 bytes a row.
// Invalid, naming the fragment, for what is not of as many rows.
arrow::Result<IdRuns> ReadRowIds(io::FileSystem& files, const std::string& directory, const Manifest& manifest,
                                 const Fragment& fragment);

// For a fragment of new rows in the next version: the next stable row ids, if the table has such. CapacityError if none
// are left.
arrow::Status GiveRowIds(Manifest& next, Fragment& fragment);

// By id, of a version.
class RowIds {
 public:
  // Of stable ones it reads all, and which rows are deleted: of a row that was updated the id is in two fragments.
  // Invalid if it is of two rows that are not deleted.
  static arrow::Result<RowIds> Read(io::FileSystem& files, const std::string& directory, const Manifest& manifest);

  // None if no row has the id. Without stable row ids deleted rows have addresses.
  std::optional<uint64_t> AddressOf(uint64_t row_id) const;

 private:
  IdRuns runs_;  // by id; none of another
};

// By position, of a version without deleted rows.
class RowsInOrder {
 public:
  static arrow::Result<RowsInOrder> Read(io::FileSystem& files, const std::string& directory, const Manifest& manifest);

  // Of a row that there is.
  uint64_t IdAt(uint64_t position) const { return At(position).id; }
  uint64_t AddressAt(uint64_t position) const { return At(position).address; }

 private:
  IdRun At(uint64_t position) const;

  IdRuns runs_;
  std::vector<uint64_t> ends_;  // of each, by position
};

}  // namespace pennon::lance_format
