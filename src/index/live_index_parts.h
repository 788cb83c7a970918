// What a LiveIndex is put together of that was in a table.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include <arrow/record_batch.h>

#include "index/lance_import.h"
#include "index/survey_json.h"
#include "pennon/live_index.h"

namespace pennon {

struct [[gnu::visibility("hidden")]] LiveIndex::Parts {
  LiveIndexOptions options;  // build is the graph's
  const LanceHnsw& graph;
  std::optional<StoredSurvey> survey;  // none: to be taken
  // Columns of row ids, uint64, and vectors: the graph's rows, in its order. Vectors of a batch are copied.
  arrow::RecordBatchReader& rows;
  // Of a row in the table, by its row id; none: it is not there any more, and no search finds it.
  std::function<std::optional<uint64_t>(uint64_t row_id)> position;
  // Of what is appended: after all rows of the table, whether the graph has them or not.
  uint64_t next_position = 0;
  uint64_t next_row_id = 0;
  int threads = 0;
};

}  // namespace pennon
