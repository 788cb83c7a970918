// LiveIndex: an approximate nearest-neighbour index over vectors that arrive as Arrow arrays.
//
// Threads. Every method of LiveIndex and Snapshot may be called from any thread at any time. Append calls are
// serialised; searches take no lock that a writer can hold and never wait for one. A child of fork may destroy what it
// inherits, if no append was running, and nothing else.
//
// Visibility. An append becomes visible whole, at one instant, after all its rows are linked; one that fails or is
// cancelled leaves the index as it was. A Snapshot answers the same query with the same bits for as long as it is
// held, and keeps what it needs alive after the LiveIndex is gone.
//
// Errors are arrow::Status; nothing throws, but std::bad_alloc where no Result is returned. Invalid names the argument,
// what was expected and what came.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/array.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "pennon/export.h"
#include "pennon/params.h"
#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

namespace lance {
class Dataset;
struct IndexOptions;
struct IndexSummary;
}  // namespace lance

// Called by Append, with no lock held: with why it failed (warning), that codes were made, whether walks go by them
// from now on (info); from several threads at a time where these append. What it throws is lost.
enum class LogLevel { kInfo, kWarning };
using Logger = std::function<void(LogLevel level, std::string_view message)>;

struct LiveIndexOptions {
  int32_t dim = 0;  // of every vector; at least 1
  Metric metric = Metric::kL2;
  Codes codes = Codes::kQuantized;
  BuildParams build = {.m = 16, .ef_construction = 100};  // chosen by the sweep in docs/performance.md
  uint64_t max_rows = 0xFFFFFFFFu;                        // a limit, not a reservation
  // Of MemoryUsage::total(), 0 for none. A batch that would pass it is refused whole, CapacityError; searches are never
  // refused memory, but what they use meanwhile counts.
  int64_t memory_limit = 0;
  // Column of a RecordBatch that holds the vectors; empty: the only FixedSizeList column.
  std::string vector_column = {};
  // Column of a RecordBatch that holds the row ids (int64 or uint64, no nulls); empty, or where AppendOptions name row
  // ids: those.
  std::string row_id_column = {};
  arrow::MemoryPool* pool = nullptr;  // null: arrow::default_memory_pool(); outlives index, snapshots and exports
  Logger logger = {};
};

// When a call is to end early; none: never.
using Deadline = std::optional<std::chrono::steady_clock::time_point>;

struct AppendOptions {
  // Row id of the batch's first row, the others follow; without it they follow the last batch's, or with row_ids the
  // largest so far.
  std::optional<uint64_t> first_row_id = std::nullopt;
  // Row ids of all rows, null vectors included; excludes first_row_id. UInt64Array or Int64Array without nulls and
  // without negative values. Row ids need not be unique.
  std::shared_ptr<arrow::Array> row_ids = nullptr;
  int threads = 0;  // 0: as many as this process may use
  // Looked at while another append is waited for, while vectors are checked, copied and encoded, and before each wave
  // of at most 256 rows is linked: Cancelled, and nothing has changed.
  Deadline deadline = std::nullopt;
  std::stop_token stop_token = {};
};

// Which rows a search may return; a pure function of a row. Cheap to copy.
class PENNON_EXPORT RowFilter {
 public:
  RowFilter() = default;  // all rows
  // Row id r passes if bits[r - first_row_id] is true; null and what lies outside the array do not pass. Without an
  // array, or a function below, nothing passes.
  static RowFilter Bitmap(std::shared_ptr<arrow::BooleanArray> bits, uint64_t first_row_id = 0);
  // The same for ids, the positions in append order.
  static RowFilter IdBitmap(std::shared_ptr<arrow::BooleanArray> bits);
  // The row ids that pass: UInt64Array or Int64Array without nulls, in any order.
  static arrow::Result<RowFilter> RowIds(const arrow::Array& row_ids);
  // Called from the searching threads; one that throws makes the search fail.
  static RowFilter Predicate(std::function<bool(uint64_t row_id)> predicate);

  bool all() const { return kind_ == Kind::kAll; }
  bool by_id() const { return kind_ == Kind::kIdBitmap; }
  bool Passes(uint64_t row_id, uint32_t id) const;

 private:
  friend class Passing;
  enum class Kind { kAll, kBitmap, kIdBitmap, kRowIds, kPredicate };
  Kind kind_ = Kind::kAll;
  std::shared_ptr<arrow::BooleanArray> bits_;
  uint64_t first_row_id_ = 0;
  int64_t passing_ = 0;                                   // how many bits or row ids say so
  std::shared_ptr<const std::vector<uint64_t>> row_ids_;  // ascending
  std::shared_ptr<const std::function<bool(uint64_t)>> predicate_;
};

struct SearchOptions {
  int64_t k = 10;
  // Rows that a walk keeps on the average: fewer for an easy query, up to twice as many for a hard one. max(k, ef) is
  // used.
  int64_t ef = 64;
  RowFilter filter = {};
  bool exact = false;  // scan all rows instead of walking the graph
  // Looked at all the time, but not while a predicate runs or what was found is ranked. A search that either ends gives
  // what it has found. Of a SearchBatch they end the whole, so that later answers may be empty.
  Deadline deadline = std::nullopt;
  std::stop_token stop_token = {};
};

struct RangeOptions {
  int64_t ef = 64;  // as in SearchOptions: more find more of what is within the radius
  RowFilter filter = {};
  bool exact = false;  // scan all rows, and so find all that are within the radius
  // As in SearchOptions.
  Deadline deadline = std::nullopt;
  std::stop_token stop_token = {};
};

struct BatchOptions {
  std::vector<RowFilter> filters = {};  // empty, or one a query, SearchOptions::filter must then be all rows
  int threads = 1;                      // 0: as many as this process may use; predicates are then called from all
};

// rows: by ascending (distance, row id, id). Of Search and SearchBatch min(k, visible rows that pass the filter);
// fewer, or farther ones, only where the search was cut short.
struct Answer {
  std::vector<SearchResult> rows;
  bool complete = true;  // not cut short
  std::string reason;    // why it was: "the deadline has passed" or "a stop was requested"
};

struct SearchPart {
  int64_t nanos = 0;
  uint64_t distances = 0;
};

// What a search did.
struct Explanation {
  Answer answer;
  SearchPart encode;     // the query
  SearchPart walk;       // by codes where there are some and they are good enough
  SearchPart rank;       // exactly, of what the walk found
  SearchPart scan;       // of all rows that pass: by codes, and exactly where these do not rule a row out
  bool scanned = false;  // as asked for, cheaper than a walk, or because a walk brought fewer than k or cost too much
  uint64_t hops = 0;     // from a row to its neighbours
  uint64_t lists_read = 0;  // of neighbours
  uint64_t sketches = 0;    // rows that the walk looked at by a bit a dimension, before it computed distances
};

// One batch {row_id uint64, distance float32}.
PENNON_EXPORT arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(const Answer& answer,
                                                                               arrow::MemoryPool* pool = nullptr);
// One batch {query uint32, row_id uint64, distance float32}, ordered by query, then rank.
PENNON_EXPORT arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(std::span<const Answer> answers,
                                                                               arrow::MemoryPool* pool = nullptr);

// Bytes. All but caller_bytes come from the pool.
struct MemoryUsage {
  int64_t vectors_bytes = 0;   // vectors copied into the index, addresses, norms and row ids
  int64_t caller_bytes = 0;    // the caller's buffers that the index holds by reference, at their full size
  int64_t codes_bytes = 0;     // quantised copies
  int64_t graph_bytes = 0;     // neighbour lists of the newest version and room for more
  int64_t versions_bytes = 0;  // what older versions keep
  int64_t other_bytes = 0;     // scratch of searches and appends
  int64_t peak_bytes = 0;      // most that came from the pool at a time
  int64_t total() const { return vectors_bytes + codes_bytes + graph_bytes + versions_bytes + other_bytes; }
};

struct EstimateOptions {
  uint64_t batch_rows = 1000;  // that an append brings
  bool half = false;           // float16 vectors
  bool copied = true;          // false where an append brings 2 MiB and more, at least half of a buffer
  int threads = 0;             // of an append; 0: as many as this process may use
};
// What an index of so many rows will take once they are in, with nothing held of older versions and one search at a
// time: total() within a tenth from 10,000 rows on, within 256 KiB below. How many lists a batch changes depends on the
// data, which counts where m is large and vectors are small: for clusters of 24 dimensions and m 48 it was seen 1 MB
// too high at 9,000 rows, a tenth. peak_bytes is not told.
PENNON_EXPORT arrow::Result<MemoryUsage> EstimateMemory(const LiveIndexOptions& options, uint64_t rows,
                                                        const EstimateOptions& estimate = {});

// ok: every row is reachable from every row over level 0, and all lists are well formed.
struct VerifyReport {
  uint32_t rows = 0;
  uint32_t unreachable = 0;
  bool ok = true;
  std::string problem;  // the first one found
};

struct Stats {
  uint64_t rows = 0;
  uint64_t versions_published = 0;
  uint64_t live_versions = 0;  // that a reader or snapshot needed when it was last looked at, and the newest
  uint64_t appends_failed = 0;
  uint64_t build_distances = 0;    // computed by appends, failed ones included
  uint64_t searches = 0;           // queries begun
  uint64_t search_distances = 0;   // computed by searches
  uint64_t exact_scans = 0;        // searches that scanned
  int64_t last_publish_nanos = 0;  // from the last row linked to the batch visible and old versions trimmed
};

class PENNON_EXPORT Snapshot {
 public:
  // A moved-from snapshot may only be destroyed or assigned to.
  Snapshot(const Snapshot&);
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot) noexcept;
  ~Snapshot();

  uint32_t size() const;
  // query: dim floats.
  arrow::Result<Answer> Search(std::span<const float> query, const SearchOptions& options = {}) const;
  // The rows that the search finds at distances <= radius, in the order of Search. Infinity: all; NaN: Invalid.
  arrow::Result<Answer> SearchRange(std::span<const float> query, float radius, const RangeOptions& options = {}) const;
  // Searches, and tells how.
  arrow::Result<Explanation> Explain(std::span<const float> query, const SearchOptions& options = {}) const;
  // queries: FixedSizeList<float32 or float16>[dim] without nulls; one answer each, the same for any number of threads.
  arrow::Result<std::vector<Answer>> SearchBatch(const arrow::Array& queries, const SearchOptions& options = {},
                                                 const BatchOptions& batch = {}) const;
  // The Lance HNSW sub-index: columns __vector_id, __neighbors, _distance, metadata lance:hnsw.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToLanceHnswBatch() const;
  // `_rowid` uint64 and `flat` FixedSizeList<float32>, in id order. With reverse_row_ids_of = t, row id r becomes
  // t - 1 - r, as a flush in reversed order needs; every row id must then be below t.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(
      std::optional<uint64_t> reverse_row_ids_of = std::nullopt) const;
  // Makes the table's next version, with an index of these rows. They must be in the table; see pennon/lance.h.
  arrow::Result<lance::IndexSummary> ToLance(lance::Dataset& dataset, const lance::IndexOptions& options) const;
  arrow::Result<VerifyReport> Verify() const;

 private:
  friend class LiveIndex;
  struct Impl;
  explicit Snapshot(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class PENNON_EXPORT LiveIndex {
 public:
  // A moved-from index may only be destroyed or assigned to.
  static arrow::Result<LiveIndex> Make(const LiveIndexOptions& options);
  LiveIndex(LiveIndex&&) noexcept;
  LiveIndex& operator=(LiveIndex&&) noexcept;
  ~LiveIndex();

  // vectors: FixedSizeList<float32 or float16>[dim], structurally valid, of finite values with a squared norm of at
  // most FLT_MAX / 4. A null vector is skipped, the others keep their row ids. An array of 2 MiB or more that is at
  // least half of its aligned buffer is kept by reference, and must not be written to any more. Returns the ids given,
  // [first, last).
  struct IdRange {
    uint32_t first;
    uint32_t last;
  };
  arrow::Result<IdRange> Append(const std::shared_ptr<arrow::Array>& vectors, const AppendOptions& options = {});
  arrow::Result<IdRange> Append(const arrow::RecordBatch& batch, const AppendOptions& options = {});

  // Pins the newest version.
  arrow::Result<Snapshot> GetSnapshot() const;
  uint32_t size() const;
  const LiveIndexOptions& options() const;  // as long as the index or a snapshot of it lives

  // On the newest version; see Snapshot.
  arrow::Result<Answer> Search(std::span<const float> query, const SearchOptions& options = {}) const;
  arrow::Result<Answer> SearchRange(std::span<const float> query, float radius, const RangeOptions& options = {}) const;
  arrow::Result<std::vector<Answer>> SearchBatch(const arrow::Array& queries, const SearchOptions& options = {},
                                                 const BatchOptions& batch = {}) const;
  arrow::Result<VerifyReport> Verify() const;

  // Neither waits for a running Append; versions_bytes is as of when versions were last looked at.
  MemoryUsage GetMemoryUsage() const;
  Stats GetStats() const;
  // Makes what no reader needs any more reusable, gives the scratch of idle searches and of appends back to the pool
  // and ends the threads of appends, until they are needed again; waits for a running Append.
  void Trim();

  struct Impl;  // not for users

 private:
  friend class lance::Dataset;
  struct Parts;
  static arrow::Result<LiveIndex> Assemble(const Parts& parts);
  explicit LiveIndex(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace pennon::inline PENNON_ABI
