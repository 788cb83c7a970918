// The Lance HNSW sub-index of a version of the graph.
#pragma once

#include <memory>

#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "graph/graph.h"
#include "pennon/params.h"

namespace pennon {

// Columns __vector_id uint32, __neighbors list<uint32>, _distance list<float>, levels in order from 0, neighbours by
// ascending (distance, id). Schema metadata lance:hnsw = JSON {entry_point, params, level_offsets}, the latter with
// max_level + 1 entries. mode: how distances are computed, which neighbours are sorted by.
arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToLanceHnswBatch(const graph::Graph& graph,
                                                                    const graph::Graph::Reader& reader,
                                                                    const graph::Scorer& scorer,
                                                                    const BuildParams& params, arrow::MemoryPool* pool,
                                                                    graph::Mode mode = {}, size_t threads = 1);

}  // namespace pennon
