#include "pennon/version.h"

#include "kernels/kernels.h"

namespace pennon::inline PENNON_ABI {

std::string_view Version() { return PENNON_VERSION; }

std::string_view SimdName() { return Kernels().name; }

}  // namespace pennon::inline PENNON_ABI
