// Parameters and results that the graph and the live index share.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <arrow/status.h>

#include "pennon/export.h"
#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

// Distances keep Lance's conventions: kL2 is the squared Euclidean distance, kCosine is 1 - cos, kDot is 1 - dot.
enum class Metric { kL2, kCosine, kDot };

PENNON_EXPORT std::string_view ToString(Metric metric);

// Quantised copies of the vectors, over which the graph is built and walked; results are always ranked by exact
// distances. kQuantized: rows in 5 bits a dimension and 16 bytes more, for queries in 8 bits a dimension; made once
// there are 1,024 rows, for up to 65,408 dimensions.
enum class Codes { kNone, kQuantized };

// How a graph is built (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
// Hierarchical Navigable Small World graphs", TPAMI 2018). The defaults are Lance 7.0.0's.
struct PENNON_EXPORT BuildParams {
  int32_t max_level = 7;                         // levels, 1 to 64
  int32_t m = 20;                                // neighbours a row keeps; level 0 has room for 2 m; 2 to 4096
  int32_t ef_construction = 150;                 // beam width of an insertion, at least m
  std::optional<int32_t> prefetch_distance = 2;  // kept for Lance's metadata, not used here
  uint64_t seed = 100;                           // of the levels

  // Lance's defaults for an active MemTable: m 12, ef_construction 64.
  static BuildParams MemWalDefault();

  // Invalid, naming the parameter, what was expected and what came.
  arrow::Status Validate() const;

  bool operator==(const BuildParams&) const = default;
};

// The threads that 0 stands for: as many as there are processors that the calling thread may run on, but no more than
// the time that its control group may use, rounded up. That is read once.
PENNON_EXPORT int DefaultThreads() noexcept;

// k: results wanted; k = 0 gives an empty result, k < 0 is Invalid. ef: beam width; max(k, ef) is used.
struct SearchParams {
  int64_t k = 10;
  int64_t ef = 64;
};

// id: position in append order; row_id: the caller's.
struct SearchResult {
  uint32_t id;
  uint64_t row_id;
  float distance;
  bool operator==(const SearchResult&) const = default;
};

}  // namespace pennon::inline PENNON_ABI
