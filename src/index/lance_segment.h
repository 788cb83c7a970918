// A part of an index of vectors in a table: its files, and which of its rows the table still has as they were.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "index/survey_json.h"
#include "lance/deletions.h"
#include "lance/hnsw_index_reader.h"
#include "lance/row_ids.h"
#include "lance/table.h"
#include "lance/table_reader.h"
#include "pennon/live_index.h"

namespace pennon {

// The name of the column that an index is of, or an empty one.
std::string ColumnOf(const lance_format::Table& table, const lance_format::Index& index);
std::string DirectoryOf(const lance_format::Table& table, const lance_format::Index& index);
Metric MetricOf(lance_format::Distance distance);

class IndexSegment {
 public:
  // Each of a column of vectors. Invalid or NotImplemented, with its name, for what can be no such index. One of a type
  // that is not read covers nothing and has no partitions.
  static arrow::Result<std::vector<IndexSegment>> Open(const lance_format::Table& table,
                                                       std::span<const lance_format::Index* const> indices,
                                                       std::shared_ptr<const lance_format::RowIds> row_ids,
                                                       arrow::MemoryPool* pool);

  const std::string& name() const { return name_; }
  const std::string& type() const { return files_.type(); }
  const arrow::Field& column() const { return *column_; }
  int32_t dim() const { return static_cast<const arrow::FixedSizeListType&>(*column_->type()).list_size(); }
  Metric metric() const { return MetricOf(files_.distance()); }
  bool is_read() const { return files_.GetStorage().ok(); }
  uint64_t rows() const { return is_read() ? files_.rows() : 0; }
  const lance_format::IndexPartitions& partitions() const { return partitions_; }
  bool Covers(uint64_t fragment) const { return fragments_.contains(fragment); }

  // Of a row in a scan; none if the table has it no more, or with another vector.
  std::optional<uint64_t> Position(uint64_t row_id) const;
  // Whether all of the rows are in the table.
  arrow::Result<bool> AllThere() const;
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReadGraph(const lance_format::IndexPartition& partition) const {
    return files_.ReadGraph(partition);
  }
  // What Pennon has written about the only partition.
  arrow::Result<std::optional<StoredSurvey>> ReadSurvey(uint32_t rows) const;
  // Of a partition, in its order: row ids and vectors, which are the table's; of rows that are not there, by which the
  // graph is walked too, what the index has, at least about. Both must outlive the reader.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ReadRows(const lance_format::IndexPartition& partition,
                                                                    lance_format::TableReader& table) const;

 private:
  class Rows;
  struct Fragment {
    uint64_t first = 0;  // position
    std::shared_ptr<const lance_format::Deletions> deletions = nullptr;
  };

  IndexSegment(lance_format::HnswIndexReader files, std::shared_ptr<const lance_format::RowIds> row_ids)
      : files_(std::move(files)), row_ids_(std::move(row_ids)) {}
  arrow::Result<lance_format::HnswIndexReader::PartitionsReading> Init(const lance_format::Table& table,
                                                                       const lance_format::Index& index);
  // Codes are not the vectors, nor are those of unit length, which cosine has there.
  bool stores_vectors() const { return storage_ == lance_format::Storage::kFlat && metric() != Metric::kCosine; }
  // As Position.
  std::optional<uint64_t> AddressOf(uint64_t row_id) const;
  // Until it returns false.
  arrow::Status VisitRowIds(const std::function<bool(uint64_t row_id)>& visit) const;
  arrow::Status ForgetFragmentsWithoutRows();

  std::string name_;
  std::shared_ptr<arrow::Field> column_;
  lance_format::HnswIndexReader files_;
  std::shared_ptr<const lance_format::RowIds> row_ids_;  // of the table
  lance_format::Storage storage_ = lance_format::Storage::kFlat;
  lance_format::CodeRange codes_ = {};
  lance_format::IndexPartitions partitions_;
  std::map<uint64_t, Fragment> fragments_;  // by id, of the table, those that the index is of
};

}  // namespace pennon
