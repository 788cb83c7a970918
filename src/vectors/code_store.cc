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
  double norm = 0;
  for (size_t i = 0; i < dim; ++i) norm += double{vector.values[i]} * vector.values[i];
  norm = std::sqrt(norm);
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
  const size_t segments = (size_t{rows.size()} + kSegmentRows - 1) / kSegmentRows;
  bool memory = segments_.Reserve(segments) && (before > 0 || Freeze(rows));
  while (memory && segment_count_ < segments) {
    void* segment = allocator_.Allocate(kSegmentRows * (stride_ + sizeof(Terms)));
    memory = segment != nullptr;
    if (memory) segments_[segment_count_++] = static_cast<uint8_t*>(segment);
  }
  if (!memory) {
    Restore(before);
    return false;
  }
  for (; size_ < rows.size(); ++size_) {
    const float* vector = Prepare(rows.Load(size_, scratch_.data()), scratch_.data() + static_cast<size_t>(dim_));
    const_cast<Terms&>(TermsOf(size_)) = EncodeTo(vector, CodesOf(size_));
  }
  return true;
}

void CodeStore::Restore(uint32_t size) noexcept {
  size_ = size;
  const size_t segments = (size_t{size} + kSegmentRows - 1) / kSegmentRows;
  while (segment_count_ > segments) {
    allocator_.Free(segments_[--segment_count_], kSegmentRows * (stride_ + sizeof(Terms)));
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
  coded->sum = 0;
  for (size_t i = 0; i < stride_; ++i) {
    codes[i] ^= 0x80;
    coded->sum += coded->codes()[i];
  }
  return coded;
}

const CodedVector* CodeStore::Load(uint32_t row, void* scratch) const {
  auto* coded = static_cast<CodedVector*>(scratch);
  const Terms& terms = TermsOf(row);
  const uint8_t* codes = CodesOf(row);
  coded->constant = constant_;
  coded->bias = terms.bias;
  coded->scale = factor_ * terms.scale;
  int32_t sum = 0;
  for (size_t i = 0; i < stride_; ++i) {
    coded->codes()[i] = static_cast<int8_t>(codes[i] ^ 0x80);
    sum += coded->codes()[i];
  }
  coded->sum = sum;
  return coded;
}

void CodeStore::Score(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const {
  constexpr size_t kAtATime = 4;
  const KernelTable& table = Kernels();
  const auto prefetch = [&](size_t begin) {
    for (size_t i = begin; i < std::min(n, begin + kAtATime); ++i) {
      const uint8_t* codes = CodesOf(rows[i]);
      for (size_t at = 0; at < stride_; at += 64) __builtin_prefetch(codes + at);
      __builtin_prefetch(&TermsOf(rows[i]));
    }
  };
  prefetch(0);
  for (size_t i = 0; i < n; i += kAtATime) {
    prefetch(i + kAtATime);
    const size_t count = std::min(kAtATime, n - i);
    const uint8_t* codes[kAtATime];
    int32_t dots[kAtATime];
    for (size_t j = 0; j < count; ++j) codes[j] = CodesOf(rows[i + j]);
    table.dot_codes(vector.codes(), vector.sum, codes, count, stride_, dots);
    for (size_t j = 0; j < count; ++j) {
      const Terms& terms = TermsOf(rows[i + j]);
      const float distance =
          vector.constant + (vector.bias + terms.bias) + vector.scale * terms.scale * static_cast<float>(dots[j]);
      // Near the largest floats infinities may meet.
      out[i + j] = std::isnan(distance) ? FLT_MAX : distance;
    }
  }
}

}  // namespace pennon
