// HnswGraph: the graph alone, over vectors that live elsewhere.
//
// Threads: inserts are serialised; searches and exports run beside them from any thread, on the newest version. A batch
// becomes visible whole; one that fails leaves the graph as it was.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "pennon/export.h"
#include "pennon/params.h"
#include "pennon/vector_source.h"
#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

struct HnswGraphOptions {
  uint64_t capacity = 0xFFFFFFFFu;    // a limit on rows, not a reservation; at least 1
  arrow::MemoryPool* pool = nullptr;  // null: arrow::default_memory_pool(); must outlive the graph
};

class PENNON_EXPORT HnswGraph {
 public:
  static arrow::Result<HnswGraph> Make(const BuildParams& params, const HnswGraphOptions& options = {});

  // A graph that ToLanceHnswBatch or Lance wrote. Its lists are checked; a tree of parents is laid over level 0.
  static arrow::Result<HnswGraph> FromLanceHnswBatch(const arrow::RecordBatch& batch,
                                                     const HnswGraphOptions& options = {});

  HnswGraph(HnswGraph&&) noexcept;
  HnswGraph& operator=(HnswGraph&&) noexcept;
  ~HnswGraph();

  size_t size() const;  // rows that searches see
  bool empty() const { return size() == 0; }
  size_t indexed_size() const;  // and those that an insert has linked so far
  const BuildParams& params() const;

  // id must be indexed_size(), and source must have more rows than that.
  arrow::Status Insert(uint32_t id, const VectorSourceRef& source) { return InsertBatch(id, id + 1, source, 1); }
  // Rows [first, last), first = indexed_size(). threads: 0 for as many as this process may use.
  arrow::Status InsertBatch(uint32_t first, uint32_t last, const VectorSourceRef& source, int threads = 0);
  arrow::Status InsertBatchSerial(uint32_t first, uint32_t last, const VectorSourceRef& source) {
    return InsertBatch(first, last, source, 1);
  }

  // min(k, rows) results by ascending (distance, row id, id), where rows are those that graph and source both have.
  arrow::Result<std::vector<SearchResult>> Search(std::span<const float> query, const SearchParams& params,
                                                  const VectorSourceRef& source) const;

  // The Lance HNSW sub-index; distances are the source's.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToLanceHnswBatch(const VectorSourceRef& source) const;

  // Invalid, naming what is wrong, unless all lists are well formed and every row reaches every other over level 0.
  arrow::Status Verify() const;

 private:
  struct Impl;
  explicit HnswGraph(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pennon::inline PENNON_ABI
