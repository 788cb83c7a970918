// Codes: 5 bits a dimension around a centre that is frozen for good, so that nothing is encoded twice and a held
// version reads what it always read. x is about centre + scale * (code - 15.5), with a scale a row (locally adaptive
// quantisation, Aguerrebere et al., VLDB 2023, with a symmetric range). Queries have 8 bits a dimension. All metrics
// are one form over an integer dot product:
//   distance = constant + bias of one + bias of the other + factor * scale of one * scale of the other * dot of codes
// Under cosine rows are scaled to unit length first, and the distance is half their squared one.
//
// A row's highest bits alone are its sketch: an unbiased estimate of the same distance (RaBitQ, Gao and Long, SIGMOD
// 2024, without its rotation) that takes one line of memory where the code takes four.
//
// Threads: one writer (Append, Restore). Readers may use codes of rows that something else has published to them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "memory/allocator.h"
#include "memory/buffer.h"
#include "vectors/row_store.h"

namespace pennon {

// By how much distances by codes may be off, as CodeStore::Least takes it.
struct Off {
  float vector = 0;     // the length of what the vector's code leaves out
  float per_row = 0;    // times that of a row; dot only
  float per_scale = 0;  // times a row's scale; dot only
  float rest = 0;
};

// A vector to score rows against, at the head of a scratch of CodeStore::query_bytes(); its codes and planes follow.
struct alignas(64) CodedVector {
  CodeQuery query;
  float rounding;  // what codes may add to the distance of equal vectors
  float norm;      // that errors of sketches are multiplied with
  SketchQuery sketch;
  Off off;

  int8_t* codes() { return reinterpret_cast<int8_t*>(this + 1); }
  const int8_t* codes() const { return reinterpret_cast<const int8_t*>(this + 1); }
};

class CodeStore {
 public:
  // Rows have codes once there are so many; until then there is no centre.
  static constexpr uint32_t kFrom = 1024;
  // Beyond, sums of products might not fit 32 bits.
  static constexpr int32_t kMaxDim = 65408;

  CodeStore(int32_t dim, DistanceKind kind, Allocator& allocator);
  ~CodeStore() { Restore(0); }
  CodeStore(const CodeStore&) = delete;
  CodeStore& operator=(const CodeStore&) = delete;

  // What codes of so many rows will take.
  static uint64_t EstimateBytes(int32_t dim, uint64_t rows);

  uint32_t size() const { return size_; }
  // Encodes the rows below `end` that have no codes yet, if there are enough. False: no memory, and nothing has
  // changed.
  [[nodiscard]] bool Append(const RowStore& rows, uint32_t end) noexcept;
  [[nodiscard]] bool Append(const RowStore& rows) noexcept { return Append(rows, rows.size()); }
  // Forgets rows from `size` on, and the centre with the first ones.
  void Restore(uint32_t size) noexcept;

  size_t query_bytes() const { return sizeof(CodedVector) + code_bytes_ + 4 * plane_words_ * sizeof(uint64_t); }
  // `scratch` of query_bytes(), aligned to 64; `floats` of dim floats is written to.
  CodedVector* Encode(const ScoredVector& vector, float* floats, void* scratch) const;
  // A row's own code as a vector to score others against.
  CodedVector* Load(uint32_t row, void* scratch) const;
  // Makes ready for Sift. `slack` is in errors of a sketch.
  void PrepareSketch(CodedVector& vector, float slack) const;

  void Score(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const {
    Kernels().score_codes(vector.query, GetRows(), rows, n, out);
  }
  // Makes an encoded vector ready for Least; `floats` of dim floats is written to.
  void PrepareLeast(CodedVector& coded, const ScoredVector& vector, float* floats) const;
  // out[i] = what the distance of row rows[i], as RowStore scores it, is at least: what its code proves.
  void Least(const CodedVector& vector, const uint32_t* rows, size_t n, float* out) const;
  // The rows whose sketches, less the slack, are within the distance; gives how many. `left` has room for n + 3 and
  // may be rows.
  size_t Sift(const CodedVector& vector, const uint32_t* rows, size_t n, float distance, uint32_t* left) const {
    return Kernels().sift(vector.sketch, GetRows(), rows, n, distance - vector.query.bias, left);
  }
  // By how many errors the sketches' distances are above `distances`.
  void SketchErrors(const CodedVector& vector, const uint32_t* rows, size_t n, const float* distances,
                    float* out) const;
  void PrefetchSketches(const uint32_t* rows, size_t n) const {
    const CodedRows place = GetRows();
    for (size_t i = 0; i < n; ++i) __builtin_prefetch(place.Sketch(rows[i]));
  }
  void Prefetch(const uint32_t* rows, size_t n) const {
    const CodedRows place = GetRows();
    for (size_t i = 0; i < n; ++i) {
      __builtin_prefetch(place.Sketch(rows[i]));
      const uint8_t* nibbles = place.Nibbles(rows[i]);
      for (size_t at = 0; at < blocks_ * kBlockNibbles; at += 64) __builtin_prefetch(nibbles + at);
    }
  }
  void PrefetchNibbles(const uint32_t* rows, size_t n) const {
    const CodedRows place = GetRows();
    for (size_t i = 0; i < n; ++i) {
      const uint8_t* nibbles = place.Nibbles(rows[i]);
      for (size_t at = 0; at < blocks_ * kBlockNibbles; at += 64) __builtin_prefetch(nibbles + at);
    }
  }
  // Lines of memory that a code takes beside its sketch.
  size_t lines() const { return blocks_; }

 private:
  [[nodiscard]] bool Freeze(const RowStore& rows) noexcept;
  [[nodiscard]] bool ReserveSegments(size_t segments) noexcept;
  // The vector as it is encoded: floats, of unit length under cosine.
  const float* Prepare(const ScoredVector& vector, float* floats) const;
  // At least the length of what codes leave out of a vector. `floats` of dim floats is written to, and may be vector.
  double Left(const float* vector, const int8_t* codes, double per_code, float* floats) const;
  float Bias(const int8_t* codes, int32_t squares, double per_code) const;
  CodeTerms TermsOf(const uint64_t* bits, const int8_t* codes, float scale) const;
  const CodeTerms& TermsAt(const uint64_t* bits) const {
    return *reinterpret_cast<const CodeTerms*>(bits + 2 * blocks_);
  }
  void Finish(CodedVector& vector, double per_code, double step, double row_step) const;
  CodedRows GetRows() const {
    return {table_.load(std::memory_order_acquire)->segments(), segment_shift_, blocks_, sketch_bytes_};
  }
  size_t SegmentsFor(uint32_t rows) const {
    return (size_t{rows} + (size_t{1} << segment_shift_) - 1) >> segment_shift_;
  }

  const int32_t dim_;
  const DistanceKind kind_;
  const size_t blocks_;
  const size_t code_bytes_;    // of a code as bytes
  const size_t plane_words_;   // of a sketched query's planes
  const size_t sketch_bytes_;  // of a row's bits and terms
  const uint32_t segment_shift_;
  const float factor_;
  const double square_;     // what a squared distance counts in distances; 0 under dot
  const double sum_error_;  // of a sum of products as kernels take it, relative to the sum of their absolute values
  Allocator& allocator_;
  // A table that is replaced by one of twice the size when it is full; readers may hold a former one.
  struct Table {
    Table* former;
    size_t capacity;
    char** segments() { return reinterpret_cast<char**>(this + 1); }
    static size_t Bytes(size_t capacity) { return sizeof(Table) + capacity * sizeof(char*); }
    static constexpr size_t kFirst = 16;
  };
  std::atomic<Table*> table_{nullptr};
  size_t segment_count_ = 0;
  Buffer<float> centre_;
  Buffer<float> scratch_;
  Buffer<uint8_t> codes_;  // a row's before they are packed
  float constant_ = 0;
  uint32_t size_ = 0;
};

}  // namespace pennon
