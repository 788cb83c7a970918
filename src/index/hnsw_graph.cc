#include "pennon/hnsw_graph.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>

#include "index/adapters.h"
#include "index/lance_export.h"
#include "index/lance_import.h"
#include "index/pool_allocator.h"
#include "index/scan.h"

namespace pennon::inline PENNON_ABI {
namespace {

using arrow::Result;
using arrow::Status;

// A source as the graph sees it. What user code throws, and NaN, are kept until the operation asks.
class Source {
 public:
  explicit Source(const VectorSourceRef& source) : source_(source) {}

  graph::Scorer Scorer() const {
    return {this, 0, [](const graph::Scorer& scorer, uint32_t row, graph::Mode, void*) noexcept {
              return graph::Probe{
                  .score = ScoreRow, .source = scorer.source, .vector = reinterpret_cast<const void*>(uintptr_t{row})};
            }};
  }
  graph::Probe Query(const float* query) const { return {.score = ScoreQuery, .source = this, .vector = query}; }

  bool failed() const { return failure_.load(std::memory_order_relaxed) != kNone; }
  Status status() const {
    switch (failure_.load(std::memory_order_relaxed)) {
      case kNone: return Status::OK();
      case kThrown: return Status::UnknownError("vector source: a call threw an exception");
      case kNaN: break;
    }
    return Invalid("vector source: a distance is NaN");
  }

 private:
  enum Failure { kNone, kThrown, kNaN };

  template <typename Call>
  void Try(size_t n, float* out, Call&& call) const noexcept {
    Failure failure = kNone;
    try {
      call();
      for (size_t i = 0; i < n; ++i) {
        if (std::isnan(out[i])) failure = kNaN;
      }
    } catch (...) {
      failure = kThrown;
    }
    if (failure == kNone) return;
    failure_.store(failure, std::memory_order_relaxed);
    std::fill_n(out, n, std::numeric_limits<float>::infinity());
  }
  static void ScoreRow(const graph::Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept {
    const Source& self = *static_cast<const Source*>(probe.source);
    const auto row = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(probe.vector));
    self.Try(n, out, [&] { self.source_.DistancesBetween(row, {ids, n}, out); });
  }
  static void ScoreQuery(const graph::Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept {
    const Source& self = *static_cast<const Source*>(probe.source);
    self.Try(n, out, [&] {
      self.source_.DistancesTo({static_cast<const float*>(probe.vector), self.source_.dim()}, {ids, n}, out);
    });
  }

  const VectorSourceRef& source_;
  mutable std::atomic<Failure> failure_{kNone};
};

}  // namespace

struct HnswGraph::Impl {
  Impl(const BuildParams& p, const HnswGraphOptions& o)
      : params(p),
        options(o),
        pool(o.pool != nullptr ? o.pool : arrow::default_memory_pool()),
        graph_memory(pool, totals),
        scratch_memory(pool, totals),
        graph(GraphParams(p), graph_memory, scratch_memory) {}

  const BuildParams params;
  const HnswGraphOptions options;
  arrow::MemoryPool* const pool;
  PoolAllocator::Totals totals;
  PoolAllocator graph_memory;
  PoolAllocator scratch_memory;
  graph::Graph graph;
  std::mutex writer;
};

HnswGraph::HnswGraph(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HnswGraph::HnswGraph(HnswGraph&&) noexcept = default;
HnswGraph& HnswGraph::operator=(HnswGraph&&) noexcept = default;
HnswGraph::~HnswGraph() = default;

Result<HnswGraph> HnswGraph::Make(const BuildParams& params, const HnswGraphOptions& options) {
  return Guard([&]() -> Result<HnswGraph> {
    ARROW_RETURN_NOT_OK(params.Validate());
    ARROW_RETURN_NOT_OK(CheckSimd());
    if (options.capacity < 1 || options.capacity > 0xFFFFFFFFu) {
      return Invalid("capacity must be between 1 and 2^32 - 1, got ", options.capacity);
    }
    auto impl = std::make_unique<Impl>(params, options);
    if (!impl->graph.Init()) return Status::OutOfMemory("no memory for a graph");
    return HnswGraph(std::move(impl));
  });
}

Result<HnswGraph> HnswGraph::FromLanceHnswBatch(const arrow::RecordBatch& batch, const HnswGraphOptions& options) {
  return Guard([&]() -> Result<HnswGraph> {
    ARROW_ASSIGN_OR_RAISE(const LanceHnsw lance, ReadLanceHnswBatch(batch));
    ARROW_ASSIGN_OR_RAISE(HnswGraph graph, Make(lance.params, options));
    if (lance.rows > options.capacity) {
      return CapacityError("rows: the limit is ", options.capacity, ", the batch has ", lance.rows);
    }
    ARROW_RETURN_NOT_OK(ImportLanceHnsw(lance, graph.impl_->graph));
    if (lance.rows > 0) graph.impl_->graph.Publish();
    return graph;
  });
}

size_t HnswGraph::size() const { return impl_->graph.visible(); }
size_t HnswGraph::indexed_size() const { return impl_->graph.linked(); }
const BuildParams& HnswGraph::params() const { return impl_->params; }

Status HnswGraph::InsertBatch(uint32_t first, uint32_t last, const VectorSourceRef& ref, int threads) {
  return Guard([&] {
    std::lock_guard lock(impl_->writer);
    if (threads < 0) return Invalid("threads: expected 0 or more, got ", threads);
    const uint32_t expected = impl_->graph.linked();
    if (first != expected || last < first) {
      return Invalid("insert range must start at indexed_size: range [", first, ", ", last, "), indexed_size ",
                     expected);
    }
    if (first == last) return Status::OK();
    if (last > impl_->options.capacity) {
      return CapacityError("rows: the limit is ", impl_->options.capacity, ", the insert needs ", last);
    }
    if (ref.size() < last) {
      return Invalid("vector source has ", ref.size(), " rows but the insert needs ", last);
    }
    const Source source(ref);
    const size_t workers = ThreadsOf(threads);
    const graph::Outcome outcome =
        impl_->graph.Link(last - first, source.Scorer(), workers, [&] { return source.failed(); });
    if (outcome == graph::Outcome::kStopped) return source.status();
    ARROW_RETURN_NOT_OK(ToStatus(outcome, workers));
    if (source.failed()) {
      impl_->graph.Abort();
      return source.status();
    }
    impl_->graph.Publish();
    return Status::OK();
  });
}

Result<std::vector<SearchResult>> HnswGraph::Search(std::span<const float> query, const SearchParams& params,
                                                    const VectorSourceRef& ref) const {
  return Guard([&]() -> Result<std::vector<SearchResult>> {
    if (params.k < 0) return Invalid("k: expected 0 or more, got ", params.k);
    if (params.k == 0) return std::vector<SearchResult>();
    if (query.size() != ref.dim()) {
      return Invalid("query dimension mismatch: expected ", ref.dim(), ", got ", query.size());
    }
    for (float value : query) {
      if (!std::isfinite(value)) return Invalid("query: expected finite values, got ", value);
    }
    const graph::Graph::Reader reader(impl_->graph);
    if (!reader) return Status::OutOfMemory("search: no memory for its scratch");
    graph::Scratch& scratch = reader.scratch();
    const auto rows = static_cast<uint32_t>(std::min<size_t>(reader.version().rows, ref.size()));
    const auto k = static_cast<size_t>(std::min<int64_t>(params.k, rows));
    if (k == 0) return std::vector<SearchResult>();
    const Source source(ref);
    const graph::Probe probe = source.Query(query.data());
    const auto row_id = [&](uint32_t id) { return ref.row_id(id); };
    if (impl_->graph.Walk(reader, probe,
                          {.k = static_cast<size_t>(params.k),
                           .ef = static_cast<size_t>(std::max(params.k, params.ef)),
                           .limit = rows}) != graph::Walked::kDone) {
      return Status::OutOfMemory("search: no memory for its scratch");
    }
    auto found = scratch.beam.size() >= k
                     ? BestOfBeam(scratch, k, row_id)
                     : Scan(
                           probe, rows, k, std::numeric_limits<float>::infinity(), scratch, row_id,
                           [&](uint32_t first) { return ~uint64_t{0} >> (64 - std::min(64u, rows - first)); }, LeaveAll,
                           {}, nullptr);
    ARROW_RETURN_NOT_OK(source.status());
    return found;
  });
}

Result<std::shared_ptr<arrow::RecordBatch>> HnswGraph::ToLanceHnswBatch(const VectorSourceRef& ref) const {
  return Guard([&]() -> Result<std::shared_ptr<arrow::RecordBatch>> {
    const graph::Graph::Reader reader(impl_->graph);
    if (!reader) return Status::OutOfMemory("export: no memory for its scratch");
    if (ref.size() < reader.version().rows) {
      return Invalid("vector source has ", ref.size(), " rows but the graph has ", reader.version().rows);
    }
    const Source source(ref);
    ARROW_ASSIGN_OR_RAISE(auto batch,
                          pennon::ToLanceHnswBatch(impl_->graph, reader, source.Scorer(), impl_->params, impl_->pool));
    ARROW_RETURN_NOT_OK(source.status());
    return batch;
  });
}

Status HnswGraph::Verify() const {
  return Guard([&] {
    const graph::Graph::Reader reader(impl_->graph);
    graph::Report report;
    if (!reader || !impl_->graph.Verify(reader, &report)) {
      return Status::OutOfMemory("verify: no memory for its scratch");
    }
    if (report.problem == nullptr) return Status::OK();
    return Invalid("verify: ", report.problem, " (row ", report.row, ")");
  });
}

}  // namespace pennon::inline PENNON_ABI
