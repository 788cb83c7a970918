// Bytes of a file of rows that each say their dimension, floats or bytes.
#include "file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pennon::fuzz::CheckFile(data, size, "v.fvecs");
  pennon::fuzz::CheckFile(data, size, "v.bvecs");
  return 0;
}
