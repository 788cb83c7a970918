// What searches found, as an Arrow IPC file: call (utf8), ef, query, row_id, distance; a row a result.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <arrow/result.h>

#include "pennon/live_index.h"

namespace pennon::cli {

// An empty path: nowhere.
class AnswersFile {
 public:
  static arrow::Result<AnswersFile> Open(const std::string& path);
  arrow::Status Write(const std::string& call, int64_t ef, std::span<const Answer> answers);
  arrow::Status Close();

 private:
  std::string path_;
  std::shared_ptr<arrow::io::FileOutputStream> file_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
};

}  // namespace pennon::cli
