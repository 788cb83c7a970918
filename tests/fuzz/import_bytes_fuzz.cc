// Bytes of an Arrow IPC stream or file, read as a batch, imported as a graph.
#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>

#include "import.h"

namespace {

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReadBatch(const std::shared_ptr<arrow::Buffer>& bytes) {
  const auto file = std::make_shared<arrow::io::BufferReader>(bytes);
  if (bytes->ToString().starts_with("ARROW1")) {
    ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchFileReader::Open(file));
    return reader->num_record_batches() > 0 ? reader->ReadRecordBatch(0) : nullptr;
  }
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchStreamReader::Open(file));
  return reader->Next();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto batch = ReadBatch(std::make_shared<arrow::Buffer>(data, static_cast<int64_t>(size)));
  if (batch.ok() && *batch != nullptr) pennon::fuzz::CheckImport(**batch);
  return 0;
}
