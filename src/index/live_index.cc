#include "pennon/live_index.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include <arrow/builder.h>
#include <arrow/type.h>

#include "graph/graph.h"
#include "graph/thread_pool.h"
#include "index/adapters.h"
#include "index/lance_export.h"
#include "index/pool_allocator.h"
#include "index/rows_export.h"
#include "index/scan.h"
#include "kernels/kernels.h"
#include "vectors/code_store.h"
#include "vectors/row_store.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;

Status CheckRowIds(const arrow::Array& row_ids) {
  const arrow::Type::type type = row_ids.type_id();
  if (type != arrow::Type::UINT64 && type != arrow::Type::INT64) {
    return Invalid("row ids: expected uint64 or int64, got ", row_ids.type()->ToString());
  }
  if (row_ids.null_count() > 0) return Invalid("row ids: expected no nulls, got ", row_ids.null_count());
  if (type == arrow::Type::INT64) {
    const int64_t* ids = row_ids.data()->GetValues<int64_t>(1);
    const int64_t* end = ids + row_ids.length();
    const int64_t* negative = std::find_if(ids, end, [](int64_t id) { return id < 0; });
    if (negative != end) {
      return Invalid("row ids: expected 0 or more, got ", *negative, " at offset ", negative - ids);
    }
  }
  return Status::OK();
}

// Of checked ones; both types have the same bits.
const uint64_t* RowIdValues(const arrow::Array& row_ids) { return row_ids.data()->GetValues<uint64_t>(1); }

}  // namespace

RowFilter RowFilter::Bitmap(std::shared_ptr<arrow::BooleanArray> bits, uint64_t first_row_id) {
  RowFilter filter;
  filter.kind_ = Kind::kBitmap;
  filter.bits_ = std::move(bits);
  filter.first_row_id_ = first_row_id;
  return filter;
}

RowFilter RowFilter::IdBitmap(std::shared_ptr<arrow::BooleanArray> bits) {
  RowFilter filter = Bitmap(std::move(bits));
  filter.kind_ = Kind::kIdBitmap;
  return filter;
}

Result<RowFilter> RowFilter::RowIds(const arrow::Array& row_ids) {
  return Guard([&]() -> Result<RowFilter> {
    ARROW_RETURN_NOT_OK(CheckRowIds(row_ids));
    const uint64_t* values = RowIdValues(row_ids);
    std::vector<uint64_t> sorted(values, values + row_ids.length());
    std::sort(sorted.begin(), sorted.end());
    RowFilter filter;
    filter.kind_ = Kind::kRowIds;
    filter.row_ids_ = std::make_shared<const std::vector<uint64_t>>(std::move(sorted));
    return filter;
  });
}

RowFilter RowFilter::Predicate(std::function<bool(uint64_t)> predicate) {
  RowFilter filter;
  filter.kind_ = Kind::kPredicate;
  if (predicate) filter.predicate_ = std::make_shared<const std::function<bool(uint64_t)>>(std::move(predicate));
  return filter;
}

bool RowFilter::Passes(uint64_t row_id, uint32_t id) const {
  switch (kind_) {
    case Kind::kAll: return true;
    case Kind::kRowIds: return std::binary_search(row_ids_->begin(), row_ids_->end(), row_id);
    case Kind::kPredicate: return predicate_ && (*predicate_)(row_id);
    case Kind::kBitmap:
    case Kind::kIdBitmap: break;
  }
  const uint64_t at = kind_ == Kind::kIdBitmap ? id : row_id;
  const auto i = static_cast<int64_t>(at - first_row_id_);
  return bits_ && at >= first_row_id_ && at - first_row_id_ < static_cast<uint64_t>(bits_->length()) &&
         bits_->IsValid(i) && bits_->Value(i);
}

struct LiveIndex::Impl {
  explicit Impl(const LiveIndexOptions& o)
      : options(o),
        pool(o.pool != nullptr ? o.pool : arrow::default_memory_pool()),
        rows_memory(pool, totals),
        codes_memory(pool, totals),
        graph_memory(pool, totals),
        scratch_memory(pool, totals),
        rows(o.dim, KindOf(o.metric), rows_memory),
        codes(o.dim, KindOf(o.metric), codes_memory),
        coded_rows{rows, &codes},
        exact_rows{rows, nullptr},
        graph(GraphParams(o.build), graph_memory, scratch_memory) {}

  // What the log says of an append that succeeded.
  struct News {
    bool codes_made = false;
    std::optional<bool> by_codes;  // how walks go, if it is new
  };
  Result<IdRange> Append(const std::shared_ptr<arrow::Array>& vectors, const AppendOptions& append, News& news);
  // append(news), guarded, counted and logged.
  template <typename Function>
  Result<IdRange> Report(Function&& append);
  Result<Answer> Search(const graph::Graph::Reader& reader, std::span<const float> query,
                        const SearchOptions& search) const;
  Result<Answer> SearchChecked(const graph::Graph::Reader& reader, const ScoredVector& query,
                               const SearchOptions& search, const RowFilter& passing) const;
  Result<std::vector<Answer>> SearchBatch(const graph::Graph::Reader& reader, const arrow::Array& queries,
                                          const SearchOptions& search, const BatchOptions& batch) const;
  Result<VerifyReport> Verify(const graph::Graph::Reader& reader) const;

  // Whether so many rows have codes; the survey says whether walks go by them.
  bool coded(uint32_t count) const {
    return options.codes != Codes::kNone && options.dim <= CodeStore::kMaxDim && count >= CodeStore::kFrom;
  }

  const LiveIndexOptions options;
  arrow::MemoryPool* const pool;
  PoolAllocator::Totals totals;
  PoolAllocator rows_memory;
  PoolAllocator codes_memory;
  PoolAllocator graph_memory;
  PoolAllocator scratch_memory;
  RowStore rows;
  CodeStore codes;
  const Rows coded_rows;
  const Rows exact_rows;
  graph::Graph graph;

  // Guards the writer's side of rows and graph, and what follows.
  mutable std::mutex writer;
  uint64_t next_row_id = 0;

  std::atomic<uint64_t> versions_published{0};
  std::atomic<uint64_t> appends_failed{0};
  std::atomic<int64_t> last_publish_nanos{0};
};

namespace {

// Whether a call's deadline has passed or its stop token was used.
template <typename Options>
class Ending {
 public:
  explicit Ending(const Options& options) : options_(options) {}

  bool due() const {
    return options_.stop_token.stop_requested() ||
           (options_.deadline && std::chrono::steady_clock::now() >= *options_.deadline);
  }
  const char* reason() const {
    return options_.stop_token.stop_requested() ? "a stop was requested" : "the deadline has passed";
  }
  graph::Interrupt interrupt() const {
    if (!options_.deadline && !options_.stop_token.stop_possible()) return {};
    return {this, [](const void* ending) noexcept { return static_cast<const Ending*>(ending)->due(); }};
  }

 private:
  const Options& options_;
};

Status NoMemory() { return Status::OutOfMemory("search: no memory for its scratch"); }

}  // namespace

template <typename Function>
Result<LiveIndex::IdRange> LiveIndex::Impl::Report(Function&& append) {
  News news;
  auto result = Guard([&] { return append(news); });
  if (!result.ok()) ++appends_failed;
  if (!options.logger) return result;
  try {
    if (!result.ok()) options.logger(LogLevel::kWarning, result.status().message());
    const auto inform = [&](const char* what) {
      options.logger(LogLevel::kInfo, "at " + std::to_string(result->last) + " rows: " + what);
    };
    if (news.codes_made) inform("codes were made");
    if (news.by_codes) inform(*news.by_codes ? "walks go by codes" : "walks go by exact distances");
  } catch (...) {
    return result;  // the append is as it is
  }
  return result;
}

Result<LiveIndex::IdRange> LiveIndex::Impl::Append(const std::shared_ptr<arrow::Array>& array,
                                                   const AppendOptions& append, News& news) {
  if (array == nullptr) return Invalid("vectors: expected an array, got null");
  if (append.threads < 0) return Invalid("threads: expected 0 or more, got ", append.threads);
  if (append.row_ids && append.first_row_id) {
    return Invalid("row ids: expected row_ids or first_row_id, got both");
  }
  std::lock_guard lock(writer);
  ARROW_RETURN_NOT_OK(rows.Check(*array, "vectors"));
  if (append.row_ids) {
    ARROW_RETURN_NOT_OK(CheckRowIds(*append.row_ids));
    if (append.row_ids->length() != array->length()) {
      return Invalid("row ids: expected one for each of ", array->length(), " vectors, got ", append.row_ids->length());
    }
  }
  const auto& vectors = static_cast<const arrow::FixedSizeListArray&>(*array);
  const auto added = static_cast<uint64_t>(vectors.length() - vectors.null_count());
  const uint32_t first = rows.size();
  if (first + added > options.max_rows) {
    return CapacityError("rows: the limit is ", options.max_rows, ", the index has ", first, " and the batch brings ",
                         added);
  }
  const uint64_t first_row_id = append.first_row_id.value_or(next_row_id);
  if (!append.row_ids && first_row_id + static_cast<uint64_t>(vectors.length()) < first_row_id) {
    return Invalid("first_row_id: expected room for ", vectors.length(), " row ids below 2^64, got ", first_row_id);
  }
  uint64_t next = first_row_id + static_cast<uint64_t>(vectors.length());
  std::function<uint64_t(int64_t)> row_id = [&](int64_t i) { return first_row_id + static_cast<uint64_t>(i); };
  if (append.row_ids) {
    const uint64_t* ids = RowIdValues(*append.row_ids);
    row_id = [ids](int64_t i) { return ids[i]; };
    if (vectors.length() > 0) next = std::max(next_row_id, *std::max_element(ids, ids + vectors.length()) + 1);
  }
  if (added == 0) {
    next_row_id = next;
    return IdRange{first, first};
  }
  const RowStore::Mark mark = rows.GetMark();
  ARROW_RETURN_NOT_OK(rows.Append(vectors, row_id));
  const uint32_t codes_before = codes.size();
  const bool by_codes = coded(rows.size());
  if (by_codes && !codes.Append(rows)) {
    rows.Restore(mark);
    return Status::OutOfMemory("append: no memory for the codes of ", Plain(added), " rows");
  }
  const size_t threads = ThreadsOf(append.threads);
  graph::Scorer scorer = MakeScorer(by_codes ? coded_rows : exact_rows);
  scorer.largest_norm = rows.largest_norm();
  const Ending ending(append);
  const graph::Outcome outcome =
      graph.Link(static_cast<uint32_t>(added), scorer, threads, [&] { return ending.due(); });
  if (outcome != graph::Outcome::kOk) {
    codes.Restore(codes_before);
    rows.Restore(mark);
    return ToStatus(outcome, threads, ending.reason());
  }
  const graph::Survey before = graph.survey();
  const auto start = std::chrono::steady_clock::now();
  graph.Publish();
  last_publish_nanos =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count();
  ++versions_published;
  next_row_id = next;
  const graph::Survey& now = graph.survey();
  news.codes_made = by_codes && codes_before == 0;
  if (by_codes && (now.mode.coded != before.mode.coded || (now.rows > 0 && before.rows == 0))) {
    news.by_codes = now.mode.coded;
  }
  return IdRange{first, first + static_cast<uint32_t>(added)};
}

Result<Answer> LiveIndex::Impl::SearchChecked(const graph::Graph::Reader& reader, const ScoredVector& query,
                                              const SearchOptions& search, const RowFilter& passing) const {
  Answer answer;
  const uint32_t visible = reader.version().rows;
  const size_t k = static_cast<size_t>(std::min<int64_t>(search.k, visible));
  graph::Scratch& scratch = reader.scratch();
  scratch.Count(scratch.searches, 1);
  if (k == 0) return answer;
  const Ending ending(search);
  const auto cut_short = [&] {
    answer.complete = false;
    answer.reason = ending.reason();
  };
  if (ending.due()) {
    cut_short();
    return answer;
  }
  const graph::Probe exact = MakeProbe(exact_rows, {query}, {});
  const auto row_id = [&](uint32_t id) { return rows.row_id(id); };
  graph::Probe probe = exact;
  graph::Mode mode;
  scratch.beam.Truncate(0);
  const auto best_of_walk = [&] {
    const size_t found = std::min(k, scratch.beam.size());
    return mode.coded ? RankBeam(exact, scratch, found, probe.noise, row_id) : BestOfBeam(scratch, found, row_id);
  };
  if (!search.exact && k <= visible / 2) {
    struct Pass {
      const RowFilter& filter;
      const RowStore& rows;
      std::exception_ptr failure;
    } pass{passing, rows, nullptr};
    graph::Filter filter;
    if (!passing.all()) {
      filter = {&pass, [](const void* object, uint32_t id) noexcept {
                  Pass& p = *static_cast<Pass*>(const_cast<void*>(object));
                  try {
                    return !p.failure && p.filter.Passes(p.rows.row_id(id), id);
                  } catch (...) {
                    p.failure = std::current_exception();
                    return false;
                  }
                }};
    }
    mode = reader.version().survey.mode;
    if (mode.coded || mode.sifted()) {
      if (!scratch.probes.Reserve(QueryScratch::Bytes(coded_rows))) return NoMemory();
      const QueryScratch forms(coded_rows, scratch.probes.data());
      probe = MakeProbe(coded_rows, {query, codes.Encode(query, forms.floats, forms.code)}, mode);
    }
    probe.least = rows.LeastOf(query.values, reader.version().largest_norm);
    const auto ef = static_cast<size_t>(std::max(search.k, search.ef));
    const graph::Walked walked =
        graph.Walk(reader, probe, static_cast<size_t>(search.k), ef, visible, filter, ending.interrupt());
    if (walked == graph::Walked::kNoMemory) return NoMemory();
    if (pass.failure) std::rethrow_exception(pass.failure);
    if (walked == graph::Walked::kInterrupted) cut_short();
    if (!answer.complete || (walked == graph::Walked::kDone && scratch.beam.size() >= k)) {
      answer.rows = best_of_walk();
      return answer;
    }
  }
  bool interrupted = false;
  answer.rows = Scan(
      exact, visible, k, scratch, row_id,
      [&](uint32_t id) { return passing.all() || passing.Passes(rows.row_id(id), id); }, ending.interrupt(),
      &interrupted);
  if (interrupted) {
    cut_short();
    const std::vector<SearchResult> walked = best_of_walk();
    answer.rows.insert(answer.rows.end(), walked.begin(), walked.end());
    std::sort(answer.rows.begin(), answer.rows.end(), ResultOrder());
    answer.rows.erase(std::unique(answer.rows.begin(), answer.rows.end()), answer.rows.end());
    answer.rows.resize(std::min(k, answer.rows.size()));
  }
  return answer;
}

Result<Answer> LiveIndex::Impl::Search(const graph::Graph::Reader& reader, std::span<const float> query,
                                       const SearchOptions& search) const {
  if (!reader) return NoMemory();
  if (search.k < 0) return Invalid("k: expected 0 or more, got ", search.k);
  ARROW_RETURN_NOT_OK(rows.CheckQuery(query));
  return SearchChecked(reader, rows.MakeQuery(query.data()), search, search.filter);
}

Result<std::vector<Answer>> LiveIndex::Impl::SearchBatch(const graph::Graph::Reader& reader, const arrow::Array& array,
                                                         const SearchOptions& search, const BatchOptions& batch) const {
  if (!reader) return NoMemory();
  if (search.k < 0) return Invalid("k: expected 0 or more, got ", search.k);
  if (batch.threads < 0) return Invalid("threads: expected 0 or more, got ", batch.threads);
  ARROW_RETURN_NOT_OK(rows.Check(array, "queries"));
  const auto& queries = static_cast<const arrow::FixedSizeListArray&>(array);
  const auto n = static_cast<size_t>(queries.length());
  for (int64_t i = 0; i < queries.length(); ++i) {
    if (queries.IsNull(i)) return Invalid("queries: expected no nulls, got one at offset ", i);
  }
  if (!batch.filters.empty() && batch.filters.size() != n) {
    return Invalid("filters: expected one for each of ", n, " queries, got ", batch.filters.size());
  }
  if (!batch.filters.empty() && !search.filter.all()) {
    return Invalid("filters: expected none, as there is one for all queries");
  }
  const size_t threads = std::max(std::min(ThreadsOf(batch.threads), n), size_t{1});
  std::vector<Answer> answers(n);
  struct Worker {
    std::vector<float> scratch;
    size_t failed_at;
    Status failure;
  };
  std::vector<Worker> workers(threads, {std::vector<float>(static_cast<size_t>(options.dim)), n, Status::OK()});
  graph::ThreadPool pool;
  if (!pool.SetThreads(threads))
    return Status::UnknownError("search: the system gives no ", Plain(threads), " threads");
  pool.For(n, [&](size_t worker, size_t i) {
    Worker& by = workers[worker];
    if (!by.failure.ok()) return;
    by.failed_at = i;
    by.failure = Guard([&]() -> Status {
      // The caller works with its own reader, which keeps the version for the others.
      std::optional<graph::Graph::Reader> other;
      if (worker != 0) other.emplace(graph, &reader.version());
      const graph::Graph::Reader& own = other ? *other : reader;
      if (!own) return NoMemory();
      const ScoredVector query = rows.LoadQuery(queries, static_cast<int64_t>(i), by.scratch.data());
      const RowFilter& filter = batch.filters.empty() ? search.filter : batch.filters[i];
      return SearchChecked(own, query, search, filter).Value(&answers[i]);
    });
  });
  const Worker* first = nullptr;
  for (const Worker& by : workers) {
    if (!by.failure.ok() && (first == nullptr || by.failed_at < first->failed_at)) first = &by;
  }
  if (first != nullptr) return first->failure;
  return answers;
}

Result<VerifyReport> LiveIndex::Impl::Verify(const graph::Graph::Reader& reader) const {
  graph::Report found;
  if (!reader || !graph.Verify(reader, &found)) return Status::OutOfMemory("verify: no memory for its scratch");
  VerifyReport report;
  report.rows = reader.version().rows;
  report.unreachable = found.unreachable;
  report.ok = found.problem == nullptr;
  if (!report.ok) report.problem = std::string(found.problem) + " (row " + std::to_string(found.row) + ")";
  return report;
}

struct Snapshot::Impl {
  std::shared_ptr<LiveIndex::Impl> index;
  const graph::Version* version;

  Impl(std::shared_ptr<LiveIndex::Impl> i, const graph::Version* v) : index(std::move(i)), version(v) {}
  Impl(const Impl& other) : index(other.index), version(other.version) { graph::Graph::PinAgain(version); }
  ~Impl() {
    if (!index->graph.Unpin(version)) return;
    if (std::unique_lock lock(index->writer, std::try_to_lock); lock.owns_lock()) index->graph.Trim();
  }
  Impl& operator=(const Impl&) = delete;

  graph::Graph::Reader Read() const { return graph::Graph::Reader(index->graph, version); }
};

Snapshot::Snapshot(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Snapshot::Snapshot(const Snapshot& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
Snapshot::~Snapshot() = default;

uint32_t Snapshot::size() const { return impl_->version->rows; }

Result<Answer> Snapshot::Search(std::span<const float> query, const SearchOptions& options) const {
  return Guard([&] { return impl_->index->Search(impl_->Read(), query, options); });
}

Result<std::vector<Answer>> Snapshot::SearchBatch(const arrow::Array& queries, const SearchOptions& options,
                                                  const BatchOptions& batch) const {
  return Guard([&] { return impl_->index->SearchBatch(impl_->Read(), queries, options, batch); });
}

Result<std::shared_ptr<arrow::RecordBatch>> Snapshot::ToLanceHnswBatch() const {
  return Guard([&]() -> Result<std::shared_ptr<arrow::RecordBatch>> {
    const LiveIndex::Impl& index = *impl_->index;
    const graph::Graph::Reader reader = impl_->Read();
    if (!reader) return NoMemory();
    return pennon::ToLanceHnswBatch(index.graph, reader, MakeScorer(index.exact_rows), index.options.build, index.pool);
  });
}

Result<std::shared_ptr<arrow::RecordBatch>> Snapshot::ToRecordBatch(std::optional<uint64_t> reverse_row_ids_of) const {
  return Guard([&] { return RowsToRecordBatch(impl_->index->rows, size(), reverse_row_ids_of, impl_->index->pool); });
}

Result<VerifyReport> Snapshot::Verify() const {
  return Guard([&] { return impl_->index->Verify(impl_->Read()); });
}

LiveIndex::LiveIndex(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
LiveIndex::LiveIndex(LiveIndex&&) noexcept = default;
LiveIndex& LiveIndex::operator=(LiveIndex&&) noexcept = default;
LiveIndex::~LiveIndex() = default;

Result<LiveIndex> LiveIndex::Make(const LiveIndexOptions& options) {
  return Guard([&]() -> Result<LiveIndex> {
    if (options.dim < 1) return Invalid("dim: expected at least 1, got ", options.dim);
    if (options.max_rows > 0xFFFFFFFFu) {
      return Invalid("max_rows: expected at most 2^32 - 1, got ", options.max_rows);
    }
    ARROW_RETURN_NOT_OK(options.build.Validate());
    if (!UnknownSimd().empty()) {
      return Invalid("PENNON_SIMD: '", UnknownSimd(), "' is unknown or not supported by this processor; best is ",
                     AvailableKernels().back()->name);
    }
    auto impl = std::make_shared<Impl>(options);
    if (!impl->graph.Init()) return Status::OutOfMemory("no memory for an index");
    return LiveIndex(std::move(impl));
  });
}

Result<LiveIndex::IdRange> LiveIndex::Append(const std::shared_ptr<arrow::Array>& vectors,
                                             const AppendOptions& options) {
  return impl_->Report([&](Impl::News& news) { return impl_->Append(vectors, options, news); });
}

Result<LiveIndex::IdRange> LiveIndex::Append(const arrow::RecordBatch& batch, const AppendOptions& options) {
  return impl_->Report([&](Impl::News& news) -> Result<IdRange> {
    const std::string& name = impl_->options.vector_column;
    int column = -1;
    for (int i = 0; i < batch.num_columns(); ++i) {
      const bool wanted =
          name.empty() ? batch.column(i)->type_id() == arrow::Type::FIXED_SIZE_LIST : batch.column_name(i) == name;
      if (!wanted) continue;
      if (column >= 0) return Invalid("vector_column: expected one column, found two; name one in the options");
      column = i;
    }
    if (column < 0) {
      return Invalid("vector_column: no column ", name.empty() ? "of type FixedSizeList" : "'" + name + "'", " in ",
                     batch.schema()->ToString());
    }
    AppendOptions resolved = options;
    if (!impl_->options.row_id_column.empty() && !options.row_ids && !options.first_row_id) {
      resolved.row_ids = batch.GetColumnByName(impl_->options.row_id_column);
      if (!resolved.row_ids) {
        return Invalid("row_id_column: no column '", impl_->options.row_id_column, "' in ", batch.schema()->ToString());
      }
    }
    return impl_->Append(batch.column(column), resolved, news);
  });
}

Result<Snapshot> LiveIndex::GetSnapshot() const {
  return Guard([&]() -> Result<Snapshot> {
    const graph::Graph::Reader reader(impl_->graph);
    if (!reader) return NoMemory();
    const graph::Version* version = reader.Pin();
    try {
      return Snapshot(std::make_unique<Snapshot::Impl>(impl_, version));
    } catch (...) {
      impl_->graph.Unpin(version);
      throw;
    }
  });
}

uint32_t LiveIndex::size() const { return impl_->graph.visible(); }
const LiveIndexOptions& LiveIndex::options() const { return impl_->options; }

Result<Answer> LiveIndex::Search(std::span<const float> query, const SearchOptions& options) const {
  return Guard([&] { return impl_->Search(graph::Graph::Reader(impl_->graph), query, options); });
}

Result<std::vector<Answer>> LiveIndex::SearchBatch(const arrow::Array& queries, const SearchOptions& options,
                                                   const BatchOptions& batch) const {
  return Guard([&] { return impl_->SearchBatch(graph::Graph::Reader(impl_->graph), queries, options, batch); });
}

Result<VerifyReport> LiveIndex::Verify() const {
  return Guard([&] { return impl_->Verify(graph::Graph::Reader(impl_->graph)); });
}

MemoryUsage LiveIndex::GetMemoryUsage() const {
  MemoryUsage usage;
  usage.vectors_bytes = impl_->rows_memory.bytes();
  usage.caller_bytes = impl_->rows.borrowed_bytes();
  usage.codes_bytes = impl_->codes_memory.bytes();
  usage.versions_bytes = static_cast<int64_t>(impl_->graph.versions_bytes());
  usage.graph_bytes = impl_->graph_memory.bytes() - usage.versions_bytes;
  usage.other_bytes = impl_->scratch_memory.bytes();
  usage.peak_bytes = impl_->totals.peak.load(std::memory_order_relaxed);
  return usage;
}

Stats LiveIndex::GetStats() const {
  Stats stats;
  stats.rows = size();
  stats.build_distances = impl_->graph.build_distances();
  stats.live_versions = impl_->graph.live_versions();
  impl_->graph.ForEachScratch([&](const graph::Scratch& scratch) {
    stats.searches += scratch.searches.load(std::memory_order_relaxed);
    stats.search_distances += scratch.computed.load(std::memory_order_relaxed);
    stats.exact_scans += scratch.scans.load(std::memory_order_relaxed);
  });
  stats.versions_published = impl_->versions_published;
  stats.appends_failed = impl_->appends_failed;
  stats.last_publish_nanos = impl_->last_publish_nanos;
  return stats;
}

void LiveIndex::Trim() {
  std::lock_guard lock(impl_->writer);
  impl_->graph.Trim();
}

namespace {

Result<std::shared_ptr<arrow::RecordBatch>> AnswersToBatch(std::span<const Answer> answers, bool many,
                                                           arrow::MemoryPool* pool) {
  if (pool == nullptr) pool = arrow::default_memory_pool();
  arrow::UInt32Builder queries(pool);
  arrow::UInt64Builder row_ids(pool);
  arrow::FloatBuilder distances(pool);
  for (size_t query = 0; query < answers.size(); ++query) {
    for (const SearchResult& row : answers[query].rows) {
      if (many) ARROW_RETURN_NOT_OK(queries.Append(static_cast<uint32_t>(query)));
      ARROW_RETURN_NOT_OK(row_ids.Append(row.row_id));
      ARROW_RETURN_NOT_OK(distances.Append(row.distance));
    }
  }
  arrow::FieldVector fields = {arrow::field("row_id", arrow::uint64(), false),
                               arrow::field("distance", arrow::float32(), false)};
  arrow::ArrayVector columns(2);
  ARROW_RETURN_NOT_OK(row_ids.Finish(&columns[0]));
  ARROW_RETURN_NOT_OK(distances.Finish(&columns[1]));
  if (many) {
    fields.insert(fields.begin(), arrow::field("query", arrow::uint32(), false));
    ARROW_ASSIGN_OR_RAISE(auto column, queries.Finish());
    columns.insert(columns.begin(), std::move(column));
  }
  const int64_t length = columns.back()->length();
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), length, std::move(columns));
}

}  // namespace

Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(const Answer& answer, arrow::MemoryPool* pool) {
  return Guard([&] { return AnswersToBatch({&answer, 1}, false, pool); });
}

Result<std::shared_ptr<arrow::RecordBatch>> ToRecordBatch(std::span<const Answer> answers, arrow::MemoryPool* pool) {
  return Guard([&] { return AnswersToBatch(answers, true, pool); });
}

}  // namespace pennon
