// Bytes of a .csv file.
#include "file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pennon::fuzz::CheckFile(data, size, "v.csv");
  return 0;
}
