#include "vectors/code_store.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

namespace pennon {
namespace {

// A high nibble h stands for codes around 16 * h - kCoarseShift.
constexpr double kCoarseShift = 120.5;

}  // namespace

CodeStore::CodeStore(int32_t dim, DistanceKind kind, Allocator& allocator)
    : dim_(dim),
      kind_(kind),
      stride_((static_cast<size_t>(dim) + kCodeBlock - 1) / kCodeBlock * kCodeBlock),
      segment_rows_(static_cast<uint32_t>(kSegmentBytes / (stride_ + sizeof(Terms)))),
      reciprocal_(~uint64_t{0} / segment_rows_ + 1),
      factor_(kind == DistanceKind::kL2 ? -2.0f : -1.0f),
      square_(kind == DistanceKind::kL2       ? 1
              : kind == DistanceKind::kCosine ? 0.5
                                              : 0),
      allocator_(allocator),
      segments_(allocator),
      centre_(allocator),
      scratch_(allocator),
      codes_(allocator) {}

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
  if (kind_ == DistanceKind::kDot) {
    double with_centre = 0;
    double coarse_with_centre = 0;
    for (size_t i = 0; i < dim; ++i) {
      with_centre += double{centre_[i]} * (int32_t{codes[i]} - 128);
      coarse_with_centre += double{centre_[i]} * ((codes[i] & 0xF0) - kCoarseShift);
    }
    return {scale, static_cast<float>(-double{scale} * with_centre),
            static_cast<float>(-double{scale} * coarse_with_centre)};
  }
  // A row's coarse distance to something is too long by the square of what coarseness moves the row.
  int64_t squares = 0;
  int64_t quarters = 0;
  for (size_t i = 0; i < stride_; ++i) {
    const int32_t code = int32_t{codes[i]} - 128;
    const int32_t coarse = 2 * (codes[i] & 0xF0) - static_cast<int32_t>(2 * kCoarseShift);
    squares += code * code;
    quarters += coarse * coarse - (coarse - 2 * code) * (coarse - 2 * code);
  }
  const double square = square_ * scale * scale;
  return {scale, static_cast<float>(square * static_cast<double>(squares)),
          static_cast<float>(square * static_cast<double>(quarters) / 4)};
}

// The centre: the median of each dimension over the first rows.
bool CodeStore::Freeze(const RowStore& rows) noexcept {
  const auto dim = static_cast<size_t>(dim_);
  Buffer<float> columns(allocator_);
  if (!columns.Resize(dim * kFrom) || !centre_.Resize(dim) || !scratch_.Resize(2 * dim) || !codes_.Resize(stride_))
    return false;
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
  constant_ = kind_ == DistanceKind::kDot ? static_cast<float>(1 - squared) : 0.0f;
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
    *place.terms = EncodeTo(vector, codes_.data());
    Kernels().split(codes_.data(), stride_, place.high, place.high + low());
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
  codes_ = Buffer<uint8_t>(allocator_);
}

const CodedVector* CodeStore::Encode(const ScoredVector& vector, float* floats, void* scratch) const {
  auto* coded = static_cast<CodedVector*>(scratch);
  auto* codes = reinterpret_cast<uint8_t*>(coded->codes());
  const Terms terms = EncodeTo(Prepare(vector, floats), codes);
  coded->constant = constant_;
  coded->bias = terms.bias;
  coded->scale = factor_ * terms.scale;
  coded->sum = Kernels().center_codes(codes, stride_);
  return coded;
}

const CodedVector* CodeStore::Load(uint32_t row, void* scratch) const {
  auto* coded = static_cast<CodedVector*>(scratch);
  auto* codes = reinterpret_cast<uint8_t*>(coded->codes());
  const Place place = PlaceOf(row);
  coded->constant = constant_;
  coded->bias = place.terms->bias;
  coded->scale = factor_ * place.terms->scale;
  Kernels().join(place.high, place.high + low(), stride_, codes);
  coded->sum = Kernels().center_codes(codes, stride_);
  return coded;
}

// distances(codes, terms, count, out) for blocks of rows.
template <typename Distances>
void CodeStore::ScoreBy(const uint32_t* rows, size_t n, float* out, Distances&& distances) const {
  constexpr size_t kBlock = 32;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t count = std::min(kBlock, n - begin);
    const uint8_t* codes[kBlock];
    const Terms* terms[kBlock];
    for (size_t i = 0; i < count; ++i) {
      const Place place = PlaceOf(rows[begin + i]);
      codes[i] = place.high;
      terms[i] = place.terms;
      __builtin_prefetch(terms[i]);
    }
    distances(codes, terms, count, out + begin);
    // Near the largest floats infinities may meet.
    for (size_t i = begin; i < begin + count; ++i) out[i] = std::isnan(out[i]) ? FLT_MAX : out[i];
  }
}

void CodeStore::Score(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const {
  ScoreBy(rows, n, out, [&](const uint8_t* const* codes, const Terms* const* terms, size_t count, float* to) {
    int32_t dots[32];
    Kernels().dot_codes(vector.codes(), vector.sum, codes, low(), count, stride_, dots);
    for (size_t i = 0; i < count; ++i) {
      to[i] = vector.constant + (vector.bias + terms[i]->bias) +
              vector.scale * terms[i]->scale * static_cast<float>(dots[i]);
    }
  });
}

void CodeStore::ScoreCoarse(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const {
  const float shift = static_cast<float>(kCoarseShift) * static_cast<float>(vector.sum);
  ScoreBy(rows, n, out, [&](const uint8_t* const* codes, const Terms* const* terms, size_t count, float* to) {
    int32_t dots[32];
    Kernels().dot_high(vector.codes(), codes, count, stride_, dots);
    for (size_t i = 0; i < count; ++i) {
      to[i] = vector.constant + (vector.bias + terms[i]->coarse_bias) +
              vector.scale * terms[i]->scale * (16.0f * static_cast<float>(dots[i]) - shift);
    }
  });
}

}  // namespace pennon
