#include "index/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "index/scan.h"

namespace pennon {

using arrow::Result;
namespace {

constexpr float kNoRadius = std::numeric_limits<float>::infinity();

// What a scan pays for a row, as the graph counts: it reads all of it, or a code that mostly rules it out.
double RowCost(int32_t dim, bool has_codes) {
  const double dims = dim / 384.0;
  return has_codes ? 0.25 + 0.1 * dims : 0.17 + 0.83 * dims;
}

}  // namespace

Search::Search(const Searched& index, const graph::Graph::Reader& reader, const ScoredVector& query,
               const Passing& passing, const Ending& ending, Explanation* explanation)
    : index_(index),
      reader_(reader),
      scratch_(reader.scratch()),
      query_(query),
      has_codes_(index.coded.coded(reader.version().rows)),
      row_cost_(RowCost(index.exact.vectors.dim(), has_codes_)),
      scan_cost_(passing.ScanCost(row_cost_)),
      passing_(passing),
      ending_(ending),
      explanation_(explanation),
      mode_(reader.version().survey.mode),
      exact_(MakeProbe(index.exact, {query}, {})),
      probe_(exact_) {
  scratch_.Count(scratch_.searches, 1);
  scratch_.beam.Truncate(0);
  if (explanation_ == nullptr) return;
  lap_ = Clock::now();
  computed_ = scratch_.computed.load(std::memory_order_relaxed);
  Tell(-1);
}

Search::~Search() {
  if (explanation_ != nullptr) Tell(1);
}

void Search::Tell(int64_t sign) {
  const auto add = [&](uint64_t& to, const std::atomic<uint64_t>& counter) {
    to += static_cast<uint64_t>(sign) * counter.load(std::memory_order_relaxed);
  };
  add(explanation_->hops, scratch_.hops);
  add(explanation_->lists_read, scratch_.lists);
  add(explanation_->sketches, scratch_.sifted);
}

void Search::Lap(SearchPart Explanation::* part) {
  if (explanation_ == nullptr) return;
  const Clock::time_point now = Clock::now();
  const uint64_t computed = scratch_.computed.load(std::memory_order_relaxed);
  SearchPart& to = explanation_->*part;
  to.nanos += std::chrono::duration_cast<std::chrono::nanoseconds>(now - lap_).count();
  to.distances += computed - computed_;
  lap_ = now;
  computed_ = computed;
}

void Search::CutShort(Answer* answer) const {
  answer->complete = false;
  answer->reason = ending_.reason();
}

bool Search::WorthWalking(size_t ef) const {
  // More may pass near the query than elsewhere, at best all; to see that takes the start of a walk.
  return std::isnan(scan_cost_) || (passing_.unfiltered() ? 1 : 4) * graph::Graph::WalkCost(ef, 1) < scan_cost_;
}

CodedVector* Search::Coded() {
  if (coded_ != nullptr || !scratch_.probes.Reserve(QueryScratch::Bytes(index_.coded))) return coded_;
  const QueryScratch forms(index_.coded, scratch_.probes.data());
  coded_ = index_.coded.codes->Encode(query_, forms.floats, forms.code);
  return coded_;
}

size_t Search::RuleOut(uint32_t* ids, size_t n, float distance) {
  constexpr size_t kAhead = 16;
  constexpr uint32_t kLongest = 64;
  if (!has_codes_ || distance == kNoRadius) return n;
  // A code is worth reading where it saves most vectors: if it did not, more and more blocks go by till the next try.
  if (pause_ > 0) {
    --pause_;
    return n;
  }
  const CodeStore* codes = index_.coded.codes;
  if (!measured_) {
    if (Coded() == nullptr) {
      pause_ = std::numeric_limits<uint32_t>::max();
      return n;
    }
    codes->PrepareLeast(*coded_, query_, QueryScratch(index_.coded, scratch_.probes.data()).floats);
    measured_ = true;
  }
  size_t left = 0;
  float least[kScanBlock];
  const auto prefetch = [&](size_t from) { codes->Prefetch(ids + from, std::min(n - std::min(n, from), kAhead)); };
  prefetch(0);
  for (size_t i = 0; i < n; i += kAhead) {
    prefetch(i + kAhead);
    codes->Least(*coded_, ids + i, std::min(n - i, kAhead), least + i);
  }
  for (size_t i = 0; i < n; ++i) {
    ids[left] = ids[i];
    left += least[i] > distance ? 0 : 1;
  }
  scratch_.Count(scratch_.computed, n);
  next_pause_ = 2 * left > n ? std::min(2 * next_pause_, kLongest) : 1;
  pause_ = next_pause_ - 1;
  return left;
}

graph::Walked Search::Walk(size_t k, size_t ef, float within) {
  const graph::Version& version = reader_.version();
  if (!ready_) {
    ready_ = true;
    if (mode_.coded || mode_.sifted()) {
      if (Coded() == nullptr) return graph::Walked::kNoMemory;
      probe_ = MakeProbe(index_.coded, {query_, coded_}, mode_);
    }
    probe_.least = index_.exact.vectors.LeastOf(query_.values, version.largest_norm);
    Lap(&Explanation::encode);
  }
  graph::Graph::Goal goal = {.k = k,
                             .ef = ef,
                             .limit = version.rows,
                             .within = within,
                             .scan_cost = scan_cost_,
                             .row_cost = row_cost_,
                             .interrupt = ending_.interrupt()};
  if (!passing_.all()) {
    goal.filter = {this, [](const void* object, uint32_t id) noexcept {
                     Search& self = *static_cast<Search*>(const_cast<void*>(object));
                     try {
                       return !self.failure_ && self.passing_(id);
                     } catch (...) {
                       self.failure_ = std::current_exception();
                       return false;
                     }
                   }};
  }
  const graph::Walked walked = index_.graph.Walk(reader_, probe_, goal);
  Lap(&Explanation::walk);
  if (failure_) std::rethrow_exception(failure_);
  return walked;
}

Result<Answer> Search::Nearest(size_t k, size_t ef, bool exact) {
  Answer answer;
  const uint32_t visible = reader_.version().rows;
  const size_t wanted = std::min<size_t>(k, visible);
  if (wanted == 0) return answer;
  if (ending_.due()) {
    CutShort(&answer);
    return answer;
  }
  const auto best_of_walk = [&] {
    const size_t found = std::min(wanted, scratch_.beam.size());
    const auto id = [&](uint32_t row) { return row_id(row); };
    std::vector<SearchResult> rows =
        mode_.coded ? RankBeam(exact_, scratch_, found, probe_.noise, id) : BestOfBeam(scratch_, found, id);
    Lap(&Explanation::rank);
    return rows;
  };
  if (!exact && wanted <= visible / 2 && WorthWalking(ef)) {
    const graph::Walked walked = Walk(k, ef);
    if (walked == graph::Walked::kNoMemory) return NoMemory();
    if (walked == graph::Walked::kInterrupted) CutShort(&answer);
    if (!answer.complete || (walked == graph::Walked::kDone && scratch_.beam.size() >= wanted)) {
      answer.rows = best_of_walk();
      return answer;
    }
  }
  ScanFor(wanted, kNoRadius, &answer);
  if (!answer.complete) {
    Join(best_of_walk(), &answer.rows);
    answer.rows.resize(std::min(wanted, answer.rows.size()));
  }
  return answer;
}

double Search::RankWithin(float radius, std::vector<SearchResult>* rows) {
  constexpr size_t kBlock = 64;
  graph::Moments added;
  const std::span<const uint64_t> beam(scratch_.beam.begin(), scratch_.beam.size());
  for (size_t ranked = 0; ranked < beam.size();) {
    uint32_t ids[kBlock];
    float distances[kBlock];
    const size_t n = std::min(kBlock, beam.size() - ranked);
    for (size_t i = 0; i < n; ++i) ids[i] = graph::KeyId(beam[ranked + i]);
    exact_.Score(ids, n, distances);
    for (size_t i = 0; i < n; ++i) {
      added.Add(double{graph::KeyDistance(beam[ranked + i])} - distances[i]);
      if (distances[i] <= radius) rows->push_back({ids[i], row_id(ids[i]), distances[i]});
    }
    ranked += n;
  }
  scratch_.Count(scratch_.computed, beam.size());
  std::sort(rows->begin(), rows->end(), ResultOrder());
  Lap(&Explanation::rank);
  return mode_.coded && !beam.empty() ? SurplusOf(added, probe_.noise) : 0;
}

Result<Answer> Search::Within(float radius, size_t ef, bool exact) {
  Answer answer;
  if (ending_.due()) {
    CutShort(&answer);
    return answer;
  }
  if (!exact && std::isfinite(radius) && WorthWalking(ef)) {
    graph::Walked walked = Walk(1, ef);
    if (walked == graph::Walked::kNoMemory) return NoMemory();
    double surplus = 0;
    if (walked != graph::Walked::kCostly) surplus = RankWithin(radius, &answer.rows);
    const float within = std::min(static_cast<float>(radius + surplus), std::numeric_limits<float>::max());
    const auto near = std::partition_point(scratch_.beam.begin(), scratch_.beam.end(),
                                           [&](uint64_t key) { return graph::KeyDistance(key) <= within; });
    // A walk misses few of the nearest half of what it keeps.
    if (walked == graph::Walked::kDone &&
        2 * static_cast<size_t>(near - scratch_.beam.begin()) >= scratch_.beam.size()) {
      walked = Walk(1, ef, within);
      if (walked == graph::Walked::kNoMemory) return NoMemory();
      std::vector<SearchResult> more;
      if (walked != graph::Walked::kCostly) RankWithin(radius, &more);
      Join(more, &answer.rows);
    }
    if (walked == graph::Walked::kInterrupted) CutShort(&answer);
    if (walked != graph::Walked::kCostly) return answer;
  }
  const std::vector<SearchResult> walked = std::move(answer.rows);
  ScanFor(reader_.version().rows, radius, &answer);
  if (!answer.complete) Join(walked, &answer.rows);
  return answer;
}

void Search::ScanFor(size_t k, float radius, Answer* answer) {
  Passing::Words passing(passing_);
  bool interrupted = false;
  answer->rows = Scan(
      exact_, reader_.version().rows, k, radius, scratch_, [&](uint32_t row) { return row_id(row); },
      [&](uint32_t first) { return passing.Next(first); },
      [&](uint32_t* ids, size_t n, float distance) { return RuleOut(ids, n, distance); }, ending_.interrupt(),
      &interrupted);
  if (interrupted) CutShort(answer);
  if (explanation_ != nullptr) explanation_->scanned = true;
  Lap(&Explanation::scan);
}

}  // namespace pennon
