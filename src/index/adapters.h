// The rooms below as the public API sees them: probes over rows, and failures as Status.
#pragma once

#include <algorithm>
#include <exception>
#include <new>

#include <arrow/array.h>
#include <arrow/status.h>
#include <arrow/type.h>

#include "graph/graph.h"
#include "kernels/kernels.h"
#include "pennon/params.h"
#include "vectors/code_store.h"
#include "vectors/row_store.h"
#include "vectors/status.h"

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

inline arrow::Status NoMemory() { return arrow::Status::OutOfMemory("search: no memory for its scratch"); }

inline arrow::Status CheckSimd() {
  if (UnknownSimd().empty()) return arrow::Status::OK();
  return Invalid("PENNON_SIMD: '", UnknownSimd(), "' is unknown or not supported by this processor; best is ",
                 AvailableKernels().back()->name);
}

inline arrow::Status CheckRowIds(const arrow::Array& row_ids) {
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
  return arrow::Status::OK();
}

// Of checked ones; both types have the same bits.
inline const uint64_t* RowIdValues(const arrow::Array& row_ids) { return row_ids.data()->GetValues<uint64_t>(1); }

// Of an option's.
inline size_t ThreadsOf(int threads) { return static_cast<size_t>(threads == 0 ? DefaultThreads() : threads); }

inline DistanceKind KindOf(Metric metric) {
  switch (metric) {
    case Metric::kCosine: return DistanceKind::kCosine;
    case Metric::kDot: return DistanceKind::kDot;
    case Metric::kL2: break;
  }
  return DistanceKind::kL2;
}

// The rows of an index as the graph scores them.
struct Rows {
  const RowStore& vectors;
  const CodeStore* codes;  // null: none

  // Whether so many rows have codes.
  bool coded(uint32_t count) const { return codes != nullptr && count >= CodeStore::kFrom; }
};

// A vector that rows are scored against, in the forms that the mode needs.
struct RowsQuery {
  ScoredVector vector;
  CodedVector* coded = nullptr;
};

inline void ScoreExactly(const graph::Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept {
  const ScoredVector vector = {static_cast<const float*>(probe.vector), probe.scale};
  static_cast<const Rows*>(probe.source)->vectors.Score(vector, ids, n, out);
}

inline void PrefetchVectors(const graph::Probe& probe, const uint32_t* ids, size_t n) noexcept {
  static_cast<const Rows*>(probe.source)->vectors.Prefetch(ids, n);
}

inline void ScoreByCodes(const graph::Probe& probe, const uint32_t* ids, size_t n, float* out) noexcept {
  static_cast<const Rows*>(probe.source)->codes->Score(*static_cast<const CodedVector*>(probe.coded), ids, n, out);
}

inline void PrefetchCodes(const graph::Probe& probe, const uint32_t* ids, size_t n) noexcept {
  static_cast<const Rows*>(probe.source)->codes->Prefetch(ids, n);
}

inline void PrefetchSketches(const graph::Probe& probe, const uint32_t* ids, size_t n) noexcept {
  static_cast<const Rows*>(probe.source)->codes->PrefetchSketches(ids, n);
}

template <bool kByCodes>
size_t SiftRows(const graph::Probe& probe, uint32_t* ids, size_t n, float distance) noexcept {
  const Rows& rows = *static_cast<const Rows*>(probe.source);
  const size_t kept = rows.codes->Sift(*static_cast<const CodedVector*>(probe.coded), ids, n, distance, ids);
  kByCodes ? rows.codes->PrefetchNibbles(ids, kept) : rows.vectors.Prefetch(ids, kept);
  return kept;
}

inline graph::Probe MakeProbe(const Rows& rows, const RowsQuery& query, graph::Mode mode) {
  graph::Probe probe = {.score = ScoreExactly,
                        .prefetch = PrefetchVectors,
                        .source = &rows,
                        .vector = query.vector.values,
                        .coded = query.coded,
                        .scale = query.vector.inverse_norm,
                        .least = rows.vectors.least()};
  if (mode.coded) {
    probe.score = ScoreByCodes;
    probe.prefetch = PrefetchCodes;
    probe.noise = query.coded->rounding;
  }
  if (mode.sifted()) {
    rows.codes->PrepareSketch(*query.coded, mode.slack);
    probe.prefetch = PrefetchSketches;
    probe.sift = mode.coded ? SiftRows<true> : SiftRows<false>;
  }
  return probe;
}

// Scratch for a query's forms: its code, then floats twice.
struct QueryScratch {
  QueryScratch(const Rows& rows, void* scratch)
      : code(scratch),
        floats(reinterpret_cast<float*>(static_cast<char*>(scratch) + CodeBytes(rows))),
        values(floats + rows.vectors.dim()) {}
  static size_t Bytes(const Rows& rows) {
    return CodeBytes(rows) + 2 * static_cast<size_t>(rows.vectors.dim()) * sizeof(float);
  }

  void* code;
  float* floats;
  float* values;

 private:
  static size_t CodeBytes(const Rows& rows) {
    return rows.codes == nullptr ? 0 : (rows.codes->query_bytes() + 63) / 64 * 64;
  }
};

inline graph::Scorer MakeScorer(const Rows& rows) {
  graph::Scorer scorer = {.source = &rows,
                          .scratch_bytes = QueryScratch::Bytes(rows),
                          .probe = [](const graph::Scorer& s, uint32_t row, graph::Mode mode, void* memory) noexcept {
                            const Rows& from = *static_cast<const Rows*>(s.source);
                            const QueryScratch scratch(from, memory);
                            RowsQuery query = {};
                            if (!mode.coded) query.vector = from.vectors.Load(row, scratch.values);
                            if (mode.coded || mode.sifted()) query.coded = from.codes->Load(row, scratch.code);
                            graph::Probe made = MakeProbe(from, query, mode);
                            made.least = from.vectors.LeastOfRow(row, s.largest_norm);
                            return made;
                          }};
  if (rows.codes == nullptr) return scorer;
  scorer.sketch_errors = [](const graph::Scorer& s, uint32_t row, const uint32_t* ids, size_t n, const float* distances,
                            float* out, void* memory) noexcept {
    const CodeStore& codes = *static_cast<const Rows*>(s.source)->codes;
    CodedVector* coded = codes.Load(row, memory);
    codes.PrepareSketch(*coded, 0);
    codes.SketchErrors(*coded, ids, n, distances, out);
  };
  // Where the lines of memory that are not read outweigh a sketch and a half.
  const auto worth = [](size_t lines) { return 1 - 1.5f / static_cast<float>(lines); };
  scorer.worth_coded = worth(rows.codes->lines());
  scorer.worth_exact = worth((static_cast<size_t>(rows.vectors.dim()) * sizeof(float) + 63) / 64);
  return scorer;
}

inline graph::Params GraphParams(const BuildParams& build) {
  return {.max_level = build.max_level,
          .m = static_cast<uint32_t>(build.m),
          .ef_construction = static_cast<uint32_t>(build.ef_construction),
          .seed = build.seed};
}

inline arrow::Status ToStatus(graph::Outcome outcome, size_t threads, const char* why_stopped = "") {
  switch (outcome) {
    case graph::Outcome::kOk: return arrow::Status::OK();
    case graph::Outcome::kStopped: return arrow::Status::Cancelled("append: ", why_stopped);
    case graph::Outcome::kNoThreads:
      return arrow::Status::UnknownError("append: the system gives no ", Plain(threads), " threads");
    case graph::Outcome::kOutOfMemory: break;
  }
  return arrow::Status::OutOfMemory("append: no memory to link the rows");
}

}  // namespace pennon
