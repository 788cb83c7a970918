// What a graph will take, from the sizes of its parts. How many lists a batch changes is a model, fitted to Gaussian
// rows of 1 to 128 dimensions and to rows near a 16-dimensional subspace, with m from 2 to 64.
#include <cmath>

#include "graph/graph.h"

namespace pennon::graph {
namespace {

constexpr double kMostDims = 24;  // more tell neighbours apart no better: rows of many dimensions are near fewer
constexpr double kParents = 0.2;  // of a row, that are not among its neighbours already

double DimsOf(uint32_t dim) { return std::min<double>(dim, kMostDims); }

// The share of the lists that there are which a batch changes, each as likely as its row is popular: popularity is
// taken to have a gamma distribution, which makes the edges to a row negative binomial.
double ChangedShare(const Params& params, uint32_t dim, double selected, double before, double added) {
  if (before == 0) return 0;
  // As many neighbours are among the batch's own rows as these are of all.
  const double edges = (selected * std::log1p(added / before) * before + kParents * added) / before;
  // The heuristic makes rows equally popular, the more so the more it had to choose from.
  const double shape = params.ef_construction > params.m
                           ? 2 / DimsOf(dim) * std::sqrt(selected * params.ef_construction)
                           : kMostDims / DimsOf(dim);
  return 1 - std::pow(1 + edges / shape, -shape);
}

}  // namespace

double Graph::SelectedOf(const Params& params, uint32_t dim, uint64_t rows) {
  const auto m = static_cast<double>(params.m);
  const auto n = static_cast<double>(rows);
  if (params.ef_construction <= params.m) return std::min(m, n);  // there is nothing to choose from
  const double full = 1 - std::exp(-DimsOf(dim) / 9);
  const double selected =
      17 * full * std::pow(params.ef_construction / 100.0, 0.32 * full * full) * std::pow(n / 9000, 0.12 * full);
  return std::min(m * selected / std::pow(std::pow(m, 4) + std::pow(selected, 4), 0.25), n);
}

Graph::Bytes Graph::EstimateBytes(const Params& params, uint32_t dim, uint64_t rows, uint64_t batch) {
  const auto n = static_cast<double>(rows);
  const double selected = SelectedOf(params, dim, rows);
  // While a batch is linked, each list of an older row that it changes is there twice.
  const auto while_linking = [&](double before, double added) {
    return before + added + before * ChangedShare(params, dim, selected, before, added);
  };
  const auto last = static_cast<double>(rows % batch);
  const auto whole = static_cast<double>(std::min(batch, rows));
  const double lists = std::max(n - last < whole ? 0 : while_linking(n - last - whole, whole),
                                last == 0 ? 0 : while_linking(n - last, last));
  const double above = params.max_level > 1 ? 1.0 / (params.m - 1) : 0;  // levels a row has above the lowest
  Bytes bytes;
  bytes.lists = SegmentedArray<std::atomic<Record*>>::BytesFor(rows) + SegmentedArray<uint32_t>::BytesFor(rows) +
                SegmentedArray<uint8_t>::BytesFor(rows) +
                SegmentedArray<std::atomic<Record*>>::BytesFor(static_cast<uint64_t>(above * n)) +
                Slab::BytesFor(params.capacity(0), static_cast<uint64_t>(lists)) +
                Slab::BytesFor(params.capacity(1), static_cast<uint64_t>(above * lists));
  bytes.lists += 4 * (sizeof(Version*) + sizeof(Retired));
  bytes.old = sizeof(Version);
  return bytes;
}

}  // namespace pennon::graph
