// Distances and codes, of every table that the processor can run.
#include "kernels/kernels.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <arrow/buffer.h>
#include <benchmark/benchmark.h>

#include "support.h"

namespace pennon {
namespace {

constexpr size_t kBlock = 32;  // rows a call, as many as a list of level 0 has

void MeasureDistance(benchmark::State& state, decltype(KernelTable::l2_f32) distance, size_t dim) {
  const std::vector<float> a(dim, 0.5f);
  const std::vector<float> b(dim, 0.25f);  // finite as halves, too
  for (auto _ : state) benchmark::DoNotOptimize(distance(a.data(), b.data(), dim));
  SetItems(state, "distances");
}

size_t LastLevelCache() {
  int bytes = 32 << 20;
  for (const auto& cache : benchmark::CPUInfo::Get().caches) bytes = std::max(bytes, cache.size);
  return static_cast<size_t>(bytes);
}

// Rows of random codes, placed as a CodeStore does, and a query. All segments hold the same.
struct CodedSample {
  CodedSample(size_t dim, bool in_cache) : blocks((dim + kCodeBlock - 1) / kCodeBlock), codes(blocks * kCodeBlock) {
    const size_t sketch = blocks * kBlockBits + sizeof(CodeTerms);
    const size_t sketch_bytes = sketch <= 32 ? 32 : (sketch + 63) / 64 * 64;
    const auto shift =
        static_cast<uint32_t>(std::bit_width((size_t{2} << 20) / (sketch_bytes + blocks * kBlockNibbles)) - 1);
    rows = {nullptr, shift, blocks, sketch_bytes};
    // Else the sketches alone are several times what the cache holds.
    ids.resize(in_cache ? kBlock : (4 * LastLevelCache() / sketch_bytes) >> shift << shift);
    std::iota(ids.begin(), ids.end(), 0u);
    std::shuffle(ids.begin(), ids.end(), random);
    turns = Turns(ids.size(), kBlock);

    for (size_t first = 0; first < ids.size(); first += size_t{1} << shift) {
      memory.push_back(arrow::AllocateBuffer(static_cast<int64_t>(rows.segment_bytes())).ValueOrDie());
      segments.push_back(memory.back()->data_as<char>());
      if (first == 0) {
        FillFirst();
      } else {
        std::memcpy(memory.back()->mutable_data(), segments[0], rows.segment_bytes());
      }
    }
    rows.segments = segments.data();

    std::uniform_int_distribution<int> code(-127, 127);
    for (int8_t& c : codes) c = static_cast<int8_t>(code(random));
    const size_t plane_words = (2 * blocks + 7) / 8 * 8;
    planes.resize(4 * plane_words);
    Kernels().slice(codes.data(), blocks, -127, 15.0f / 254, plane_words, planes.data());
    query = {codes.data(), 0, 1, 0};
    sketch_query = {planes.data(), plane_words, 1, 0, 0, 0};
  }

  const uint32_t* NextIds() { return ids.data() + turns.Next(); }

  void FillFirst() {
    auto* words = memory[0]->mutable_data_as<uint64_t>();
    std::generate_n(words, rows.segment_bytes() / sizeof(uint64_t), std::ref(random));
    const CodeTerms terms = {.scale = 1, .sketch_scale = 1, .bias = 0, .ones = 0, .error = 0};
    for (size_t row = 0; row < size_t{1} << rows.segment_shift; ++row) {
      std::memcpy(memory[0]->mutable_data() + row * rows.sketch_bytes + blocks * kBlockBits, &terms, sizeof(terms));
    }
  }

  std::mt19937_64 random{1};
  size_t blocks;
  std::vector<std::unique_ptr<arrow::Buffer>> memory;
  std::vector<const char*> segments;
  CodedRows rows;
  std::vector<uint32_t> ids;  // each once, in turn from bench to bench, lest a former one has left them in the cache
  Turns turns{0, kBlock};
  std::vector<int8_t> codes;
  std::vector<uint64_t> planes;
  CodeQuery query;
  SketchQuery sketch_query;
};

struct CodedCase {
  size_t dim;
  bool in_cache;
  bool operator==(const CodedCase&) const = default;

  // The last case stays, as benches of one follow each other.
  CodedSample& Get() const {
    static CodedCase last;
    static std::unique_ptr<CodedSample> sample;
    if (sample == nullptr || last != *this) {
      sample.reset();
      sample = std::make_unique<CodedSample>(dim, in_cache);
      last = *this;
    }
    return *sample;
  }
};

void MeasureSift(benchmark::State& state, const KernelTable& table, CodedCase of) {
  CodedSample& sample = of.Get();
  uint32_t left[kBlock + 3];
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.sift(sample.sketch_query, sample.rows, sample.NextIds(), kBlock, 0, left));
    benchmark::ClobberMemory();
  }
  SetItems(state, "rows", kBlock);
}

void MeasureScoreCodes(benchmark::State& state, const KernelTable& table, CodedCase of) {
  CodedSample& sample = of.Get();
  float distances[kBlock];
  for (auto _ : state) {
    table.score_codes(sample.query, sample.rows, sample.NextIds(), kBlock, distances);
    benchmark::DoNotOptimize(distances);
    benchmark::ClobberMemory();
  }
  SetItems(state, "rows", kBlock);
}

const bool registered = [] {
  benchmark::AddCustomContext("kernels", Kernels().name);
  for (const size_t dim : {128, 384, 1536}) {
    for (const KernelTable* table : AvailableKernels()) {
      const std::string of = std::string("/") + table->name + "/dim:" + std::to_string(dim);
      benchmark::RegisterBenchmark(("l2_f32" + of).c_str(), MeasureDistance, table->l2_f32, dim);
      benchmark::RegisterBenchmark(("l2_f16" + of).c_str(), MeasureDistance, table->l2_f16, dim);
      benchmark::RegisterBenchmark(("dot_f32" + of).c_str(), MeasureDistance, table->dot_f32, dim);
      benchmark::RegisterBenchmark(("dot_f16" + of).c_str(), MeasureDistance, table->dot_f16, dim);
    }
  }
  for (const size_t dim : {128, 384, 1024}) {
    for (const bool in_cache : {true, false}) {
      for (const KernelTable* table : AvailableKernels()) {
        const std::string of =
            std::string("/") + table->name + "/dim:" + std::to_string(dim) + (in_cache ? "/in_cache" : "/at_random");
        const CodedCase coded = {dim, in_cache};
        benchmark::RegisterBenchmark(("sift" + of).c_str(), MeasureSift, std::ref(*table), coded);
        benchmark::RegisterBenchmark(("score_codes" + of).c_str(), MeasureScoreCodes, std::ref(*table), coded);
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace pennon
