// Answers as record batches.
#include <memory>
#include <span>
#include <utility>

#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "index/adapters.h"
#include "pennon/live_index.h"

namespace pennon::inline PENNON_ABI {

using arrow::Result;

namespace {

Result<std::shared_ptr<arrow::RecordBatch>> AnswersToBatch(std::span<const Answer> answers, bool many,
                                                           arrow::MemoryPool* pool) {
  if (pool == nullptr) pool = arrow::default_memory_pool();
  arrow::UInt32Builder queries(pool);
  arrow::UInt64Builder row_ids(pool);
  arrow::FloatBuilder distances(pool);
  for (size_t query = 0; query < answers.size(); ++query) {
    for (const SearchResult& row : answers[query].rows) {
      if (many) ARROW_RETURN_NOT_OK(queries.Append(static_cast<uint32_t>(query)));
      ARROW_RETURN_NOT_OK(row_ids.Append(row.row_id));
      ARROW_RETURN_NOT_OK(distances.Append(row.distance));
    }
  }
  arrow::FieldVector fields = {arrow::field("row_id", arrow::uint64(), false),
                               arrow::field("distance", arrow::float32(), false)};
  arrow::ArrayVector columns(2);
  ARROW_RETURN_NOT_OK(row_ids.Finish(&columns[0]));
  ARROW_RETURN_NOT_OK(distances.Finish(&columns[1]));
  if (many) {
    fields.insert(fields.begin(), arrow::field("query", arrow::uint32(), false));
    ARROW_ASSIGN_OR_RAISE(auto column, queries.Finish());
    columns.insert(columns.begin(), std::move(column));
  }
  const int64_t length = columns.back()->length();
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), length, std::move(columns));
}

}  // namespace

Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(const Answer& answer, arrow::MemoryPool* pool) {
  return Guard([&] { return AnswersToBatch({&answer, 1}, false, pool); });
}

Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(std::span<const Answer> answers, arrow::MemoryPool* pool) {
  return Guard([&] { return AnswersToBatch(answers, true, pool); });
}

}  // namespace pennon::inline PENNON_ABI
