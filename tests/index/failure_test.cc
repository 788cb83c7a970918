// ctest: labels=contract-1,contract-5,asan timeout=300
// Each allocation of an append fails once: nothing changes, and the next append gives the graph as if nothing had
// been tried.
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/pennon.h"
#include "support/failing_heap.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 4;

std::shared_ptr<arrow::Array> Rows(int n, uint64_t seed) {
  return ToArray(Normal(static_cast<size_t>(n), kDim, seed), kDim);
}

// What a failed append must leave alone: answers, graph, rows, and memory but for scratch.
struct State {
  explicit State(const LiveIndex& index) : size(index.size()), usage(index.GetMemoryUsage()) {
    const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
    graph = snapshot.ToLanceHnswBatch().ValueOrDie();
    rows = snapshot.ToRecordBatch().ValueOrDie();
    for (const auto& query : Normal(3, index.options().dim, 9)) {
      answers.push_back(snapshot.Search(query, {.k = 5, .ef = 10}).ValueOrDie().rows);
    }
  }
  void ExpectSame(const State& other) const {
    EXPECT_EQ(size, other.size);
    EXPECT_EQ(answers, other.answers);
    EXPECT_TRUE(graph->Equals(*other.graph, true));
    EXPECT_TRUE(rows->Equals(*other.rows, true));
    for (const auto part : {&MemoryUsage::vectors_bytes, &MemoryUsage::codes_bytes, &MemoryUsage::versions_bytes,
                            &MemoryUsage::graph_bytes}) {
      EXPECT_NEAR(static_cast<double>(usage.*part), static_cast<double>(other.usage.*part), 2048)
          << "but for room in lists of versions, segments and the like";
    }
  }

  uint32_t size;
  MemoryUsage usage;
  std::shared_ptr<arrow::RecordBatch> graph;
  std::shared_ptr<arrow::RecordBatch> rows;
  std::vector<std::vector<SearchResult>> answers;
};

// Calls what fails at its first allocation, at its second, and so on until it succeeds. How often it failed.
int FailAtEach(const std::function<arrow::Status(int64_t left)>& call, const std::function<void()>& after_failure) {
  for (int64_t left = 0;; ++left) {
    const arrow::Status status = call(left);
    if (status.ok()) return static_cast<int>(left);
    EXPECT_TRUE(status.IsOutOfMemory() || status.message().find("threads") != std::string::npos) << status.ToString();
    after_failure();
    if (::testing::Test::HasFailure()) return static_cast<int>(left);
  }
}

struct Kind {
  int dim;
  Codes codes;
  int threads;
};

class EachAllocation : public ::testing::TestWithParam<Kind> {
 protected:
  // Of batches that come to an index while a snapshot is held; another gets them without failures. append(index, batch,
  // left) is to fail at an allocation.
  template <typename Append>
  static int OfAnAppend(arrow::MemoryPool* pool, Append&& append) {
    const LiveIndexOptions options{.dim = GetParam().dim,
                                   .metric = Metric::kCosine,
                                   .codes = GetParam().codes,
                                   .build = {.m = 4, .ef_construction = 16},
                                   .pool = pool};
    LiveIndex clean = LiveIndex::Make(options).ValueOrDie();
    LiveIndex tried = LiveIndex::Make(options).ValueOrDie();
    std::vector<Snapshot> held;
    int failures = 0;
    for (const size_t rows : {300, 600, 500, 1}) {  // codes come with the third
      SCOPED_TRACE("a batch of " + std::to_string(rows));
      const auto batch = ToArray(Normal(rows, GetParam().dim, rows), GetParam().dim);
      const State before(tried);
      failures += FailAtEach([&](int64_t left) { return append(tried, batch, left); },
                             [&] {
                               State(tried).ExpectSame(before);
                               tried.Trim();  // or scratch would stay, and not be allocated again
                             });
      EXPECT_TRUE(clean.Append(batch, {.threads = 1}).ok());
      State(tried).ExpectSame(State(clean));
      EXPECT_TRUE(tried.Verify().ValueOrDie().ok);
      if (HasFailure()) break;
      held.push_back(tried.GetSnapshot().ValueOrDie());
      held.push_back(clean.GetSnapshot().ValueOrDie());
    }
    return failures;
  }
};

TEST_P(EachAllocation, OfThePool) {
  for (const bool once : {true, false}) {
    FailingPool pool;
    pool.once = once;
    const int failures = OfAnAppend(&pool, [&](LiveIndex& index, const auto& batch, int64_t left) {
      pool.left = left;
      arrow::Status status = index.Append(batch, {.threads = GetParam().threads}).status();
      pool.left = -1;
      return status;
    });
    EXPECT_GT(failures, 100);
    EXPECT_EQ(pool.bytes_allocated(), 0);
  }
}

TEST_P(EachAllocation, OfTheHeap) {
  const int failures = OfAnAppend(nullptr, [&](LiveIndex& index, const auto& batch, int64_t left) {
    const FailingHeap failing(left);
    return index.Append(batch, {.threads = GetParam().threads}).status();
  });
  EXPECT_GE(failures, GetParam().threads - 1) << "there are threads to be started";
}

INSTANTIATE_TEST_SUITE_P(Failure, EachAllocation,
                         ::testing::Values(Kind{4, Codes::kNone, 1}, Kind{4, Codes::kNone, 2},
                                           Kind{20, Codes::kQuantized, 1}, Kind{20, Codes::kQuantized, 2}),
                         [](const auto& kind) {
                           return std::string(kind.param.codes == Codes::kNone ? "Exact" : "Coded") +
                                  std::to_string(kind.param.threads);
                         });

// Of everything else that gives a Status, but for what reads or writes JSON: nlohmann's destructors allocate.
TEST(Failure, EachHeapAllocationOfEachCall) {
  const LiveIndexOptions options{.dim = kDim, .build = {.m = 4, .ef_construction = 16}};
  LiveIndex index = LiveIndex::Make(options).ValueOrDie();
  ASSERT_TRUE(index.Append(Rows(1200, 1)).ok());
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  const std::vector<float> query = Normal(1, kDim, 2)[0];
  const auto queries = Rows(3, 2);
  const auto lists = snapshot.ToLanceHnswBatch().ValueOrDie();
  const Answer answer = snapshot.Search(query).ValueOrDie();
  const SearchOptions third = {.filter = RowFilter::Predicate([](uint64_t row_id) { return row_id % 3 == 0; })};
  const RangeOptions range = {.filter = third.filter};
  VectorStore store = VectorStore::Make(kDim, Metric::kL2).ValueOrDie();
  ASSERT_TRUE(store.AppendBatch(Rows(1200, 1), 0).ok());
  const VectorStoreSnapshot vectors = store.GetSnapshot();
  HnswGraph graph = HnswGraph::FromLanceHnswBatch(*lists).ValueOrDie();
  const std::vector<std::pair<const char*, std::function<arrow::Status()>>> calls = {
      {"Make", [&] { return LiveIndex::Make(options).status(); }},
      {"GetSnapshot", [&] { return index.GetSnapshot().status(); }},
      {"Search", [&] { return snapshot.Search(query, third).status(); }},
      {"exact Search", [&] { return snapshot.Search(query, {.exact = true}).status(); }},
      {"SearchRange", [&] { return snapshot.SearchRange(query, 0.5f, range).status(); }},
      {"Explain", [&] { return snapshot.Explain(query).status(); }},
      {"SearchBatch", [&] { return snapshot.SearchBatch(*queries, third, {.threads = 2}).status(); }},
      {"Verify", [&] { return snapshot.Verify().status(); }},
      {"ToRecordBatch", [&] { return snapshot.ToRecordBatch().status(); }},
      {"ToRecordBatch of an answer", [&] { return ToRecordBatch(answer).status(); }},
      {"HnswGraph::Search", [&] { return graph.Search(query, {}, vectors).status(); }},
      {"EstimateMemory", [&] { return EstimateMemory(options, 1000).status(); }},
  };
  for (const auto& [name, call] : calls) {
    SCOPED_TRACE(name);
    const auto fail = [&](int64_t left) {
      const FailingHeap failing(left);
      return call();
    };
    FailAtEach(fail, [] {});
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(snapshot.Search(query).ValueOrDie().rows, answer.rows);
  EXPECT_TRUE(snapshot.ToLanceHnswBatch().ValueOrDie()->Equals(*lists, true));
}

// A batch that is stopped between waves, and then another: the graph is as if the first had not been.
void StopInTheMiddle(const LiveIndexOptions& options, const std::function<Vectors(size_t n, uint64_t seed)>& make) {
  LiveIndex clean = LiveIndex::Make(options).ValueOrDie();
  LiveIndex tried = LiveIndex::Make(options).ValueOrDie();
  const auto append_both = [&](size_t n, uint64_t seed) {
    ASSERT_TRUE(clean.Append(ToArray(make(n, seed), kDim), {.threads = 1}).ok());
    ASSERT_TRUE(tried.Append(ToArray(make(n, seed), kDim), {.threads = 1}).ok());
  };
  append_both(1100, 1);
  for (const uint64_t stop_after : {500, 2000, 8000}) {
    std::stop_source stop;
    std::jthread stopper([&, from = tried.GetStats().build_distances] {
      while (tried.GetStats().build_distances < from + stop_after) std::this_thread::yield();
      stop.request_stop();
    });
    EXPECT_TRUE(tried.Append(ToArray(make(200'000, 2), kDim), {.threads = 1, .stop_token = stop.get_token()})
                    .status()
                    .IsCancelled());
    append_both(200, stop_after);
    ASSERT_TRUE(tried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(
        *clean.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie(), true));
  }
}

TEST(Failure, StoppedBatchesOfOtherRows) {
  StopInTheMiddle({.dim = kDim, .build = {.m = 6, .ef_construction = 16}},
                  [](size_t n, uint64_t seed) { return Normal(n, kDim, seed); });
}

// What the version knows of its rows' norms goes back, too.
TEST(Failure, StoppedBatchesOfLongerRows) {
  StopInTheMiddle({.dim = kDim, .metric = Metric::kDot, .build = {.m = 6, .ef_construction = 16}},
                  [](size_t n, uint64_t seed) {
                    Vectors vectors = Normal(n, kDim, seed);
                    for (auto& vector : vectors) {
                      for (float& value : vector) value *= seed == 2 ? 100.0f : 1.0f;
                    }
                    return vectors;
                  });
}

// Equal vectors soon leave the nearest rows without room, so that parents come from the open row's cursor.
TEST(Failure, StoppedBatchesOfEqualRows) {
  StopInTheMiddle({.dim = kDim, .build = {.m = 2, .ef_construction = 4}},
                  [](size_t n, uint64_t) { return Vectors(n, std::vector<float>(kDim, 1.0f)); });
}

}  // namespace
}  // namespace pennon
