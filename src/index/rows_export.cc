#include "index/rows_export.h"

#include <vector>

#include <arrow/builder.h>
#include <arrow/type.h>

#include "vectors/status.h"

namespace pennon {

arrow::Result<std::shared_ptr<arrow::RecordBatch>> RowsToRecordBatch(const RowStore& store, uint32_t rows,
                                                                     std::optional<uint64_t> reverse_row_ids_of,
                                                                     arrow::MemoryPool* pool) {
  arrow::UInt64Builder row_ids(pool);
  arrow::FloatBuilder values(pool);
  std::vector<float> scratch(rows == 0 ? 0 : static_cast<size_t>(store.dim()));
  ARROW_RETURN_NOT_OK(row_ids.Reserve(rows));
  ARROW_RETURN_NOT_OK(values.Reserve(int64_t{rows} * store.dim()));
  for (uint32_t row = 0; row < rows; ++row) {
    uint64_t row_id = store.row_id(row);
    if (reverse_row_ids_of) {
      if (row_id >= *reverse_row_ids_of) {
        return Invalid("reverse_row_ids_of: expected more than every row id, got ", *reverse_row_ids_of,
                       " with row id ", row_id);
      }
      row_id = *reverse_row_ids_of - 1 - row_id;
    }
    row_ids.UnsafeAppend(row_id);
    ARROW_RETURN_NOT_OK(values.AppendValues(store.Load(row, scratch.data()).values, store.dim()));
  }
  ARROW_ASSIGN_OR_RAISE(auto ids, row_ids.Finish());
  ARROW_ASSIGN_OR_RAISE(auto floats, values.Finish());
  ARROW_ASSIGN_OR_RAISE(auto flat, arrow::FixedSizeListArray::FromArrays(floats, store.dim()));
  const auto schema = arrow::schema({arrow::field("_rowid", arrow::uint64()), arrow::field("flat", flat->type())});
  return arrow::RecordBatch::Make(schema, rows, {ids, flat});
}

}  // namespace pennon
