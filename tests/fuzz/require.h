// What every fuzz target asks: that a promise holds, else libFuzzer keeps the input.
#pragma once

#include <cstdio>
#include <cstdlib>

#include <arrow/status.h>

namespace pennon::fuzz {

inline void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// An error must say what is wrong.
inline void RequireClear(const arrow::Status& status) {
  Require(status.IsInvalid() || status.IsCapacityError() || status.IsOutOfMemory(), status.ToString().c_str());
  Require(!status.message().empty(), "an error without words");
}

}  // namespace pennon::fuzz
