// ctest: labels=contract-1,contract-2,contract-3,contract-5,asan timeout=300
// What readers and the writer do beside each other, enumerated on one thread: after every step of the writer all
// readers look, and at every list that a search reads the writer does its work.
#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "graph/graph.h"
#include "index/pool_allocator.h"
#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/steps.h"
#include "support/vectors.h"

namespace pennon {
namespace {

// All that a version says: how many neighbours each list has, and which.
using Lists = std::vector<uint32_t>;

Lists ListsOf(const graph::Graph& graph, const graph::Version& version) {
  Lists lists;
  for (uint32_t row = 0; row < version.rows; ++row) {
    for (int32_t level = 0; level <= graph.LevelOf(row); ++level) {
      const auto neighbors = graph.ReadList(row, level, version.tick)->neighbors();
      lists.push_back(static_cast<uint32_t>(neighbors.size()));
      lists.insert(lists.end(), neighbors.begin(), neighbors.end());
    }
  }
  lists.insert(lists.end(), {version.rows, version.entry, static_cast<uint32_t>(version.levels)});
  return lists;
}

// Rows are points on a circle.
graph::Scorer Circle() {
  static constexpr auto place = [](uint32_t row) { return static_cast<float>(row * 0x9E3779B1u % 1024); };
  return {.source = nullptr,
          .scratch_bytes = sizeof(float),
          .probe = [](const graph::Scorer&, uint32_t row, graph::Mode, void* scratch) noexcept {
            *static_cast<float*>(scratch) = place(row);
            return graph::Probe{.score =
                                    [](const graph::Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept {
                                      for (size_t i = 0; i < n; ++i) {
                                        const float apart =
                                            std::abs(*static_cast<const float*>(probe.vector) - place(ids[i]));
                                        out[i] = std::min(apart, 1024 - apart);
                                      }
                                    },
                                .source = nullptr,
                                .vector = scratch};
          }};
}

struct OwnGraph {
  explicit OwnGraph(const graph::Params& params)
      : lists(arrow::default_memory_pool(), totals),
        scratch(arrow::default_memory_pool(), totals),
        graph(params, lists, scratch) {
    EXPECT_TRUE(graph.Init());
  }

  PoolAllocator::Totals totals;
  PoolAllocator lists;
  PoolAllocator scratch;
  graph::Graph graph;
};

// A graph's versions and what each must go on to say. A twin has linked the batch before, so that it is known what its
// publish will show.
class Watched {
 public:
  Watched(const graph::Params& params, uint64_t seed) : random_(seed), own_(params), twin_(params) {
    newest_ = std::make_shared<const Lists>(ListsOf(own_.graph, graph::Graph::Reader(own_.graph).version()));
  }
  ~Watched() { Leave(); }

  // Links a batch, after it was stopped before each wave that `tried` names.
  void Append(uint32_t rows, const std::vector<int>& tried) {
    ASSERT_EQ(twin_.graph.Link(rows, Circle(), 1, [] { return false; }), graph::Outcome::kOk);
    twin_.graph.Publish();
    next_ = std::make_shared<const Lists>(ListsOf(twin_.graph, graph::Graph::Reader(twin_.graph).version()));
    graph::after_step = [this](std::string_view step) { Look(step); };
    for (int waves : tried) {
      if (own_.graph.Link(rows, Circle(), 1, [&] { return waves-- == 0; }) == graph::Outcome::kOk) own_.graph.Abort();
    }
    EXPECT_EQ(own_.graph.Link(rows, Circle(), 1, [] { return false; }), graph::Outcome::kOk);
    own_.graph.Publish();
    graph::after_step = nullptr;
    EXPECT_EQ(newest_, next_) << "was not seen to be published";
  }

  void Leave() {
    for (const auto& walker : walkers_) {
      while (!walker->GoOn() && !::testing::Test::HasFailure()) {
      }
    }
    walkers_.clear();
    held_.clear();
    own_.graph.Trim();
  }
  const graph::Graph& graph() const { return own_.graph; }
  uint64_t looks() const { return looks_; }

 private:
  struct Held {
    explicit Held(graph::Graph& of, std::shared_ptr<const Lists> all) : graph(of), lists(std::move(all)) {
      const graph::Graph::Reader reader(of);
      version = &reader.version();
      graph::Graph::Pin(version);
    }
    ~Held() { graph.Unpin(version); }

    graph::Graph& graph;
    const graph::Version* version;
    std::shared_ptr<const Lists> lists;
  };

  // A search that has loaded each list's newest record and goes on to those of its version, a record every `pace`
  // looks.
  struct Walker {
    Walker(const graph::Graph& graph, std::shared_ptr<const Held> snapshot, std::shared_ptr<const Lists> all,
           uint64_t every)
        : pace(every), held(std::move(snapshot)), reader(graph, held ? held->version : nullptr), lists(std::move(all)) {
      constexpr uint64_t kNewest = ~uint64_t{0};
      for (uint32_t row = 0; row < reader.version().rows; ++row) {
        for (int32_t level = 0; level <= graph.LevelOf(row); ++level) at.push_back(graph.ReadList(row, level, kNewest));
      }
    }
    void Look() {
      if (++looks % pace == 0) GoOn();
    }
    // True: it is there, with all lists.
    bool GoOn() {
      bool there = true;
      const uint32_t* expected = lists->data();
      for (const graph::Record*& record : at) {
        if (record->tick > reader.version().tick) {
          record = record->previous.load(std::memory_order_acquire);
          there = false;
        } else {
          EXPECT_TRUE(std::ranges::equal(record->neighbors(), std::span(expected + 1, *expected)));
        }
        expected += 1 + *expected;
      }
      return there;
    }

    const uint64_t pace;
    uint64_t looks = 0;
    std::shared_ptr<const Held> held;
    graph::Graph::Reader reader;
    std::shared_ptr<const Lists> lists;
    std::vector<const graph::Record*> at;
  };

  void Look(std::string_view step) {
    if (step == "read" || step == "forget" || ::testing::Test::HasFailure()) return;
    SCOPED_TRACE("after step " + std::to_string(++looks_) + ", " + std::string(step));
    if (step == "publish") newest_ = next_;
    EXPECT_EQ(ListsOf(own_.graph, graph::Graph::Reader(own_.graph).version()), *newest_) << "a new search";
    for (const auto& held : held_) {
      const graph::Graph::Reader reader(own_.graph, held->version);
      EXPECT_EQ(ListsOf(own_.graph, reader.version()), *held->lists) << "a snapshot";
    }
    for (const auto& walker : walkers_) walker->Look();
    ComeOrGo();
  }

  void ComeOrGo() {
    constexpr size_t kMost = 3;
    const auto leave = [&](auto& from) {
      if (!from.empty()) from.erase(from.begin() + static_cast<std::ptrdiff_t>(random_() % from.size()));
    };
    const uint64_t pace = uint64_t{1} << random_() % 10;
    switch (random_() % 24) {
      case 0:
        if (held_.size() < kMost) held_.push_back(std::make_shared<Held>(own_.graph, newest_));
        break;
      case 1: leave(held_); break;
      case 2:
        if (walkers_.size() < kMost) walkers_.push_back(std::make_unique<Walker>(own_.graph, nullptr, newest_, pace));
        break;
      case 3:
        if (walkers_.size() < kMost && !held_.empty()) {
          const auto& held = held_[random_() % held_.size()];
          walkers_.push_back(std::make_unique<Walker>(own_.graph, held, held->lists, pace));
        }
        break;
      case 4:
        if (!walkers_.empty() && walkers_[0]->GoOn()) walkers_.erase(walkers_.begin());
        break;
      default: break;
    }
  }

  std::mt19937_64 random_;
  OwnGraph own_;
  OwnGraph twin_;
  std::shared_ptr<const Lists> newest_;
  std::shared_ptr<const Lists> next_;
  std::vector<std::shared_ptr<const Held>> held_;
  std::vector<std::unique_ptr<Walker>> walkers_;
  uint64_t looks_ = 0;
};

TEST(Interleavings, ListsAfterEveryStep) {
  uint64_t looks = 0;
  for (uint32_t batch = 1; batch <= 64; ++batch) {
    SCOPED_TRACE("batches of " + std::to_string(batch));
    const graph::Params params = {.max_level = 4, .m = 2 + batch % 3, .ef_construction = 8, .seed = batch};
    Watched watched(params, batch);
    std::mt19937_64 random(batch);
    watched.Append(1 + batch % 40, {1});
    for (int i = 0; i < 3 && !HasFailure(); ++i) {
      watched.Append(batch, {1 + i, static_cast<int>(random() % batch), static_cast<int>(batch)});
    }
    watched.Leave();
    ASSERT_FALSE(HasFailure());
    EXPECT_EQ(watched.graph().live_versions(), 1u);
    EXPECT_EQ(watched.graph().versions_bytes(), sizeof(graph::Version)) << "old records";
    looks += watched.looks();
  }
  EXPECT_GT(looks, 20'000u);
}

// Each wave of a batch is stopped, in a graph of few rows, where a wave is a row.
TEST(Interleavings, ListsAfterEveryStepOfABatchStoppedBeforeEachWave) {
  for (const uint32_t before : {0u, 1u, 7u, 150u}) {
    Watched watched({.max_level = 4, .m = 3, .ef_construction = 8, .seed = 5}, before);
    if (before > 0) watched.Append(before, {});
    std::vector<int> every;
    for (int wave = 1; wave <= 12; ++wave) every.push_back(wave);
    watched.Append(12, every);
    watched.Append(12, every);
    ASSERT_FALSE(HasFailure()) << before;
  }
}

constexpr int kDim = 6;

std::shared_ptr<arrow::Array> Rows(size_t n, uint64_t seed) { return ToArray(Normal(n, kDim, seed), kDim); }

const Vectors& Queries() {
  static const Vectors queries = Normal(4, kDim, 77);
  return queries;
}

using Answers = std::vector<std::vector<SearchResult>>;

Answers AnswersOf(const Snapshot& snapshot) {
  const Vectors& queries = Queries();
  static const RowFilter third = RowFilter::Predicate([](uint64_t row_id) { return row_id % 3 == 0; });
  Answers answers;
  answers.push_back(snapshot.Search(queries[0], {.k = 6, .ef = 12}).ValueOrDie().rows);
  answers.push_back(snapshot.Search(queries[1], {.k = 4, .ef = 8, .filter = third}).ValueOrDie().rows);
  answers.push_back(snapshot.SearchRange(queries[2], 0.9f, {.ef = 8}).ValueOrDie().rows);
  answers.push_back(snapshot.Search(queries[3], {.k = 3, .exact = true}).ValueOrDie().rows);
  return answers;
}

struct Kind {
  Metric metric;
  Codes codes;
  size_t rows;  // before the batches
};

std::vector<Kind> Kinds() {
  std::vector<Kind> kinds;
  for (const Metric metric : {Metric::kL2, Metric::kCosine, Metric::kDot}) {
    // Codes come with 1,024 rows, so that the first batch makes them.
    for (const Kind& kind : {Kind{metric, Codes::kNone, 3}, Kind{metric, Codes::kNone, 400},
                             Kind{metric, Codes::kQuantized, 1000}, Kind{metric, Codes::kQuantized, 1400}}) {
      kinds.push_back(kind);
    }
  }
  return kinds;
}

LiveIndex Filled(const Kind& kind) {
  LiveIndex index =
      LiveIndex::Make(
          {.dim = kDim, .metric = kind.metric, .codes = kind.codes, .build = {.m = 4, .ef_construction = 12}})
          .ValueOrDie();
  EXPECT_TRUE(index.Append(Rows(kind.rows, 1), {.threads = 1}).ok());
  return index;
}

// With an index around the graph: rows, codes and what is known of them go with a version, too.
TEST(Interleavings, AnswersAfterEveryStep) {
  uint64_t looks = 0;
  for (const Kind& kind : Kinds()) {
    LiveIndex index = Filled(kind);
    LiveIndex twin = Filled(kind);
    std::vector<std::pair<Snapshot, Answers>> held;
    for (const size_t batch : {64, 1, 2, 17}) {
      SCOPED_TRACE(std::string(ToString(kind.metric)) + ", " + std::to_string(kind.rows) + " rows and " +
                   std::to_string(batch));
      held.emplace_back(index.GetSnapshot().ValueOrDie(), AnswersOf(index.GetSnapshot().ValueOrDie()));
      ASSERT_TRUE(twin.Append(Rows(batch, batch), {.threads = 1}).ok());
      const Answers next = AnswersOf(twin.GetSnapshot().ValueOrDie());
      Answers expected = held.back().second;
      std::stop_source stop;
      int waves = 0;
      const auto look = [&](std::string_view step) {
        if (HasFailure()) return;
        if (step == "wave" && ++waves == 2) stop.request_stop();
        if (step == "publish") expected = next;
        if (step == "read" || step == "forget") return;
        const bool seldom = step == "wave" || step == "publish" || step == "abort" || step == "drop version";
        if (++looks % 8 != 0 && !seldom) return;
        EXPECT_EQ(AnswersOf(index.GetSnapshot().ValueOrDie()), expected) << "a new search, after " << step;
        const auto& [snapshot, answers] = held[looks % held.size()];
        EXPECT_EQ(AnswersOf(snapshot), answers) << "a snapshot, after " << step;
        if (looks % 50 == 0 && held.size() > 1) {
          std::thread([&] { held.erase(held.begin() + static_cast<std::ptrdiff_t>(looks / 50 % held.size())); }).join();
        }
      };
      graph::after_step = look;
      const auto stopped = index.Append(Rows(batch + 60, 99), {.threads = 1, .stop_token = stop.get_token()});
      const auto appended = index.Append(Rows(batch, batch), {.threads = 1});
      graph::after_step = nullptr;
      EXPECT_TRUE(stopped.status().IsCancelled()) << stopped.status().ToString();
      ASSERT_TRUE(appended.ok());
      ASSERT_EQ(expected, next) << "was not seen to be published";
      ASSERT_FALSE(HasFailure());
    }
  }
  EXPECT_GT(looks, 10'000u);
}

TEST(Interleavings, TheWriterWorksAtEachListThatASearchReads) {
  uint64_t worked = 0;
  for (const Kind& kind : Kinds()) {
    LiveIndex index = Filled(kind);
    const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
    const Answers answers = AnswersOf(snapshot);
    std::stop_source stopped;
    stopped.request_stop();
    constexpr uint64_t kMost = 60;
    for (uint64_t at = 0, all = 1; at < std::min(all, kMost) && !HasFailure(); ++at) {
      const auto search = [&](const auto& ask, const Answers& expected) {
        uint64_t reads = 0;
        graph::after_step = [&](std::string_view step) {
          if (step != "read" || reads++ != at) return;
          ++worked;
          ASSERT_TRUE(index.Append(Rows(1 + at % 5, at), {.threads = 1}).ok());
          ASSERT_TRUE(
              index.Append(Rows(3, at), {.threads = 1, .stop_token = stopped.get_token()}).status().IsCancelled());
          ASSERT_TRUE(index.Append(Rows(1, at + 1), {.threads = 1}).ok());
          index.Trim();
        };
        const Answers found = ask();
        graph::after_step = nullptr;
        EXPECT_EQ(found, expected) << "at read " << at;
        return reads;
      };
      all = search([&] { return AnswersOf(snapshot); }, answers);
      // Its version goes out of use on the way.
      search([&] { return Answers{index.Search(Queries()[0], {.k = 6, .ef = 12}).ValueOrDie().rows}; },
             {AnswersOf(index.GetSnapshot().ValueOrDie())[0]});
    }
  }
  EXPECT_GT(worked, 300u);
}

}  // namespace
}  // namespace pennon
