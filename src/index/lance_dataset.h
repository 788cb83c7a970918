// Lance tables as the public API sees them, and the index of a snapshot on its way into one.
#pragma once

#include <cstdint>

#include <functional>
#include <optional>

#include <arrow/record_batch.h>
#include <arrow/status.h>

#include "lance/table.h"
#include "lance/table_reader.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "vectors/row_store.h"

namespace pennon {

struct [[gnu::visibility("hidden")]] lance::Dataset::Impl {
  // Of the version that the table is at.
  lance_format::TableReader& Reader();
  arrow::MemoryPool* pool() const { return table.options().pages.pool; }

  lance_format::Table table;
  std::optional<lance_format::TableReader> reader;
  uint64_t reader_version = 0;
};

// make_graph gives the Lance batch of the snapshot, of so many rows of the store.
arrow::Status AddLanceIndex(lance_format::Table& table, const lance::IndexOptions& options,
                            const LiveIndexOptions& index, const RowStore& store, uint32_t rows,
                            const std::function<arrow::Result<std::shared_ptr<arrow::RecordBatch>>()>& make_graph);

}  // namespace pennon
