// The version, of which CMake reads the three numbers. Until 1.0.0 a minor version may break: see CHANGELOG.md.
#pragma once

#include <string_view>

#include "pennon/export.h"

#define PENNON_VERSION_MAJOR 0
#define PENNON_VERSION_MINOR 1
#define PENNON_VERSION_PATCH 0

#define PENNON_QUOTE_EXPANDED(a) #a
#define PENNON_QUOTE(a) PENNON_QUOTE_EXPANDED(a)
#define PENNON_VERSION \
  PENNON_QUOTE(PENNON_VERSION_MAJOR) "." PENNON_QUOTE(PENNON_VERSION_MINOR) "." PENNON_QUOTE(PENNON_VERSION_PATCH)

// The inline namespace of all public names, such as v0_1: what was compiled for another minor version does not link.
#define PENNON_ABI_EXPANDED(major, minor) v##major##_##minor
#define PENNON_ABI_OF(major, minor) PENNON_ABI_EXPANDED(major, minor)
#define PENNON_ABI PENNON_ABI_OF(PENNON_VERSION_MAJOR, PENNON_VERSION_MINOR)

namespace pennon::inline PENNON_ABI {

// Of the library that runs, such as "0.1.0"; PENNON_VERSION is that of the headers.
PENNON_EXPORT std::string_view Version();

// The instruction set whose kernels this process runs, such as "avx2"; answers do not depend on it.
PENNON_EXPORT std::string_view SimdName();

}  // namespace pennon::inline PENNON_ABI
