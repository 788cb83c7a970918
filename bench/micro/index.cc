// A live index as its users see it, on one thread.
#include <algorithm>
#include <cstdint>
#include <vector>

#include <arrow/util/logging.h>

#include "pennon/live_index.h"
#include "support.h"

namespace pennon {
namespace {

LiveIndex MakeIndex(int64_t rows) {
  const Sample& sample = Sample::Get();
  LiveIndex index = LiveIndex::Make({.dim = sample.dim(), .metric = Metric::kCosine}).ValueOrDie();
  ARROW_CHECK_OK(index.Append(sample.Rows(0, rows)).status());
  return index;
}

LiveIndex& SampleIndex() {
  static LiveIndex index = MakeIndex(kIndexed);
  return index;
}

void RunSearches(benchmark::State& state, const SearchOptions& options) {
  const auto& queries = Sample::Get().queries;
  const uint64_t before = SampleIndex().GetStats().search_distances;
  Turns turns(queries.size(), 1);
  for (auto _ : state) benchmark::DoNotOptimize(SampleIndex().Search(queries[turns.Next()], options).ValueOrDie());
  state.counters["distances"] = PerIteration(SampleIndex().GetStats().search_distances - before);
}

void Search(benchmark::State& state) {
  RunSearches(state, {.k = kResults, .ef = state.range(0)});
  SetItems(state, "queries");
}
BENCHMARK(Search)->Name("search")->ArgName("ef")->Arg(64)->Arg(200)->Unit(benchmark::kMicrosecond);

void Scan(benchmark::State& state) {
  RunSearches(state, {.k = kResults, .exact = true});
  SetItems(state, "rows", kIndexed);
}
BENCHMARK(Scan)->Name("scan")->Unit(benchmark::kMicrosecond);

// Batches of one row, into an index of its own that grows by them. The median time of publishing is a counter.
void AppendRow(benchmark::State& state) {
  LiveIndex index = MakeIndex(state.range(0));
  Turns turns(Sample::Get().queries.size(), 1);
  std::vector<int64_t> nanos;
  for (auto _ : state) {
    const auto row = Sample::Get().Rows(kIndexed + static_cast<int64_t>(turns.Next()), 1);
    ARROW_CHECK_OK(index.Append(row, {.threads = 1}).status());
    nanos.push_back(index.GetStats().last_publish_nanos);
  }
  SetItems(state, "rows");
  std::nth_element(nanos.begin(), nanos.begin() + static_cast<int64_t>(nanos.size() / 2), nanos.end());
  state.counters["publish_nanos"] = static_cast<double>(nanos[nanos.size() / 2]);
}
// 1100, since the append that makes row 1024 encodes all rows before it.
BENCHMARK(AppendRow)
    ->Name("append_row")
    ->ArgName("into")
    ->Arg(1100)
    ->Arg(kIndexed)
    ->Iterations(500)
    ->Unit(benchmark::kMicrosecond);

// Taken and released, of the newest version.
void TakeSnapshot(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(SampleIndex().GetSnapshot().ValueOrDie());
  SetItems(state, "snapshots");
}
BENCHMARK(TakeSnapshot)->Name("snapshot");

}  // namespace
}  // namespace pennon
