// A sound export, of which the columns and the metadata are changed before it is imported.
#include <bit>
#include <limits>
#include <string>

#include <arrow/builder.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>
#include <fuzzer/FuzzedDataProvider.h>

#include "import.h"

namespace pennon::fuzz {
namespace {

// The parts of an export, free to be changed one by one.
struct Parts {
  std::vector<uint32_t> ids;
  std::vector<std::vector<uint32_t>> neighbors;
  std::vector<std::vector<float>> distances;
  std::string metadata;

  explicit Parts(const arrow::RecordBatch& batch) : metadata(batch.schema()->metadata()->value(0)) {
    const auto& id = static_cast<const arrow::UInt32Array&>(*batch.column(0));
    const auto& neighbor = static_cast<const arrow::ListArray&>(*batch.column(1));
    const auto& distance = static_cast<const arrow::ListArray&>(*batch.column(2));
    for (int64_t i = 0; i < batch.num_rows(); ++i) {
      ids.push_back(id.Value(i));
      const auto* n = static_cast<const arrow::UInt32Array&>(*neighbor.values()).raw_values();
      const auto* d = static_cast<const arrow::FloatArray&>(*distance.values()).raw_values();
      neighbors.emplace_back(n + neighbor.value_offset(i), n + neighbor.value_offset(i + 1));
      distances.emplace_back(d + distance.value_offset(i), d + distance.value_offset(i + 1));
    }
  }

  // null: a row whose lists are null, or -1.
  std::shared_ptr<arrow::RecordBatch> ToBatch(int64_t null, const char* names[3]) const {
    arrow::UInt32Builder id;
    auto neighbor_values = std::make_shared<arrow::UInt32Builder>();
    auto distance_values = std::make_shared<arrow::FloatBuilder>();
    arrow::ListBuilder neighbor(arrow::default_memory_pool(), neighbor_values);
    arrow::ListBuilder distance(arrow::default_memory_pool(), distance_values);
    for (size_t i = 0; i < ids.size(); ++i) {
      const bool valid = static_cast<int64_t>(i) != null;
      arrow::Status status = id.Append(ids[i]);
      status &= neighbor.Append(valid);
      status &= neighbor_values->AppendValues(neighbors[i]);
      status &= distance.Append(valid);
      status &= distance_values->AppendValues(distances[i]);
      Require(status.ok(), "memory");
    }
    const arrow::ArrayVector columns = {id.Finish().ValueOrDie(), neighbor.Finish().ValueOrDie(),
                                        distance.Finish().ValueOrDie()};
    arrow::FieldVector fields;
    for (size_t i = 0; i < columns.size(); ++i) fields.push_back(arrow::field(names[i], columns[i]->type()));
    return arrow::RecordBatch::Make(arrow::schema(fields, arrow::key_value_metadata({"lance:hnsw"}, {metadata})),
                                    static_cast<int64_t>(ids.size()), columns);
  }
};

std::vector<Parts> MakeExports() {
  std::vector<Parts> exports;
  for (const int32_t m : {2, 3, 16}) {
    for (const uint32_t rows : {0u, 1u, 2u, 30u, 200u}) {
      HnswGraph graph = HnswGraph::Make({.max_level = 5, .m = m, .ef_construction = m + 4}).ValueOrDie();
      const Line line{rows};
      Require(graph.InsertBatch(0, rows, line, 1).ok(), "an insert");
      exports.emplace_back(*graph.ToLanceHnswBatch(line).ValueOrDie());
    }
  }
  return exports;
}

uint32_t Id(FuzzedDataProvider& data, size_t rows) {
  return data.ConsumeBool() ? data.ConsumeIntegralInRange<uint32_t>(0, static_cast<uint32_t>(rows))
                            : data.ConsumeIntegral<uint32_t>();
}

// A word of the metadata, a number or a name, becomes another.
void ChangeMetadata(FuzzedDataProvider& data, std::string& metadata) {
  const char* const words[] = {"0",          "1",
                               "-1",         "2",
                               "4294967295", "18446744073709551615",
                               "1e300",      "1.5",
                               "null",       "true",
                               "\"m\"",      "{}",
                               "[]",         "[[[[[[[[]]]]]]]]",
                               "64",         "65",
                               "4096",       "2147483647",
                               "\"\xFF\"",   "18446744073709551616"};
  const size_t at = metadata.empty() ? 0 : data.ConsumeIntegralInRange<size_t>(0, metadata.size() - 1);
  size_t end = at;
  while (end < metadata.size() && metadata.find_first_of(",:{}[]", end) != end) ++end;
  if (data.ConsumeProbability<float>() < 0.1f) {
    metadata.replace(at, end - at, data.ConsumeRandomLengthString(20));
  } else {
    metadata.replace(at, end - at, data.PickValueInArray(words));
  }
}

template <typename T>
void ChangeShape(FuzzedDataProvider& data, std::vector<T>& values) {
  const size_t at = values.empty() ? 0 : data.ConsumeIntegralInRange<size_t>(0, values.size() - 1);
  switch (data.ConsumeIntegralInRange(0, 3)) {
    case 0: values.resize(at); break;
    case 1:
      if (!values.empty()) values.insert(values.begin() + static_cast<std::ptrdiff_t>(at), values[at]);
      break;
    case 2:
      if (!values.empty()) values.erase(values.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    default:
      if (!values.empty()) std::swap(values[at], values[data.ConsumeIntegralInRange<size_t>(0, values.size() - 1)]);
  }
}

std::shared_ptr<arrow::RecordBatch> Change(FuzzedDataProvider& data, Parts parts) {
  const char* names[] = {"__vector_id", "__neighbors", "_distance"};
  int64_t null = -1;
  int64_t skip = 0;
  for (int changes = data.ConsumeIntegralInRange(0, 12); changes > 0; --changes) {
    const size_t rows = parts.ids.size();
    const size_t row = rows == 0 ? 0 : data.ConsumeIntegralInRange<size_t>(0, rows - 1);
    const int what = data.ConsumeIntegralInRange(0, 11);
    if (what <= 1) ChangeMetadata(data, parts.metadata);
    if (what == 2) std::swap(names[data.ConsumeIntegralInRange(0, 2)], names[data.ConsumeIntegralInRange(0, 2)]);
    if (rows == 0) continue;
    switch (what) {
      case 3: parts.ids[row] = Id(data, rows); break;
      case 4:
        if (!parts.neighbors[row].empty()) parts.neighbors[row].back() = Id(data, rows);
        break;
      case 5:
        if (!parts.distances[row].empty())
          parts.distances[row][0] = std::bit_cast<float>(data.ConsumeIntegral<uint32_t>());
        break;
      case 6: ChangeShape(data, parts.neighbors[row]); break;
      case 7: ChangeShape(data, parts.distances[row]); break;
      case 8:
        // A neighbour more or less, as a sound list has it.
        if (data.ConsumeBool() && !parts.neighbors[row].empty() && !parts.distances[row].empty()) {
          parts.neighbors[row].pop_back();
          parts.distances[row].pop_back();
        } else {
          parts.neighbors[row].push_back(Id(data, rows));
          parts.distances[row].push_back(std::bit_cast<float>(data.ConsumeIntegral<uint32_t>()));
        }
        break;
      case 9:
        parts.ids.resize(row);
        parts.neighbors.resize(row);
        parts.distances.resize(row);
        break;
      case 10: null = static_cast<int64_t>(row); break;
      case 11: skip = static_cast<int64_t>(row); break;
      default: break;
    }
  }
  const auto batch = parts.ToBatch(null, names);
  return batch->Slice(std::min(skip, batch->num_rows()));
}

}  // namespace
}  // namespace pennon::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace pennon::fuzz;
  static const std::vector<Parts> exports = MakeExports();
  FuzzedDataProvider data(bytes, size);
  CheckImport(*Change(data, exports[data.ConsumeIntegralInRange<size_t>(0, exports.size() - 1)]));
  return 0;
}
