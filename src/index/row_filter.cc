#include <algorithm>
#include <limits>

#include <arrow/builder.h>
#include <arrow/util/bit_util.h>

#include "index/adapters.h"
#include "index/passing.h"

namespace pennon::inline PENNON_ABI {

using arrow::Result;

RowFilter RowFilter::Bitmap(std::shared_ptr<arrow::BooleanArray> bits, uint64_t first_row_id) {
  if (bits && bits->length() == 0) bits = nullptr;  // it may have no buffer
  RowFilter filter;
  filter.kind_ = Kind::kBitmap;
  filter.first_row_id_ = first_row_id;
  filter.passing_ = bits ? bits->true_count() : 0;
  filter.bits_ = std::move(bits);
  return filter;
}

RowFilter RowFilter::IdBitmap(std::shared_ptr<arrow::BooleanArray> bits) {
  RowFilter filter = Bitmap(std::move(bits));
  filter.kind_ = Kind::kIdBitmap;
  return filter;
}

Result<RowFilter> RowFilter::RowIds(const arrow::Array& row_ids) {
  return Guard([&]() -> Result<RowFilter> {
    ARROW_RETURN_NOT_OK(CheckRowIds(row_ids));
    const uint64_t* values = RowIdValues(row_ids);
    const uint64_t* end = values + row_ids.length();
    if (values == end) return Bitmap(nullptr);
    // As a bitmap, which scans go through by words, where that takes no more than 16 times the list.
    const auto [least, greatest] = std::minmax_element(values, end);
    const uint64_t span = *greatest - *least;
    if (span < std::max<uint64_t>(1 << 19, 1024 * static_cast<uint64_t>(row_ids.length()))) {
      ARROW_ASSIGN_OR_RAISE(auto bits, arrow::AllocateEmptyBitmap(static_cast<int64_t>(span) + 1));
      for (const uint64_t* id = values; id != end; ++id) {
        arrow::bit_util::SetBit(bits->mutable_data(), static_cast<int64_t>(*id - *least));
      }
      return Bitmap(std::make_shared<arrow::BooleanArray>(static_cast<int64_t>(span) + 1, std::move(bits)), *least);
    }
    std::vector<uint64_t> sorted(values, end);
    std::sort(sorted.begin(), sorted.end());
    RowFilter filter;
    filter.kind_ = Kind::kRowIds;
    filter.passing_ = row_ids.length();
    filter.row_ids_ = std::make_shared<const std::vector<uint64_t>>(std::move(sorted));
    return filter;
  });
}

RowFilter RowFilter::Predicate(std::function<bool(uint64_t)> predicate) {
  if (!predicate) return Bitmap(nullptr);
  RowFilter filter;
  filter.kind_ = Kind::kPredicate;
  filter.predicate_ = std::make_shared<const std::function<bool(uint64_t)>>(std::move(predicate));
  return filter;
}

bool RowFilter::Passes(uint64_t row_id, uint32_t id) const {
  switch (kind_) {
    case Kind::kAll: return true;
    case Kind::kRowIds: return std::binary_search(row_ids_->begin(), row_ids_->end(), row_id);
    case Kind::kPredicate: return (*predicate_)(row_id);
    case Kind::kBitmap:
    case Kind::kIdBitmap: break;
  }
  const uint64_t at = kind_ == Kind::kIdBitmap ? id : row_id;
  const auto i = static_cast<int64_t>(at - first_row_id_);
  return bits_ && at >= first_row_id_ && at - first_row_id_ < static_cast<uint64_t>(bits_->length()) &&
         bits_->IsValid(i) && bits_->Value(i);
}

Passing::Passing(const RowFilter& filter, const RowStore& rows, uint32_t visible, const Hidden& hidden)
    : filter_(filter), rows_(rows), visible_(visible), hidden_(hidden) {
  const bool by_row_id = filter.kind_ == RowFilter::Kind::kBitmap;
  if ((!by_row_id && filter.kind_ != RowFilter::Kind::kIdBitmap) || visible == 0) return;
  const arrow::BooleanArray* bits = filter.bits_.get();
  if (bits != nullptr && bits->null_count() > 0) return;
  if (by_row_id && rows.consecutive() < visible) return;
  by_id_ = true;
  if (bits == nullptr) return;
  bits_ = bits->data()->buffers[1]->data();
  offset_ = bits->offset();
  length_ = static_cast<uint64_t>(bits->length());
  if (by_row_id && filter.first_row_id_ > 0)
    length_ = std::min(length_, 0 - filter.first_row_id_);  // to row id 2^64 - 1
  shift_ = by_row_id ? rows.row_id(0) - filter.first_row_id_ : 0;
}

double Passing::ScanCost(double row) const {
  if (all()) return graph::Graph::ScanCost(visible_, row, 0);
  if (asks() || visible_ == 0) return std::numeric_limits<double>::quiet_NaN();
  const double passing = unfiltered() ? visible_ - hidden_.rows : static_cast<double>(filter_.passing_);
  const double share = std::min(1.0, passing / visible_);
  return graph::Graph::ScanCost(visible_, row * share, unfiltered() || by_id_ ? 1.0 / 1024 : graph::Graph::kLook);
}

Passing::Words::Words(const Passing& passing) : passing_(passing) {
  if (!passing.by_id_) return;
  // The first row that has a bit, if there is one, and the next whole word's.
  const uint64_t begin = passing.shift_ < passing.length_ ? 0 : 0 - passing.shift_;
  begin_ = static_cast<uint32_t>(std::min<uint64_t>(begin, passing.visible_));
  const uint64_t from = (uint64_t{begin_} + 63) / 64 * 64;
  const uint64_t at = from + passing.shift_;
  if (from >= passing.visible_ || at >= passing.length_) return;
  const uint64_t rows = std::min(passing.visible_ - from, passing.length_ - at);
  bits_.emplace(passing.bits_, passing.offset_ + static_cast<int64_t>(at), static_cast<int64_t>(rows));
  from_ = from;
  end_ = from + rows;
}

uint64_t Passing::Words::Next(uint32_t first) {
  if (first + uint64_t{64} <= begin_) return 0;
  const uint64_t shown = ~passing_.hidden_.Word(first);
  if (bits_ && first >= from_) return first < end_ ? bits_->NextWord() & shown : 0;
  const uint32_t n = std::min(64u, passing_.visible_ - first);
  if (passing_.unfiltered()) return ~uint64_t{0} >> (64 - n) & shown;
  uint64_t word = 0;
  for (uint32_t i = 0; i < n; ++i) word |= uint64_t{passing_(first + i)} << i;
  return word;
}

}  // namespace pennon::inline PENNON_ABI
