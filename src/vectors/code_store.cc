#include "vectors/code_store.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

namespace pennon {
namespace {

// About a huge page's worth, or a row at least.
constexpr size_t kSegmentBytes = size_t{2} << 20;
constexpr float kMiddle = 15.5f;  // of a row's codes
// A row's step over that of a query of the same vector.
constexpr double kCoarser = 127.0 / 16;

size_t RoundUp(size_t size, size_t to) { return (size + to - 1) / to * to; }

// A multiple of a line of memory, or half of one.
size_t SketchBytes(size_t blocks) {
  const size_t bytes = blocks * kBlockBits + sizeof(CodeTerms);
  return bytes <= 32 ? 32 : RoundUp(bytes, 64);
}

size_t BlocksOf(int32_t dim) { return (static_cast<size_t>(dim) + kCodeBlock - 1) / kCodeBlock; }

// Of rows in a segment.
uint32_t SegmentShift(size_t blocks) {
  const size_t rows = kSegmentBytes / (SketchBytes(blocks) + blocks * kBlockNibbles);
  return static_cast<uint32_t>(std::bit_width(std::max(rows, size_t{1}))) - 1;
}

// Of distances by codes, relative to their terms.
constexpr float kRounding = 1.0f / 65536;

// The upper half of the float, rounded up.
uint16_t UpperHalf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits >> 16) + ((bits & 0xFFFF) != 0 ? 1 : 0));
}
float FromUpperHalf(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }

}  // namespace

CodeStore::CodeStore(int32_t dim, DistanceKind kind, Allocator& allocator)
    : dim_(dim),
      kind_(kind),
      blocks_(BlocksOf(dim)),
      code_bytes_(blocks_ * kCodeBlock),
      plane_words_(RoundUp(2 * blocks_, 8)),
      sketch_bytes_(SketchBytes(blocks_)),
      segment_shift_(SegmentShift(blocks_)),
      factor_(kind == DistanceKind::kL2 ? -2.0f : -1.0f),
      square_(kind == DistanceKind::kL2       ? 1
              : kind == DistanceKind::kCosine ? 0.5
                                              : 0),
      sum_error_((dim / 16.0 + 16) / (1 << 23)),
      allocator_(allocator),
      centre_(allocator),
      scratch_(allocator),
      codes_(allocator) {}

uint64_t CodeStore::EstimateBytes(int32_t dim, uint64_t rows) {
  if (rows < kFrom || dim > kMaxDim) return 0;
  const size_t blocks = BlocksOf(dim);
  const CodedRows place = {nullptr, SegmentShift(blocks), blocks, SketchBytes(blocks)};
  const uint64_t segments = (rows + (uint64_t{1} << place.segment_shift) - 1) >> place.segment_shift;
  uint64_t bytes = segments * place.segment_bytes();
  for (uint64_t capacity = Table::kFirst;; capacity *= 2) {
    bytes += Table::Bytes(capacity);
    if (capacity >= segments) break;
  }
  const auto floats = static_cast<uint64_t>(dim) * sizeof(float);
  return bytes + 3 * floats + 2 * blocks * kCodeBlock;
}

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

double CodeStore::Left(const float* vector, const int8_t* codes, double per_code, float* floats) const {
  const auto dim = static_cast<size_t>(dim_);
  const auto step = static_cast<float>(per_code);
  float greatest = 0;
  for (size_t i = 0; i < dim; ++i) {
    const float value = vector[i] - centre_[i];
    greatest = std::max(greatest, std::abs(value));
    floats[i] = value - step * static_cast<float>(codes[i]);
  }
  const double left = std::sqrt(Kernels().squares(floats, dim));
  // What rounding may have taken, of the sums here and where a vector was brought to unit length.
  const double rounding = greatest * std::sqrt(static_cast<double>(dim_)) / (1 << 21);
  return left * (1 + 1e-6) + rounding + (kind_ == DistanceKind::kCosine ? 0x1p-21 : 0);
}

// What per_code * codes adds to a distance beside products with the other vector.
float CodeStore::Bias(const int8_t* codes, int32_t squares, double per_code) const {
  if (kind_ != DistanceKind::kDot) return static_cast<float>(square_ * per_code * per_code * squares);
  double with_centre = 0;
  for (size_t i = 0; i < static_cast<size_t>(dim_); ++i) with_centre += double{centre_[i]} * codes[i];
  return static_cast<float>(-per_code * with_centre);
}

CodeTerms CodeStore::TermsOf(const uint64_t* bits, const int8_t* codes, float scale) const {
  const CodeSums sums = Kernels().sums(codes, code_bytes_);
  int ones = 0;
  for (size_t word = 0; word < 2 * blocks_; ++word) ones += std::popcount(bits[word]);
  // The codes' signs times this are as long as the codes in the codes' direction.
  const double along = static_cast<double>(sums.squares) / sums.magnitudes;
  const double across = std::sqrt(std::max(0.0, along * along * dim_ - sums.squares));
  const double half = double{scale} / 2;
  return {.scale = scale,
          .sketch_scale = static_cast<float>(half * along),
          .bias = Bias(codes, sums.squares, half),
          .ones = static_cast<uint16_t>(ones),
          .error = UpperHalf(static_cast<float>(half * across / std::sqrt(static_cast<double>(dim_))))};
}

// The centre: the median of each dimension over the first rows.
bool CodeStore::Freeze(const RowStore& rows) noexcept {
  const auto dim = static_cast<size_t>(dim_);
  Buffer<float> columns(allocator_);
  if (!columns.Resize(dim * kFrom) || !centre_.Resize(dim) || !scratch_.Resize(2 * dim) ||
      !codes_.Resize(2 * code_bytes_)) {
    return false;
  }
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

bool CodeStore::ReserveSegments(size_t segments) noexcept {
  Table* table = table_.load(std::memory_order_relaxed);
  if (table == nullptr || table->capacity < segments) {
    const size_t capacity = std::max(std::bit_ceil(segments), Table::kFirst);
    void* memory = allocator_.Allocate(Table::Bytes(capacity));
    if (memory == nullptr) return false;
    auto* larger = new (memory) Table{table, capacity};
    if (table != nullptr) std::copy_n(table->segments(), segment_count_, larger->segments());
    table_.store(larger, std::memory_order_release);
    table = larger;
  }
  while (segment_count_ < segments) {
    void* segment = allocator_.Allocate(GetRows().segment_bytes());
    if (segment == nullptr) return false;
    table->segments()[segment_count_++] = static_cast<char*>(segment);
  }
  return true;
}

bool CodeStore::Append(const RowStore& rows, uint32_t end) noexcept {
  if (end < kFrom) return true;
  const uint32_t before = size_;
  if (!ReserveSegments(SegmentsFor(end)) || (before == 0 && !Freeze(rows))) {
    Restore(before);
    return false;
  }
  const auto dim = static_cast<size_t>(dim_);
  const CodedRows place = GetRows();
  auto* signed_codes = reinterpret_cast<int8_t*>(codes_.data() + code_bytes_);
  for (; size_ < end; ++size_) {
    const float* vector = Prepare(rows.Load(size_, scratch_.data()), scratch_.data() + dim);
    auto* bits = const_cast<uint64_t*>(place.Sketch(size_));
    auto* nibbles = const_cast<uint8_t*>(place.Nibbles(size_));
    const float scale = Kernels().encode_row(vector, centre_.data(), dim, codes_.data());
    Kernels().pack(codes_.data(), blocks_, bits, nibbles);
    Kernels().unpack(bits, nibbles, blocks_, signed_codes);
    std::memset(signed_codes + dim, 0, code_bytes_ - dim);
    const CodeTerms terms = TermsOf(bits, signed_codes, scale);
    std::memcpy(bits + 2 * blocks_, &terms, sizeof(terms));
    const double left = Left(vector, signed_codes, double{scale} / 2, scratch_.data() + dim);
    *const_cast<uint16_t*>(place.Off(size_)) = UpperHalf(static_cast<float>(left));
  }
  return true;
}

void CodeStore::Restore(uint32_t size) noexcept {
  size_ = size;
  Table* table = table_.load(std::memory_order_relaxed);
  if (table == nullptr) return;
  const size_t segments = SegmentsFor(size);
  while (segment_count_ > segments) {
    allocator_.Free(table->segments()[--segment_count_], GetRows().segment_bytes());
  }
  if (size > 0) return;
  while (table != nullptr) {
    Table* former = table->former;
    allocator_.Free(table, Table::Bytes(table->capacity));
    table = former;
  }
  table_.store(nullptr, std::memory_order_relaxed);
  centre_ = Buffer<float>(allocator_);
  scratch_ = Buffer<float>(allocator_);
  codes_ = Buffer<uint8_t>(allocator_);
}

// From a vector's codes to the rest of it.
void CodeStore::Finish(CodedVector& vector, double per_code, double step, double row_step) const {
  int8_t* codes = vector.codes();
  std::memset(codes + dim_, 0, code_bytes_ - static_cast<size_t>(dim_));
  const CodeSums sums = Kernels().sums(codes, code_bytes_);
  vector.query = {.codes = codes,
                  .bias = constant_ + Bias(codes, sums.squares, per_code),
                  .scale = static_cast<float>(factor_ * per_code),
                  .rest = -kMiddle * static_cast<float>(sums.codes)};
  vector.norm = static_cast<float>(-factor_ * per_code * std::sqrt(static_cast<double>(sums.squares)));
  // Were the two rounded independently: twice the mean of what that adds to a squared distance, or a deviation of a
  // product.
  const double rounding = (step * step + row_step * row_step) / 12;
  vector.rounding = static_cast<float>(kind_ == DistanceKind::kDot ? double{vector.norm} * std::sqrt(rounding)
                                                                   : 2 * square_ * dim_ * rounding);
}

CodedVector* CodeStore::Encode(const ScoredVector& vector, float* floats, void* scratch) const {
  auto* coded = static_cast<CodedVector*>(scratch);
  const float scale =
      Kernels().encode_query(Prepare(vector, floats), centre_.data(), static_cast<size_t>(dim_), coded->codes());
  Finish(*coded, scale, scale, scale * kCoarser);
  return coded;
}

// |q - x| is at least |q' - x'| less what the codes q' and x' leave out of q and x. Under dot, q x is at most q' x' and
// |q| times what x' leaves out, and |x'|, which is at most that of the centre and of the largest code, times what q'
// does. Sums in floats add errors.
void CodeStore::PrepareLeast(CodedVector& coded, const ScoredVector& vector, float* floats) const {
  const float* prepared = Prepare(vector, floats);
  const double length = std::sqrt(Kernels().squares(prepared, static_cast<size_t>(dim_)));
  const double left = Left(prepared, coded.codes(), coded.query.scale / factor_, floats);
  Off& off = coded.off = {.vector = static_cast<float>(left * (1 + 1e-6))};
  switch (kind_) {
    // Also where the host lets the processor take small numbers for 0: products of scales then may be lost.
    case DistanceKind::kL2: off.rest = 2048.0f * static_cast<float>(dim_) * FLT_MIN; break;
    case DistanceKind::kCosine: off.rest = static_cast<float>(sum_error_); break;
    case DistanceKind::kDot: {
      const double centre = std::sqrt(Kernels().squares(centre_.data(), static_cast<size_t>(dim_)));
      const double codes = length + centre + left;  // at least the length of the vector's
      const double to_row = left + double{kRounding} * codes + sum_error_ * length;
      off.per_row = static_cast<float>(length * (1 + 1e-6 + sum_error_));
      off.per_scale = static_cast<float>(double{kMiddle} * std::sqrt(static_cast<double>(dim_)) * to_row * (1 + 1e-6));
      off.rest = static_cast<float>(to_row * centre + double{kRounding} * (2 + 2 * centre * centre));
    }
  }
}

void CodeStore::Least(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const {
  Score(vector, rows, n, out);
  const CodedRows place = GetRows();
  const Off& off = vector.off;
  const auto square = static_cast<float>(square_);
  const auto kept = static_cast<float>(1 - sum_error_);
  for (size_t i = 0; i < n; ++i) {
    const CodeTerms& terms = TermsAt(place.Sketch(rows[i]));
    const float left = FromUpperHalf(*place.Off(rows[i]));
    float least = out[i] - kRounding * (std::abs(vector.query.bias) + std::abs(terms.bias));
    if (kind_ == DistanceKind::kDot) {
      least -= off.per_row * left + off.per_scale * terms.scale;
    } else {
      const float apart = std::sqrt(std::max(least / square, 0.0f)) - off.vector - left;
      least = apart > 0 ? square * apart * apart * kept : 0.0f;
    }
    // Where terms may have overflowed, nothing is known.
    out[i] = out[i] < FLT_MAX / 4 ? least - off.rest : -std::numeric_limits<float>::infinity();
  }
}

CodedVector* CodeStore::Load(uint32_t row, void* scratch) const {
  auto* coded = static_cast<CodedVector*>(scratch);
  const uint64_t* bits = GetRows().Sketch(row);
  Kernels().unpack(bits, GetRows().Nibbles(row), blocks_, coded->codes());
  const double scale = TermsAt(bits).scale;
  Finish(*coded, scale / 2, scale, scale);
  return coded;
}

void CodeStore::PrepareSketch(CodedVector& vector, float slack) const {
  const int8_t* codes = vector.codes();
  const auto [low, high] = std::minmax_element(codes, codes + dim_);
  // Sixteen levels that share the range; a level stands for its middle.
  const float step = static_cast<float>(*high - *low + 1) / 16;
  const float lowest = static_cast<float>(*low) - 0.5f + step / 2;
  auto* planes = reinterpret_cast<uint64_t*>(vector.codes() + code_bytes_);
  Kernels().slice(codes, blocks_, *low, 1 / step, plane_words_, planes);
  int32_t levels = 0;
  for (size_t word = 0; word < 2 * blocks_; ++word) {
    const size_t before = std::min(64 * word, static_cast<size_t>(dim_));
    const size_t present = std::min<size_t>(static_cast<size_t>(dim_) - before, 64);
    const uint64_t mask = present == 64 ? ~uint64_t{0} : (uint64_t{1} << present) - 1;
    for (size_t plane = 0; plane < 4; ++plane) {
      uint64_t& ones = planes[plane * plane_words_ + word];
      ones &= mask;
      levels += std::popcount(ones) << plane;
    }
  }
  const float sum = lowest * static_cast<float>(dim_) + step * static_cast<float>(levels);
  vector.sketch = {.planes = planes,
                   .plane_words = plane_words_,
                   .per_dot = 2 * step * vector.query.scale,
                   .per_one = 2 * lowest * vector.query.scale,
                   .rest = -sum * vector.query.scale,
                   .slack = slack * vector.norm};
}

void CodeStore::SketchErrors(const CodedVector& vector, const uint32_t* rows, size_t n, const float* distances,
                             float* out) const {
  const SketchQuery& sketch = vector.sketch;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t* bits = GetRows().Sketch(rows[i]);
    int32_t dot = 0;
    for (size_t word = 0; word < 2 * blocks_; ++word) {
      for (size_t plane = 0; plane < 4; ++plane) {
        dot += std::popcount(bits[word] & sketch.planes[plane * plane_words_ + word]) << plane;
      }
    }
    const CodeTerms& terms = TermsAt(bits);
    const float signs =
        sketch.per_dot * static_cast<float>(dot) + sketch.per_one * static_cast<float>(terms.ones) + sketch.rest;
    const float distance = vector.query.bias + terms.bias + terms.sketch_scale * signs;
    out[i] = (distance - distances[i]) / (vector.norm * FromUpperHalf(terms.error));
  }
}

}  // namespace pennon
