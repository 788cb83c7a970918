// Searches over an index as it lies in a table.
#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>

#include "index/adapters.h"
#include "index/ending.h"
#include "index/lance_dataset.h"
#include "index/lance_segment.h"
#include "index/pool_allocator.h"
#include "index/scan.h"
#include "pennon/lance.h"
#include "vectors/row_store.h"

namespace pennon::inline PENNON_ABI::lance {

using arrow::Result;
using arrow::Status;

struct [[gnu::visibility("hidden")]] Searcher::Impl {
  Impl(const lance_format::Table& table, std::vector<IndexSegment> s, const SearcherOptions& o)
      : options(o),
        pool(o.pool != nullptr ? o.pool : arrow::default_memory_pool()),
        segments(std::move(s)),
        dim(segments[0].dim()),
        kind(KindOf(segments[0].metric())),
        column(segments[0].column().name()),
        memory(pool, totals),
        no_rows(dim, kind, memory),
        reader(table.files(), table.directory(), table.manifest(), table.shared_schema(), pool) {}

  struct Partition {
    const IndexSegment* segment;
    const lance_format::IndexPartition* files;
    std::shared_ptr<const LiveIndex> index = nullptr;
    int64_t bytes = 0;  // of the index
    uint64_t used = 0;  // when it was asked for last
  };
  struct Near {
    float distance;
    size_t partition;
  };
  using Stores = std::vector<std::shared_ptr<const RowStore>>;

  Status Init(const lance_format::Table& table);
  // Row ids are the partitions.
  Status AddCentroids(const IndexSegment& segment);
  // By their centroids: the nearest of each segment, and all others, the nearest first.
  void Rank(std::span<const float> query, size_t nprobes, std::vector<Near>* first, std::vector<Near>* rest) const;
  Result<std::shared_ptr<const LiveIndex>> Open(size_t partition);
  Result<std::shared_ptr<const RowStore>> ToStore(const arrow::RecordBatch& batch);
  // The rows that no segment has; null if they would not stay within the limit.
  Result<std::shared_ptr<const Stores>> OtherRows();
  Status ScanStores(const Stores& stores, const ScoredVector& query, const SearchOptions& search, Answer* answer) const;
  Status ScanTable(const lance_format::TableReader& rows, const ScoredVector& query, const SearchOptions& search,
                   Answer* answer);
  Result<Answer> Search(std::span<const float> query, const SearchOptions& search, size_t nprobes);

  const SearcherOptions options;
  arrow::MemoryPool* const pool;
  const std::vector<IndexSegment> segments;
  const int32_t dim;
  const DistanceKind kind;
  const std::string column;
  PoolAllocator::Totals totals;
  PoolAllocator memory;
  const RowStore no_rows;                                 // for queries
  std::vector<std::unique_ptr<RowStore>> centroids;       // of each segment
  std::optional<const lance_format::TableReader> others;  // of the fragments that no segment covers
  uint64_t other_rows = 0;

  mutable std::mutex mutex;
  // Guarded by it, but for scans and for which partitions there are.
  lance_format::TableReader reader;
  std::vector<Partition> partitions;
  std::shared_ptr<const Stores> other_stores;
  int64_t bytes = 0;
  uint64_t clock = 0;
};

Status Searcher::Impl::Init(const lance_format::Table& table) {
  for (const IndexSegment& segment : segments) ARROW_RETURN_NOT_OK(AddCentroids(segment));
  lance_format::Manifest uncovered = table.manifest();
  std::erase_if(uncovered.fragments, [&](const lance_format::Fragment& fragment) {
    return std::any_of(segments.begin(), segments.end(), [&](const auto& s) { return s.Covers(fragment.id); });
  });
  for (const lance_format::Fragment& fragment : uncovered.fragments) other_rows += fragment.live_rows();
  if (other_rows > 0) {
    others.emplace(table.files(), table.directory(), std::move(uncovered), table.shared_schema(), pool);
  }
  return Status::OK();
}

Status Searcher::Impl::AddCentroids(const IndexSegment& segment) {
  const auto& of = segment.partitions();
  const auto all =
      std::make_shared<arrow::FloatArray>(static_cast<int64_t>(of.centroids.size()), arrow::Buffer::Wrap(of.centroids));
  ARROW_ASSIGN_OR_RAISE(const auto vectors, arrow::FixedSizeListArray::FromArrays(all, dim));
  auto& store = *centroids.emplace_back(
      std::make_unique<RowStore>(dim, kind == DistanceKind::kDot ? kind : DistanceKind::kL2, memory));
  for (size_t i = 0; i < of.partitions.size(); ++i) {
    if (of.partitions[i].vectors.count == 0) continue;
    const auto centroid = vectors->Slice(static_cast<int64_t>(i), 1);
    ARROW_RETURN_NOT_OK(store.Check(*centroid, "centroids"));
    const uint64_t partition = partitions.size();
    ARROW_RETURN_NOT_OK(
        store.Append(static_cast<const arrow::FixedSizeListArray&>(*centroid), [&](int64_t) { return partition; }));
    partitions.push_back({.segment = &segment, .files = &of.partitions[i]});
  }
  return Status::OK();
}

void Searcher::Impl::Rank(std::span<const float> query, size_t nprobes, std::vector<Near>* first,
                          std::vector<Near>* rest) const {
  // Under cosine centroids are means of vectors of unit length.
  std::vector<float> asked(query.begin(), query.end());
  if (kind == DistanceKind::kCosine) {
    double norm = 0;
    for (const float value : query) norm += double{value} * value;
    for (float& value : asked) value = norm > 0 ? static_cast<float>(value / std::sqrt(norm)) : 0;
  }
  const auto nearer = [](const Near& a, const Near& b) {
    return a.distance != b.distance ? a.distance < b.distance : a.partition < b.partition;
  };
  for (const auto& store : centroids) {
    std::vector<Near> near;
    for (uint32_t row = 0; row < store->size(); ++row) {
      float distance = 0;
      store->Score(store->MakeQuery(asked.data()), &row, 1, &distance);
      near.push_back({distance, static_cast<size_t>(store->row_id(row))});
    }
    std::sort(near.begin(), near.end(), nearer);
    const auto end = near.begin() + static_cast<std::ptrdiff_t>(std::min(nprobes, near.size()));
    first->insert(first->end(), near.begin(), end);
    rest->insert(rest->end(), end, near.end());
  }
  std::sort(rest->begin(), rest->end(), nearer);
}

Result<std::shared_ptr<const LiveIndex>> Searcher::Impl::Open(size_t number) {
  const std::lock_guard lock(mutex);
  Partition& partition = partitions[number];
  partition.used = ++clock;
  if (partition.index) return partition.index;
  const LoadSettings settings = {.live = {.codes = options.codes, .pool = pool}, .threads = options.threads};
  ARROW_ASSIGN_OR_RAISE(LiveIndex loaded,
                        Dataset::Impl::LoadPartition(*partition.segment, *partition.files, reader, settings));
  const auto index = std::make_shared<const LiveIndex>(std::move(loaded));
  const MemoryUsage usage = index->GetMemoryUsage();
  partition.index = index;
  partition.bytes = usage.total() + usage.caller_bytes;
  bytes += partition.bytes;
  while (options.cache_limit > 0 && bytes > options.cache_limit) {
    Partition* oldest = nullptr;
    for (Partition& other : partitions) {
      if (other.index && (oldest == nullptr || other.used < oldest->used)) oldest = &other;
    }
    if (oldest == nullptr) break;
    oldest->index = nullptr;
    bytes -= std::exchange(oldest->bytes, 0);
  }
  return index;
}

Result<std::shared_ptr<const RowStore>> Searcher::Impl::ToStore(const arrow::RecordBatch& batch) {
  ARROW_ASSIGN_OR_RAISE(const auto vectors, WithoutUnfit(batch.column(0), dim));
  const uint64_t* const ids = RowIdValues(*batch.column(1));
  auto store = std::make_shared<RowStore>(dim, kind, memory);
  ARROW_RETURN_NOT_OK(
      store->Append(static_cast<const arrow::FixedSizeListArray&>(*vectors), [&](int64_t i) { return ids[i]; }));
  return store;
}

Result<std::shared_ptr<const Searcher::Impl::Stores>> Searcher::Impl::OtherRows() {
  const std::lock_guard lock(mutex);
  if (other_stores) return other_stores;
  const auto expected = static_cast<int64_t>(RowStore::EstimateBytes(dim, kind, false, true, other_rows));
  if (options.cache_limit > 0 && bytes + expected > options.cache_limit) return nullptr;
  auto stores = std::make_shared<Stores>();
  ARROW_ASSIGN_OR_RAISE(const auto scan, others->Scan({.columns = {column}, .row_ids = true}));
  const int64_t before = memory.bytes();
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, scan->Next());
    if (!batch) break;
    ARROW_ASSIGN_OR_RAISE(auto store, ToStore(*batch));
    bytes += store->borrowed_bytes();
    stores->push_back(std::move(store));
  }
  bytes += memory.bytes() - before;
  return other_stores = std::move(stores);
}

Status Searcher::Impl::ScanStores(const Stores& stores, const ScoredVector& query, const SearchOptions& search,
                                  Answer* answer) const {
  const Ending ending(search);
  const auto k = static_cast<size_t>(search.k);
  std::vector<SearchResult>& best = answer->rows;  // a max-heap
  std::make_heap(best.begin(), best.end(), ResultOrder());
  for (const auto& store : stores) {
    for (uint32_t row = 0; row < store->size() && answer->complete;) {
      uint32_t rows[kScanBlock];
      float distances[kScanBlock];
      size_t n = 0;
      for (; row < store->size() && n < kScanBlock; ++row) {
        if (search.filter.Passes(store->row_id(row), 0)) rows[n++] = row;
      }
      store->Score(query, rows, n, distances);
      for (size_t i = 0; i < n; ++i) {
        const SearchResult result{0, store->row_id(rows[i]), distances[i]};
        if (best.size() == k && !ResultOrder()(result, best.front())) continue;
        best.push_back(result);
        std::push_heap(best.begin(), best.end(), ResultOrder());
        if (best.size() <= k) continue;
        std::pop_heap(best.begin(), best.end(), ResultOrder());
        best.pop_back();
      }
      if (ending.due()) {
        answer->complete = false;
        answer->reason = ending.reason();
      }
    }
  }
  std::sort_heap(best.begin(), best.end(), ResultOrder());
  return Status::OK();
}

Status Searcher::Impl::ScanTable(const lance_format::TableReader& rows, const ScoredVector& query,
                                 const SearchOptions& search, Answer* answer) {
  ARROW_ASSIGN_OR_RAISE(const auto scan, rows.Scan({.columns = {column}, .row_ids = true}));
  while (answer->complete) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, scan->Next());
    if (!batch) break;
    ARROW_ASSIGN_OR_RAISE(const auto store, ToStore(*batch));
    ARROW_RETURN_NOT_OK(ScanStores({store}, query, search, answer));
  }
  return Status::OK();
}

Result<Answer> Searcher::Impl::Search(std::span<const float> query, const SearchOptions& search, size_t nprobes) {
  Answer answer;
  if (search.k == 0) return answer;
  const ScoredVector scored = no_rows.MakeQuery(query.data());
  if (search.exact) {
    ARROW_RETURN_NOT_OK(ScanTable(reader, scored, search, &answer));
    return answer;
  }
  const auto look_into = [&](size_t partition) -> Status {
    ARROW_ASSIGN_OR_RAISE(const auto index, Open(partition));
    ARROW_ASSIGN_OR_RAISE(const Answer found, index->Search(query, search));
    for (const SearchResult& row : found.rows) answer.rows.push_back({0, row.row_id, row.distance});
    // A row of two segments that cover one fragment is one.
    Join({}, &answer.rows);
    answer.rows.resize(std::min(answer.rows.size(), static_cast<size_t>(search.k)));
    if (!found.complete) {
      answer.complete = false;
      answer.reason = found.reason;
    }
    return Status::OK();
  };
  std::vector<Near> first;
  std::vector<Near> rest;
  Rank(query, nprobes, &first, &rest);
  for (size_t i = 0; i < first.size() && answer.complete; ++i) ARROW_RETURN_NOT_OK(look_into(first[i].partition));
  if (others && answer.complete) {
    ARROW_ASSIGN_OR_RAISE(const auto stores, OtherRows());
    ARROW_RETURN_NOT_OK(stores ? ScanStores(*stores, scored, search, &answer)
                               : ScanTable(*others, scored, search, &answer));
  }
  for (size_t i = 0; i < rest.size() && answer.complete; ++i) {
    if (answer.rows.size() == static_cast<size_t>(search.k)) break;
    ARROW_RETURN_NOT_OK(look_into(rest[i].partition));
  }
  return answer;
}

Searcher::Searcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Searcher::Searcher(Searcher&&) noexcept = default;
Searcher& Searcher::operator=(Searcher&&) noexcept = default;
Searcher::~Searcher() = default;

Result<Searcher> Dataset::OpenSearcher(const SearcherOptions& options) const {
  return Guard([&]() -> Result<Searcher> {
    if (options.cache_limit < 0) return Invalid("cache_limit: expected 0 or more, got ", options.cache_limit);
    if (options.threads < 0) return Invalid("threads: expected 0 or more, got ", options.threads);
    ARROW_RETURN_NOT_OK(CheckSimd());
    ARROW_ASSIGN_OR_RAISE(auto segments, impl_->OpenIndex(options.name));
    auto impl = std::make_unique<Searcher::Impl>(impl_->table, std::move(segments), options);
    ARROW_RETURN_NOT_OK(impl->Init(impl_->table));
    return Searcher(std::move(impl));
  });
}

Result<Answer> Searcher::Search(std::span<const float> query, const SearchOptions& options, int64_t nprobes) const {
  return Guard([&]() -> Result<Answer> {
    if (options.k < 0) return Invalid("k: expected 0 or more, got ", options.k);
    if (nprobes < 1) return Invalid("nprobes: expected at least 1, got ", nprobes);
    if (options.filter.by_id()) return Invalid("filter: expected one of row ids, got one of ids");
    ARROW_RETURN_NOT_OK(impl_->no_rows.CheckQuery(query));
    return impl_->Search(query, options, static_cast<size_t>(nprobes));
  });
}

SearcherStats Searcher::GetStats() const {
  const std::lock_guard lock(impl_->mutex);
  SearcherStats stats{.segments = impl_->segments.size(),
                      .partitions = impl_->partitions.size(),
                      .scanned_rows = impl_->other_rows,
                      .bytes = impl_->bytes};
  for (const IndexSegment& segment : impl_->segments) stats.indexed_rows += segment.rows();
  for (const Impl::Partition& partition : impl_->partitions) stats.open_partitions += partition.index ? 1 : 0;
  return stats;
}

}  // namespace pennon::inline PENNON_ABI::lance
