// Bytes of a .npy file.
#include "file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pennon::fuzz::CheckFile(data, size, "v.npy");
  return 0;
}
