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

namespace {

// To open a partition costs as much as so many scans.
constexpr uint32_t kScans = 4;

}  // namespace

struct [[gnu::visibility("hidden")]] Searcher::Impl {
  class Query;

  Impl(std::shared_ptr<io::FileSystem> f, const lance_format::Table& table, const arrow::Field& field, Metric metric,
       std::vector<IndexSegment> s, const SearcherOptions& o)
      : files(std::move(f)),
        options(o),
        pool(o.pool != nullptr ? o.pool : arrow::default_memory_pool()),
        segments(std::move(s)),
        dim(static_cast<const arrow::FixedSizeListType&>(*field.type()).list_size()),
        kind(KindOf(metric)),
        column(field.name()),
        memory(pool, totals),
        no_rows(dim, kind, memory),
        reader(table.files(), table.directory(), table.manifest(), table.shared_schema(), pool) {}

  struct Partition {
    const IndexSegment* segment;
    const lance_format::IndexPartition* files;
    std::shared_ptr<const LiveIndex> index = nullptr;
    int64_t bytes = 0;      // of the index, also when it is no longer there
    bool scanned = false;   // always, as it cannot be opened
    uint32_t searches = 0;  // so far, without the index
    uint64_t used = 0;      // when it was searched last
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
  // Null: it is to be scanned. Opens it if that is worth while and may be, which is false then.
  Result<std::shared_ptr<const LiveIndex>> Find(size_t partition, bool* may_open);
  void MakeRoom();  // that is, within the limit
  Result<std::shared_ptr<const RowStore>> ToStore(const arrow::Array& row_ids,
                                                  const std::shared_ptr<arrow::Array>& vectors);
  // The rows that no segment has; null if they would take more than half of the limit, or too long.
  Result<std::shared_ptr<const Stores>> OtherRows(const Ending& ending);

  const std::shared_ptr<io::FileSystem> files;  // that it reads from, whatever becomes of the dataset
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
  int64_t other_bytes = 0;
  int64_t bytes = 0;  // with those
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
    const ScoredVector scored = store->MakeQuery(asked.data());
    std::vector<Near> near;
    for (uint32_t row = 0; row < store->size(); ++row) {
      float distance = 0;
      store->Score(scored, &row, 1, &distance);
      near.push_back({distance, static_cast<size_t>(store->row_id(row))});
    }
    std::sort(near.begin(), near.end(), nearer);
    const auto end = near.begin() + static_cast<std::ptrdiff_t>(std::min(nprobes, near.size()));
    first->insert(first->end(), near.begin(), end);
    rest->insert(rest->end(), end, near.end());
  }
  std::sort(rest->begin(), rest->end(), nearer);
}

Result<std::shared_ptr<const LiveIndex>> Searcher::Impl::Find(size_t number, bool* may_open) {
  const std::lock_guard lock(mutex);
  Partition& partition = partitions[number];
  partition.used = ++clock;
  if (partition.index) return partition.index;
  const auto vectors = static_cast<double>(partition.files->vectors.count) * dim * sizeof(float);
  const double expected = std::max(vectors, static_cast<double>(partition.bytes));
  const bool fits = options.cache_limit == 0 || expected < static_cast<double>(options.cache_limit - other_bytes);
  if (++partition.searches <= kScans || partition.scanned || !fits || !*may_open) return nullptr;
  *may_open = false;
  const LoadSettings settings = {.live = {.codes = options.codes, .pool = pool}, .threads = options.threads};
  auto loaded = Dataset::Impl::LoadPartition(*partition.segment, *partition.files, reader, settings);
  // Scans take vectors that an index does not, and less memory. They tell what is damaged.
  partition.scanned = !loaded.ok();
  if (partition.scanned) return nullptr;
  auto index = std::make_shared<const LiveIndex>(*std::move(loaded));
  const MemoryUsage usage = index->GetMemoryUsage();
  partition.bytes = usage.total() + usage.caller_bytes;
  if (options.cache_limit > 0 && partition.bytes > options.cache_limit - other_bytes) return index;  // for this once
  partition.index = index;
  bytes += partition.bytes;
  MakeRoom();
  return index;
}

void Searcher::Impl::MakeRoom() {
  while (options.cache_limit > 0 && bytes > options.cache_limit) {
    Partition* oldest = nullptr;
    for (Partition& other : partitions) {
      if (other.index && (oldest == nullptr || other.used < oldest->used)) oldest = &other;
    }
    if (oldest == nullptr) return;
    oldest->index = nullptr;
    oldest->searches = 0;
    bytes -= oldest->bytes;
  }
}

Result<std::shared_ptr<const RowStore>> Searcher::Impl::ToStore(const arrow::Array& row_ids,
                                                                const std::shared_ptr<arrow::Array>& vectors) {
  ARROW_ASSIGN_OR_RAISE(const auto fit, WithoutUnfit(vectors, dim));
  const uint64_t* const ids = RowIdValues(row_ids);
  auto store = std::make_shared<RowStore>(dim, kind, memory);
  ARROW_RETURN_NOT_OK(
      store->Append(static_cast<const arrow::FixedSizeListArray&>(*fit), [&](int64_t i) { return ids[i]; }));
  return store;
}

Result<std::shared_ptr<const Searcher::Impl::Stores>> Searcher::Impl::OtherRows(const Ending& ending) {
  const std::lock_guard lock(mutex);
  if (other_stores) return other_stores;
  const auto expected = static_cast<double>(other_rows) * dim * sizeof(float);
  if (options.cache_limit > 0 && expected > static_cast<double>(options.cache_limit) / 2) return nullptr;
  auto stores = std::make_shared<Stores>();
  int64_t taken = 0;
  ARROW_ASSIGN_OR_RAISE(const auto scan, others->Scan({.columns = {column}, .row_ids = true}));
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, scan->Next());
    if (!batch) break;
    if (ending.due()) return nullptr;
    ARROW_ASSIGN_OR_RAISE(stores->emplace_back(), ToStore(*batch->column(1), batch->column(0)));
    const RowStore& store = *stores->back();
    const bool copied = store.borrowed_bytes() == 0;
    taken +=
        store.borrowed_bytes() + static_cast<int64_t>(RowStore::EstimateBytes(dim, kind, false, copied, store.size()));
  }
  other_stores = std::move(stores);
  other_bytes = taken;
  bytes += taken;
  MakeRoom();
  return other_stores;
}

// One search.
class Searcher::Impl::Query {
 public:
  Query(Impl& searcher, std::span<const float> query, const SearchOptions& search)
      : searcher_(searcher),
        query_(query),
        scored_(searcher.no_rows.MakeQuery(query.data())),
        search_(search),
        ending_(search) {}

  Result<Answer> Nearest(size_t nprobes) {
    if (search_.k == 0) return std::move(answer_);
    if (ending_.due()) {
      CutShort();
      return std::move(answer_);
    }
    if (search_.exact) {
      ARROW_RETURN_NOT_OK(ScanTable(searcher_.reader));
      return std::move(answer_);
    }
    std::vector<Near> first;
    std::vector<Near> rest;
    searcher_.Rank(query_, nprobes, &first, &rest);
    for (const Near& near : first) ARROW_RETURN_NOT_OK(LookInto(near.partition));
    if (searcher_.others && answer_.complete) {
      ARROW_ASSIGN_OR_RAISE(const auto stores, searcher_.OtherRows(ending_));
      if (!stores) ARROW_RETURN_NOT_OK(ScanTable(*searcher_.others));
      for (size_t i = 0; stores && i < stores->size(); ++i) Scan(*(*stores)[i], nullptr);
    }
    for (const Near& near : rest) {
      if (answer_.rows.size() == static_cast<size_t>(search_.k)) break;
      ARROW_RETURN_NOT_OK(LookInto(near.partition));
    }
    return std::move(answer_);
  }

 private:
  void CutShort() {
    answer_.complete = false;
    answer_.reason = ending_.reason();
  }

  // A row of two segments that are of one fragment comes twice, and is one.
  void Merge(std::span<const SearchResult> rows) {
    Join(rows, &answer_.rows);
    answer_.rows.resize(std::min(answer_.rows.size(), static_cast<size_t>(search_.k)));
  }

  Status LookInto(size_t number) {
    if (!answer_.complete) return Status::OK();
    ARROW_ASSIGN_OR_RAISE(const auto index, searcher_.Find(number, &may_open_));
    if (!index) return ScanPartition(searcher_.partitions[number]);
    ARROW_ASSIGN_OR_RAISE(Answer found, index->Search(query_, search_));
    for (SearchResult& row : found.rows) row.id = 0;
    Merge(found.rows);
    if (!found.complete) CutShort();
    return Status::OK();
  }

  Status ScanPartition(const Partition& partition) {
    ARROW_ASSIGN_OR_RAISE(const auto rows, partition.segment->ReadRows(*partition.files, searcher_.reader));
    while (answer_.complete) {
      std::shared_ptr<arrow::RecordBatch> batch;
      {
        const std::lock_guard lock(searcher_.mutex);
        ARROW_RETURN_NOT_OK(rows->ReadNext(&batch));
      }
      if (!batch) break;
      ARROW_ASSIGN_OR_RAISE(const auto store, searcher_.ToStore(*batch->column(0), batch->column(1)));
      Scan(*store, partition.segment);
    }
    return Status::OK();
  }

  Status ScanTable(const lance_format::TableReader& table) {
    ARROW_ASSIGN_OR_RAISE(const auto scan, table.Scan({.columns = {searcher_.column}, .row_ids = true}));
    while (answer_.complete) {
      ARROW_ASSIGN_OR_RAISE(const auto batch, scan->Next());
      if (!batch) break;
      ARROW_ASSIGN_OR_RAISE(const auto store, searcher_.ToStore(*batch->column(1), batch->column(0)));
      Scan(*store, nullptr);
    }
    return Status::OK();
  }

  // Rows of a segment may be gone; null: of none.
  void Scan(const RowStore& store, const IndexSegment* segment) {
    const auto k = static_cast<size_t>(search_.k);
    std::vector<SearchResult> best;  // a max-heap
    for (uint32_t row = 0; row < store.size() && answer_.complete;) {
      uint32_t rows[kScanBlock];
      float distances[kScanBlock];
      size_t n = 0;
      for (; row < store.size() && n < kScanBlock; ++row) {
        const uint64_t id = store.row_id(row);
        if (search_.filter.Passes(id, 0) && (segment == nullptr || segment->Position(id))) rows[n++] = row;
      }
      store.Score(scored_, rows, n, distances);
      for (size_t i = 0; i < n; ++i) {
        const SearchResult result{0, store.row_id(rows[i]), distances[i]};
        if (best.size() == k && !ResultOrder()(result, best.front())) continue;
        best.push_back(result);
        std::push_heap(best.begin(), best.end(), ResultOrder());
        if (best.size() <= k) continue;
        std::pop_heap(best.begin(), best.end(), ResultOrder());
        best.pop_back();
      }
      if (ending_.due()) CutShort();
    }
    Merge(best);
  }

  Impl& searcher_;
  const std::span<const float> query_;
  const ScoredVector scored_;
  const SearchOptions& search_;
  const Ending ending_;
  bool may_open_ = true;  // one partition, so that no search takes much longer than others
  Answer answer_;
};

Searcher::Searcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Searcher::Searcher(Searcher&&) noexcept = default;
Searcher& Searcher::operator=(Searcher&&) noexcept = default;
Searcher::~Searcher() = default;

Result<Searcher> Dataset::OpenSearcher(const SearcherOptions& options) const {
  return Guard([&]() -> Result<Searcher> {
    if (options.cache_limit < 0) return Invalid("cache_limit: expected 0 or more, got ", options.cache_limit);
    if (options.threads < 0) return Invalid("threads: expected 0 or more, got ", options.threads);
    ARROW_RETURN_NOT_OK(CheckSimd());
    if (!options.column.empty() && !options.name.empty()) {
      return Invalid("name: expected none where a column is to be scanned, got ", options.name);
    }
    std::vector<IndexSegment> segments;
    if (options.column.empty()) {
      ARROW_ASSIGN_OR_RAISE(segments, impl_->OpenIndex(options.name));
    }
    const std::string& column = segments.empty() ? options.column : segments[0].column().name();
    const auto field = impl_->table.schema().GetFieldByName(column);
    if (!field || !HoldsVectors(*field->type())) {
      return Invalid("column ", column, ": expected one of type FixedSizeList<float or halffloat>, ",
                     field ? "got " + field->type()->ToString() : "there is none of the name");
    }
    const Metric metric = segments.empty() ? options.metric : segments[0].metric();
    auto impl =
        std::make_unique<Searcher::Impl>(impl_->files, impl_->table, *field, metric, std::move(segments), options);
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
    return Impl::Query(*impl_, query, options).Nearest(static_cast<size_t>(nprobes));
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
