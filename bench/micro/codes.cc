// What it costs to make codes, of 384 dimensions under cosine.
#include "stores.h"

namespace pennon {
namespace {

SampleStores& Stores() {
  static SampleStores stores;
  return stores;
}

void EncodeRows(benchmark::State& state) {
  constexpr uint32_t kRows = 1000;
  SampleStores& stores = Stores();
  for (auto _ : state) {
    stores.codes.Restore(kIndexed - kRows);
    ARROW_CHECK(stores.codes.Append(stores.rows));
  }
  SetItems(state, "rows", kRows);
}
BENCHMARK(EncodeRows)->Name("encode_rows")->Unit(benchmark::kMicrosecond);

void EncodeQuery(benchmark::State& state) {
  FormsMemory forms(Stores());
  const auto& queries = Sample::Get().queries;
  Turns turns(queries.size(), 1);
  for (auto _ : state) benchmark::DoNotOptimize(forms.Encode(queries[turns.Next()]));
  SetItems(state, "queries");
}
BENCHMARK(EncodeQuery)->Name("encode_query");

void PrepareSketch(benchmark::State& state) {
  FormsMemory forms(Stores());
  CodedVector& coded = *forms.Encode(Sample::Get().queries[0]).coded;
  for (auto _ : state) {
    Stores().codes.PrepareSketch(coded, 1);
    benchmark::ClobberMemory();
  }
  SetItems(state, "queries");
}
BENCHMARK(PrepareSketch)->Name("prepare_sketch");

// What a graph under construction does for a query's code.
void LoadRow(benchmark::State& state) {
  FormsMemory forms(Stores());
  Turns turns(kIndexed, 1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(Stores().codes.Load(static_cast<uint32_t>(turns.Next()), forms.code()));
  }
  SetItems(state, "rows");
}
BENCHMARK(LoadRow)->Name("load_row");

}  // namespace
}  // namespace pennon
