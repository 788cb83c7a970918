// Bytes of an Arrow IPC or a Parquet file.
#include "file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pennon::fuzz::CheckFile(data, size, "v.table");
  return 0;
}
