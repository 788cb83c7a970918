#include "index/lance_export.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>
#include <nlohmann/json.hpp>

#include "graph/thread_pool.h"
#include "kernels/kernels.h"

namespace pennon {

arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToLanceHnswBatch(const graph::Graph& graph,
                                                                    const graph::Graph::Reader& reader,
                                                                    const graph::Scorer& scorer,
                                                                    const BuildParams& params, arrow::MemoryPool* pool,
                                                                    graph::Mode mode, size_t threads) {
  const graph::Version& version = reader.version();
  arrow::UInt32Builder ids(pool);
  std::vector<uint64_t> level_offsets = {0};
  for (int32_t level = 0; level < params.max_level; ++level) {
    for (uint32_t row = 0; row < version.rows && level < version.levels; ++row) {
      if (graph.LevelOf(row) >= level) ARROW_RETURN_NOT_OK(ids.Append(row));
    }
    level_offsets.push_back(static_cast<uint64_t>(ids.length()));
  }
  arrow::ArrayVector columns(3);
  ARROW_RETURN_NOT_OK(ids.Finish(&columns[0]));
  const int64_t rows = columns[0]->length();
  const auto* const row_of = columns[0]->data()->GetValues<uint32_t>(1);
  const auto neighbors_of = [&](int64_t place, int32_t level) {
    return graph.ReadList(row_of[place], level, version.tick)->neighbors();
  };

  graph::ThreadPool workers;
  if (!workers.SetThreads(threads)) threads = 1;
  // In pieces of a level: task(worker, place, level) for all rows of all levels.
  const auto for_all = [&](const auto& task) {
    for (size_t level = 0; level + 1 < level_offsets.size(); ++level) {
      constexpr uint64_t kPiece = 512;
      const uint64_t begin = level_offsets[level];
      const uint64_t end = level_offsets[level + 1];
      workers.For((end - begin + kPiece - 1) / kPiece, [&](size_t worker, size_t piece) {
        const uint64_t last = std::min(end, begin + (piece + 1) * kPiece);
        for (uint64_t place = begin + piece * kPiece; place < last; ++place) {
          task(worker, static_cast<int64_t>(place), static_cast<int32_t>(level));
        }
      });
    }
  };

  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets_buffer,
                        arrow::AllocateBuffer((rows + 1) * static_cast<int64_t>(sizeof(int32_t)), pool));
  auto* const offsets = reinterpret_cast<int32_t*>(offsets_buffer->mutable_data());
  offsets[0] = 0;
  for_all([&](size_t, int64_t place, int32_t level) {
    offsets[place + 1] = static_cast<int32_t>(neighbors_of(place, level).size());
  });
  int64_t edges = 0;
  int32_t longest = 0;
  for (int64_t place = 1; place <= rows; ++place) {
    longest = std::max(longest, offsets[place]);
    edges += offsets[place];
    if (edges > std::numeric_limits<int32_t>::max()) {
      return arrow::Status::CapacityError("graph: expected at most 2^31 - 1 edges");
    }
    offsets[place] = static_cast<int32_t>(edges);
  }

  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> neighbors,
                        arrow::AllocateBuffer(edges * static_cast<int64_t>(sizeof(uint32_t)), pool));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> distances,
                        arrow::AllocateBuffer(edges * static_cast<int64_t>(sizeof(float)), pool));
  auto* const to_neighbors = reinterpret_cast<uint32_t*>(neighbors->mutable_data());
  auto* const to_distances = reinterpret_cast<float*>(distances->mutable_data());
  constexpr size_t kKeysAtOnce = 8;  // of the kernel that sorts
  const KernelTable& kernels = Kernels();
  struct alignas(64) Line {  // as codes are to lie
    char bytes[64];
  };
  struct Scratch {
    std::vector<Line> scorer;
    std::vector<uint64_t> keys;
  };
  std::vector<Scratch> scratch(threads);
  for (Scratch& one : scratch) {
    one.scorer.resize(rows == 0 ? 0 : (scorer.scratch_bytes + 63) / 64);
    one.keys.resize(static_cast<size_t>(longest) + kKeysAtOnce);
  }
  for_all([&](size_t worker, int64_t place, int32_t level) {
    const auto list = neighbors_of(place, level);
    Scratch& own = scratch[worker];
    uint32_t* const ids_to = to_neighbors + offsets[place];
    float* const distances_to = to_distances + offsets[place];
    const graph::Probe probe = scorer.Of(row_of[place], own.scorer.data(), mode);
    if (static_cast<uint64_t>(place) + 1 < level_offsets[static_cast<size_t>(level) + 1]) {
      const auto next = neighbors_of(place + 1, level);
      probe.Prefetch(next.data(), next.size());  // so that they are there by then
    }
    probe.Score(list.data(), list.size(), distances_to);
    std::fill(own.keys.begin(), own.keys.end(), std::numeric_limits<uint64_t>::max());
    for (size_t i = 0; i < list.size(); ++i) {
      kernels.insert(own.keys.data(), i / kKeysAtOnce * kKeysAtOnce + kKeysAtOnce,
                     graph::Key(distances_to[i], list[i]));
    }
    for (size_t i = 0; i < list.size(); ++i) {
      ids_to[i] = graph::KeyId(own.keys[i]);
      distances_to[i] = graph::KeyDistance(own.keys[i]);
    }
  });
  const auto lists = [&](const std::shared_ptr<arrow::DataType>& type, const std::shared_ptr<arrow::Buffer>& values) {
    const auto array = arrow::MakeArray(arrow::ArrayData::Make(type, edges, {nullptr, values}, 0));
    return std::make_shared<arrow::ListArray>(arrow::list(type), rows, offsets_buffer, array);
  };
  columns[1] = lists(arrow::uint32(), neighbors);
  columns[2] = lists(arrow::float32(), distances);

  nlohmann::ordered_json metadata;
  metadata["entry_point"] = version.entry;
  metadata["params"]["max_level"] = params.max_level;
  metadata["params"]["m"] = params.m;
  metadata["params"]["ef_construction"] = params.ef_construction;
  metadata["params"]["prefetch_distance"] =
      params.prefetch_distance ? nlohmann::ordered_json(*params.prefetch_distance) : nlohmann::ordered_json(nullptr);
  metadata["level_offsets"] = level_offsets;

  const auto schema = arrow::schema(
      {arrow::field("__vector_id", arrow::uint32()), arrow::field("__neighbors", arrow::list(arrow::uint32())),
       arrow::field("_distance", arrow::list(arrow::float32()))},
      arrow::key_value_metadata({"lance:hnsw"}, {metadata.dump()}));
  return arrow::RecordBatch::Make(schema, rows, std::move(columns));
}

}  // namespace pennon
