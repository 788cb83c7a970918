#include "kernels/distance.h"

#include <array>

namespace pennon {

namespace portable {
extern const DistanceTable kTable;
}
#if defined(__x86_64__)
namespace avx2 {
extern const DistanceTable kTable;
}
#endif

std::span<const DistanceTable* const> AvailableDistanceTables() {
#if defined(__x86_64__)
  static const std::array<const DistanceTable*, 2> tables = {&portable::kTable, &avx2::kTable};
  static const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  return std::span(tables).first(has_avx2 ? 2 : 1);
#else
  static const std::array<const DistanceTable*, 1> tables = {&portable::kTable};
  return tables;
#endif
}

const DistanceTable& Distances() {
  static const DistanceTable& table = *AvailableDistanceTables().back();
  return table;
}

}  // namespace pennon
