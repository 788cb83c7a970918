#include "vectors/code_store.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

namespace pennon {

CodeStore::CodeStore(int32_t dim, DistanceKind kind, Allocator& allocator)
    : dim_(dim),
      kind_(kind),
      stride_((static_cast<size_t>(dim) + kCodeBlock - 1) / kCodeBlock * kCodeBlock),
      segment_rows_(static_cast<uint32_t>(kSegmentBytes / (stride_ + sizeof(Terms)))),
      reciprocal_(~uint64_t{0} / segment_rows_ + 1),
      factor_(kind == DistanceKind::kL2 ? -2.0f : -1.0f),
      allocator_(allocator),
      segments_(allocator),
      centre_(allocator),
      scratch_(allocator) {}

const float* CodeStore::Prepare(const ScoredVector& vector, float* floats) const {
  const auto dim = static_cast<size_t>(dim_);
  if (kind_ != DistanceKind::kCosine) return vector.values;
  if (std::isfinite(vector.inverse_norm)) {
    for (size_t i = 0; i < dim; ++i) floats[i] = vector.values[i] * vector.inverse_norm;
    return floats;
  }
  const double norm = std::sqrt(Kernels().squares(vector.values, dim));
  for (size_t i = 0; i < dim; ++i) floats[i] = static_cast<float>(vector.values[i] / norm);
  return floats;
}

CodeStore::Terms CodeStore::EncodeTo(const float* vector, uint8_t* codes) const {
  const auto dim = static_cast<size_t>(dim_);
  const float scale = Kernels().encode(vector, centre_.data(), dim, codes);
  std::memset(codes + dim, 128, stride_ - dim);
  if (kind_ == DistanceKind::kL2) {
    int64_t squares = 0;
    for (size_t i = 0; i < dim; ++i) squares += (int32_t{codes[i]} - 128) * (int32_t{codes[i]} - 128);
    return {scale, static_cast<float>(double{scale} * scale * static_cast<double>(squares))};
  }
  double with_centre = 0;
  for (size_t i = 0; i < dim; ++i) with_centre += double{centre_[i]} * (int32_t{codes[i]} - 128);
  return {scale, static_cast<float>(-double{scale} * with_centre)};
}

// The centre: the median of each dimension over the first rows.
bool CodeStore::Freeze(const RowStore& rows) noexcept {
  const auto dim = static_cast<size_t>(dim_);
  Buffer<float> columns(allocator_);
  if (!columns.Resize(dim * kFrom) || !centre_.Resize(dim) || !scratch_.Resize(2 * dim)) return false;
  for (uint32_t row = 0; row < kFrom; ++row) {
    const float* vector = Prepare(rows.Load(row, scratch_.data()), scratch_.data() + dim);
    for (size_t i = 0; i < dim; ++i) columns[i * kFrom + row] = vector[i];
  }
  double squared = 0;
  for (size_t i = 0; i < dim; ++i) {
    float* column = columns.data() + i * kFrom;
    std::nth_element(column, column + kFrom / 2, column + kFrom);
    centre_[i] = column[kFrom / 2];
    squared += double{centre_[i]} * centre_[i];
  }
  constant_ = kind_ == DistanceKind::kL2 ? 0.0f : static_cast<float>(1 - squared);
  return true;
}

bool CodeStore::Append(const RowStore& rows) noexcept {
  if (rows.size() < kFrom) return true;
  const uint32_t before = size_;
  const size_t segments = SegmentsFor(rows.size());
  bool memory = segments_.Reserve(segments) && (before > 0 || Freeze(rows));
  while (memory && segment_count_ < segments) {
    void* segment = allocator_.Allocate(kSegmentBytes);
    memory = segment != nullptr;
    if (memory) segments_[segment_count_++] = static_cast<uint8_t*>(segment);
  }
  if (!memory) {
    Restore(before);
    return false;
  }
  for (; size_ < rows.size(); ++size_) {
    const float* vector = Prepare(rows.Load(size_, scratch_.data()), scratch_.data() + static_cast<size_t>(dim_));
    const Place place = PlaceOf(size_);
    *place.terms = EncodeTo(vector, place.codes);
  }
  return true;
}

void CodeStore::Restore(uint32_t size) noexcept {
  size_ = size;
  const size_t segments = SegmentsFor(size);
  while (segment_count_ > segments) {
    allocator_.Free(segments_[--segment_count_], kSegmentBytes);
  }
  segments_.Truncate(segment_count_);
  if (size > 0) return;
  centre_ = Buffer<float>(allocator_);
  scratch_ = Buffer<float>(allocator_);
}

const CodedVector* CodeStore::Encode(const ScoredVector& vector, float* floats, void* scratch) const {
  auto* coded = static_cast<CodedVector*>(scratch);
  auto* codes = reinterpret_cast<uint8_t*>(coded->codes());
  const Terms terms = EncodeTo(Prepare(vector, floats), codes);
  coded->constant = constant_;
  coded->bias = terms.bias;
  coded->scale = factor_ * terms.scale;
  coded->sum = Kernels().center_codes(codes, stride_, coded->codes());
  return coded;
}

const CodedVector* CodeStore::Load(uint32_t row, void* scratch) const {
  auto* coded = static_cast<CodedVector*>(scratch);
  const Place place = PlaceOf(row);
  coded->constant = constant_;
  coded->bias = place.terms->bias;
  coded->scale = factor_ * place.terms->scale;
  coded->sum = Kernels().center_codes(place.codes, stride_, coded->codes());
  return coded;
}

void CodeStore::Score(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const {
  constexpr size_t kBlock = 32;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t count = std::min(kBlock, n - begin);
    const uint8_t* codes[kBlock];
    const Terms* terms[kBlock];
    int32_t dots[kBlock];
    for (size_t i = 0; i < count; ++i) {
      const Place place = PlaceOf(rows[begin + i]);
      codes[i] = place.codes;
      terms[i] = place.terms;
      __builtin_prefetch(terms[i]);
    }
    Kernels().dot_codes(vector.codes(), vector.sum, codes, count, stride_, dots);
    for (size_t i = 0; i < count; ++i) {
      const float distance = vector.constant + (vector.bias + terms[i]->bias) +
                             vector.scale * terms[i]->scale * static_cast<float>(dots[i]);
      // Near the largest floats infinities may meet.
      out[begin + i] = std::isnan(distance) ? FLT_MAX : distance;
    }
  }
}

}  // namespace pennon
