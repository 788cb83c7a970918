// Lance tables, written without a Lance library: pylance and LanceDB open them and search them through the index that
// Snapshot::ToLance puts in. See docs/lance.md.
//
// Paths are of the machine or URIs: file://, and to read alone what else Arrow's file systems open, s3:// and gs://
// with credentials as Arrow takes them. Who opens s3:// calls arrow::fs::EnsureFinalized before the process ends, as
// Arrow wants it.
//
// Writing is for local file systems. A version of a table is there, durably, once the call that makes it has returned;
// one that fails or is killed leaves the table as it was, and maybe files that no version names.
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
#include "pennon/live_index.h"
#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

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
// roughly, so that a query wants a refine_factor. kAuto: what a look at some rows' neighbours says; see docs/lance.md.
enum class IndexType { kHnswFlat, kHnswSq, kAuto };

struct IndexOptions {
  std::string column = {};  // of the vectors; empty: the only one of type FixedSizeList of float32 or float16
  std::string name = {};    // of the index; empty: that of the column and "_idx"
  bool replace = false;  // an index of that name and column, which is gone from the new version on; else AlreadyExists
  IndexType type = IndexType::kHnswFlat;
  // Where each row of the snapshot is in the table, by id; empty: where it was among all that were appended to the
  // index, those with null vectors among them.
  std::span<const uint64_t> positions = {};
  int threads = 0;  // 0: as many as this process may use
};

struct IndexSummary {
  IndexType type = IndexType::kHnswFlat;  // never kAuto
  std::string reason = {};                // for what kAuto chose, in words
};

struct CleanupOptions {
  std::chrono::seconds older_than = std::chrono::hours(7 * 24);  // since a file was written last
  bool dry_run = false;                                          // removes nothing
};

struct CleanupResult {
  std::vector<std::string> files = {};  // removed, or to be; by path from the table's directory
  uint64_t bytes = 0;
};

struct ScanOptions {
  std::vector<std::string> columns = {};  // by name; empty: all
  int64_t batch_rows = 8192;              // at most, at least 1; a batch has fewer where it would pass 16 MiB or so
  bool row_ids = false;                   // a column _rowid, uint64, after the others
};

struct IndexInfo {
  std::string name = {};
  std::string type = {};  // as Lance calls it: IVF_HNSW_FLAT
  std::string column = {};
  std::optional<Metric> metric = {};        // of an index of vectors, if it can be read
  std::optional<uint64_t> rows = {};        // in it, likewise
  std::optional<uint64_t> partitions = {};  // of IVF_HNSW_FLAT and IVF_HNSW_SQ
};

struct LoadOptions {
  std::string name = {};  // of the index; empty: the only one of vectors
  // Where an index is not of one partition, not of the rows that the table has by now, or of another type: all rows,
  // linked anew, as the index was built if that is known. That takes as long as appending them.
  bool rebuild = false;
  Codes codes = Codes::kQuantized;
  uint64_t max_rows = 0xFFFFFFFFu;
  int64_t memory_limit = 0;
  int threads = 0;                    // 0: as many as this process may use
  arrow::MemoryPool* pool = nullptr;  // null: arrow::default_memory_pool(); outlives the index
  Logger logger = {};                 // told once how many edges changed, and before of rows that it does not have
};

struct SearcherOptions {
  std::string name = {};        // of the index; empty: the only one of vectors
  std::string column = {};      // of vectors, to be scanned without an index; then name is empty
  Metric metric = Metric::kL2;  // of that; an index has its own
  Codes codes = Codes::kQuantized;
  // Bytes of partitions and rows that are kept, but for what a search is at; partitions go that were not searched for
  // the longest time. 0: all stay.
  int64_t cache_limit = 0;
  int threads = 0;                    // that open a partition; 0: as many as this process may use
  arrow::MemoryPool* pool = nullptr;  // null: arrow::default_memory_pool(); outlives the searcher
};

struct SearcherStats {
  uint64_t segments = 0;         // that the index consists of
  uint64_t partitions = 0;       // of all of them, that have rows
  uint64_t indexed_rows = 0;     // in them, also such as the table does not have any more
  uint64_t scanned_rows = 0;     // of fragments that the index is not of
  uint64_t open_partitions = 0;  // in memory
  int64_t bytes = 0;             // that these and scanned rows take
};

// Finds rows of one version of a table, by an index of one or many partitions, of one or several segments; of fragments
// that it is not of by a scan, and so all of them where it is of a type that LoadIndex does not take, as IVF_PQ. Rows
// of a partition are read and scanned, too, until five searches have come to it; then one opens it, and one partition
// at most: from then on its graph and vectors are in memory, and walked. Distances are of the vectors themselves. Not
// found are rows that are deleted, and those whose vector is null or not finite.
//
// From any thread; files of the index are read by one at a time.
class PENNON_EXPORT Searcher {
 public:
  // A moved-from searcher may only be destroyed or assigned to.
  Searcher(Searcher&&) noexcept;
  Searcher& operator=(Searcher&&) noexcept;
  ~Searcher();

  // Looks into the nprobes partitions of each segment whose centroids are nearest, with k and ef in each, and into more
  // of them while fewer than k rows that pass were found. exact: scans the table's column instead. Ids of rows are 0;
  // filters go by row ids.
  arrow::Result<Answer> Search(std::span<const float> query, const SearchOptions& options = {},
                               int64_t nprobes = 20) const;
  SearcherStats GetStats() const;

 private:
  friend class Dataset;
  struct Impl;
  explicit Searcher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class PENNON_EXPORT Dataset {
 public:
  // A moved-from dataset may only be destroyed or assigned to.
  //
  // Makes the directory, of a local file system, and no table before the first Append. AlreadyExists if there is a
  // table; NotImplemented for a type that is not in docs/lance.md.
  static arrow::Result<Dataset> Create(const std::string& path, const std::shared_ptr<arrow::Schema>& schema,
                                       const WriteOptions& options = {});
  // As Create, but where there is a table the first Append begins it anew, with other columns and another file version
  // if need be: the version it makes has nothing of those before, which stay as they are. Until then this is at the
  // newest of them, without rows. NotImplemented for a table that Append would not go on with.
  static arrow::Result<Dataset> Overwrite(const std::string& path, const std::shared_ptr<arrow::Schema>& schema,
                                          const WriteOptions& options = {});
  // A table, of Lance's or of Pennon's. IOError if there is none, or not that version; Invalid if its manifest is
  // damaged, and for a URI that Arrow does not open; NotImplemented for a type that is not in docs/lance.md and for
  // what a table says that readers must know.
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
  uint64_t fragments() const;
  const std::string& file_version() const;  // of its data files, as "2.2"
  const std::shared_ptr<arrow::Schema>& schema() const;

  // What follows reads this version, whatever others make of the table meanwhile. What cannot be read is
  // NotImplemented, with the column and what it is, what is damaged is Invalid.
  //
  // All rows, in order; goes on after the dataset.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> Scan(const ScanOptions& options = {}) const;
  // Rows in the order asked for, each as often, by row id or by position in a scan; empty columns: all. Few reads, of
  // the bytes of these rows. Invalid for what no row is.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Take(std::span<const uint64_t> row_ids,
                                                          const std::vector<std::string>& columns = {}) const;
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> TakePositions(std::span<const uint64_t> positions,
                                                                   const std::vector<std::string>& columns = {}) const;
  arrow::Result<std::vector<IndexInfo>> Indices() const;
  // The index as it was when it was written, with the table's row ids: it answers at once, and grows by appends. Its
  // distances are of the vectors themselves, whatever the index holds of them. Rows that are deleted by now, or have
  // another vector, are walked over and not found; its size counts them. Of IVF_HNSW_FLAT and IVF_HNSW_SQ with one
  // partition, or rebuilt.
  arrow::Result<LiveIndex> LoadIndex(const LoadOptions& options = {}) const;
  // Of any type, with any number of partitions, or of none. Goes on after the dataset.
  arrow::Result<Searcher> OpenSearcher(const SearcherOptions& options = {}) const;

  struct Impl;  // not for users

 private:
  friend class pennon::Snapshot;
  explicit Dataset(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lance
}  // namespace pennon::inline PENNON_ABI
