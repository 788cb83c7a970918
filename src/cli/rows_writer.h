// Rows to a file or to standard output.
#pragma once

#include <cstdint>
#include <string>

#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <nlohmann/json.hpp>

namespace pennon::cli {

// A Parquet, Arrow IPC or CSV file, as the name ends: .parquet; .arrow, .ipc or .feather; .csv. It appears when it is
// complete: a failure leaves what there was. Cancelled if interrupted.
arrow::Status WriteRowsTo(const std::string& path, arrow::RecordBatchReader& rows);

// A row as an object. Binary is in base64, decimals and times are words, NaN and infinities null, structs objects and
// lists arrays.
arrow::Result<nlohmann::ordered_json> RowToJson(const arrow::RecordBatch& batch, int64_t row);

// A JSON object a row. Cancelled if interrupted.
arrow::Status PrintRows(arrow::RecordBatchReader& rows);

}  // namespace pennon::cli
