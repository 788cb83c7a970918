// What the micro benches share: the sample, and how they say what they count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/array.h>
#include <benchmark/benchmark.h>

#include "cli/data_file.h"

namespace pennon {

// Rows of the sample that are indexed; those behind them are queries, and rows to add.
constexpr int64_t kIndexed = 9000;
constexpr int64_t kResults = 10;  // k

struct Sample {
  std::shared_ptr<arrow::FixedSizeListArray> vectors;
  std::vector<std::vector<float>> queries;

  int32_t dim() const { return vectors->list_type()->list_size(); }
  std::shared_ptr<arrow::FixedSizeListArray> Rows(int64_t first, int64_t rows) const {
    return std::static_pointer_cast<arrow::FixedSizeListArray>(vectors->Slice(first, rows));
  }

  static const Sample& Get() {
    static const Sample sample = [] {
      Sample read;
      read.vectors = cli::DataFile::Read(PENNON_SAMPLE).ValueOrDie().Vectors("").ValueOrDie();
      read.queries = cli::Queries::Decode(*read.Rows(kIndexed, read.vectors->length() - kIndexed)).ValueOrDie().vectors;
      return read;
    }();
    return sample;
  }
};

// Indices below `size` in turn, n at a time.
class Turns {
 public:
  Turns(size_t size, size_t n) : size_(size), n_(n) {}
  size_t Next() {
    const size_t first = next_ + n_ <= size_ ? next_ : 0;
    next_ = first + n_;
    return first;
  }

 private:
  size_t size_;
  size_t n_;
  size_t next_ = 0;
};

inline void SetItems(benchmark::State& state, const char* what, int64_t an_iteration = 1) {
  state.SetItemsProcessed(state.iterations() * an_iteration);
  state.SetLabel(what);
}

inline benchmark::Counter PerIteration(uint64_t total) {
  return benchmark::Counter(static_cast<double>(total), benchmark::Counter::kAvgIterations);
}

}  // namespace pennon
