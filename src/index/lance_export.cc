#include "index/lance_export.h"

#include <algorithm>
#include <vector>

#include <arrow/builder.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>
#include <nlohmann/json.hpp>

namespace pennon {

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToLanceHnswBatch(const graph::Graph& graph,
                                                                    const graph::Graph::Reader& reader,
                                                                    const graph::Scorer& scorer,
                                                                    const BuildParams& params, arrow::MemoryPool* pool,
                                                                    graph::Mode mode) {
  const graph::Version& version = reader.version();
  arrow::UInt32Builder ids(pool);
  auto neighbor_values = std::make_shared<arrow::UInt32Builder>(pool);
  auto distance_values = std::make_shared<arrow::FloatBuilder>(pool);
  arrow::ListBuilder neighbors(pool, neighbor_values);
  arrow::ListBuilder distances(pool, distance_values);
  struct alignas(64) Line {  // as codes are to lie
    char bytes[64];
  };
  std::vector<Line> scratch(version.rows == 0 ? 0 : (scorer.scratch_bytes + 63) / 64);
  std::vector<float> scored;
  std::vector<uint64_t> keys;
  std::vector<uint64_t> offsets = {0};
  for (int32_t level = 0; level < params.max_level; ++level) {
    for (uint32_t row = 0; row < version.rows && level < version.levels; ++row) {
      if (graph.LevelOf(row) < level) continue;
      const auto list = graph.ReadList(row, level, version.tick)->neighbors();
      scored.resize(list.size());
      scorer.Of(row, scratch.data(), mode).Score(list.data(), list.size(), scored.data());
      keys.clear();
      for (size_t i = 0; i < list.size(); ++i) keys.push_back(graph::Key(scored[i], list[i]));
      std::sort(keys.begin(), keys.end());
      ARROW_RETURN_NOT_OK(ids.Append(row));
      ARROW_RETURN_NOT_OK(neighbors.Append());
      ARROW_RETURN_NOT_OK(distances.Append());
      for (uint64_t key : keys) {
        ARROW_RETURN_NOT_OK(neighbor_values->Append(graph::KeyId(key)));
        ARROW_RETURN_NOT_OK(distance_values->Append(graph::KeyDistance(key)));
      }
    }
    offsets.push_back(static_cast<uint64_t>(ids.length()));
  }

  nlohmann::ordered_json metadata;
  metadata["entry_point"] = version.entry;
  metadata["params"]["max_level"] = params.max_level;
  metadata["params"]["m"] = params.m;
  metadata["params"]["ef_construction"] = params.ef_construction;
  metadata["params"]["prefetch_distance"] =
      params.prefetch_distance ? nlohmann::ordered_json(*params.prefetch_distance) : nlohmann::ordered_json(nullptr);
  metadata["level_offsets"] = offsets;

  const auto schema = arrow::schema(
      {arrow::field("__vector_id", arrow::uint32()), arrow::field("__neighbors", arrow::list(arrow::uint32())),
       arrow::field("_distance", arrow::list(arrow::float32()))},
      arrow::key_value_metadata({"lance:hnsw"}, {metadata.dump()}));
  arrow::ArrayVector columns(3);
  ARROW_RETURN_NOT_OK(ids.Finish(&columns[0]));
  ARROW_RETURN_NOT_OK(neighbors.Finish(&columns[1]));
  ARROW_RETURN_NOT_OK(distances.Finish(&columns[2]));
  const int64_t rows = columns[0]->length();
  return arrow::RecordBatch::Make(schema, rows, std::move(columns));
}

}  // namespace pennon
