// Lance tables as the public API sees them, and the index of a snapshot on its way into one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/status.h>

#include "index/lance_segment.h"
#include "lance/table.h"
#include "lance/table_reader.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "vectors/row_store.h"

namespace pennon {

struct LoadSettings {
  LiveIndexOptions live = {};  // dim, metric and column are the segment's; build is for what has no graph
  // Of what is appended then.
  uint64_t next_position = 0;
  uint64_t next_row_id = 0;
  int threads = 0;
};

struct [[gnu::visibility("hidden")]] lance::Dataset::Impl {
  // Of the version that the table is at.
  lance_format::TableReader& Reader();
  arrow::MemoryPool* pool() const { return table.options().pages.pool; }
  // The parts of the index of the name, or of the only one of vectors if that is empty: one at least, of one column and
  // one metric.
  arrow::Result<std::vector<IndexSegment>> OpenIndex(const std::string& name) const;
  // An index of a partition's rows.
  static arrow::Result<LiveIndex> LoadPartition(const IndexSegment& segment,
                                                const lance_format::IndexPartition& partition,
                                                lance_format::TableReader& reader, const LoadSettings& settings);
  // One of all rows of the segment's column, built as that was.
  arrow::Result<LiveIndex> Rebuild(const IndexSegment& segment, LoadSettings settings);

  std::shared_ptr<io::FileSystem> files;  // of the table
  lance_format::Table table;
  std::optional<lance_format::TableReader> reader;
  uint64_t reader_version = 0;
};

// Of a column: FixedSizeList<float or halffloat>.
bool HoldsVectors(const arrow::DataType& type);

// Vectors of a column: those that have no distance, as they are not finite or too long, are null.
arrow::Result<std::shared_ptr<arrow::Array>> WithoutUnfit(const std::shared_ptr<arrow::Array>& vectors, int32_t dim);

// A snapshot of an index, on its way into a table.
struct LanceSnapshot {
  const LiveIndexOptions& options;
  const RowStore& store;
  uint32_t rows;                        // of the store
  const std::vector<uint64_t>& places;  // of each row in the table, if the caller names none; empty: its id
  // The Lance batch.
  std::function<arrow::Result<std::shared_ptr<arrow::RecordBatch>>()> make_graph;
  // Ids of the nearest rows, by distance.
  std::function<arrow::Result<std::vector<uint32_t>>(std::span<const float> vector, int64_t k)> nearest;
};

arrow::Result<lance::IndexSummary> AddLanceIndex(lance_format::Table& table, const lance::IndexOptions& options,
                                                 const LanceSnapshot& snapshot);

}  // namespace pennon
