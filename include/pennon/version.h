#pragma once

#include <string_view>

#define PENNON_VERSION "0.1.0"

namespace pennon {

// The instruction set whose kernels this process runs, such as "avx2"; answers do not depend on it.
std::string_view SimdName();

}  // namespace pennon
