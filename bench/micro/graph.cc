// Walks and links over the sample's rows, without what an index adds.
#include "graph/graph.h"

#include <chrono>
#include <numeric>
#include <vector>

#include "stores.h"

namespace pennon {
namespace {

struct SampleGraph : SampleStores {
  SampleGraph() {
    ARROW_CHECK(graph.Init());
    ARROW_CHECK(Link(kIndexed, DefaultThreads()));
    graph.Publish();
  }
  bool Link(int64_t n, size_t threads) {
    return graph.Link(static_cast<uint32_t>(n), MakeScorer(both), threads, [] { return false; }) == graph::Outcome::kOk;
  }

  static SampleGraph& Get() {
    static SampleGraph sample;
    return sample;
  }

  graph::Graph graph{GraphParams({.m = 16, .ef_construction = 100}), memory, memory};
};

// Runs the walk of `probe(i)` for the queries in turn.
template <typename MakeQueryProbe>
void RunWalks(benchmark::State& state, const graph::Graph::Reader& reader, size_t queries, MakeQueryProbe&& probe) {
  const auto ef = static_cast<size_t>(state.range(0));
  graph::Scratch& scratch = reader.scratch();
  for (auto* counter : {&scratch.computed, &scratch.sifted, &scratch.passed}) *counter = 0;
  Turns turns(queries, 1);
  for (auto _ : state) {
    ARROW_CHECK(SampleGraph::Get().graph.Walk(reader, probe(turns.Next()), {kResults, ef, kIndexed}) ==
                graph::Walked::kDone);
    benchmark::DoNotOptimize(scratch.beam.data());
  }
  SetItems(state, "queries");
  state.counters["distances"] = PerIteration(scratch.computed);
  state.counters["sifted"] = PerIteration(scratch.sifted);
  state.counters["passed"] = PerIteration(scratch.passed);
}

// From a query's floats to what is to be ranked exactly.
void Walk(benchmark::State& state) {
  SampleGraph& sample = SampleGraph::Get();
  const graph::Graph::Reader reader(sample.graph);
  const auto& queries = Sample::Get().queries;
  FormsMemory forms(sample);
  RunWalks(state, reader, queries.size(), [&](size_t query) {
    return MakeProbe(sample.both, forms.Encode(queries[query]), reader.version().survey.mode);
  });
}
BENCHMARK(Walk)->Name("walk")->ArgName("ef")->Arg(64)->Arg(200)->Unit(benchmark::kMicrosecond);

// Exact distances are looked up in tables that fit the second-level cache. What remains is lists, beam and visited set.
void WalkOfKnownDistances(benchmark::State& state) {
  constexpr size_t kQueries = 16;
  SampleGraph& sample = SampleGraph::Get();
  const graph::Graph::Reader reader(sample.graph);
  std::vector<uint32_t> ids(kIndexed);
  std::iota(ids.begin(), ids.end(), 0u);
  std::vector<std::vector<float>> tables(kQueries, std::vector<float>(kIndexed));
  for (size_t i = 0; i < kQueries; ++i) {
    const RowsQuery query = {sample.rows.MakeQuery(Sample::Get().queries[i].data())};
    MakeProbe(sample.both, query, {}).Score(ids.data(), ids.size(), tables[i].data());
  }
  RunWalks(state, reader, kQueries, [&](size_t query) {
    const auto look_up = [](const graph::Probe& probe, const uint32_t* rows, size_t n, float* out) noexcept {
      const auto* distances = static_cast<const float*>(probe.source);
      for (size_t i = 0; i < n; ++i) out[i] = distances[rows[i]];
    };
    return graph::Probe{.score = look_up, .source = tables[query].data(), .vector = nullptr, .least = 0};
  });
}
BENCHMARK(WalkOfKnownDistances)
    ->Name("walk_of_known_distances")
    ->ArgName("ef")
    ->Arg(64)
    ->Arg(200)
    ->Unit(benchmark::kMicrosecond);

// Plan, parents and apply. Batches are aborted again, so that every one meets the same graph.
void Link(benchmark::State& state) {
  SampleGraph& sample = SampleGraph::Get();
  const int64_t n = state.range(0);
  Turns turns(Sample::Get().queries.size(), static_cast<size_t>(n));
  const RowStore::Mark mark = sample.rows.GetMark();
  for (auto _ : state) {
    sample.Append(kIndexed + static_cast<int64_t>(turns.Next()), n);
    const auto start = std::chrono::steady_clock::now();
    ARROW_CHECK(sample.Link(n, 1));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(elapsed.count());
    sample.graph.Abort();
    sample.Restore(mark);
  }
  SetItems(state, "rows", n);
}
BENCHMARK(Link)->Name("link")->ArgName("rows")->Arg(1)->Arg(10)->Arg(1000)->UseManualTime()->Unit(
    benchmark::kMicrosecond);

}  // namespace
}  // namespace pennon
