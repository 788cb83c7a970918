// Codes: 8 bits a dimension around a centre that is frozen for good, so that nothing is encoded twice and a held
// version reads what it always read. x is about centre + scale * code, with a scale a row (locally adaptive
// quantisation, Aguerrebere et al., VLDB 2023, with a symmetric range). All metrics are one form over an integer dot
// product:
//   distance = constant + bias of one + bias of the other + factor * scale of one * scale of the other * dot of codes
// Under cosine rows are scaled to unit length first, and the distance is half their squared one.
//
// Coarse distances take a row's codes by their high nibbles alone, which is half the memory to read.
//
// Threads: one writer (Append, Restore). Readers may use codes of rows that something else has published to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "memory/allocator.h"
#include "memory/buffer.h"
#include "memory/segmented_array.h"
#include "vectors/row_store.h"

namespace pennon {

// A vector to score rows against, at the head of a scratch of CodeStore::query_bytes(); its codes follow.
struct alignas(64) CodedVector {
  float constant;
  float bias;
  float scale;  // times the factor
  int32_t sum;  // of the codes

  int8_t* codes() { return reinterpret_cast<int8_t*>(this + 1); }
  const int8_t* codes() const { return reinterpret_cast<const int8_t*>(this + 1); }
};

class CodeStore {
 public:
  // Rows have codes once there are so many; until then there is no centre.
  static constexpr uint32_t kFrom = 1024;
  // A huge page's worth, or a row at least.
  static constexpr size_t kSegmentBytes = size_t{2} << 20;
  // Beyond, sums of products might not fit 32 bits.
  static constexpr int32_t kMaxDim = 65536;

  CodeStore(int32_t dim, DistanceKind kind, Allocator& allocator);
  ~CodeStore() { Restore(0); }
  CodeStore(const CodeStore&) = delete;
  CodeStore& operator=(const CodeStore&) = delete;

  uint32_t size() const { return size_; }
  // Encodes the rows that have no codes yet, if there are enough. False: no memory, and nothing has changed.
  [[nodiscard]] bool Append(const RowStore& rows) noexcept;
  // Forgets rows from `size` on, and the centre with the first ones.
  void Restore(uint32_t size) noexcept;

  size_t query_bytes() const { return sizeof(CodedVector) + stride_; }
  // `scratch` of query_bytes(), aligned to 64; `floats` of dim floats is written to.
  const CodedVector* Encode(const ScoredVector& vector, float* floats, void* scratch) const;
  const CodedVector* Load(uint32_t row, void* scratch) const;

  // A generous bound on the code distance of a vector to its equal, were the two rounded independently: twice the mean.
  double RoundingOfEqual(const CodedVector& vector) const {
    const double scale = double{vector.scale} / factor_;
    return square_ * dim_ * scale * scale / 3;
  }

  float least() const { return kind_ == DistanceKind::kDot ? -std::numeric_limits<float>::infinity() : 0; }

  void Score(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const;
  void ScoreCoarse(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const;

 private:
  struct Terms {
    float scale;
    float bias;
    float coarse_bias;
  };

  [[nodiscard]] bool Freeze(const RowStore& rows) noexcept;
  // The vector as it is encoded: floats, of unit length under cosine.
  const float* Prepare(const ScoredVector& vector, float* floats) const;
  Terms EncodeTo(const float* vector, uint8_t* codes) const;
  // A row's place in its segment: high nibbles of segment_rows_ rows, their low ones, their terms.
  struct Place {
    uint8_t* high;
    Terms* terms;
  };
  Place PlaceOf(uint32_t row) const {
    const auto segment = static_cast<uint32_t>(static_cast<unsigned __int128>(reciprocal_) * row >> 64);
    uint8_t* start = segments_[segment];
    const size_t at = row - segment * segment_rows_;
    return {start + at * (stride_ / 2), reinterpret_cast<Terms*>(start + segment_rows_ * stride_) + at};
  }
  // From a row's high nibbles to its low ones.
  size_t low() const { return segment_rows_ * (stride_ / 2); }
  template <typename Distances>
  void ScoreBy(const uint32_t* rows, size_t n, float* out, Distances&& distances) const;
  size_t SegmentsFor(uint32_t rows) const { return (size_t{rows} + segment_rows_ - 1) / segment_rows_; }

  const int32_t dim_;
  const DistanceKind kind_;
  const size_t stride_;
  const uint32_t segment_rows_;
  const uint64_t reciprocal_;  // 2^64 / segment_rows_, rounded up: exact quotients of 32-bit rows
  const float factor_;
  const double square_;  // what a squared distance counts in distances; 0 under dot
  Allocator& allocator_;
  SegmentedArray<uint8_t*> segments_;
  size_t segment_count_ = 0;
  Buffer<float> centre_;
  Buffer<float> scratch_;
  Buffer<uint8_t> codes_;  // a row's before they are split
  float constant_ = 0;
  uint32_t size_ = 0;
};

}  // namespace pennon
