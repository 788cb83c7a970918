// VectorStore: an append-only store of Arrow vectors, whose snapshots are a VectorSource.
//
// Threads: AppendBatch calls are serialised; everything else may be called from any thread at any time. A snapshot is
// a stable prefix and keeps the store's memory alive.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <arrow/array.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "pennon/export.h"
#include "pennon/params.h"
#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

class PENNON_EXPORT VectorStoreSnapshot {
 public:
  size_t size() const { return size_; }
  size_t dim() const;
  uint64_t row_id(uint32_t id) const;
  // query: dim() finite floats.
  float DistanceTo(std::span<const float> query, uint32_t id) const;
  float DistanceBetween(uint32_t a, uint32_t b) const;
  void DistancesTo(std::span<const float> query, std::span<const uint32_t> ids, float* out) const;
  void DistancesBetween(uint32_t id, std::span<const uint32_t> ids, float* out) const;
  // The vector of a row, dim() floats.
  arrow::Status CopyVector(uint32_t id, std::span<float> out) const;

  // `_rowid` uint64 and `flat` FixedSizeList<float32>, in id order. With reverse_row_ids_of = t, row id r becomes
  // t - 1 - r, as a flush in reversed order needs; every row id must then be below t.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(
      std::optional<uint64_t> reverse_row_ids_of = std::nullopt) const;

  struct Impl;  // not for users

 private:
  friend class VectorStore;
  VectorStoreSnapshot(std::shared_ptr<Impl> impl, size_t size) : impl_(std::move(impl)), size_(size) {}
  std::shared_ptr<Impl> impl_;
  size_t size_;
};

class PENNON_EXPORT VectorStore {
 public:
  // pool: null for arrow::default_memory_pool(); must outlive the store and its snapshots.
  static arrow::Result<VectorStore> Make(int32_t dim, Metric metric, arrow::MemoryPool* pool = nullptr);

  struct IdRange {
    uint32_t first;
    uint32_t last;
  };
  // vectors: FixedSizeList<float32 or float16>[dim]. A null vector is skipped; the others have the row ids
  // first_row_id + offset. Gives the ids of the new rows, [first, last). On failure nothing has changed.
  arrow::Result<IdRange> AppendBatch(const std::shared_ptr<arrow::Array>& vectors, uint64_t first_row_id);
  size_t size() const;
  VectorStoreSnapshot GetSnapshot() const;

 private:
  explicit VectorStore(std::shared_ptr<VectorStoreSnapshot::Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<VectorStoreSnapshot::Impl> impl_;
};

}  // namespace pennon::inline PENNON_ABI
