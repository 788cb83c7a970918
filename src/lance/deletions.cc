#include "lance/deletions.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <arrow/array.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>

#include "lance/roaring.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

constexpr uint64_t kMostRowsAByte = 64;     // what differs takes more, however it is packed
constexpr uint64_t kLeastBytes = 64 << 10;  // for what is beside the rows

// The first of the ranges that does not end before the row.
Ranges::const_iterator FirstAfter(const Ranges& ranges, uint64_t row) {
  return std::partition_point(ranges.begin(), ranges.end(), [&](const Range& range) { return range.end() <= row; });
}

// In any order.
Result<std::vector<uint32_t>> RowsOfArrowFile(std::string_view bytes) {
  const uint64_t most = kMostRowsAByte * bytes.size();
  // The capped one counts all that is allocated from the one below.
  arrow::ProxyMemoryPool counted(arrow::default_memory_pool());
  arrow::CappedMemoryPool pool(&counted, static_cast<int64_t>(kLeastBytes + sizeof(uint32_t) * most));
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.memory_pool = &pool;
  options.use_threads = false;
  arrow::io::BufferReader input(std::make_shared<arrow::Buffer>(bytes));
  ARROW_ASSIGN_OR_RAISE(const auto reader, arrow::ipc::RecordBatchFileReader::Open(&input, options));
  const auto unexpected = [&] {
    return Status::Invalid("expected one column of uint32 without nulls, got ", reader->schema()->ToString());
  };
  if (reader->schema()->num_fields() != 1 || reader->schema()->field(0)->type()->id() != arrow::Type::UINT32) {
    return unexpected();
  }
  std::vector<uint32_t> rows;
  for (int i = 0; i < reader->num_record_batches(); ++i) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, reader->ReadRecordBatch(i));
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    const auto& column = static_cast<const arrow::UInt32Array&>(*batch->column(0));
    if (column.null_count() > 0) return unexpected();
    if (static_cast<uint64_t>(column.length()) > most - rows.size()) {
      return Status::Invalid("expected rows once each, got more than ", std::to_string(most), " of them in ",
                             std::to_string(bytes.size()), " bytes");
    }
    rows.insert(rows.end(), column.raw_values(), column.raw_values() + column.length());
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

void Deletions::Add(uint64_t first, uint64_t count) {
  if (!ranges_.empty() && ranges_.back().end() == first) {
    ranges_.back().count += count;
    return;
  }
  left_before_.push_back(ranges_.empty() ? first : left_before_.back() + first - ranges_.back().end());
  ranges_.push_back({first, count});
}

Status Deletions::Parse(std::string_view bytes, const Fragment& fragment) {
  uint64_t end = 0;
  uint64_t found = 0;
  const auto add = [&](uint64_t first, uint64_t count) {
    if (first < end || first + count > fragment.rows) {
      return Status::Invalid("expected rows once each of ", std::to_string(fragment.rows), ", got ",
                             std::to_string(first));
    }
    end = first + count;
    found += count;
    Add(first, count);
    return Status::OK();
  };
  if (fragment.deletions->type == DeletionFile::kBitmap) {
    ARROW_ASSIGN_OR_RAISE(const auto bitmap, RoaringView::Make(bytes));
    ARROW_RETURN_NOT_OK(bitmap.Visit(add));
  } else {
    ARROW_ASSIGN_OR_RAISE(const auto rows, RowsOfArrowFile(bytes));
    for (const uint32_t row : rows) ARROW_RETURN_NOT_OK(add(row, 1));
  }
  if (found == fragment.deletions->rows) return Status::OK();
  return Status::Invalid("expected ", std::to_string(fragment.deletions->rows), " rows, as the manifest says, got ",
                         std::to_string(found));
}

Result<Deletions> Deletions::Read(io::FileSystem& files, const std::string& directory, const Fragment& fragment) {
  return Start(files, directory, fragment)();
}

Deletions::Reading Deletions::Start(io::FileSystem& files, const std::string& directory, const Fragment& fragment) {
  if (!fragment.deletions) return [] { return Deletions(); };
  std::string path = directory + "/_deletions/" + fragment.deletions->Name(fragment.id);
  auto reading = files.StartRead(path);
  return [reading = std::move(reading), path = std::move(path), &fragment]() -> Result<Deletions> {
    ARROW_ASSIGN_OR_RAISE(const std::string bytes, reading());
    Deletions deletions;
    const Status status = deletions.Parse(bytes, fragment);
    if (!status.ok()) return Status::Invalid(path, ": ", status.message());
    return deletions;
  };
}

bool Deletions::Contains(uint64_t row) const {
  const auto range = FirstAfter(ranges_, row);
  return range != ranges_.end() && range->first <= row;
}

Ranges Deletions::Left(const Range& rows) const {
  Ranges left;
  uint64_t row = rows.first;
  for (auto range = FirstAfter(ranges_, row); range != ranges_.end() && range->first < rows.end(); ++range) {
    if (range->first > row) left.push_back({row, range->first - row});
    row = range->end();
  }
  if (row < rows.end()) left.push_back({row, rows.end() - row});
  return left;
}

uint64_t Deletions::RowAt(uint64_t place) const {
  const auto after = std::upper_bound(left_before_.begin(), left_before_.end(), place) - left_before_.begin();
  if (after == 0) return place;
  const auto last = static_cast<size_t>(after - 1);
  return ranges_[last].end() + (place - left_before_[last]);
}

uint64_t Deletions::PlaceOf(uint64_t row) const {
  const auto after = FirstAfter(ranges_, row);
  if (after == ranges_.begin()) return row;
  const auto last = static_cast<size_t>(after - ranges_.begin() - 1);
  return left_before_[last] + (row - ranges_[last].end());
}

}  // namespace pennon::lance_format
