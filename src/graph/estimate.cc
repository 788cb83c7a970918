// What a graph will take, from the sizes of its parts.
#include <cmath>

#include "graph/graph.h"

namespace pennon::graph {

Graph::Bytes Graph::EstimateBytes(const Params& params, uint32_t dim, uint64_t rows, uint64_t batch) {
  const auto n = static_cast<double>(rows);
  // While a batch is linked, each list of an older row that it changes is there twice.
  const auto while_linking = [&](double share, double before, double added) {
    const double edges = added * EdgesOf(params, dim);
    return share * (before + added + (before > 0 ? before * (1 - std::exp(-edges / before)) : 0));
  };
  const auto last = static_cast<double>(rows % batch);
  const auto lists = [&](double share) {
    const double full = n - last < static_cast<double>(batch)
                            ? 0
                            : while_linking(share, n - last - static_cast<double>(batch), static_cast<double>(batch));
    return static_cast<uint64_t>(std::max(full, while_linking(share, n - last, last)));
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
