#include "index/lance_import.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include <arrow/builder.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>
#include <nlohmann/json.hpp>

#include "vectors/status.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;
using Json = nlohmann::json;

constexpr char kKey[] = "lance:hnsw";

template <typename... Words>
Status Bad(const Words&... words) {
  return Invalid("lance:hnsw batch: ", words...);
}

Result<int64_t> Integer(const Json& json, const char* name, int64_t most) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number_integer()) return Bad("metadata has no integer '", name, "'");
  if (found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(most)) {
    return Bad("metadata: '", name, "' is too large: ", found->dump());
  }
  const int64_t value = found->get<int64_t>();
  if (value < 0 || value > most) return Bad("metadata: '", name, "' is out of range: ", value);
  return value;
}

template <typename Array>
Result<std::shared_ptr<Array>> Column(const arrow::RecordBatch& batch, const char* name,
                                      const std::shared_ptr<arrow::DataType>& type) {
  const auto column = batch.GetColumnByName(name);
  if (!column) return Bad("no column '", name, "' in ", batch.schema()->ToString());
  // Lists may name their items as they like.
  const bool same = column->type_id() == type->id() &&
                    (type->num_fields() == 0 || (column->type()->num_fields() == 1 &&
                                                 column->type()->field(0)->type()->Equals(*type->field(0)->type())));
  if (!same) return Bad("column '", name, "': expected ", type->ToString(), ", got ", column->type()->ToString());
  if (column->null_count() > 0) return Bad("column '", name, "' has nulls");
  return std::static_pointer_cast<Array>(column);
}

Result<BuildParams> ReadParams(const Json& json) {
  if (!json.is_object()) return Bad("metadata is not a JSON object");
  const auto params = json.find("params");
  if (params == json.end() || !params->is_object()) return Bad("metadata has no object 'params'");
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  ARROW_ASSIGN_OR_RAISE(const int64_t max_level, Integer(*params, "max_level", kMost));
  ARROW_ASSIGN_OR_RAISE(const int64_t m, Integer(*params, "m", kMost));
  ARROW_ASSIGN_OR_RAISE(const int64_t ef_construction, Integer(*params, "ef_construction", kMost));
  BuildParams build;
  build.max_level = static_cast<int32_t>(max_level);
  build.m = static_cast<int32_t>(m);
  build.ef_construction = static_cast<int32_t>(ef_construction);
  build.prefetch_distance = std::nullopt;
  if (const auto prefetch = params->find("prefetch_distance"); prefetch != params->end() && !prefetch->is_null()) {
    ARROW_ASSIGN_OR_RAISE(const int64_t distance, Integer(*params, "prefetch_distance", kMost));
    build.prefetch_distance = static_cast<int32_t>(distance);
  }
  ARROW_RETURN_NOT_OK(build.Validate());
  return build;
}

Status ReadMetadata(const arrow::RecordBatch& batch, LanceHnsw& lance) {
  const auto metadata = batch.schema()->metadata();
  const int at = metadata ? metadata->FindKey(kKey) : -1;
  if (at < 0) return Bad("the schema has no metadata '", kKey, "'");
  const Json json = Json::parse(metadata->value(at), nullptr, false);
  ARROW_ASSIGN_OR_RAISE(lance.params, ReadParams(json));
  ARROW_ASSIGN_OR_RAISE(const int64_t entry, Integer(json, "entry_point", 0xFFFFFFFF));
  lance.entry = static_cast<uint32_t>(entry);

  const auto offsets = json.find("level_offsets");
  if (offsets == json.end() || !offsets->is_array()) return Bad("metadata has no array 'level_offsets'");
  if (offsets->size() < 2 || offsets->size() > static_cast<size_t>(lance.params.max_level) + 1) {
    return Bad("level_offsets: expected 2 to max_level + 1 entries, got ", offsets->size());
  }
  uint64_t before = 0;
  for (size_t i = 0; i < offsets->size(); ++i) {
    const Json& offset = (*offsets)[i];
    if (!offset.is_number_unsigned()) return Bad("level_offsets: expected whole numbers, got a ", offset.type_name());
    const uint64_t value = offset.get<uint64_t>();
    if (i == 0 ? value != 0 : value < before) return Bad("level_offsets do not ascend from 0");
    before = value;
  }
  if (before > static_cast<uint64_t>(batch.num_rows())) {
    return Bad("level_offsets end at ", before, ", the batch has ", batch.num_rows(), " rows");
  }
  lance.rows_of_level_0 = (*offsets)[1].get<uint64_t>();
  return Status::OK();
}

// Where levels start, from the ids themselves: they ascend within a level, and a level's first is at most the last of
// the one below. The metadata will not do: a graph that Lance 7.0.0 built counts its first row on level 0 only, so that
// each further level starts a row later than its offset says.
Status FindLevels(LanceHnsw& lance) {
  if (lance.ids->length() > 0) lance.level_offsets.push_back(0);
  for (int64_t i = 1; i < lance.ids->length(); ++i) {
    if (lance.ids->Value(i) <= lance.ids->Value(i - 1)) lance.level_offsets.push_back(static_cast<uint64_t>(i));
  }
  lance.level_offsets.push_back(static_cast<uint64_t>(lance.ids->length()));
  const size_t levels = lance.level_offsets.size() - 1;
  if (levels > static_cast<size_t>(lance.params.max_level)) {
    return Bad("ids descend ", levels - 1, " times, max_level is ", lance.params.max_level);
  }
  const uint64_t rows = levels == 0 ? 0 : lance.level_offsets[1];
  if (rows != lance.rows_of_level_0) {
    return Bad("level 0 has ", rows, " rows, level_offsets say ", lance.rows_of_level_0);
  }
  if (rows > 0xFFFFFFFFu) return Bad("more than 2^32 - 1 rows");
  lance.rows = static_cast<uint32_t>(rows);
  return Status::OK();
}

std::span<const uint32_t> IdsOf(const LanceHnsw& lance, int64_t at) {
  const auto& values = static_cast<const arrow::UInt32Array&>(*lance.neighbors->values());
  return {values.raw_values() + lance.neighbors->value_offset(at),
          static_cast<size_t>(lance.neighbors->value_length(at))};
}

std::span<const float> DistancesOf(const LanceHnsw& lance, int64_t at) {
  const auto& values = static_cast<const arrow::FloatArray&>(*lance.distances->values());
  return {values.raw_values() + lance.distances->value_offset(at),
          static_cast<size_t>(lance.distances->value_length(at))};
}

// A list as ascending keys.
void SortedKeys(const LanceHnsw& lance, int64_t at, std::vector<uint64_t>& keys) {
  keys.clear();
  const auto ids = IdsOf(lance, at);
  const auto distances = DistancesOf(lance, at);
  for (size_t i = 0; i < ids.size(); ++i) keys.push_back(graph::Key(distances[i], ids[i]));
  std::sort(keys.begin(), keys.end());
}

// Lance 14 leaves a row of level 0 one neighbour too many now and then, under dot: the farthest gives way.
Status TrimLists(LanceHnsw& lance) {
  const int64_t most = 2 * int64_t{lance.params.m};
  const auto too_long = [&](int64_t row) {
    return lance.neighbors->value_length(row) == most + 1 && lance.distances->value_length(row) == most + 1;
  };
  int64_t found = 0;
  for (int64_t row = 0; row < int64_t{lance.rows}; ++row) found += too_long(row) ? 1 : 0;
  if (found == 0) return Status::OK();
  arrow::ListBuilder neighbors(arrow::default_memory_pool(), std::make_shared<arrow::UInt32Builder>());
  arrow::ListBuilder distances(arrow::default_memory_pool(), std::make_shared<arrow::FloatBuilder>());
  auto& ids = static_cast<arrow::UInt32Builder&>(*neighbors.value_builder());
  auto& values = static_cast<arrow::FloatBuilder&>(*distances.value_builder());
  for (int64_t at = 0; at < lance.ids->length(); ++at) {
    const auto from_ids = IdsOf(lance, at);
    const auto from = DistancesOf(lance, at);
    ARROW_RETURN_NOT_OK(neighbors.Append());
    ARROW_RETURN_NOT_OK(distances.Append());
    const bool drop = at < int64_t{lance.rows} && too_long(at);
    const size_t farthest =
        drop ? static_cast<size_t>(std::max_element(from.begin(), from.end()) - from.begin()) : from_ids.size();
    for (size_t i = 0; i < from_ids.size(); ++i) {
      if (i != farthest) ARROW_RETURN_NOT_OK(ids.Append(from_ids[i]));
    }
    for (size_t i = 0; i < from.size(); ++i) {
      if (!drop || i != farthest) ARROW_RETURN_NOT_OK(values.Append(from[i]));
    }
  }
  ARROW_RETURN_NOT_OK(neighbors.Finish(&lance.neighbors));
  return distances.Finish(&lance.distances);
}

Status CheckNulls(const LanceHnsw& lance) {
  if (lance.neighbors->values()->null_count() > 0 || lance.distances->values()->null_count() > 0) {
    return Bad("a list has a null");
  }
  return Status::OK();
}

Status CheckLists(LanceHnsw& lance) {
  lance.levels.assign(lance.rows, 0);
  const auto levels = static_cast<int32_t>(lance.level_offsets.size()) - 1;
  for (int32_t level = 0; level < levels; ++level) {
    int64_t before = -1;
    for (uint64_t i = lance.level_offsets[static_cast<size_t>(level)];
         i < lance.level_offsets[static_cast<size_t>(level) + 1]; ++i) {
      const uint32_t row = lance.ids->Value(static_cast<int64_t>(i));
      if (row >= lance.rows || int64_t{row} <= before || (level == 0 && row != i)) {
        return Bad("level ", level, ": ids are not those of the level below in ascending order, at row ", i);
      }
      if (level > 0 && lance.levels[row] != level - 1)
        return Bad("row ", row, " is on level ", level, " but not below");
      lance.levels[row] = static_cast<uint8_t>(level);
      before = row;
    }
  }
  std::vector<uint32_t> sorted;
  for (int32_t level = 0; level < levels; ++level) {
    const auto most = static_cast<size_t>(lance.params.m) * (level == 0 ? 2 : 1);
    for (uint64_t i = lance.level_offsets[static_cast<size_t>(level)];
         i < lance.level_offsets[static_cast<size_t>(level) + 1]; ++i) {
      const auto at = static_cast<int64_t>(i);
      const uint32_t row = lance.ids->Value(at);
      const auto ids = IdsOf(lance, at);
      const auto distances = DistancesOf(lance, at);
      if (ids.size() != distances.size()) return Bad("row ", row, ": as many neighbours as distances expected");
      if (ids.size() > most) return Bad("row ", row, ", level ", level, ": more than ", most, " neighbours");
      sorted.assign(ids.begin(), ids.end());
      std::sort(sorted.begin(), sorted.end());
      if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
        return Bad("row ", row, ", level ", level, ": a neighbour is listed twice");
      }
      for (uint32_t id : ids) {
        if (id >= lance.rows || id == row || lance.levels[id] < level) {
          return Bad("row ", row, ", level ", level, ": ", id, " cannot be a neighbour");
        }
      }
      for (float distance : distances) {
        if (std::isnan(distance)) return Bad("row ", row, ", level ", level, ": a distance is NaN");
      }
    }
  }
  if (lance.rows > 0 && lance.entry >= lance.rows)
    return Bad("entry_point ", lance.entry, " is not below ", lance.rows);
  return Status::OK();
}

}  // namespace

Result<BuildParams> ReadLanceHnswParams(const std::string& json) {
  return ReadParams(Json::parse(json, nullptr, false));
}

Result<LanceHnsw> ReadLanceHnswBatch(const arrow::RecordBatch& batch) {
  ARROW_RETURN_NOT_OK(batch.ValidateFull());
  LanceHnsw lance;
  ARROW_RETURN_NOT_OK(ReadMetadata(batch, lance));
  ARROW_ASSIGN_OR_RAISE(lance.ids, Column<arrow::UInt32Array>(batch, "__vector_id", arrow::uint32()));
  ARROW_ASSIGN_OR_RAISE(lance.neighbors, Column<arrow::ListArray>(batch, "__neighbors", arrow::list(arrow::uint32())));
  ARROW_ASSIGN_OR_RAISE(lance.distances, Column<arrow::ListArray>(batch, "_distance", arrow::list(arrow::float32())));
  ARROW_RETURN_NOT_OK(FindLevels(lance));
  ARROW_RETURN_NOT_OK(CheckNulls(lance));
  ARROW_RETURN_NOT_OK(TrimLists(lance));
  ARROW_RETURN_NOT_OK(CheckLists(lance));
  return lance;
}

Result<LaidTree> ImportLanceHnsw(const LanceHnsw& lance, graph::Graph& graph) {
  LaidTree laid;
  if (lance.rows == 0) return laid;
  const uint32_t most_children = graph.params().most_children();
  std::vector<uint32_t> parents(lance.rows, 0);
  std::vector<uint32_t> children(lance.rows, 0);
  std::vector<uint64_t> keys;
  uint32_t open_row = 0;
  for (uint32_t row = 1; row < lance.rows; ++row) {
    SortedKeys(lance, row, keys);
    int64_t parent = -1;
    for (uint64_t key : keys) {
      const uint32_t id = graph::KeyId(key);
      if (id >= row || children[id] == most_children) continue;
      const auto back = IdsOf(lance, id);
      const bool mutual = std::find(back.begin(), back.end(), row) != back.end();
      if (mutual || parent < 0) parent = id;
      if (mutual) break;
    }
    if (parent < 0) {
      while (children[open_row] == most_children) ++open_row;
      parent = open_row;
    }
    parents[row] = static_cast<uint32_t>(parent);
    ++children[parents[row]];
  }
  // Children of each row in a run, ascending.
  std::vector<uint64_t> starts(size_t{lance.rows} + 1, 0);
  for (uint32_t row = 0; row < lance.rows; ++row) starts[size_t{row} + 1] = starts[row] + children[row];
  std::vector<uint32_t> runs(starts.back());
  std::vector<uint64_t> next(starts.begin(), starts.end() - 1);
  for (uint32_t row = 1; row < lance.rows; ++row) runs[next[parents[row]]++] = row;

  // Where a row's list of an upper level is: rows of a level come in ascending order.
  const auto list_of = [&](uint32_t row, int32_t level) {
    const auto begin = static_cast<int64_t>(lance.level_offsets[static_cast<size_t>(level)]);
    const auto end = static_cast<int64_t>(lance.level_offsets[static_cast<size_t>(level) + 1]);
    const uint32_t* ids = lance.ids->raw_values();
    return std::lower_bound(ids + begin, ids + end, row) - ids;
  };
  const uint8_t top = *std::max_element(lance.levels.begin(), lance.levels.end());
  const uint32_t entry =
      lance.levels[lance.entry] == top
          ? lance.entry
          : static_cast<uint32_t>(std::find(lance.levels.begin(), lance.levels.end(), top) - lance.levels.begin());
  const graph::Outcome outcome =
      graph.Import(lance.rows, lance.levels.data(), entry, [&](uint32_t row, int32_t level, graph::ListDraft& draft) {
        const auto push = [&](uint32_t id) { draft.ids[draft.count++] = id; };
        std::span<const uint32_t> pinned;
        if (level == 0) {
          if (row != 0) push(parents[row]);
          pinned = {runs.data() + starts[row], runs.data() + starts[size_t{row} + 1]};
          for (uint32_t child : pinned) push(child);
          draft.children = static_cast<uint16_t>(pinned.size());
        }
        SortedKeys(lance, level == 0 ? row : list_of(row, level), keys);
        const uint32_t capacity = graph.params().capacity(level);
        const auto pinned_count = draft.count;
        size_t listed = 0;  // of the pinned ones
        for (uint64_t key : keys) {
          const uint32_t id = graph::KeyId(key);
          if (level == 0 &&
              ((row != 0 && id == parents[row]) || std::binary_search(pinned.begin(), pinned.end(), id))) {
            ++listed;
          } else if (draft.count < capacity) {
            push(id);
          } else {
            ++laid.dropped;
          }
        }
        laid.added += pinned_count - listed;
      });
  if (outcome != graph::Outcome::kOk) return Status::OutOfMemory("import: no memory for ", Plain(lance.rows), " rows");
  return laid;
}

}  // namespace pennon
