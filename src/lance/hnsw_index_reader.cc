#include "lance/hnsw_index_reader.h"

#include <algorithm>
#include <utility>

#include <arrow/array/concatenate.h>
#include <arrow/util/key_value_metadata.h>
#include <nlohmann/json.hpp>

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using Json = nlohmann::json;

constexpr char kFlat[] = "IVF_HNSW_FLAT";
constexpr char kSq[] = "IVF_HNSW_SQ";

constexpr uint64_t kListsAtOnce = 8192;
constexpr uint64_t kIdsAtOnce = 1 << 16;
constexpr uint64_t kMostLevels = 64;
constexpr uint64_t kMostRowsAByte = 64;  // what differs takes more, however it is packed

// In an error, which is a line.
std::string Shown(const std::string* text) {
  constexpr size_t kMost = 100;
  if (text == nullptr) return "none";
  return text->size() > kMost ? text->substr(0, kMost) + "..." : *text;
}

// The partitions that the file says it has.
Result<io::RangesRead> StartIvfOf(const FileReader& file) {
  const std::string* number = file.FindMetadata("lance:ivf");
  const Json json = number == nullptr ? Json() : Json::parse(*number, nullptr, false);
  if (!json.is_number_unsigned()) {
    return Status::Invalid(file.path(), ": expected metadata lance:ivf with the number of a buffer, got ",
                           Shown(number));
  }
  return file.StartGlobalBuffer(json.get<size_t>());
}

Result<Ivf> FinishIvfOf(const FileReader& file, io::RangesRead& reading) {
  ARROW_ASSIGN_OR_RAISE(const auto read, reading.Finish());
  auto ivf = ReadIvf(std::string_view(*read[0]), file.rows());
  return ivf.ok() ? ivf : ivf.status().WithMessage(file.path(), ": ", ivf.status().message());
}

// A list of JSON texts in the file's metadata.
Result<std::vector<std::string>> ReadTexts(const FileReader& file, const char* key) {
  const std::string* text = file.FindMetadata(key);
  const Json json = text == nullptr ? Json() : Json::parse(*text, nullptr, false);
  std::vector<std::string> texts;
  for (const Json& each : json) {
    if (json.is_array() && each.is_string()) texts.push_back(each.get<std::string>());
  }
  if (texts.empty() || texts.size() != json.size()) {
    return Status::Invalid(file.path(), ": expected metadata ", key, " of partitions");
  }
  return texts;
}

// Levels of ids that ascend, of which the first is 0 to rows - 1.
Status CheckIds(const arrow::UInt32Array& ids, uint64_t first, uint64_t rows, int64_t* before, uint64_t* levels) {
  for (int64_t i = 0; i < ids.length(); ++i) {
    const int64_t id = ids.Value(i);
    const uint64_t at = first + static_cast<uint64_t>(i);
    if (at < rows) {
      if (static_cast<uint64_t>(id) == at) continue;
      return Status::Invalid("row ", std::to_string(at), ": expected that id on level 0, got ", std::to_string(id));
    }
    if (at == rows || id <= *before) ++*levels;
    if (static_cast<uint64_t>(id) >= rows || *levels > kMostLevels) {
      return Status::Invalid("row ", std::to_string(at), ": expected up to ", std::to_string(kMostLevels),
                             " levels of ids below ", std::to_string(rows), ", got ", std::to_string(id), " on level ",
                             std::to_string(*levels));
    }
    *before = id;
  }
  return Status::OK();
}

// What repeats itself takes no place in a file and much in memory.
Status CheckNeighbors(const arrow::ListArray& lists) {
  const auto& ids = static_cast<const arrow::UInt32Array&>(*lists.values());
  for (int64_t row = 0; row < lists.length(); ++row) {
    for (int64_t i = lists.value_offset(row) + 1; i < lists.value_offset(row + 1); ++i) {
      if (ids.Value(i) == ids.Value(i - 1)) return Status::Invalid("a neighbour is listed twice: ", ids.Value(i));
    }
  }
  return Status::OK();
}

}  // namespace

Result<FileColumns> FileColumns::Make(const std::shared_ptr<const FileReader>& file,
                                      const std::vector<std::string>& names) {
  ARROW_ASSIGN_OR_RAISE(const auto all, MakeSchema(file->fields()));
  const ColumnsOfFields places = ColumnsInOrder(*file);
  FileColumns columns;
  columns.file_ = file;
  arrow::FieldVector fields;
  for (const std::string& name : names) {
    const int column = all->GetFieldIndex(name);
    if (column < 0) return Status::Invalid(file->path(), ": expected a column ", name, ", got ", all->ToString());
    ARROW_ASSIGN_OR_RAISE(auto reader, MakeColumnReader(file, file->fields(), places, *all, column));
    columns.columns_.push_back(std::move(reader));
    fields.push_back(all->field(column));
  }
  columns.schema_ = arrow::schema(std::move(fields));
  return columns;
}

Result<std::shared_ptr<arrow::RecordBatch>> FileColumns::Read(const Range& rows) const {
  ARROW_ASSIGN_OR_RAISE(auto arrays, ReadColumns(*file_, columns_, {rows}));
  return arrow::RecordBatch::Make(schema_, static_cast<int64_t>(rows.count), std::move(arrays));
}

Result<HnswIndexReader::Opening> HnswIndexReader::Start(io::FileSystem& files, const std::string& directory,
                                                        const std::vector<IndexFile>& known, arrow::MemoryPool* pool) {
  const auto start = [&](const std::string& name) -> Result<FileReader::Opening> {
    const auto found =
        std::find_if(known.begin(), known.end(), [&](const IndexFile& file) { return file.name == name; });
    ARROW_ASSIGN_OR_RAISE(auto file, files.OpenKnown(directory + "/" + name, found == known.end() ? 0 : found->size));
    return FileReader::Start(std::move(file), pool);
  };
  ARROW_ASSIGN_OR_RAISE(auto graph, start("index.idx"));
  ARROW_ASSIGN_OR_RAISE(auto vectors, start("auxiliary.idx"));
  return
      [directory, graph = std::move(graph), vectors = std::move(vectors)] { return Make(directory, graph, vectors); };
}

Result<HnswIndexReader> HnswIndexReader::Make(const std::string& directory, const FileReader::Opening& graph,
                                              const FileReader::Opening& vectors) {
  HnswIndexReader reader;
  reader.directory_ = directory;
  ARROW_ASSIGN_OR_RAISE(reader.graph_, graph());
  ARROW_ASSIGN_OR_RAISE(reader.vectors_, vectors());
  const std::string* text = reader.graph_->FindMetadata("lance:index");
  const Json json = text == nullptr ? Json() : Json::parse(*text, nullptr, false);
  const auto word = [&](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
  };
  reader.type_ = word("type");
  const std::string distance = word("distance_type");
  if (reader.type_.empty() || distance.empty()) {
    return Status::Invalid(reader.graph_->path(), ": expected metadata lance:index with a type and a distance, got ",
                           Shown(text));
  }
  if (distance != "l2" && distance != "cosine" && distance != "dot") {
    return Status::NotImplemented(directory, ": expected distance l2, cosine or dot, got ", distance);
  }
  reader.distance_ = distance == "cosine" ? Distance::kCosine : distance == "dot" ? Distance::kDot : Distance::kL2;
  return reader;
}

Result<Storage> HnswIndexReader::GetStorage() const {
  if (type_ == kFlat) return Storage::kFlat;
  if (type_ == kSq) return Storage::kSq;
  return Status::NotImplemented(directory_, ": expected an index of type ", kFlat, " or ", kSq, ", got ", type_);
}

Result<uint64_t> HnswIndexReader::CountPartitions() const {
  ARROW_RETURN_NOT_OK(GetStorage().status());
  ARROW_ASSIGN_OR_RAISE(const auto texts, ReadTexts(*graph_, kHnswKey));
  return texts.size();
}

Result<HnswIndexReader::PartitionsReading> HnswIndexReader::StartPartitions(int32_t dim) const {
  ARROW_RETURN_NOT_OK(GetStorage().status());
  if (rows() / kMostRowsAByte > vectors_->source().file->size()) {
    return Status::Invalid(vectors_->path(), ": expected rows with row ids that differ, got ", std::to_string(rows()),
                           " of them in ", std::to_string(vectors_->source().file->size()), " bytes");
  }
  const Status expansion =
      CheckExpansion(vectors_->source().file->size(), rows() * static_cast<uint64_t>(dim) * sizeof(float));
  if (!expansion.ok()) return expansion.WithMessage(vectors_->path(), ": ", expansion.message());
  ARROW_ASSIGN_OR_RAISE(auto of_graph, StartIvfOf(*graph_));
  ARROW_ASSIGN_OR_RAISE(auto of_vectors, StartIvfOf(*vectors_));
  return [reader = *this, dim, of_graph = std::move(of_graph),
          of_vectors = std::move(of_vectors)]() mutable -> Result<IndexPartitions> {
    ARROW_ASSIGN_OR_RAISE(Ivf graphs, FinishIvfOf(*reader.graph_, of_graph));
    ARROW_ASSIGN_OR_RAISE(const Ivf vectors, FinishIvfOf(*reader.vectors_, of_vectors));
    return reader.MakePartitions(dim, std::move(graphs), vectors);
  };
}

Result<IndexPartitions> HnswIndexReader::MakePartitions(int32_t dim, Ivf graphs, const Ivf& vectors) const {
  ARROW_ASSIGN_OR_RAISE(auto texts, ReadTexts(*graph_, kHnswKey));
  const size_t count = graphs.partitions.size();
  if (vectors.partitions.size() != count || texts.size() != count) {
    return Status::Invalid(directory_, ": expected as many partitions everywhere, got ", std::to_string(count), ", ",
                           std::to_string(vectors.partitions.size()), " and ", std::to_string(texts.size()));
  }
  if (graphs.dim != static_cast<uint64_t>(dim)) {
    return Status::Invalid(graph_->path(), ": expected centroids of ", std::to_string(dim), " dimensions, got ",
                           std::to_string(graphs.dim));
  }
  IndexPartitions index{.centroids = std::move(graphs.centroids)};
  for (size_t i = 0; i < count; ++i) {
    index.partitions.push_back({graphs.partitions[i], vectors.partitions[i], std::move(texts[i])});
  }
  return index;
}

Result<std::shared_ptr<arrow::RecordBatch>> HnswIndexReader::ReadGraph(const IndexPartition& partition) const {
  const auto wrong = [&](const Status& status) { return status.WithMessage(graph_->path(), ": ", status.message()); };
  const Range& rows = partition.graph;
  if (rows.count < partition.vectors.count || rows.count == 0) {
    return Status::Invalid(graph_->path(), ": expected a row at least for each of ",
                           std::to_string(partition.vectors.count), " vectors, got ", std::to_string(rows.count));
  }
  ARROW_ASSIGN_OR_RAISE(const auto ids, FileColumns::Make(graph_, {"__vector_id"}));
  ARROW_ASSIGN_OR_RAISE(const auto lists, FileColumns::Make(graph_, {"__neighbors", "_distance"}));
  const auto& neighbors = *lists.schema().field(0)->type();
  if (ids.schema().field(0)->type()->id() != arrow::Type::UINT32 || neighbors.id() != arrow::Type::LIST ||
      neighbors.field(0)->type()->id() != arrow::Type::UINT32) {
    return Status::Invalid(graph_->path(), ": expected ids of uint32 and lists of them, got ",
                           ids.schema().field(0)->type()->ToString(), " and ", neighbors.ToString());
  }
  std::vector<arrow::ArrayVector> parts(3);
  uint64_t bytes = 0;
  const auto keep = [&](size_t part, std::shared_ptr<arrow::Array> array) {
    bytes += BytesOf(*array->data());
    parts[part].push_back(std::move(array));
    const Status status = CheckExpansion(graph_->source().file->size(), bytes);
    return status.ok() ? status : wrong(status);
  };
  int64_t before = -1;
  uint64_t levels = 1;
  for (uint64_t first = 0; first < rows.count; first += kIdsAtOnce) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, ids.Read({rows.first + first, std::min(kIdsAtOnce, rows.count - first)}));
    const auto& values = static_cast<const arrow::UInt32Array&>(*batch->column(0));
    if (values.null_count() > 0) return wrong(Status::Invalid("column __vector_id: expected no nulls"));
    const Status checked = CheckIds(values, first, partition.vectors.count, &before, &levels);
    if (!checked.ok()) return wrong(checked);
    ARROW_RETURN_NOT_OK(keep(0, batch->column(0)));
  }
  for (uint64_t first = 0; first < rows.count; first += kListsAtOnce) {
    ARROW_ASSIGN_OR_RAISE(const auto batch,
                          lists.Read({rows.first + first, std::min(kListsAtOnce, rows.count - first)}));
    const Status checked = CheckNeighbors(static_cast<const arrow::ListArray&>(*batch->column(0)));
    if (!checked.ok()) return wrong(checked);
    ARROW_RETURN_NOT_OK(keep(1, batch->column(0)));
    ARROW_RETURN_NOT_OK(keep(2, batch->column(1)));
  }
  arrow::ArrayVector arrays;
  for (const auto& part : parts) {
    ARROW_ASSIGN_OR_RAISE(auto array, arrow::Concatenate(part, graph_->source().pool));
    arrays.push_back(std::move(array));
  }
  const auto schema = arrow::schema({ids.schema().field(0), lists.schema().field(0), lists.schema().field(1)},
                                    arrow::key_value_metadata({kHnswKey}, {partition.hnsw}));
  return arrow::RecordBatch::Make(schema, static_cast<int64_t>(rows.count), std::move(arrays));
}

Result<FileColumns> HnswIndexReader::Vectors(const std::vector<std::string>& columns) const {
  ARROW_ASSIGN_OR_RAISE(auto vectors, FileColumns::Make(vectors_, columns));
  const auto row_ids = vectors.schema().GetFieldByName("_rowid");
  if (row_ids && row_ids->type()->id() != arrow::Type::UINT64) {
    return Status::Invalid(vectors_->path(), ": expected row ids of type uint64, got ", row_ids->type()->ToString());
  }
  return vectors;
}

Result<CodeRange> HnswIndexReader::ReadCodeRange() const {
  ARROW_ASSIGN_OR_RAISE(const auto texts, ReadTexts(*vectors_, "storage_metadata"));
  const Json json = Json::parse(texts[0], nullptr, false);
  const auto bound = [&](const char* name) -> const Json* {
    if (!json.is_object() || !json.contains("bounds") || !json["bounds"].is_object()) return nullptr;
    const auto found = json["bounds"].find(name);
    return found != json["bounds"].end() && found->is_number() ? &*found : nullptr;
  };
  const Json* const low = bound("start");
  const Json* const high = bound("end");
  if (low != nullptr && high != nullptr) return CodeRange{low->get<double>(), high->get<double>()};
  return Status::Invalid(vectors_->path(), ": expected storage_metadata with bounds, got ", Shown(texts.data()));
}

}  // namespace pennon::lance_format
