#include "pennon/vector_store.h"

#include <atomic>
#include <mutex>
#include <vector>

#include "index/adapters.h"
#include "index/pool_allocator.h"
#include "index/rows_export.h"
#include "vectors/row_store.h"

namespace pennon::inline PENNON_ABI {

struct VectorStoreSnapshot::Impl {
  Impl(int32_t dim, Metric metric, arrow::MemoryPool* p)
      : pool(p), memory(pool, totals), rows(dim, KindOf(metric), memory) {}

  // A row as a vector to score others against; float16 rows are widened into the caller's scratch.
  ScoredVector Load(uint32_t id, std::vector<float>& scratch) const {
    scratch.resize(static_cast<size_t>(rows.dim()));
    return rows.Load(id, scratch.data());
  }

  arrow::MemoryPool* const pool;
  PoolAllocator::Totals totals;
  PoolAllocator memory;
  RowStore rows;
  std::mutex writer;
  std::atomic<uint32_t> visible{0};
};

size_t VectorStoreSnapshot::dim() const { return static_cast<size_t>(impl_->rows.dim()); }
uint64_t VectorStoreSnapshot::row_id(uint32_t id) const { return impl_->rows.row_id(id); }

float VectorStoreSnapshot::DistanceTo(std::span<const float> query, uint32_t id) const {
  float distance;
  DistancesTo(query, {&id, 1}, &distance);
  return distance;
}

float VectorStoreSnapshot::DistanceBetween(uint32_t a, uint32_t b) const {
  float distance;
  DistancesBetween(a, {&b, 1}, &distance);
  return distance;
}

void VectorStoreSnapshot::DistancesTo(std::span<const float> query, std::span<const uint32_t> ids, float* out) const {
  impl_->rows.Score(impl_->rows.MakeQuery(query.data()), ids.data(), ids.size(), out);
}

void VectorStoreSnapshot::DistancesBetween(uint32_t id, std::span<const uint32_t> ids, float* out) const {
  thread_local std::vector<float> scratch;
  impl_->rows.Score(impl_->Load(id, scratch), ids.data(), ids.size(), out);
}

arrow::Status VectorStoreSnapshot::CopyVector(uint32_t id, std::span<float> out) const {
  if (id >= size_) return Invalid("id: expected less than ", size_, ", got ", id);
  if (out.size() != dim()) return Invalid("out: expected room for ", dim(), " floats, got ", out.size());
  const float* values = impl_->rows.Load(id, out.data()).values;
  if (values != out.data()) std::copy_n(values, out.size(), out.data());
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> VectorStoreSnapshot::ToRecordBatch(
    std::optional<uint64_t> reverse_row_ids_of) const {
  return Guard(
      [&] { return RowsToRecordBatch(impl_->rows, static_cast<uint32_t>(size_), reverse_row_ids_of, impl_->pool); });
}

arrow::Result<VectorStore> VectorStore::Make(int32_t dim, Metric metric, arrow::MemoryPool* pool) {
  return Guard([&]() -> arrow::Result<VectorStore> {
    if (dim < 1) return Invalid("dim: expected at least 1, got ", dim);
    ARROW_RETURN_NOT_OK(CheckSimd());
    if (pool == nullptr) pool = arrow::default_memory_pool();
    return VectorStore(std::make_shared<VectorStoreSnapshot::Impl>(dim, metric, pool));
  });
}

arrow::Result<VectorStore::IdRange> VectorStore::AppendBatch(const std::shared_ptr<arrow::Array>& array,
                                                             uint64_t first_row_id) {
  return Guard([&]() -> arrow::Result<IdRange> {
    if (array == nullptr) return Invalid("vectors: expected an array, got null");
    RowStore& rows = impl_->rows;
    std::lock_guard lock(impl_->writer);
    ARROW_RETURN_NOT_OK(rows.Check(*array, "vectors"));
    const auto& vectors = static_cast<const arrow::FixedSizeListArray&>(*array);
    const uint32_t first = rows.size();
    const int64_t added = vectors.length() - vectors.null_count();
    if (first + added > int64_t{0xFFFFFFFF}) {
      return CapacityError("rows: the limit is 2^32 - 1, the store has ", first, " and the batch brings ", added);
    }
    if (first_row_id + static_cast<uint64_t>(vectors.length()) < first_row_id) {
      return Invalid("first_row_id: expected room for ", vectors.length(), " row ids below 2^64 - 1, got ",
                     first_row_id);
    }
    ARROW_RETURN_NOT_OK(rows.Append(vectors, [&](int64_t i) { return first_row_id + static_cast<uint64_t>(i); }));
    impl_->visible.store(rows.size(), std::memory_order_release);
    return IdRange{first, rows.size()};
  });
}

size_t VectorStore::size() const { return impl_->visible.load(std::memory_order_acquire); }
VectorStoreSnapshot VectorStore::GetSnapshot() const { return {impl_, size()}; }

}  // namespace pennon::inline PENNON_ABI
