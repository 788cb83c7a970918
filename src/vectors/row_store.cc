#include "vectors/row_store.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

#include <arrow/buffer.h>
#include <arrow/type.h>
#include <arrow/util/float16.h>

#include "kernels/kernels.h"
#include "vectors/status.h"

namespace pennon {
namespace {

constexpr size_t kSegmentBytes = size_t{2} << 20;
constexpr size_t kFirstSegmentBytes = 4096;
constexpr double kSmallestSquaredNorm = 1e-30;
constexpr int64_t kVectorsBetweenLooks = 64;  // at what may end a call

size_t Aligned(size_t bytes) { return (bytes + alignof(float) - 1) / alignof(float) * alignof(float); }

// Of a vector at least.
size_t SegmentSize(size_t segment, size_t vector_bytes) {
  return std::max(std::min(kFirstSegmentBytes << std::min<size_t>(segment, 9), kSegmentBytes), vector_bytes);
}

bool IsHalf(const arrow::FixedSizeListArray& vectors) { return vectors.value_type()->id() == arrow::Type::HALF_FLOAT; }

// The first byte of vector i.
const uint8_t* VectorData(const arrow::FixedSizeListArray& vectors, int64_t i) {
  const arrow::ArrayData& values = *vectors.values()->data();
  return values.buffers[1]->data() +
         (values.offset + vectors.value_offset(i)) * static_cast<int64_t>(IsHalf(vectors) ? 2 : 4);
}

void ToFloats(const void* vector, bool half, int32_t dim, float* out) {
  if (half) {
    Kernels().f16_to_f32(vector, static_cast<size_t>(dim), out);
  } else {
    std::memcpy(out, vector, static_cast<size_t>(dim) * sizeof(float));
  }
}

double ValueAt(const void* vector, bool half, int32_t i) {
  if (half) {
    uint16_t bits;
    std::memcpy(&bits, static_cast<const char*>(vector) + 2 * i, 2);
    return arrow::util::Float16::FromBits(bits).ToDouble();
  }
  float value;
  std::memcpy(&value, static_cast<const char*>(vector) + 4 * i, 4);
  return value;
}

double SquaredNorm(const void* vector, bool half, int32_t dim) {
  constexpr size_t kBlock = 64;
  const auto* bytes = static_cast<const char*>(vector);
  const auto size = static_cast<size_t>(dim);
  double sum = 0;
  for (size_t i = 0; i < size; i += kBlock) {
    float floats[kBlock];
    const size_t n = std::min(kBlock, size - i);
    ToFloats(bytes + i * (half ? 2 : 4), half, static_cast<int32_t>(n), floats);
    sum += Kernels().squares(floats, n);
  }
  return sum;
}

arrow::Status CheckVector(const void* vector, bool half, int32_t dim, const char* what, int64_t offset) {
  const double norm = SquaredNorm(vector, half, dim);
  if (!std::isfinite(norm)) {
    return Invalid(what, ": the vector at offset ", offset, " holds NaN or infinity; expected finite values");
  }
  if (norm > double{FLT_MAX} / 4) {
    return Invalid(what, ": the vector at offset ", offset, " has the squared norm ", norm,
                   "; expected at most FLT_MAX / 4");
  }
  return arrow::Status::OK();
}

arrow::Status LookAt(const Halt& halt, int64_t vector) {
  return halt && vector % kVectorsBetweenLooks == 0 ? halt() : arrow::Status::OK();
}

}  // namespace

RowStore::RowStore(int32_t dim, DistanceKind kind, Allocator& allocator)
    : dim_(dim),
      kind_(kind),
      allocator_(allocator),
      addresses_(allocator),
      row_ids_(allocator),
      norms_(allocator),
      inverse_norms_(allocator),
      segments_(allocator),
      borrowed_(StdAllocator<std::shared_ptr<arrow::Buffer>>(allocator)) {}

RowStore::~RowStore() { Restore({}); }

arrow::Status RowStore::Check(const arrow::Array& array, const char* what, const Halt& halt) const {
  const arrow::DataType& type = *array.type();
  const auto* list =
      type.id() == arrow::Type::FIXED_SIZE_LIST ? static_cast<const arrow::FixedSizeListType*>(&type) : nullptr;
  if (list == nullptr ||
      (list->value_type()->id() != arrow::Type::FLOAT && list->value_type()->id() != arrow::Type::HALF_FLOAT)) {
    return Invalid(what, ": expected FixedSizeList<float or halffloat>[", dim_, "], got ", type.ToString());
  }
  if (list->list_size() != dim_) {
    return Invalid(what, ": expected dimension ", dim_, ", got ", list->list_size());
  }
  const auto& vectors = static_cast<const arrow::FixedSizeListArray&>(array);
  const arrow::Array& values = *vectors.values();
  // Arrow's C interface takes what another library says.
  const int64_t needed = (vectors.offset() + vectors.length()) * dim_;
  if (values.length() < needed) {
    return Invalid(what, ": expected ", needed, " numbers in an array of ", vectors.length(), " vectors, got ",
                   values.length());
  }
  const bool half = IsHalf(vectors);
  const bool nulls = values.null_count() > 0;
  for (int64_t i = 0; i < vectors.length(); ++i) {
    ARROW_RETURN_NOT_OK(LookAt(halt, i));
    if (vectors.IsNull(i)) continue;
    if (nulls) {
      for (int32_t d = 0; d < dim_; ++d) {
        if (values.IsNull(vectors.value_offset(i) + d)) {
          return Invalid(what, ": the vector at offset ", i, " has a null element at ", d,
                         "; expected no nulls inside a vector");
        }
      }
    }
    ARROW_RETURN_NOT_OK(CheckVector(VectorData(vectors, i), half, dim_, what, i));
  }
  return arrow::Status::OK();
}

arrow::Status RowStore::CheckQuery(std::span<const float> query) const {
  if (query.size() != static_cast<size_t>(dim_)) {
    return Invalid("query: expected dimension ", dim_, ", got ", query.size());
  }
  return CheckVector(query.data(), false, dim_, "query", 0);
}

uint64_t RowStore::EstimateBytes(int32_t dim, DistanceKind kind, bool half, bool copied, uint64_t rows) {
  uint64_t bytes = SegmentedArray<uintptr_t>::BytesFor(rows) + SegmentedArray<uint64_t>::BytesFor(rows) +
                   (kind == DistanceKind::kL2 ? 0 : SegmentedArray<float>::BytesFor(rows));
  if (!copied) return bytes;
  const uint64_t vector = Aligned(static_cast<uint64_t>(dim) * (half ? 2 : 4));
  uint64_t segments = 0;
  uint64_t left = rows;
  for (; left > 0 && SegmentSize(segments, vector) < kSegmentBytes; ++segments) {
    const uint64_t size = SegmentSize(segments, vector);
    bytes += size;
    left -= std::min(left, size / vector);
  }
  const uint64_t size = SegmentSize(segments, vector);
  const uint64_t whole = (left + size / vector - 1) / (size / vector);
  return bytes + whole * size + 5 * (segments + whole) / 4 * sizeof(Segment);
}

char* RowStore::Allocate(size_t bytes) {
  bytes = Aligned(bytes);
  if (segments_.empty() || segment_used_ + bytes > segments_[segments_.size() - 1].bytes) {
    const size_t size = SegmentSize(segments_.size(), bytes);
    if (!segments_.Reserve(segments_.size() + 1)) return nullptr;
    void* memory = allocator_.Allocate(size);
    if (memory == nullptr) return nullptr;
    segments_.Push({static_cast<char*>(memory), size});
    segment_used_ = 0;
  }
  char* result = segments_[segments_.size() - 1].memory + segment_used_;
  segment_used_ += bytes;
  return result;
}

void RowStore::Restore(const Mark& mark) noexcept {
  size_ = mark.size;
  largest_norm_ = mark.largest_norm;
  consecutive_ = std::min(consecutive(), mark.size);
  while (segments_.size() > mark.segments) {
    const Segment segment = segments_.Pop();
    allocator_.Free(segment.memory, segment.bytes);
  }
  segment_used_ = mark.segment_used;
  while (borrowed_.size() > mark.borrowed) {
    borrowed_bytes_ -= borrowed_.back()->capacity();
    borrowed_.pop_back();
  }
  addresses_.Truncate(size_);
  row_ids_.Truncate(size_);
  norms_.Truncate(size_);
  inverse_norms_.Truncate(size_);
}

bool RowStore::Borrow(const std::shared_ptr<arrow::Buffer>& buffer) {
  if (!borrowed_.empty() && borrowed_.back() == buffer) return true;
  try {
    borrowed_.push_back(buffer);
  } catch (const std::bad_alloc&) {
    return false;
  }
  borrowed_bytes_ += buffer->capacity();
  return true;
}

arrow::Status RowStore::Append(const arrow::FixedSizeListArray& vectors, const std::function<uint64_t(int64_t)>& row_id,
                               const Halt& halt) {
  struct Undo {
    ~Undo() {
      if (!done) store.Restore(mark);
    }
    RowStore& store;
    const Mark mark;
    bool done = false;
  } undo{*this, GetMark()};
  const bool half = IsHalf(vectors);
  const size_t bytes = static_cast<size_t>(dim_) * (half ? 2 : 4);
  const int64_t rows = vectors.length() - vectors.null_count();
  undo.done = rows == 0;
  if (undo.done) return arrow::Status::OK();
  const std::shared_ptr<arrow::Buffer>& buffer = vectors.values()->data()->buffers[1];
  const auto alignment = reinterpret_cast<uintptr_t>(buffer->data()) % (half ? 2 : 4);
  const int64_t slice = vectors.length() * static_cast<int64_t>(bytes);
  const bool borrow = slice >= static_cast<int64_t>(kSegmentBytes) && slice >= buffer->capacity() / 2 && alignment == 0;
  const uint64_t end = uint64_t{size_} + static_cast<uint64_t>(rows);
  bool memory = addresses_.Reserve(end) && row_ids_.Reserve(end) &&
                (kind_ != DistanceKind::kDot || norms_.Reserve(end)) &&
                (kind_ != DistanceKind::kCosine || inverse_norms_.Reserve(end));
  if (memory && borrow) memory = Borrow(buffer);
  for (int64_t i = 0; memory && i < vectors.length(); ++i) {
    ARROW_RETURN_NOT_OK(LookAt(halt, i));
    if (vectors.IsNull(i)) continue;
    const void* vector = VectorData(vectors, i);
    if (!borrow) {
      char* copy = Allocate(bytes);
      memory = copy != nullptr;
      if (!memory) break;
      std::memcpy(copy, vector, bytes);
      vector = copy;
    }
    addresses_[size_] = reinterpret_cast<uintptr_t>(vector) | (half ? kHalf : 0);
    row_ids_[size_] = row_id(i);
    if (consecutive() == size_ && row_ids_[size_] - row_ids_[0] == size_ && row_ids_[size_] >= row_ids_[0]) {
      consecutive_ = size_ + 1;
    }
    if (kind_ == DistanceKind::kCosine) inverse_norms_[size_] = InverseNorm(vector, half);
    if (kind_ == DistanceKind::kDot) {
      norms_[size_] = static_cast<float>(std::sqrt(SquaredNorm(vector, half, dim_)));
      largest_norm_ = std::max(largest_norm_, norms_[size_]);
    }
    ++size_;
  }
  undo.done = memory;
  if (memory) return arrow::Status::OK();
  return arrow::Status::OutOfMemory("append: no memory for ", Plain(rows), " vectors of dimension ", Plain(dim_));
}

float RowStore::InverseNorm(const void* vector, bool half) const {
  const double norm = SquaredNorm(vector, half, dim_);
  if (norm == 0) return 0;
  return norm < kSmallestSquaredNorm ? std::numeric_limits<float>::quiet_NaN()
                                     : static_cast<float>(1 / std::sqrt(norm));
}

ScoredVector RowStore::Load(uint32_t row, float* scratch) const {
  const uintptr_t address = addresses_[row];
  const float inverse_norm = kind_ == DistanceKind::kCosine ? inverse_norms_[row] : 1.0f;
  if ((address & kHalf) == 0) return {reinterpret_cast<const float*>(address), inverse_norm};
  ToFloats(reinterpret_cast<const void*>(address ^ kHalf), true, dim_, scratch);
  return {scratch, inverse_norm};
}

ScoredVector RowStore::LoadQuery(const arrow::FixedSizeListArray& vectors, int64_t i, float* scratch) const {
  ToFloats(VectorData(vectors, i), IsHalf(vectors), dim_, scratch);
  return MakeQuery(scratch);
}

ScoredVector RowStore::MakeQuery(const float* values) const {
  return {values, kind_ == DistanceKind::kCosine ? InverseNorm(values, false) : 1.0f};
}

void RowStore::Score(const ScoredVector& vector, const uint32_t* rows, size_t n, float* out) const {
  const KernelTable& table = Kernels();
  const auto dim = static_cast<size_t>(dim_);
  const bool l2 = kind_ == DistanceKind::kL2;
  for (size_t i = 0; i < n; ++i) {
    const uintptr_t address = addresses_[rows[i]];
    if (i + 1 < n) __builtin_prefetch(reinterpret_cast<const void*>(addresses_[rows[i + 1]]));
    const bool half = (address & kHalf) != 0;
    const void* row = reinterpret_cast<const void*>(address & ~kHalf);
    if (l2) {
      out[i] = (half ? table.l2_f16 : table.l2_f32)(vector.values, row, dim);
      continue;
    }
    const float dot = (half ? table.dot_f16 : table.dot_f32)(vector.values, row, dim);
    if (kind_ == DistanceKind::kDot) {
      out[i] = 1 - dot;
      continue;
    }
    const float inverse_norm = inverse_norms_[rows[i]];
    out[i] = 1 - dot * vector.inverse_norm * inverse_norm;
    if (std::isnan(vector.inverse_norm) || std::isnan(inverse_norm)) out[i] = CosineInDouble(vector.values, address);
  }
}

float RowStore::LeastOf(const float* values, float largest_norm) const {
  if (kind_ != DistanceKind::kDot) return least();
  return 1 - static_cast<float>(std::sqrt(SquaredNorm(values, false, dim_))) * largest_norm;
}

void RowStore::Prefetch(const uint32_t* rows, size_t n) const {
  constexpr size_t kMost = 1024;  // the processor's own prefetching takes over
  for (size_t i = 0; i < n; ++i) {
    const uintptr_t address = addresses_[rows[i]];
    const size_t bytes = static_cast<size_t>(dim_) * ((address & kHalf) != 0 ? 2 : 4);
    for (size_t at = 0; at < std::min(bytes, kMost); at += 64) {
      __builtin_prefetch(reinterpret_cast<const void*>((address & ~kHalf) + at));
    }
  }
}

// For norms whose squares underflow in float32.
float RowStore::CosineInDouble(const float* query, uintptr_t address) const {
  const bool half = (address & kHalf) != 0;
  const void* row = reinterpret_cast<const void*>(address & ~kHalf);
  const double norms = std::sqrt(SquaredNorm(query, false, dim_)) * std::sqrt(SquaredNorm(row, half, dim_));
  if (norms == 0) return 1;
  double dot = 0;
  for (int32_t i = 0; i < dim_; ++i) dot += double{query[i]} * ValueAt(row, half, i);
  return static_cast<float>(1 - dot / norms);
}

}  // namespace pennon
