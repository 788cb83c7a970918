// Rows of a store as a record batch.
#pragma once

#include <memory>
#include <optional>

#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "vectors/row_store.h"

namespace pennon {

// `_rowid` uint64 and `flat` FixedSizeList<float32> of the first `rows` rows; row ids reversed against a total if
// given.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> RowsToRecordBatch(const RowStore& store, uint32_t rows,
                                                                     std::optional<uint64_t> reverse_row_ids_of,
                                                                     arrow::MemoryPool* pool);

}  // namespace pennon
