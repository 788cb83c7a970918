// Reading a Lance HNSW sub-index: ours, Lance's, or somebody's who means harm.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "graph/graph.h"
#include "pennon/params.h"

namespace pennon {

// A checked batch: every id is in range and on its level, no list is too long, has duplicates or its own row.
struct LanceHnsw {
  BuildParams params;
  uint64_t rows_of_level_0 = 0;  // as the metadata says
  uint32_t rows = 0;
  uint32_t entry = 0;
  std::vector<uint64_t> level_offsets;  // where each level's rows start in the columns, and the end
  std::vector<uint8_t> levels;          // highest level of each row
  std::shared_ptr<arrow::UInt32Array> ids;
  std::shared_ptr<arrow::ListArray> neighbors;
  std::shared_ptr<arrow::ListArray> distances;
};

// How the graph was built, by the metadata lance:hnsw.
arrow::Result<BuildParams> ReadLanceHnswParams(const std::string& json);
arrow::Result<LanceHnsw> ReadLanceHnswBatch(const arrow::RecordBatch& batch);

// What laying the tree over a graph took.
struct LaidTree {
  uint64_t added = 0;    // edges of level 0 that were not there
  uint64_t dropped = 0;  // that gave way
};

// Into an empty graph of the same parameters, which it leaves to be published if there are rows. Each row gets a parent
// with a smaller id: its nearest neighbour with room that also lists it, else its nearest with room, else the first row
// with room; where a list is full, the farthest edge that is not pinned gives way.
arrow::Result<LaidTree> ImportLanceHnsw(const LanceHnsw& lance, graph::Graph& graph);

}  // namespace pennon
