#include "index/lance_segment.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/util/float16.h>

#include "index/adapters.h"
#include "index/lance_dataset.h"
#include "lance/roaring.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;
using lance_format::IndexPartition;

constexpr int64_t kPieceBytes = 1 << 20;  // of vectors: what is smaller than 2 MiB an index copies
constexpr uint64_t kIdsAtOnce = 1 << 16;
constexpr char kReuse[] = "__lance_frag_reuse";  // an index of compactions after which others were left as they were

// A vector of floats, halves, or codes.
void CopyVector(const arrow::FixedSizeListArray& from, int64_t row, const lance_format::CodeRange& codes, float* to) {
  const arrow::ArrayData& values = *from.values()->data();
  const int64_t first = from.value_offset(row);
  for (int32_t i = 0; i < from.value_length(); ++i) {
    switch (values.type->id()) {
      case arrow::Type::FLOAT: to[i] = values.GetValues<float>(1)[first + i]; break;
      case arrow::Type::HALF_FLOAT:
        to[i] = arrow::util::Float16::FromBits(values.GetValues<uint16_t>(1)[first + i]).ToFloat();
        break;
      default:
        to[i] =
            static_cast<float>(codes.low + values.GetValues<uint8_t>(1)[first + i] / 255.0 * (codes.high - codes.low));
    }
  }
}

bool IsOf(const arrow::DataType& type, int32_t dim, std::initializer_list<arrow::Type::type> values) {
  if (type.id() != arrow::Type::FIXED_SIZE_LIST) return false;
  const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
  return list.list_size() == dim && std::find(values.begin(), values.end(), list.value_type()->id()) != values.end();
}

}  // namespace

std::string ColumnOf(const lance_format::Table& table, const lance_format::Index& index) {
  for (const lance_format::Field& field : table.manifest().fields) {
    if (index.field_ids.size() == 1 && field.id == index.field_ids[0] && field.parent == -1) return field.name;
  }
  return "";
}

std::string DirectoryOf(const lance_format::Table& table, const lance_format::Index& index) {
  return table.directory() + "/_indices/" + index.uuid.ToString();
}

Metric MetricOf(lance_format::Distance distance) {
  return distance == lance_format::Distance::kCosine ? Metric::kCosine
         : distance == lance_format::Distance::kDot  ? Metric::kDot
                                                     : Metric::kL2;
}

Result<std::vector<IndexSegment>> IndexSegment::Open(const lance_format::Table& table,
                                                     std::span<const lance_format::Index* const> indices,
                                                     std::shared_ptr<const lance_format::RowIds> row_ids,
                                                     arrow::MemoryPool* pool) {
  std::vector<lance_format::HnswIndexReader::Opening> openings;
  std::vector<std::optional<lance_format::RoaringView>> known(indices.size());  // fragments; none: all
  for (size_t i = 0; i < indices.size(); ++i) {
    const lance_format::Index& index = *indices[i];
    if (index.fragments) {
      ARROW_ASSIGN_OR_RAISE(known[i], lance_format::RoaringView::Make(*index.fragments));
    }
    ARROW_ASSIGN_OR_RAISE(openings.emplace_back(), lance_format::HnswIndexReader::Start(
                                                       table.files(), DirectoryOf(table, index), index.files, pool));
  }
  const auto& fragments = table.manifest().fragments;
  const auto knows = [&](size_t i, const lance_format::Fragment& fragment) {
    return !known[i] || known[i]->Contains(static_cast<uint32_t>(fragment.id));
  };
  std::vector<lance_format::Deletions::Reading> deletions(fragments.size());
  for (size_t f = 0; f < fragments.size(); ++f) {
    for (size_t i = 0; i < indices.size() && !deletions[f]; ++i) {
      if (!knows(i, fragments[f])) continue;
      deletions[f] = lance_format::Deletions::Start(table.files(), table.directory(), fragments[f]);
    }
  }
  std::vector<IndexSegment> segments;
  std::vector<lance_format::HnswIndexReader::PartitionsReading> partitions;
  for (size_t i = 0; i < indices.size(); ++i) {
    ARROW_ASSIGN_OR_RAISE(auto files, openings[i]());
    segments.push_back(IndexSegment(std::move(files), row_ids));
    ARROW_ASSIGN_OR_RAISE(partitions.emplace_back(), segments.back().Init(table, *indices[i]));
  }
  for (size_t i = 0; i < indices.size(); ++i) {
    if (!partitions[i]) continue;
    ARROW_ASSIGN_OR_RAISE(segments[i].partitions_, partitions[i]());
  }
  uint64_t first = 0;
  for (size_t f = 0; f < fragments.size(); ++f) {
    const lance_format::Fragment& fragment = fragments[f];
    if (deletions[f]) {
      ARROW_ASSIGN_OR_RAISE(auto read, deletions[f]());
      const auto gone = std::make_shared<const lance_format::Deletions>(std::move(read));
      for (size_t i = 0; i < indices.size(); ++i) {
        if (partitions[i] && knows(i, fragment)) segments[i].fragments_[fragment.id] = {first, gone};
      }
    }
    first += fragment.live_rows();
  }
  // Then bitmaps may say fragments that a compaction has made, and row ids those of before.
  const auto& all = table.manifest().indices;
  const bool deferred = std::any_of(all.begin(), all.end(), [](const auto& index) { return index.name == kReuse; });
  if (deferred) {
    for (IndexSegment& segment : segments) ARROW_RETURN_NOT_OK(segment.ForgetFragmentsWithoutRows());
  }
  return segments;
}

Result<lance_format::HnswIndexReader::PartitionsReading> IndexSegment::Init(const lance_format::Table& table,
                                                                            const lance_format::Index& index) {
  name_ = index.name;
  column_ = table.schema().GetFieldByName(ColumnOf(table, index));
  if (!column_ || !HoldsVectors(*column_->type())) {
    return Invalid("name: expected an index of a column of vectors, got ", index.name);
  }
  if (!is_read()) return lance_format::HnswIndexReader::PartitionsReading();
  ARROW_ASSIGN_OR_RAISE(storage_, files_.GetStorage());
  if (storage_ == lance_format::Storage::kSq) {
    ARROW_ASSIGN_OR_RAISE(codes_, files_.ReadCodeRange());
  }
  return files_.StartPartitions(dim());
}

Status IndexSegment::VisitRowIds(const std::function<bool(uint64_t)>& visit) const {
  ARROW_ASSIGN_OR_RAISE(const auto columns, files_.Vectors({"_rowid"}));
  for (uint64_t first = 0; first < rows(); first += kIdsAtOnce) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, columns.Read({first, std::min(kIdsAtOnce, rows() - first)}));
    ARROW_RETURN_NOT_OK(CheckRowIds(*batch->column(0)));
    const uint64_t* const ids = RowIdValues(*batch->column(0));
    if (!std::all_of(ids, ids + batch->num_rows(), visit)) break;
  }
  return Status::OK();
}

Status IndexSegment::ForgetFragmentsWithoutRows() {
  std::set<uint64_t> seen;
  ARROW_RETURN_NOT_OK(VisitRowIds([&](uint64_t id) {
    const auto address = row_ids_->AddressOf(id);
    if (address && fragments_.contains(*address >> 32)) seen.insert(*address >> 32);
    return seen.size() < fragments_.size();
  }));
  std::erase_if(fragments_, [&](const auto& fragment) { return !seen.contains(fragment.first); });
  return Status::OK();
}

std::optional<uint64_t> IndexSegment::AddressOf(uint64_t row_id) const {
  const auto address = row_ids_->AddressOf(row_id);
  if (!address) return std::nullopt;
  const auto fragment = fragments_.find(*address >> 32);
  if (fragment == fragments_.end() || fragment->second.deletions->Contains(*address & 0xFFFFFFFFu)) return std::nullopt;
  return address;
}

std::optional<uint64_t> IndexSegment::Position(uint64_t row_id) const {
  const auto address = AddressOf(row_id);
  if (!address) return std::nullopt;
  const Fragment& fragment = fragments_.at(*address >> 32);
  return fragment.first + fragment.deletions->PlaceOf(*address & 0xFFFFFFFFu);
}

Result<bool> IndexSegment::AllThere() const {
  bool all = true;
  ARROW_RETURN_NOT_OK(VisitRowIds([&](uint64_t id) { return all = Position(id).has_value(); }));
  return all;
}

Result<std::optional<StoredSurvey>> IndexSegment::ReadSurvey(uint32_t rows) const {
  const std::string* const json = files_.FindMetadata(kSurveyKey);
  if (json == nullptr || partitions_.partitions.size() > 1) return std::nullopt;
  return StoredSurvey::FromJson(*json, rows);
}

class IndexSegment::Rows : public arrow::RecordBatchReader {
 public:
  static Result<std::shared_ptr<Rows>> Make(const IndexSegment& segment, const lance_format::Range& rows,
                                            lance_format::TableReader& table) {
    const char* const stored = segment.storage_ == lance_format::Storage::kSq ? "__sq_code" : "flat";
    std::vector<std::string> first = {"_rowid"};
    if (segment.stores_vectors()) first.emplace_back(stored);
    ARROW_ASSIGN_OR_RAISE(auto row_ids, segment.files_.Vectors(first));
    ARROW_ASSIGN_OR_RAISE(auto vectors, segment.files_.Vectors({stored}));
    const auto& type = vectors.schema().field(0)->type();
    const bool fits = segment.storage_ == lance_format::Storage::kSq
                          ? IsOf(*type, segment.dim(), {arrow::Type::UINT8})
                          : IsOf(*type, segment.dim(), {arrow::Type::FLOAT, arrow::Type::HALF_FLOAT});
    if (fits) return std::make_shared<Rows>(segment, rows, table, std::move(row_ids), std::move(vectors));
    return Invalid("index ", segment.name_, ": expected a column ", stored, " for ", segment.dim(), " dimensions, got ",
                   type->ToString());
  }
  Rows(const IndexSegment& segment, const lance_format::Range& rows, lance_format::TableReader& table,
       lance_format::FileColumns row_ids, lance_format::FileColumns vectors)
      : segment_(segment),
        rows_(rows),
        table_(table),
        row_ids_(std::move(row_ids)),
        vectors_(std::move(vectors)),
        schema_(arrow::schema({arrow::field("_rowid", arrow::uint64()), segment.column_})) {}

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    *batch = nullptr;
    if (rows_.count == 0) return Status::OK();
    const int64_t vector_bytes = segment_.dim() * static_cast<int64_t>(sizeof(float));
    const uint64_t most = static_cast<uint64_t>(std::max<int64_t>(1, kPieceBytes / vector_bytes));
    const lance_format::Range rows{rows_.first, std::min(rows_.count, most)};
    rows_ = {rows.end(), rows_.count - rows.count};
    ARROW_ASSIGN_OR_RAISE(const auto ids, row_ids_.Read(rows));
    ARROW_RETURN_NOT_OK(CheckRowIds(*ids->column(0)));
    std::shared_ptr<arrow::Array> vectors;
    if (segment_.stores_vectors()) {
      vectors = ids->column(1);
    } else {
      ARROW_ASSIGN_OR_RAISE(vectors, Vectors(rows, RowIdValues(*ids->column(0))));
    }
    *batch = arrow::RecordBatch::Make(schema_, ids->num_rows(), {ids->column(0), vectors});
    return Status::OK();
  }

 private:
  Result<std::shared_ptr<arrow::Array>> Stored(const lance_format::Range& rows) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, vectors_.Read(rows));
    return batch->column(0);
  }

  Result<std::shared_ptr<arrow::Array>> Vectors(const lance_format::Range& rows, const uint64_t* ids) {
    std::vector<uint64_t> there;
    for (const uint64_t* id = ids; id != ids + rows.count; ++id) {
      if (const auto address = segment_.AddressOf(*id)) there.push_back(*address);
    }
    ARROW_ASSIGN_OR_RAISE(const auto taken, table_.TakeAddresses(there, {segment_.column_->name()}));
    if (there.size() == rows.count) return taken->column(0);
    ARROW_ASSIGN_OR_RAISE(const auto stored, Stored(rows));
    return Merge(static_cast<const arrow::FixedSizeListArray&>(*taken->column(0)),
                 static_cast<const arrow::FixedSizeListArray&>(*stored), ids);
  }

  // Vectors of rows that are there, and what is stored of the others.
  Result<std::shared_ptr<arrow::Array>> Merge(const arrow::FixedSizeListArray& taken,
                                              const arrow::FixedSizeListArray& stored, const uint64_t* ids) const {
    const auto dim = static_cast<size_t>(segment_.dim());
    std::vector<float> floats(static_cast<size_t>(stored.length()) * dim);
    int64_t next = 0;
    for (int64_t i = 0; i < stored.length(); ++i) {
      float* const to = floats.data() + static_cast<size_t>(i) * dim;
      if (segment_.AddressOf(ids[i])) {
        if (taken.IsNull(next)) return Invalid("index ", segment_.name_, ": row id ", ids[i], ": the vector is null");
        CopyVector(taken, next++, segment_.codes_, to);
        continue;
      }
      CopyVector(stored, i, segment_.codes_, to);
      double norm = 0;
      for (size_t d = 0; d < dim; ++d) norm += double{to[d]} * to[d];
      // Zeros mark vectors of Pennon's that have no direction by a number past any.
      if (!(norm <= double{std::numeric_limits<float>::max()} / 4)) std::fill(to, to + dim, 0.0f);
    }
    const auto length = static_cast<int64_t>(floats.size());
    const auto values = std::make_shared<arrow::FloatArray>(length, arrow::Buffer::FromVector(std::move(floats)));
    return arrow::FixedSizeListArray::FromArrays(values, segment_.dim());
  }

  const IndexSegment& segment_;
  lance_format::Range rows_;
  lance_format::TableReader& table_;
  const lance_format::FileColumns row_ids_;  // and vectors, if those are stored
  const lance_format::FileColumns vectors_;
  const std::shared_ptr<arrow::Schema> schema_;
};

Result<std::shared_ptr<arrow::RecordBatchReader>> IndexSegment::ReadRows(const IndexPartition& partition,
                                                                         lance_format::TableReader& table) const {
  if (partition.vectors.count > 0) return Rows::Make(*this, partition.vectors, table);
  return arrow::RecordBatchReader::Make({}, arrow::schema({arrow::field("_rowid", arrow::uint64()), column_}));
}

}  // namespace pennon
