// The rooms below as the public API sees them: probes over rows, and failures as Status.
#pragma once

#include <sched.h>

#include <algorithm>
#include <exception>
#include <new>
#include <thread>

#include <arrow/status.h>

#include "graph/graph.h"
#include "pennon/params.h"
#include "vectors/code_store.h"
#include "vectors/row_store.h"

namespace pennon {

// The public API throws nothing: what user code or the standard library throws becomes a Status.
template <typename Function>
auto Guard(Function&& function) -> decltype(function()) {
  using arrow::Status;
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return Status::OutOfMemory("out of memory");
  } catch (const std::exception& error) {
    return Status::UnknownError(error.what());
  } catch (...) {
    return Status::UnknownError("unknown exception");
  }
}

inline size_t DefaultThreads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return static_cast<size_t>(std::max(1, CPU_COUNT(&set)));
  return std::max(1u, std::thread::hardware_concurrency());
}

inline DistanceKind KindOf(Metric metric) {
  switch (metric) {
    case Metric::kCosine: return DistanceKind::kCosine;
    case Metric::kDot: return DistanceKind::kDot;
    case Metric::kL2: break;
  }
  return DistanceKind::kL2;
}

inline graph::Probe MakeProbe(const RowStore& rows, const ScoredVector& vector) {
  return {[](const graph::Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept {
            static_cast<const RowStore*>(probe.source)
                ->Score({static_cast<const float*>(probe.vector), probe.scale}, ids, n, out);
          },
          &rows, vector.values, vector.inverse_norm, rows.least()};
}

inline graph::Scorer MakeScorer(const RowStore& rows) {
  return {&rows, static_cast<size_t>(rows.dim()) * sizeof(float),
          [](const graph::Scorer& scorer, uint32_t row, void* scratch) noexcept {
            const RowStore& store = *static_cast<const RowStore*>(scorer.source);
            return MakeProbe(store, store.Load(row, static_cast<float*>(scratch)));
          }};
}

template <auto kScore = &CodeStore::Score>
graph::Probe MakeProbe(const CodeStore& codes, const CodedVector* vector) {
  return {[](const graph::Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept {
            (static_cast<const CodeStore*>(probe.source)->*kScore)(*static_cast<const CodedVector*>(probe.vector), ids,
                                                                   n, out);
          },
          &codes,
          vector,
          0,
          codes.least(),
          static_cast<float>(codes.RoundingOfEqual(*vector))};
}

template <auto kScore>
graph::Probe ProbeRow(const graph::Scorer& scorer, uint32_t row, void* scratch) noexcept {
  const CodeStore& store = *static_cast<const CodeStore*>(scorer.source);
  return MakeProbe<kScore>(store, store.Load(row, scratch));
}

inline graph::Scorer MakeScorer(const CodeStore& codes) {
  return {&codes, codes.query_bytes(), ProbeRow<&CodeStore::Score>, ProbeRow<&CodeStore::ScoreCoarse>};
}

inline graph::Params GraphParams(const BuildParams& build) {
  return {.max_level = build.max_level,
          .m = static_cast<uint32_t>(build.m),
          .ef_construction = static_cast<uint32_t>(build.ef_construction),
          .seed = build.seed};
}

inline arrow::Status ToStatus(graph::Outcome outcome, size_t threads) {
  switch (outcome) {
    case graph::Outcome::kOk: return arrow::Status::OK();
    case graph::Outcome::kStopped: return arrow::Status::Cancelled("append: a stop was requested");
    case graph::Outcome::kNoThreads:
      return arrow::Status::UnknownError("append: the system gives no ", threads, " threads");
    case graph::Outcome::kOutOfMemory: break;
  }
  return arrow::Status::OutOfMemory("append: no memory to link the rows");
}

}  // namespace pennon
