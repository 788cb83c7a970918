#include "pennon/version.h"

#include "kernels/kernels.h"

namespace pennon {

std::string_view SimdName() { return Kernels().name; }

}  // namespace pennon
