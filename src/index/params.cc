#include "pennon/params.h"

#include "vectors/status.h"

namespace pennon::inline PENNON_ABI {

std::string_view ToString(Metric metric) {
  switch (metric) {
    case Metric::kL2: return "l2";
    case Metric::kCosine: return "cosine";
    case Metric::kDot: return "dot";
  }
  return "unknown";
}

BuildParams BuildParams::MemWalDefault() {
  BuildParams params;
  params.m = 12;
  params.ef_construction = 64;
  return params;
}

arrow::Status BuildParams::Validate() const {
  if (max_level < 1 || max_level > 64) {
    return Invalid("max_level must be between 1 and 64, got ", max_level);
  }
  if (m < 2 || m > 4096) return Invalid("m must be between 2 and 4096, got ", m);
  if (ef_construction < m) {
    return Invalid("ef_construction must be >= m, got ef_construction=", ef_construction, " and m=", m);
  }
  return arrow::Status::OK();
}

}  // namespace pennon::inline PENNON_ABI
