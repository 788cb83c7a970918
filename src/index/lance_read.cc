// Lance tables as the public API reads them, and a LiveIndex of what one holds.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/builder.h>

#include "index/adapters.h"
#include "index/lance_dataset.h"
#include "index/lance_import.h"
#include "index/live_index_parts.h"
#include "lance/hnsw_index_reader.h"
#include "lance/roaring.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;
using lance_format::HnswIndexReader;

constexpr int64_t kPieceBytes = 1 << 20;  // of vectors: what is smaller than 2 MiB an index copies

class GuardedReader : public arrow::RecordBatchReader {
 public:
  GuardedReader(std::shared_ptr<io::FileSystem> files, std::shared_ptr<arrow::RecordBatchReader> reader)
      : files_(std::move(files)), reader_(std::move(reader)) {}
  std::shared_ptr<arrow::Schema> schema() const override { return reader_->schema(); }
  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    return Guard([&] { return reader_->ReadNext(batch); });
  }

 private:
  const std::shared_ptr<io::FileSystem> files_;  // that it reads from
  const std::shared_ptr<arrow::RecordBatchReader> reader_;
};

// Row ids, and the vectors that the table has there.
class VectorsOfTable : public arrow::RecordBatchReader {
 public:
  VectorsOfTable(std::shared_ptr<arrow::RecordBatchReader> row_ids, lance_format::TableReader& table,
                 const arrow::Field& column)
      : row_ids_(std::move(row_ids)),
        table_(table),
        column_(column.name()),
        schema_(arrow::schema({row_ids_->schema()->field(0), arrow::field(column.name(), column.type())})) {}
  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }
  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    ARROW_RETURN_NOT_OK(row_ids_->ReadNext(batch));
    if (!*batch) return Status::OK();
    const auto ids = (*batch)->column(0);
    const std::span<const uint64_t> values(RowIdValues(*ids), static_cast<size_t>(ids->length()));
    ARROW_ASSIGN_OR_RAISE(const auto vectors, table_.Take(values, {column_}));
    *batch = arrow::RecordBatch::Make(schema_, ids->length(), {ids, vectors->column(0)});
    return Status::OK();
  }

 private:
  const std::shared_ptr<arrow::RecordBatchReader> row_ids_;
  lance_format::TableReader& table_;
  const std::string column_;
  const std::shared_ptr<arrow::Schema> schema_;
};

Metric MetricOf(lance_format::Distance distance) {
  return distance == lance_format::Distance::kCosine ? Metric::kCosine
         : distance == lance_format::Distance::kDot  ? Metric::kDot
                                                     : Metric::kL2;
}

std::string DirectoryOf(const lance_format::Table& table, const lance_format::Index& index) {
  return table.directory() + "/_indices/" + index.uuid.ToString();
}

// Of the column that it is of, or an empty one.
std::string ColumnOf(const lance_format::Table& table, const lance_format::Index& index) {
  for (const lance_format::Field& field : table.manifest().fields) {
    if (index.field_ids.size() == 1 && field.id == index.field_ids[0] && field.parent == -1) return field.name;
  }
  return "";
}

bool IsOfVectors(const lance_format::Table& table, const lance_format::Index& index) {
  const auto field = table.schema().GetFieldByName(ColumnOf(table, index));
  return field && HoldsVectors(*field->type());
}

Result<const lance_format::Index*> FindIndex(const lance_format::Table& table, const std::string& name) {
  const lance_format::Index* found = nullptr;
  for (const lance_format::Index& index : table.manifest().indices) {
    if (name.empty() ? !IsOfVectors(table, index) : index.name != name) continue;
    if (found != nullptr) {
      return name.empty() ? Invalid("name: expected one index of vectors, found two; name one in the options")
                          : Status::NotImplemented("name: expected one part of the index ", name, ", found several");
    }
    found = &index;
  }
  if (found != nullptr) return found;
  std::string names;
  for (const lance_format::Index& index : table.manifest().indices) names += (names.empty() ? "" : ", ") + index.name;
  return Invalid("name: expected ", name.empty() ? "an index of vectors" : "the index " + name, " in ",
                 table.directory(), ", there are: ", names.empty() ? "none" : names);
}

struct Rows {
  uint64_t first = 0;  // position
  uint64_t rows = 0;
};

// By id, the fragments of which the index is, that is as they are. It may have rows of others, which are gone or have
// other vectors by now.
Result<std::map<uint64_t, Rows>> FragmentsOf(const lance_format::Table& table, const lance_format::Index& index) {
  std::optional<lance_format::RoaringView> known;
  if (index.fragments) {
    ARROW_ASSIGN_OR_RAISE(known, lance_format::RoaringView::Make(*index.fragments));
  }
  std::map<uint64_t, Rows> fragments;
  uint64_t first = 0;
  for (const lance_format::Fragment& fragment : table.manifest().fragments) {
    if (!known || known->Contains(static_cast<uint32_t>(fragment.id))) {
      if (fragment.deletions) {
        return Status::NotImplemented("index ", index.name, ": fragment ", std::to_string(fragment.id),
                                      " has deleted rows, which the index may have");
      }
      fragments[fragment.id] = {first, fragment.rows};
    }
    first += fragment.live_rows();
  }
  return fragments;
}

}  // namespace
}  // namespace pennon

namespace pennon::inline PENNON_ABI::lance {

lance_format::TableReader& Dataset::Impl::Reader() {
  if (!reader || reader_version != table.version()) {
    reader.emplace(table.files(), table.directory(), table.manifest(), table.shared_schema(), pool());
    reader_version = table.version();
  }
  return *reader;
}

Result<std::shared_ptr<arrow::RecordBatchReader>> Dataset::Scan(const ScanOptions& options) const {
  return Guard([&]() -> Result<std::shared_ptr<arrow::RecordBatchReader>> {
    ARROW_ASSIGN_OR_RAISE(
        auto scan, impl_->Reader().Scan(
                       {.columns = options.columns, .batch_rows = options.batch_rows, .row_ids = options.row_ids}));
    return std::make_shared<GuardedReader>(impl_->files, std::move(scan));
  });
}

Result<std::shared_ptr<arrow::RecordBatch>> Dataset::Take(std::span<const uint64_t> row_ids,
                                                          const std::vector<std::string>& columns) const {
  return Guard([&] { return impl_->Reader().Take(row_ids, columns); });
}

Result<std::shared_ptr<arrow::RecordBatch>> Dataset::TakePositions(std::span<const uint64_t> positions,
                                                                   const std::vector<std::string>& columns) const {
  return Guard([&]() -> Result<std::shared_ptr<arrow::RecordBatch>> {
    ARROW_ASSIGN_OR_RAISE(const auto row_ids, impl_->Reader().RowIdsAt(positions));
    return impl_->Reader().Take(row_ids, columns);
  });
}

Result<std::vector<IndexInfo>> Dataset::Indices() const {
  return Guard([&]() -> Result<std::vector<IndexInfo>> {
    std::vector<IndexInfo> infos;
    const lance_format::Table& table = impl_->table;
    for (const lance_format::Index& index : table.manifest().indices) {
      IndexInfo info{.name = index.name, .type = lance_format::DetailsName(index), .column = ColumnOf(table, index)};
      if (IsOfVectors(table, index)) {
        const auto reader = HnswIndexReader::Open(table.files(), DirectoryOf(table, index), impl_->pool());
        if (!reader.ok() && !reader.status().IsNotImplemented()) return reader.status();
        if (reader.ok()) {
          info.type = reader->type();
          info.metric = MetricOf(reader->distance());
          info.rows = reader->rows();
        }
      }
      infos.push_back(std::move(info));
    }
    return infos;
  });
}

Result<LiveIndex> Dataset::LoadIndex(const LoadOptions& options) const {
  return Guard([&]() -> Result<LiveIndex> {
    if (options.threads < 0) return Invalid("threads: expected 0 or more, got ", options.threads);
    const lance_format::Table& table = impl_->table;
    ARROW_ASSIGN_OR_RAISE(const auto* index, FindIndex(table, options.name));
    const auto column = table.schema().GetFieldByName(ColumnOf(table, *index));
    if (!column || !HoldsVectors(*column->type())) {
      return Invalid("name: expected an index of a column of vectors, got ", index->name);
    }
    ARROW_ASSIGN_OR_RAISE(const auto fragments, FragmentsOf(table, *index));
    const auto& type = static_cast<const arrow::FixedSizeListType&>(*column->type());
    ARROW_ASSIGN_OR_RAISE(const auto files,
                          HnswIndexReader::Open(table.files(), DirectoryOf(table, *index), impl_->pool()));
    ARROW_ASSIGN_OR_RAISE(const auto storage, files.GetStorage());
    LiveIndexOptions live = {.dim = type.list_size(),
                             .metric = MetricOf(files.distance()),
                             .codes = options.codes,
                             .max_rows = options.max_rows,
                             .memory_limit = options.memory_limit,
                             .vector_column = column->name(),
                             .pool = options.pool,
                             .logger = options.logger};
    ARROW_ASSIGN_OR_RAISE(const auto batch, files.ReadGraph());
    ARROW_ASSIGN_OR_RAISE(const LanceHnsw graph, ReadLanceHnswBatch(*batch));
    live.build = graph.params;
    std::optional<StoredSurvey> survey;
    if (const std::string* json = files.FindMetadata(kSurveyKey)) {
      ARROW_ASSIGN_OR_RAISE(survey, StoredSurvey::FromJson(*json, graph.rows));
      live.build.seed = survey->seed;
    }
    const int64_t vector_bytes = type.list_size() * static_cast<int64_t>(sizeof(float));
    const int64_t rows = std::max<int64_t>(1, kPieceBytes / vector_bytes);
    // Codes are not the vectors, nor are those of unit length, which cosine has there.
    const bool stored = storage == lance_format::Storage::kFlat && live.metric != Metric::kCosine;
    std::shared_ptr<arrow::RecordBatchReader> vectors;
    if (stored) {
      ARROW_ASSIGN_OR_RAISE(vectors, files.ReadVectors({"_rowid", "flat"}, rows));
    } else {
      ARROW_ASSIGN_OR_RAISE(auto row_ids, files.ReadVectors({"_rowid"}, rows));
      vectors = std::make_shared<VectorsOfTable>(std::move(row_ids), impl_->Reader(), *column);
    }
    if (vectors->schema()->field(0)->type()->id() != arrow::Type::UINT64) {
      return Invalid("index ", index->name, ": expected row ids of type uint64, got ",
                     vectors->schema()->field(0)->type()->ToString());
    }
    const auto position = [&](uint64_t row_id) -> Result<uint64_t> {
      const uint64_t offset = row_id & 0xFFFFFFFFu;
      const auto fragment = fragments.find(row_id >> 32);
      if (fragment != fragments.end() && offset < fragment->second.rows) return fragment->second.first + offset;
      return Invalid("index ", index->name, ": row id ", row_id, " is of no row of the table that the index is of");
    };
    return LiveIndex::Assemble({.options = live,
                                .graph = graph,
                                .survey = survey,
                                .rows = *vectors,
                                .position = position,
                                .next_position = table.all_rows(),
                                .next_row_id = table.NextRowId(),
                                .threads = options.threads});
  });
}

}  // namespace pennon::inline PENNON_ABI::lance
