// Rows to a file or to standard output.
#pragma once

#include <string>

#include <arrow/record_batch.h>
#include <arrow/status.h>

namespace pennon::cli {

// A Parquet, Arrow IPC or CSV file, as the name ends: .parquet; .arrow, .ipc or .feather; .csv. Cancelled if
// interrupted.
arrow::Status WriteRowsTo(const std::string& path, arrow::RecordBatchReader& rows);

// A JSON object a row. Binary is in base64, decimals and times are words, NaN and infinities null, structs objects and
// lists arrays. Cancelled if interrupted.
arrow::Status PrintRows(arrow::RecordBatchReader& rows);

}  // namespace pennon::cli
