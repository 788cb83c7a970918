#include "lance/hnsw_index_reader.h"

#include <algorithm>
#include <utility>

#include <arrow/util/key_value_metadata.h>
#include <nlohmann/json.hpp>

#include "lance/column_reader.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using Json = nlohmann::json;

constexpr char kFlat[] = "IVF_HNSW_FLAT";
constexpr char kSq[] = "IVF_HNSW_SQ";

// Some columns of a file, so many rows at a time.
class FileScan : public arrow::RecordBatchReader {
 public:
  static Result<std::shared_ptr<arrow::RecordBatchReader>> Make(const std::shared_ptr<const FileReader>& file,
                                                                const std::vector<std::string>& columns,
                                                                int64_t batch_rows) {
    ARROW_ASSIGN_OR_RAISE(const auto all, MakeSchema(file->fields()));
    const ColumnsOfFields places = ColumnsInOrder(*file);
    auto scan = std::make_shared<FileScan>();
    arrow::FieldVector fields;
    for (const std::string& name : columns) {
      const int column = all->GetFieldIndex(name);
      if (column < 0) return Status::Invalid(file->path(), ": expected a column ", name, ", got ", all->ToString());
      ARROW_ASSIGN_OR_RAISE(auto reader, MakeColumnReader(file, file->fields(), places, *all, column));
      scan->columns_.push_back(std::move(reader));
      fields.push_back(all->field(column));
    }
    scan->schema_ = arrow::schema(std::move(fields));
    scan->rows_ = file->rows();
    scan->step_ = static_cast<uint64_t>(batch_rows);
    return scan;
  }

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }
  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    *batch = nullptr;
    if (row_ == rows_) return Status::OK();
    const Range rows{row_, std::min(step_, rows_ - row_)};
    arrow::ArrayVector arrays;
    for (const auto& column : columns_) {
      ARROW_ASSIGN_OR_RAISE(auto array, column->Read({rows}));
      arrays.push_back(std::move(array));
    }
    row_ = rows.end();
    *batch = arrow::RecordBatch::Make(schema_, static_cast<int64_t>(rows.count), std::move(arrays));
    return Status::OK();
  }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::unique_ptr<ColumnReader>> columns_;
  uint64_t rows_ = 0;
  uint64_t row_ = 0;
  uint64_t step_ = 0;
};

}  // namespace

Result<HnswIndexReader> HnswIndexReader::Open(io::FileSystem& files, const std::string& directory,
                                              arrow::MemoryPool* pool) {
  HnswIndexReader reader;
  reader.directory_ = directory;
  ARROW_ASSIGN_OR_RAISE(auto graph, files.Open(directory + "/index.idx"));
  ARROW_ASSIGN_OR_RAISE(reader.graph_, FileReader::Open(std::move(graph), pool));
  ARROW_ASSIGN_OR_RAISE(auto vectors, files.Open(directory + "/auxiliary.idx"));
  ARROW_ASSIGN_OR_RAISE(reader.vectors_, FileReader::Open(std::move(vectors), pool));
  const std::string* text = reader.graph_->FindMetadata("lance:index");
  const Json json = text == nullptr ? Json() : Json::parse(*text, nullptr, false);
  const auto word = [&](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
  };
  reader.type_ = word("type");
  const std::string distance = word("distance_type");
  if (reader.type_.empty() || distance.empty()) {
    return Status::Invalid(reader.graph_->path(), ": expected metadata lance:index with a type and a distance, got ",
                           text == nullptr ? "none" : *text);
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

Result<std::shared_ptr<arrow::RecordBatch>> HnswIndexReader::ReadGraph() const {
  ARROW_RETURN_NOT_OK(GetStorage().status());
  const std::string* hnsw = graph_->FindMetadata(kHnswKey);
  const Json partitions = hnsw == nullptr ? Json() : Json::parse(*hnsw, nullptr, false);
  if (!partitions.is_array() || partitions.empty() || !partitions[0].is_string()) {
    return Status::Invalid(graph_->path(), ": expected metadata ", kHnswKey, " of partitions");
  }
  if (partitions.size() > 1) {
    return Status::NotImplemented(directory_, ": expected an index of one partition, got ",
                                  std::to_string(partitions.size()));
  }
  ARROW_ASSIGN_OR_RAISE(const auto scan,
                        FileScan::Make(graph_, {"__vector_id", "__neighbors", "_distance"}, INT64_MAX));
  ARROW_ASSIGN_OR_RAISE(auto batch, scan->Next());
  if (!batch) return Status::Invalid(graph_->path(), ": expected rows, got none");
  return batch->ReplaceSchemaMetadata(arrow::key_value_metadata({kHnswKey}, {partitions[0].get<std::string>()}));
}

Result<std::shared_ptr<arrow::RecordBatchReader>> HnswIndexReader::ReadVectors(const std::vector<std::string>& columns,
                                                                               int64_t batch_rows) const {
  return FileScan::Make(vectors_, columns, batch_rows);
}

}  // namespace pennon::lance_format
