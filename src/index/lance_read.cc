// Lance tables as the public API reads them, and a LiveIndex of what one holds.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/util/bit_util.h>

#include "index/adapters.h"
#include "index/lance_dataset.h"
#include "index/lance_import.h"
#include "index/lance_segment.h"
#include "index/live_index_parts.h"
#include "index/pool_allocator.h"
#include "lance/hnsw_index_reader.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;
using lance_format::HnswIndexReader;

constexpr int64_t kRowsAtOnce = 1 << 16;  // or 16 MiB

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

bool IsOfVectors(const lance_format::Table& table, const lance_format::Index& index) {
  const auto field = table.schema().GetFieldByName(ColumnOf(table, index));
  return field && HoldsVectors(*field->type());
}

// Its parts, of one name.
Result<std::vector<const lance_format::Index*>> FindIndex(const lance_format::Table& table, const std::string& name) {
  std::vector<const lance_format::Index*> found;
  std::string names;
  for (const lance_format::Index& index : table.manifest().indices) {
    names += (names.empty() ? "" : ", ") + index.name;
    if (name.empty() ? !IsOfVectors(table, index) : index.name != name) continue;
    if (!found.empty() && found[0]->name != index.name) {
      return Invalid("name: expected one index of vectors, found two; name one in the options");
    }
    found.push_back(&index);
  }
  if (!found.empty()) return found;
  return Invalid("name: expected ", name.empty() ? "an index of vectors" : "the index " + name, " in ",
                 table.directory(), ", there are: ", names.empty() ? "none" : names);
}

}  // namespace
}  // namespace pennon

namespace pennon {

Result<std::shared_ptr<arrow::Array>> WithoutUnfit(const std::shared_ptr<arrow::Array>& array, int32_t dim) {
  PoolAllocator::Totals totals;
  PoolAllocator none(arrow::default_memory_pool(), totals);
  const RowStore store(dim, DistanceKind::kL2, none);
  if (store.Check(*array, "vectors").ok()) return array;
  const auto& vectors = static_cast<const arrow::FixedSizeListArray&>(*array);
  ARROW_ASSIGN_OR_RAISE(const std::shared_ptr<arrow::Buffer> fit, arrow::AllocateEmptyBitmap(array->length()));
  for (int64_t i = 0; i < array->length(); ++i) {
    const bool is_fit = array->IsValid(i) && store.Check(*array->Slice(i, 1), "vectors").ok();
    arrow::bit_util::SetBitTo(fit->mutable_data(), i, is_fit);
  }
  const auto values = vectors.values()->Slice(vectors.value_offset(0), vectors.length() * dim);
  return std::make_shared<arrow::FixedSizeListArray>(array->type(), array->length(), values, fit);
}

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
  return Guard([&] { return impl_->Reader().TakePositions(positions, columns); });
}

Result<std::vector<IndexInfo>> Dataset::Indices() const {
  return Guard([&]() -> Result<std::vector<IndexInfo>> {
    std::vector<IndexInfo> infos;
    const lance_format::Table& table = impl_->table;
    std::vector<Result<HnswIndexReader::Opening>> openings;
    for (const lance_format::Index& index : table.manifest().indices) {
      openings.push_back(IsOfVectors(table, index) ? HnswIndexReader::Start(table.files(), DirectoryOf(table, index),
                                                                            index.files, impl_->pool())
                                                   : Status::NotImplemented("not of vectors"));
    }
    for (size_t i = 0; i < openings.size(); ++i) {
      const lance_format::Index& index = table.manifest().indices[i];
      IndexInfo info{.name = index.name, .type = lance_format::DetailsName(index), .column = ColumnOf(table, index)};
      // One that is not read, or damaged, is there all the same.
      const auto reader = openings[i].ok() ? (*openings[i])() : openings[i].status();
      if (reader.ok()) {
        info.type = reader->type();
        info.metric = MetricOf(reader->distance());
        info.rows = reader->rows();
        const auto partitions = reader->CountPartitions();
        if (partitions.ok()) info.partitions = *partitions;
      }
      infos.push_back(std::move(info));
    }
    return infos;
  });
}

Result<std::vector<IndexSegment>> Dataset::Impl::OpenIndex(const std::string& name) const {
  ARROW_ASSIGN_OR_RAISE(const auto found, FindIndex(table, name));
  ARROW_ASSIGN_OR_RAISE(auto row_ids, lance_format::RowIds::Read(table.files(), table.directory(), table.manifest()));
  ARROW_ASSIGN_OR_RAISE(
      auto segments,
      IndexSegment::Open(table, found, std::make_shared<const lance_format::RowIds>(std::move(row_ids)), pool()));
  for (const IndexSegment& segment : segments) {
    if (segment.column().Equals(segments[0].column()) && segment.metric() == segments[0].metric()) continue;
    return Invalid("index ", segment.name(), ": expected parts of one column and one metric, got ",
                   segments[0].column().name(), " by ", ToString(segments[0].metric()), " and ",
                   segment.column().name(), " by ", ToString(segment.metric()));
  }
  return segments;
}

Result<LiveIndex> Dataset::Impl::LoadPartition(const IndexSegment& segment,
                                               const lance_format::IndexPartition& partition,
                                               lance_format::TableReader& reader, const LoadSettings& settings) {
  const bool empty = partition.vectors.count == 0;
  LanceHnsw graph;
  graph.params = settings.live.build;
  std::optional<StoredSurvey> survey;
  if (!empty) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, segment.ReadGraph(partition));
    ARROW_ASSIGN_OR_RAISE(graph, ReadLanceHnswBatch(*batch));
    ARROW_ASSIGN_OR_RAISE(survey, segment.ReadSurvey(graph.rows));
  }
  LiveIndexOptions live = settings.live;
  live.dim = segment.dim();
  live.metric = segment.metric();
  live.vector_column = segment.column().name();
  live.build = graph.params;
  if (survey) live.build.seed = survey->seed;
  ARROW_ASSIGN_OR_RAISE(const auto rows, segment.ReadRows(partition, reader));
  return LiveIndex::Assemble({.options = live,
                              .graph = graph,
                              .survey = survey,
                              .rows = *rows,
                              .position = [&](uint64_t row_id) { return segment.Position(row_id); },
                              .next_position = settings.next_position,
                              .next_row_id = settings.next_row_id,
                              .threads = settings.threads});
}

Result<LiveIndex> Dataset::Impl::Rebuild(const IndexSegment& segment, LoadSettings settings) {
  const auto& partitions = segment.partitions().partitions;
  const auto built = std::find_if(partitions.begin(), partitions.end(), [](const auto& p) { return !p.hnsw.empty(); });
  if (built != partitions.end()) {
    ARROW_ASSIGN_OR_RAISE(settings.live.build, ReadLanceHnswParams(built->hnsw));
  }
  settings.next_position = 0;
  ARROW_ASSIGN_OR_RAISE(LiveIndex index, LoadPartition(segment, {}, Reader(), settings));
  const std::string& column = segment.column().name();
  ARROW_ASSIGN_OR_RAISE(const auto scan,
                        Reader().Scan({.columns = {column}, .batch_rows = kRowsAtOnce, .row_ids = true}));
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, scan->Next());
    if (!batch) return index;
    ARROW_ASSIGN_OR_RAISE(const auto vectors, WithoutUnfit(batch->column(0), segment.dim()));
    ARROW_RETURN_NOT_OK(index.Append(vectors, {.row_ids = batch->column(1), .threads = settings.threads}));
  }
}

Result<LiveIndex> Dataset::LoadIndex(const LoadOptions& options) const {
  return Guard([&]() -> Result<LiveIndex> {
    if (options.threads < 0) return Invalid("threads: expected 0 or more, got ", options.threads);
    ARROW_ASSIGN_OR_RAISE(const auto segments, impl_->OpenIndex(options.name));
    const IndexSegment& first = segments[0];
    const auto& partitions = first.partitions().partitions;
    const LoadSettings settings = {.live = {.codes = options.codes,
                                            .build = BuildParams(),
                                            .max_rows = options.max_rows,
                                            .memory_limit = options.memory_limit,
                                            .pool = options.pool,
                                            .logger = options.logger},
                                   .next_position = impl_->table.rows(),
                                   .next_row_id = impl_->table.NextRowId(),
                                   .threads = options.threads};
    const bool one = segments.size() == 1 && partitions.size() == 1;
    uint64_t others = 0;  // rows that are in none of its fragments
    for (const auto& fragment : impl_->table.manifest().fragments) {
      if (!first.Covers(fragment.id)) others += fragment.live_rows();
    }
    if (options.rebuild) {
      bool as_it_is = one && others == 0;
      if (as_it_is) {
        ARROW_ASSIGN_OR_RAISE(as_it_is, first.AllThere());
      }
      if (!as_it_is) return impl_->Rebuild(first, settings);
    }
    if (!first.is_read()) {
      return Status::NotImplemented("index ", first.name(), ": expected one of type IVF_HNSW_FLAT or IVF_HNSW_SQ, got ",
                                    first.type(), "; rebuild links all rows anew");
    }
    if (!one) {
      return Status::NotImplemented(
          "index ", first.name(), ": expected one part of one partition, got ", std::to_string(segments.size()),
          ", the first of ", std::to_string(partitions.size()), " partitions; rebuild makes one index of all rows");
    }
    if (others > 0 && options.logger) {
      options.logger(LogLevel::kWarning, std::to_string(others) +
                                             " rows of the table are in fragments that the index " + first.name() +
                                             " is not of, and not found by it; rebuild links them");
    }
    return Impl::LoadPartition(first, partitions[0], impl_->Reader(), settings);
  });
}

}  // namespace pennon::inline PENNON_ABI::lance
