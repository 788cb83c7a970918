#include "pennon/version.h"

#include "kernels/distance.h"

namespace pennon {

std::string_view SimdName() { return Distances().name; }

}  // namespace pennon
