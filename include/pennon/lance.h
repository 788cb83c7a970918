// Lance tables, written without a Lance library: pylance and LanceDB open them and search them through the index that
// Snapshot::ToLance puts in. See docs/lance.md.
//
// On local file systems alone. A version of a table is there, durably, once the call that makes it has returned; one
// that fails or is killed leaves the table as it was, and files that no version names.
//
// Threads: a Dataset is used by one at a time. Others may write to the table meanwhile, with Lance or with another
// Dataset: what both did is in the table, if it goes together, or the later one gets AlreadyExists. See docs/lance.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "pennon/export.h"
#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

class Snapshot;

namespace lance {

// Of data and index files. 2.2, what Lance 14 writes by default, has null structs and reads a string in one read.
enum class FileVersion { k2_0, k2_2 };

struct WriteOptions {
  FileVersion file_version = FileVersion::k2_2;
  uint64_t rows_a_fragment = 1 << 20;  // of one data file; 1 to 2^32 - 1
  int64_t page_bytes = 8 << 20;        // that a column gathers before they are written; 1 to 2^30
  arrow::MemoryPool* pool = nullptr;   // null: arrow::default_memory_pool(); outlives the dataset
};

struct OpenOptions {
  std::optional<uint64_t> version = {};  // the newest by default; others may only be read
  WriteOptions write = {};
};

// What an index holds beside the graph: the vectors, or codes of 8 bits a dimension of one range for all, which rank
// roughly, so that a query wants a refine_factor.
enum class IndexType { kHnswFlat, kHnswSq };

struct IndexOptions {
  std::string column = {};  // of the vectors; empty: the only one of type FixedSizeList of float32 or float16
  std::string name = {};    // of the index; empty: that of the column and "_idx"
  IndexType type = IndexType::kHnswFlat;
  // Where each row of the snapshot is in the table, by id; empty: the id is the position.
  std::span<const uint64_t> positions = {};
};

struct CleanupOptions {
  std::chrono::seconds older_than = std::chrono::hours(7 * 24);  // since a file was written last
  bool dry_run = false;                                          // removes nothing
};

struct CleanupResult {
  std::vector<std::string> files = {};  // removed, or to be; by path from the table's directory
  uint64_t bytes = 0;
};

class PENNON_EXPORT Dataset {
 public:
  // A moved-from dataset may only be destroyed or assigned to.
  //
  // Makes the directory, and no table before the first Append. AlreadyExists if there is a table; NotImplemented for a
  // type that is not in docs/lance.md.
  static arrow::Result<Dataset> Create(const std::string& path, const std::shared_ptr<arrow::Schema>& schema,
                                       const WriteOptions& options = {});
  // A table, of Lance's or of Pennon's. IOError if there is none, or not that version; Invalid if its manifest is
  // damaged; NotImplemented for a type that is not in docs/lance.md and for what a table says that readers must know.
  static arrow::Result<Dataset> Open(const std::string& path, const OpenOptions& options = {});
  // Removes files that no version names and that are so old that no writer is about to commit them: what failed, killed
  // and outrun writers have left, and what versions held that Lance has removed. Versions stay.
  static arrow::Result<CleanupResult> Cleanup(const std::string& path, const CleanupOptions& options = {});
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  // Makes a version with these rows at the end, and returns the position of the first of them: rows that others have
  // appended meanwhile come before. Rows that an index does not know are scanned by searches.
  arrow::Result<uint64_t> Append(arrow::RecordBatchReader& rows);

  uint64_t version() const;  // that this Dataset is at, from 1; 0: none yet
  uint64_t rows() const;     // in it, without those that are deleted

  struct Impl;  // not for users

 private:
  friend class pennon::Snapshot;
  explicit Dataset(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lance
}  // namespace pennon::inline PENNON_ABI
