// What a graph will take, from the sizes of its parts.
#include <cmath>

#include "graph/graph.h"

namespace pennon::graph {

Graph::Bytes Graph::EstimateBytes(const Params& params, uint32_t dim, uint64_t rows, uint64_t batch) {
  const auto n = static_cast<double>(rows);
  const auto last = static_cast<double>(std::min(batch, rows));
  // While the last batch is linked, each list of an older row that it changes is there twice.
  const auto lists = [&](double share) {
    const double before = share * (n - last);
    const double edges = share * last * EdgesOf(params, dim);
    return static_cast<uint64_t>(share * n + (before > 0 ? before * (1 - std::exp(-edges / before)) : 0));
  };
  const double above = params.max_level > 1 ? 1.0 / (params.m - 1) : 0;  // levels a row has above the lowest
  Bytes bytes;
  bytes.lists = SegmentedArray<std::atomic<Record*>>::BytesFor(rows) + SegmentedArray<uint32_t>::BytesFor(rows) +
                SegmentedArray<uint8_t>::BytesFor(rows) +
                SegmentedArray<std::atomic<Record*>>::BytesFor(static_cast<uint64_t>(above * n)) +
                Slab::BytesFor(params.capacity(0), lists(1)) + Slab::BytesFor(params.capacity(1), lists(above));
  bytes.lists += 4 * (sizeof(Version*) + sizeof(Retired));
  bytes.old = sizeof(Version);
  return bytes;
}

}  // namespace pennon::graph
