// The rows: vectors as Arrow brought them, float32 or float16, and their row ids.
//
// Large buffers are kept by reference; small batches and slices of less than half their buffer are copied into
// segments of the store, so that a small append pins nothing. Nothing moves once it is in.
//
// Threads: one writer (Append, Restore). Readers may use rows that something else has published to them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include <arrow/array.h>
#include <arrow/status.h>

#include "memory/allocator.h"
#include "memory/buffer.h"
#include "memory/segmented_array.h"

namespace pennon {

enum class DistanceKind { kL2, kCosine, kDot };

// Asked now and then by what may take long; ends it by what is not OK. Empty: nothing does.
using Halt = std::function<arrow::Status()>;

// A vector to score rows against: floats, and for cosine the inverse of its norm.
struct ScoredVector {
  const float* values;
  float inverse_norm;
};

class RowStore {
 public:
  // All memory but the caller's buffers comes from the allocator.
  RowStore(int32_t dim, DistanceKind kind, Allocator& allocator);
  ~RowStore();
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  // What so many rows will take beside the caller's buffers.
  static uint64_t EstimateBytes(int32_t dim, DistanceKind kind, bool half, bool copied, uint64_t rows);

  int32_t dim() const { return dim_; }
  uint32_t size() const { return size_; }

  // The vectors of a valid array whose every vector that is not null is fit to be a row or a query; Invalid else.
  arrow::Status Check(const arrow::Array& vectors, const char* what, const Halt& halt = {}) const;
  // The same of one query.
  arrow::Status CheckQuery(std::span<const float> query) const;

  // What Append changes, to be given back by Restore.
  struct Mark {
    uint32_t size = 0;
    size_t segments = 0;
    size_t segment_used = 0;
    size_t borrowed = 0;
    float largest_norm = 0;
  };
  Mark GetMark() const { return {size_, segments_.size(), segment_used_, borrowed_.size(), largest_norm_}; }
  void Restore(const Mark& mark) noexcept;

  // Checked vectors; row_id(i) is the id of the array's i-th. On failure the store is as before.
  arrow::Status Append(const arrow::FixedSizeListArray& vectors, const std::function<uint64_t(int64_t)>& row_id,
                       const Halt& halt = {});

  uint64_t row_id(uint32_t row) const { return row_ids_[row]; }
  // How many rows have row ids that follow that of row 0; from any thread.
  uint32_t consecutive() const { return consecutive_.load(std::memory_order_relaxed); }
  // dim floats; `scratch`, of dim floats, is used if the row is not float32.
  ScoredVector Load(uint32_t row, float* scratch) const;
  // The checked vector i of an array.
  ScoredVector LoadQuery(const arrow::FixedSizeListArray& vectors, int64_t i, float* scratch) const;
  ScoredVector MakeQuery(const float* values) const;

  void Score(const ScoredVector& vector, const uint32_t* rows, size_t n, float* out) const;
  void Prefetch(const uint32_t* rows, size_t n) const;
  // What no distance is below. Under dot it takes the largest norm of the rows that are scored.
  float least() const { return kind_ == DistanceKind::kDot ? -std::numeric_limits<float>::infinity() : 0; }
  float LeastOf(const float* values, float largest_norm) const;
  float LeastOfRow(uint32_t row, float largest_norm) const {
    return kind_ == DistanceKind::kDot ? 1 - norms_[row] * largest_norm : least();
  }
  float largest_norm() const { return largest_norm_; }  // of all rows, under dot; the writer's

  // Of the caller's buffers; from any thread.
  int64_t borrowed_bytes() const { return borrowed_bytes_.load(std::memory_order_relaxed); }

 private:
  struct Segment {
    char* memory;
    size_t bytes;
  };
  // A row's address; the lowest bit is set if it is float16.
  static constexpr uintptr_t kHalf = 1;

  float InverseNorm(const void* vector, bool half) const;
  float CosineInDouble(const float* query, uintptr_t address) const;
  char* Allocate(size_t bytes);
  bool Borrow(const std::shared_ptr<arrow::Buffer>& buffer);

  const int32_t dim_;
  const DistanceKind kind_;
  Allocator& allocator_;
  SegmentedArray<uintptr_t> addresses_;
  SegmentedArray<uint64_t> row_ids_;
  SegmentedArray<float> norms_;          // dot only
  SegmentedArray<float> inverse_norms_;  // cosine only; NaN: too small for float32
  Buffer<Segment> segments_;
  size_t segment_used_ = 0;
  std::vector<std::shared_ptr<arrow::Buffer>, StdAllocator<std::shared_ptr<arrow::Buffer>>> borrowed_;
  std::atomic<int64_t> borrowed_bytes_{0};
  std::atomic<uint32_t> consecutive_{0};
  uint32_t size_ = 0;
  float largest_norm_ = 0;
};

}  // namespace pennon
