#include "pennon/live_index.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>

#include "graph/graph.h"
#include "graph/thread_pool.h"
#include "index/adapters.h"
#include "index/ending.h"
#include "index/lance_dataset.h"
#include "index/lance_export.h"
#include "index/live_index_parts.h"
#include "index/places.h"
#include "index/pool_allocator.h"
#include "index/rows_export.h"
#include "index/search.h"
#include "index/writer_lock.h"
#include "kernels/kernels.h"
#include "vectors/code_store.h"
#include "vectors/row_store.h"

namespace pennon::inline PENNON_ABI {

using arrow::Result;
using arrow::Status;

struct [[gnu::visibility("hidden")]] LiveIndex::Impl {
  explicit Impl(const LiveIndexOptions& o)
      : options(o),
        pool(o.pool != nullptr ? o.pool : arrow::default_memory_pool()),
        totals{.limit = o.memory_limit},
        rows_memory(pool, totals, PoolAllocator::Limited::kYes),
        codes_memory(pool, totals, PoolAllocator::Limited::kYes),
        graph_memory(pool, totals, PoolAllocator::Limited::kYes),
        scratch_memory(pool, totals),
        rows(o.dim, KindOf(o.metric), rows_memory),
        codes(o.dim, KindOf(o.metric), codes_memory),
        places(rows_memory),
        hidden_bits(StdAllocator<uint64_t>(rows_memory)),
        coded_rows{rows, o.codes == Codes::kNone || o.dim > CodeStore::kMaxDim ? nullptr : &codes},
        exact_rows{rows, nullptr},
        graph(GraphParams(o.build), graph_memory, scratch_memory) {}

  // What the log says of an append that succeeded.
  struct News {
    bool codes_made = false;
    std::optional<bool> by_codes;  // how walks go, if it is new
  };
  Result<IdRange> Append(const std::shared_ptr<arrow::Array>& vectors, const AppendOptions& append, News& news);
  // Codes of the rows that have none yet, if there are enough. `before` each piece is asked whether to go on.
  Status AppendCodes(const Halt& before);
  Status Assemble(const Parts& parts);
  Result<IdRange> AppendWithinLimit(const std::shared_ptr<arrow::Array>& vectors, const AppendOptions& append,
                                    const Ending& ending, News& news);
  // append(news), guarded, counted and logged.
  template <typename Function>
  Result<IdRange> Report(Function&& append);
  Hidden hidden() const { return {hidden_bits, hidden_rows}; }
  Searched searched() const { return {graph, exact_rows, coded_rows}; }
  Result<Answer> Search(const graph::Graph::Reader& reader, std::span<const float> query, const SearchOptions& search,
                        Explanation* explanation = nullptr) const;
  Result<Answer> SearchRange(const graph::Graph::Reader& reader, std::span<const float> query, float radius,
                             const RangeOptions& range) const;
  Result<std::vector<Answer>> SearchBatch(const graph::Graph::Reader& reader, const arrow::Array& queries,
                                          const SearchOptions& search, const BatchOptions& batch) const;
  Result<VerifyReport> Verify(const graph::Graph::Reader& reader) const;

  // Whether so many rows have codes; the survey says whether walks go by them.
  bool coded(uint32_t count) const { return coded_rows.coded(count); }

  const LiveIndexOptions options;
  arrow::MemoryPool* const pool;
  PoolAllocator::Totals totals;
  PoolAllocator rows_memory;
  PoolAllocator codes_memory;
  PoolAllocator graph_memory;
  mutable PoolAllocator scratch_memory;
  RowStore rows;
  CodeStore codes;
  Places places;
  // Of rows that were loaded, and have no place; set before there are readers.
  std::vector<uint64_t, StdAllocator<uint64_t>> hidden_bits;
  uint32_t hidden_rows = 0;
  const Rows coded_rows;
  const Rows exact_rows;
  graph::Graph graph;

  // Guards the writer's side of rows and graph, and what follows.
  mutable WriterLock writer;
  uint64_t next_row_id = 0;

  std::atomic<uint64_t> versions_published{0};
  std::atomic<uint64_t> appends_failed{0};
  std::atomic<int64_t> last_publish_nanos{0};
};

namespace {

Status CheckOptions(const LiveIndexOptions& options) {
  if (options.dim < 1) return Invalid("dim: expected at least 1, got ", options.dim);
  if (options.max_rows > 0xFFFFFFFFu) {
    return Invalid("max_rows: expected at most 2^32 - 1, got ", options.max_rows);
  }
  if (options.memory_limit < 0) return Invalid("memory_limit: expected 0 or more, got ", options.memory_limit);
  return options.build.Validate();
}

constexpr uint32_t kEncoded = 4096;  // rows, between looks at the deadline

Status CheckThreads(int threads) {
  return threads < 0 ? Invalid("threads: expected 0 or more, got ", threads) : Status::OK();
}

Status CheckK(int64_t k) { return k < 0 ? Invalid("k: expected 0 or more, got ", k) : Status::OK(); }

Status Cancelled(const Ending& ending) { return ToStatus(graph::Outcome::kStopped, 0, ending.reason()); }

size_t EfOf(const SearchOptions& search) { return static_cast<size_t>(std::max({search.k, search.ef, int64_t{1}})); }

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
  const Ending ending(append);
  if (!writer.lock(append.deadline, append.stop_token)) return Cancelled(ending);
  const std::lock_guard lock(writer, std::adopt_lock);
  const int64_t before = totals.bytes;
  totals.refused = 0;
  auto result = AppendWithinLimit(array, append, ending, news);
  if (result.status().IsOutOfMemory() && totals.refused > 0) {
    // Not for what searches have left lying about.
    const int64_t scratch = scratch_memory.bytes();
    graph.ReleaseSearches();
    if (totals.refused - (scratch - scratch_memory.bytes()) <= totals.limit) {
      totals.refused = 0;
      result = AppendWithinLimit(array, append, ending, news);
    }
  }
  const int64_t needed = totals.refused;
  if (!result.status().IsOutOfMemory() || needed == 0) return result;
  graph.ReleaseIdle();  // or the batch's scratch would stay, above the limit
  return CapacityError("memory: the limit is ", totals.limit, " bytes, the index takes ", before,
                       " and with the batch it would take at least ", needed);
}

Result<LiveIndex::IdRange> LiveIndex::Impl::AppendWithinLimit(const std::shared_ptr<arrow::Array>& array,
                                                              const AppendOptions& append, const Ending& ending,
                                                              News& news) {
  if (array == nullptr) return Invalid("vectors: expected an array, got null");
  ARROW_RETURN_NOT_OK(CheckThreads(append.threads));
  if (append.row_ids && append.first_row_id) {
    return Invalid("row ids: expected row_ids or first_row_id, got both");
  }
  const Halt halt = [&] { return ending.due() ? Cancelled(ending) : Status::OK(); };
  ARROW_RETURN_NOT_OK(rows.Check(*array, "vectors", halt));
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
    return Invalid("first_row_id: expected room for ", vectors.length(), " row ids below 2^64 - 1, got ", first_row_id);
  }
  uint64_t next = first_row_id + static_cast<uint64_t>(vectors.length());
  std::function<uint64_t(int64_t)> row_id = [&](int64_t i) { return first_row_id + static_cast<uint64_t>(i); };
  if (append.row_ids) {
    const uint64_t* ids = RowIdValues(*append.row_ids);
    row_id = [ids](int64_t i) { return ids[i]; };
    if (vectors.length() > 0) {
      const uint64_t largest = *std::max_element(ids, ids + vectors.length());
      next = std::max(next_row_id, largest + (largest == UINT64_MAX ? 0 : 1));
    }
  }
  // Whoever sees the rows finds their places.
  const Places::Mark places_before = places.GetMark();
  if (!places.Append(vectors, first)) return Status::OutOfMemory("append: no memory for the places of rows");
  if (added == 0) {
    next_row_id = next;
    return IdRange{first, first};
  }
  const RowStore::Mark mark = rows.GetMark();
  const Status copied = rows.Append(vectors, row_id, halt);
  if (!copied.ok()) {
    places.Restore(places_before);
    return copied;
  }
  const uint32_t codes_before = codes.size();
  const bool by_codes = coded(rows.size());
  const auto undo = [&]() noexcept {
    codes.Restore(codes_before);
    rows.Restore(mark);
    places.Restore(places_before);
  };
  if (const Status encoded = AppendCodes(halt); !encoded.ok()) {
    undo();
    return encoded;
  }
  const size_t threads = ThreadsOf(append.threads);
  graph::Scorer scorer = MakeScorer(by_codes ? coded_rows : exact_rows);
  scorer.largest_norm = rows.largest_norm();
  graph::Outcome outcome = graph.Link(static_cast<uint32_t>(added), scorer, threads, [&] { return ending.due(); });
  // The scratch of appends and searches is not refused, but counts.
  const int64_t bytes = totals.bytes;
  if (outcome == graph::Outcome::kOk && totals.limit > 0 && bytes > totals.limit) {
    totals.refused = bytes;
    graph.Abort();
    outcome = graph::Outcome::kOutOfMemory;
  }
  if (outcome != graph::Outcome::kOk) {
    undo();
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

Status LiveIndex::Impl::AppendCodes(const Halt& before) {
  for (uint32_t end = codes.size(); coded(rows.size()) && end < rows.size();) {
    ARROW_RETURN_NOT_OK(before());
    end = std::max(end + std::min(kEncoded, rows.size() - end), CodeStore::kFrom);
    if (!codes.Append(rows, end)) {
      return Status::OutOfMemory("append: no memory for the codes of ", Plain(rows.size()), " rows");
    }
  }
  return Status::OK();
}

Status LiveIndex::Impl::Assemble(const Parts& parts) {
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, parts.rows.Next());
    if (!batch) break;
    ARROW_RETURN_NOT_OK(rows.Check(*batch->column(1), "vectors"));
    if (batch->column(1)->null_count() > 0) return Invalid("vectors: expected no nulls, got one");
    const auto& vectors = static_cast<const arrow::FixedSizeListArray&>(*batch->column(1));
    if (uint64_t{rows.size()} + static_cast<uint64_t>(vectors.length()) > parts.graph.rows) {
      return Invalid("vectors: expected the graph's ", parts.graph.rows, ", got more");
    }
    ARROW_RETURN_NOT_OK(CheckRowIds(*batch->column(0)));
    const uint64_t* ids = RowIdValues(*batch->column(0));
    const uint32_t first = rows.size();
    ARROW_RETURN_NOT_OK(rows.Append(vectors, [&](int64_t i) { return ids[i]; }));
    for (int64_t i = 0; i < vectors.length(); ++i) {
      const uint32_t id = first + static_cast<uint32_t>(i);
      const std::optional<uint64_t> place = parts.position(ids[i]);
      if (!place) {
        hidden_bits.resize(size_t{id} / 64 + 1);
        hidden_bits[id / 64] |= uint64_t{1} << id % 64;
        ++hidden_rows;
      } else if (!places.Append(id, *place)) {
        return Status::OutOfMemory("append: no memory for the places of rows");
      }
    }
  }
  places.SetEnd(parts.next_position);
  next_row_id = parts.next_row_id;
  if (rows.size() != parts.graph.rows) {
    return Invalid("vectors: expected the graph's ", parts.graph.rows, ", got ", rows.size());
  }
  ARROW_RETURN_NOT_OK(AppendCodes([] { return Status::OK(); }));
  ARROW_ASSIGN_OR_RAISE(const LaidTree laid, ImportLanceHnsw(parts.graph, graph));
  if (rows.size() > 0) {
    const bool by_codes = coded(rows.size());
    if (parts.survey && parts.survey->codes == by_codes) {
      graph.SetSurvey(parts.survey->survey, parts.survey->largest_norm);
    } else {
      graph::Scorer scorer = MakeScorer(by_codes ? coded_rows : exact_rows);
      scorer.largest_norm = rows.largest_norm();
      const size_t threads = ThreadsOf(parts.threads);
      ARROW_RETURN_NOT_OK(ToStatus(graph.TakeSurvey(scorer, threads), threads));
    }
    graph.Publish();
    ++versions_published;
  }
  if (options.logger && rows.size() > 0) {
    options.logger(LogLevel::kInfo, "loaded " + Plain(rows.size()) + " rows; the tree of pinned edges added " +
                                        Plain(laid.added) + " of them to the graph, for which " + Plain(laid.dropped) +
                                        " gave way");
  }
  return Status::OK();
}

Result<Answer> LiveIndex::Impl::Search(const graph::Graph::Reader& reader, std::span<const float> query,
                                       const SearchOptions& search, Explanation* explanation) const {
  if (!reader) return NoMemory();
  ARROW_RETURN_NOT_OK(CheckK(search.k));
  ARROW_RETURN_NOT_OK(rows.CheckQuery(query));
  const Ending ending(search);
  const Passing passing(search.filter, rows, reader.version().rows, hidden());
  return pennon::Search(searched(), reader, rows.MakeQuery(query.data()), passing, ending, explanation)
      .Nearest(static_cast<size_t>(search.k), EfOf(search), search.exact);
}

Result<Answer> LiveIndex::Impl::SearchRange(const graph::Graph::Reader& reader, std::span<const float> query,
                                            float radius, const RangeOptions& range) const {
  if (!reader) return NoMemory();
  if (std::isnan(radius)) return Invalid("radius: expected a number, got NaN");
  ARROW_RETURN_NOT_OK(rows.CheckQuery(query));
  const Ending ending(range);
  const Passing passing(range.filter, rows, reader.version().rows, hidden());
  return pennon::Search(searched(), reader, rows.MakeQuery(query.data()), passing, ending)
      .Within(radius, static_cast<size_t>(std::max<int64_t>(range.ef, 1)), range.exact);
}

Result<std::vector<Answer>> LiveIndex::Impl::SearchBatch(const graph::Graph::Reader& reader, const arrow::Array& array,
                                                         const SearchOptions& search, const BatchOptions& batch) const {
  if (!reader) return NoMemory();
  ARROW_RETURN_NOT_OK(CheckK(search.k));
  ARROW_RETURN_NOT_OK(CheckThreads(batch.threads));
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
  std::vector<Answer> answers(n);
  if (n == 0) return answers;
  const size_t threads = std::min(ThreadsOf(batch.threads), n);
  const uint32_t visible = reader.version().rows;
  Passing passing_all(search.filter, rows, visible, hidden());
  Remembered remembered(scratch_memory);
  if (passing_all.asks() && n > 1) {
    if (!remembered.Reset(visible)) return NoMemory();
    passing_all.Remember(&remembered);
  }
  const Ending ending(search);
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
      const auto ask = [&](const Passing& passing) {
        return pennon::Search(searched(), own, query, passing, ending)
            .Nearest(static_cast<size_t>(search.k), EfOf(search), search.exact)
            .Value(&answers[i]);
      };
      return batch.filters.empty() ? ask(passing_all) : ask(Passing(batch.filters[i], rows, visible, hidden()));
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
  Impl(const Impl& other) : index(other.index), version(other.version) { graph::Graph::Pin(version); }
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

Result<Answer> Snapshot::SearchRange(std::span<const float> query, float radius, const RangeOptions& options) const {
  return Guard([&] { return impl_->index->SearchRange(impl_->Read(), query, radius, options); });
}

Result<Explanation> Snapshot::Explain(std::span<const float> query, const SearchOptions& options) const {
  return Guard([&]() -> Result<Explanation> {
    Explanation explanation;
    ARROW_RETURN_NOT_OK(impl_->index->Search(impl_->Read(), query, options, &explanation).Value(&explanation.answer));
    return explanation;
  });
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

Result<lance::IndexSummary> Snapshot::ToLance(lance::Dataset& dataset, const lance::IndexOptions& options) const {
  return Guard([&]() -> Result<lance::IndexSummary> {
    const LiveIndex::Impl& index = *impl_->index;
    if (index.hidden_rows > 0) {
      return Status::NotImplemented(
          "snapshot: expected rows that are in a table, got ", Plain(index.hidden_rows),
          " that were deleted when the index was loaded; LoadOptions::rebuild leaves them out");
    }
    // A reader while the graph is copied, and not while files are written: it keeps all that the writer gives up.
    const auto graph = [&]() -> Result<std::shared_ptr<arrow::RecordBatch>> {
      const graph::Graph::Reader reader = impl_->Read();
      if (!reader) return NoMemory();
      // Lance does not read distances of edges; those of codes are a quarter of the work.
      const bool coded = index.coded(size());
      const graph::Scorer scorer = MakeScorer(coded ? index.coded_rows : index.exact_rows);
      ARROW_ASSIGN_OR_RAISE(const auto batch,
                            pennon::ToLanceHnswBatch(index.graph, reader, scorer, index.options.build, index.pool,
                                                     {.coded = coded}, ThreadsOf(options.threads)));
      const graph::Version& version = reader.version();
      const StoredSurvey survey = {.survey = version.survey,
                                   .largest_norm = version.largest_norm,
                                   .codes = coded,
                                   .seed = index.options.build.seed};
      const auto metadata = batch->schema()->metadata()->Copy();
      metadata->Append(kSurveyKey, survey.ToJson());
      return batch->ReplaceSchemaMetadata(metadata);
    };
    const auto nearest = [&](std::span<const float> vector, int64_t k) -> Result<std::vector<uint32_t>> {
      ARROW_ASSIGN_OR_RAISE(const Answer answer, index.Search(impl_->Read(), vector, {.k = k}));
      std::vector<uint32_t> ids;
      ids.reserve(answer.rows.size());
      for (const SearchResult& row : answer.rows) ids.push_back(row.id);
      return ids;
    };
    const std::vector<uint64_t> places = index.places.Of(size());
    return AddLanceIndex(dataset.impl_->table, options,
                         {.options = index.options,
                          .store = index.rows,
                          .rows = size(),
                          .places = places,
                          .make_graph = graph,
                          .nearest = nearest});
  });
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
    ARROW_RETURN_NOT_OK(CheckOptions(options));
    ARROW_RETURN_NOT_OK(CheckSimd());
    auto impl = std::make_shared<Impl>(options);
    if (!impl->graph.Init()) {
      if (impl->totals.refused == 0) return Status::OutOfMemory("no memory for an index");
      return CapacityError("memory: the limit is ", options.memory_limit, " bytes, an empty index takes at least ",
                           impl->totals.refused.load());
    }
    return LiveIndex(std::move(impl));
  });
}

Result<LiveIndex> LiveIndex::Assemble(const Parts& parts) {
  ARROW_ASSIGN_OR_RAISE(LiveIndex index, Make(parts.options));
  Impl& impl = *index.impl_;
  if (parts.graph.rows > impl.options.max_rows) {
    return CapacityError("rows: the limit is ", impl.options.max_rows, ", the index has ", parts.graph.rows);
  }
  const std::lock_guard lock(impl.writer);
  const Status status = impl.Assemble(parts);
  if (status.IsOutOfMemory() && impl.totals.refused > 0) {
    return CapacityError("memory: the limit is ", impl.totals.limit, " bytes, the index takes at least ",
                         impl.totals.refused.load());
  }
  ARROW_RETURN_NOT_OK(status);
  return index;
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
      if (column >= 0) {
        return Invalid(
            "vector_column: expected one column ",
            name.empty() ? "of type FixedSizeList, found two; name one in the options" : "'" + name + "', found two");
      }
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
        return Invalid("row_id_column: expected one column '", impl_->options.row_id_column, "' in ",
                       batch.schema()->ToString());
      }
    }
    return impl_->Append(batch.column(column), resolved, news);
  });
}

Result<Snapshot> LiveIndex::GetSnapshot() const {
  return Guard([&]() -> Result<Snapshot> {
    const graph::Graph::Reader reader(impl_->graph);
    if (!reader) return NoMemory();
    const graph::Version* version = &reader.version();
    graph::Graph::Pin(version);
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

Result<Answer> LiveIndex::SearchRange(std::span<const float> query, float radius, const RangeOptions& options) const {
  return Guard([&] { return impl_->SearchRange(graph::Graph::Reader(impl_->graph), query, radius, options); });
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

namespace {

Result<MemoryUsage> Estimate(const LiveIndexOptions& options, uint64_t rows, const EstimateOptions& estimate) {
  ARROW_RETURN_NOT_OK(CheckOptions(options));
  if (rows > options.max_rows) return Invalid("rows: expected at most ", options.max_rows, ", got ", rows);
  const double values = static_cast<double>(rows) * options.dim;
  if (values > 1e18) return Invalid("rows: expected fewer than 10^18 values in all, got ", rows, " rows");
  if (estimate.batch_rows < 1) return Invalid("batch_rows: expected at least 1, got 0");
  ARROW_RETURN_NOT_OK(CheckThreads(estimate.threads));
  const uint64_t codes = options.codes == Codes::kNone ? 0 : CodeStore::EstimateBytes(options.dim, rows);
  const graph::Params params = GraphParams(options.build);
  const graph::Graph::Bytes lists =
      graph::Graph::EstimateBytes(params, static_cast<uint32_t>(options.dim), rows, estimate.batch_rows);
  const size_t threads = ThreadsOf(estimate.threads);
  // Empty ones take nothing.
  PoolAllocator::Totals totals;
  PoolAllocator none(options.pool, totals);
  const RowStore vectors(options.dim, KindOf(options.metric), none);
  const CodeStore coded(options.dim, KindOf(options.metric), none);
  const size_t query_bytes = QueryScratch::Bytes({vectors, codes == 0 ? nullptr : &coded});
  MemoryUsage usage;
  usage.vectors_bytes = static_cast<int64_t>(
      RowStore::EstimateBytes(options.dim, KindOf(options.metric), estimate.half, estimate.copied, rows));
  if (!estimate.copied) {
    usage.caller_bytes = static_cast<int64_t>(rows) * options.dim * static_cast<int64_t>(estimate.half ? 2 : 4);
  }
  usage.codes_bytes = static_cast<int64_t>(codes);
  usage.graph_bytes = static_cast<int64_t>(lists.lists);
  usage.versions_bytes = static_cast<int64_t>(lists.old);
  usage.other_bytes = static_cast<int64_t>(graph::Graph::EstimateScratch(
      params, static_cast<uint32_t>(options.dim), rows, estimate.batch_rows, threads, query_bytes));
  return usage;
}

}  // namespace

Result<MemoryUsage> EstimateMemory(const LiveIndexOptions& options, uint64_t rows, const EstimateOptions& estimate) {
  return Guard([&] { return Estimate(options, rows, estimate); });
}

void LiveIndex::Trim() {
  std::lock_guard lock(impl_->writer);
  impl_->graph.Trim();
  impl_->graph.ReleaseIdle();
}

}  // namespace pennon::inline PENNON_ABI
