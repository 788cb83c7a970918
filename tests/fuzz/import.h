// What a batch that came from anywhere must give: an error, or a graph that is sound and goes on growing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <arrow/record_batch.h>

#include "pennon/hnsw_graph.h"
#include "require.h"

namespace pennon::fuzz {

// Points on a line, in an order of their own.
struct Line {
  size_t rows;

  static float At(uint32_t id) { return static_cast<float>(id * 0x9E3779B1u >> 12); }
  size_t size() const { return rows; }
  size_t dim() const { return 1; }
  uint64_t row_id(uint32_t id) const { return id; }
  float DistanceTo(std::span<const float> query, uint32_t id) const { return std::fabs(query[0] - At(id)); }
  float DistanceBetween(uint32_t a, uint32_t b) const { return std::fabs(At(a) - At(b)); }
};

inline void CheckFound(const HnswGraph& graph, const Line& line) {
  const float query[] = {1000.0f};
  const auto found = graph.Search(query, {.k = 10, .ef = 20}, line).ValueOrDie();
  Require(found.size() == std::min<size_t>(10, graph.size()), "k means k");
  for (size_t i = 1; i < found.size(); ++i) {
    Require(found[i - 1].distance < found[i].distance ||
                (found[i - 1].distance == found[i].distance && found[i - 1].id < found[i].id),
            "results in order");
  }
}

inline void CheckImport(const arrow::RecordBatch& batch) {
  auto imported = HnswGraph::FromLanceHnswBatch(batch);
  if (!imported.ok()) return RequireClear(imported.status());
  HnswGraph graph = *std::move(imported);
  const auto rows = static_cast<uint32_t>(graph.size());
  Require(graph.Verify().ok(), "every row is reachable after an import");
  const Line line{size_t{rows} + 3};
  CheckFound(graph, line);
  const auto again = HnswGraph::FromLanceHnswBatch(*graph.ToLanceHnswBatch(line).ValueOrDie());
  Require(again.ok() && again->size() == rows, "what was exported can be imported");
  Require(graph.InsertBatch(rows, rows + 3, line, 1).ok(), "an imported graph grows");
  Require(graph.Verify().ok(), "every row is reachable after an insert");
  CheckFound(graph, line);
}

}  // namespace pennon::fuzz
