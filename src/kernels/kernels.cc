#include "kernels/kernels.h"

#include <array>
#include <cstdlib>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pennon {

namespace portable {
extern const KernelTable kTable;
}
#if defined(__x86_64__)
namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}
#elif defined(__aarch64__)
namespace neon {
extern const KernelTable kTable;
}
#endif

#if defined(__x86_64__)
namespace {

// Clang's __builtin_cpu_supports does not know it.
bool HasF16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace
#endif

std::span<const KernelTable* const> AvailableKernels() {
#if defined(__x86_64__)
  static const std::array<const KernelTable*, 3> tables = {&portable::kTable, &avx2::kTable, &avx512::kTable};
  static const bool has_avx2 = __builtin_cpu_supports("avx2") && HasF16c() && __builtin_cpu_supports("popcnt");
  static const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                                 __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
  return std::span(tables).first(has_avx512 ? 3 : has_avx2 ? 2 : 1);
#elif defined(__aarch64__)
  static const std::array<const KernelTable*, 2> tables = {&portable::kTable, &neon::kTable};
  return tables;
#else
  static const std::array<const KernelTable*, 1> tables = {&portable::kTable};
  return tables;
#endif
}

namespace {

const KernelTable* Choose() {
  const char* wanted = std::getenv("PENNON_SIMD");
  if (wanted == nullptr || *wanted == 0) return AvailableKernels().back();
  for (const KernelTable* table : AvailableKernels()) {
    if (std::string_view(wanted) == table->name) return table;
  }
  return nullptr;
}

const KernelTable* Chosen() {
  static const KernelTable* const table = Choose();
  return table;
}

}  // namespace

const KernelTable& Kernels() {
  static const KernelTable& table = Chosen() != nullptr ? *Chosen() : *AvailableKernels().front();
  return table;
}

std::string_view UnknownSimd() {
  static const std::string_view unknown = Chosen() == nullptr ? std::getenv("PENNON_SIMD") : "";
  return unknown;
}

}  // namespace pennon
