// The walk: greedy on the upper levels, then a beam on the lowest (Malkov and Yashunin, algorithms 2 and 5).
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "graph/graph.h"
#include "graph/steps.h"
#include "kernels/kernels.h"

namespace pennon::graph {
namespace {

bool Visit(Scratch& scratch, uint32_t id) {
  uint64_t& word = scratch.visited[id / 64];
  const uint64_t bit = uint64_t{1} << (id % 64);
  if ((word & bit) != 0) return false;
  word |= bit;
  scratch.touched.Push(id);
  return true;
}

// The neighbours below the limit that were not visited; marks them. `touched` has room for them.
size_t ReadFresh(const Record& record, uint32_t limit, Scratch& scratch, uint32_t* fresh) {
  const uint64_t* visited = scratch.visited.data();
  size_t n = 0;
  for (uint32_t id : record.neighbors()) {
    // Beyond the limit there may be no bit to look at.
    const bool seen = id >= limit || (visited[id / 64] >> (id % 64) & 1) != 0;
    fresh[n] = id;
    n += seen ? 0 : 1;
  }
  for (size_t i = 0; i < n; ++i) Visit(scratch, fresh[i]);
  return n;
}

// Ascending keys in a buffer, at most so many; it has room for a multiple of eight, as the kernel takes them.
class SortedKeys {
 public:
  SortedKeys(Buffer<uint64_t>& buffer, size_t most) : buffer_(buffer), most_(RoundUp(most)) { buffer.Truncate(0); }

  [[nodiscard]] bool Reserve(size_t keys) noexcept {
    keys = std::min(RoundUp(keys), most_);
    if (keys <= room_) return true;
    buffer_.Truncate(size_);
    const size_t room = std::min(std::max(keys, 2 * room_), most_);
    if (!buffer_.Reserve(room)) return false;
    keys_ = buffer_.data();
    std::fill(keys_ + size_, keys_ + room, ~uint64_t{0});
    room_ = room;
    return true;
  }
  // The key's place; `room` if it has none, which is so only where there are as many keys as there may be.
  size_t Insert(uint64_t key) noexcept {
    const size_t at = insert_(keys_, std::min(RoundUp(size_ + 1), room_), key);
    if (at < room_) size_ = std::min(size_ + 1, room_);
    return at;
  }
  // Leaves them in the buffer, no more than `most`.
  void Finish(size_t most) noexcept { buffer_.Truncate(std::min(size_, most)); }

  size_t size() const { return size_; }
  size_t room() const { return room_; }
  uint64_t operator[](size_t i) const { return keys_[i]; }

 private:
  static size_t RoundUp(size_t keys) { return (keys + 7) / 8 * 8; }

  Buffer<uint64_t>& buffer_;
  const size_t most_;
  size_t (*const insert_)(uint64_t* keys, size_t n, uint64_t key) = Kernels().insert;
  uint64_t* keys_ = nullptr;
  size_t size_ = 0;
  size_t room_ = 0;
};

void AskFor(const std::atomic<Record*>& head) {
  const char* record = reinterpret_cast<const char*>(head.load(std::memory_order_relaxed));
  for (size_t at = 0; at < 192; at += 64) __builtin_prefetch(record + at);
}

void Forget(Scratch& scratch) {
  PENNON_STEP("forget");
  for (uint32_t id : scratch.touched) scratch.visited[id / 64] = 0;
  scratch.touched.Truncate(0);
}

}  // namespace

bool Graph::PrepareScratch(Scratch& scratch, uint32_t rows) const noexcept {
  const size_t words = (size_t{rows} + 63) / 64;
  if (scratch.visited.size() < words) {
    const size_t grown = std::max(words, 2 * scratch.visited.size());
    Buffer<uint64_t> visited(scratch_allocator_);
    if (!visited.Resize(grown)) return false;
    scratch.visited = std::move(visited);
  }
  const uint32_t most = params_.capacity(0);
  return scratch.block.Reserve(most + 3) && scratch.scored.Reserve(most + 3) && scratch.distances.Reserve(most) &&
         scratch.touched.Reserve(256);
}

// The nearest row that steps from neighbour to nearer neighbour lead to, level by level from `from` down to `to`.
uint64_t Graph::Descend(const Probe& probe, uint32_t entry, int32_t from, int32_t to, uint64_t tick, uint32_t limit,
                        Scratch& scratch) const noexcept {
  uint64_t best = Key(probe.Score(entry), entry);
  for (int32_t level = from; level >= to; --level) {
    for (bool moved = true; moved;) {
      moved = false;
      const Record* record = ReadList(KeyId(best), level, tick);
      AskFor(Head(KeyId(best), level - 1));  // the next one to read, if none is nearer
      scratch.Count(scratch.lists, 1);
      size_t n = 0;
      for (uint32_t id : record->neighbors()) {
        if (id < limit) scratch.block[n++] = id;
      }
      probe.Prefetch(scratch.block.data(), n);
      probe.Score(scratch.block.data(), n, scratch.distances.data());
      scratch.Count(scratch.computed, n);
      for (size_t i = 0; i < n; ++i) {
        const uint64_t key = Key(scratch.distances[i], scratch.block[i]);
        if (KeyOrder(key) < KeyOrder(best)) {
          best = key;
          moved = true;
        }
      }
      scratch.Count(scratch.hops, moved ? 1 : 0);
    }
  }
  return best;
}

// The reach that finds ef rows on the average, as neighbours become more numerous with distance by a power law.
Reach Graph::ReachOf(size_t k, size_t ef, const Probe& probe, const Survey& survey) const {
  const size_t rank = std::max(k, kRank);
  const bool plain = survey.reach == 0 || ef <= rank || !std::isfinite(probe.least);
  if (plain) {
    const size_t kept = KeptOf(ef, survey.mode);
    return {.width = kept, .rank = ef, .at_least = kept};
  }
  const size_t least = survey.mode.coded ? KeptOf(rank, survey.mode) : 0;
  if (rank == kRank && ef == params_.ef_construction) return {2 * ef, rank, survey.reach, least};
  const double power = std::log(static_cast<double>(ef) / static_cast<double>(rank)) /
                       std::log(static_cast<double>(params_.ef_construction) / double{kRank});
  return {2 * ef, rank, static_cast<float>(std::pow(survey.reach, power)), least};
}

Reach Graph::PlanReach(const Probe& probe, const Survey& survey) const {
  Reach reach = ReachOf(kRank, params_.ef_construction, probe, survey);
  reach.at_least = params_.ef_construction / 2;
  return reach;
}

// The nearest rows of a level, as many as reach says, ascending in scratch.beam. With a filter these are rows that
// pass; the others are walked through.
//
// Each round works on three hops, so that the memory of one arrives while the others are worked on: the rows of the
// first are sifted by their sketches, those of the hop before it are kept, the list of the third, chosen a round ago,
// is read, and the rows that are left of the first are scored. A hop is therefore chosen before the two before it have
// been kept.
template <bool kFiltered>
Walked Graph::Beam(const Probe& probe, uint64_t entry, int32_t level, uint64_t tick, const Reach& reach,
                   const Goal& goal, Scratch& scratch) const noexcept {
  constexpr size_t kRounds = 8;      // between looks at the interrupt and the cost
  constexpr uint64_t kTelling = 96;  // rows that tell which share of them passes
  const uint32_t limit = goal.limit;
  const size_t width = std::min<size_t>(reach.width, limit);
  const Filter& filter = goal.filter;
  const bool ranged = std::isfinite(reach.within);
  const bool open = kFiltered || ranged;  // there is no telling how many rows are walked through
  SortedKeys beam(scratch.beam, open ? limit : width);
  SortedKeys passing(scratch.passing, ranged ? limit : width);  // the filter
  SortedKeys& found = kFiltered ? passing : beam;
  if (!beam.Reserve(width) || (kFiltered && !passing.Reserve(width)) || !scratch.touched.Reserve(1)) {
    return Walked::kNoMemory;
  }
  scratch.expanded.Truncate(0);  // of the beam's keys, a bit each; the last word ends the search for one to expand
  if (!scratch.expanded.Resize(beam.room() / 64 + 2)) return Walked::kNoMemory;
  uint64_t* expanded = scratch.expanded.data();
  size_t next = 0;                                       // the nearest that was not expanded
  float worth = std::numeric_limits<float>::infinity();  // farther rows are not kept
  beam.Insert(entry);
  if (kFiltered && filter(KeyId(entry))) passing.Insert(entry);
  Visit(scratch, KeyId(entry));

  // The next list to read; null at the end of the walk, unless rows still to be scored change that.
  const auto choose = [&]() -> std::atomic<Record*> const* {
    if (next >= beam.size()) return nullptr;
    if (found.size() >= reach.rank) {
      float end = KeyDistance(found[reach.rank - 1]);
      if (reach.ratio > 1) {
        const float near = end - probe.least;
        // Ratios of noise mean nothing.
        if (near <= probe.noise && (kFiltered ? found.size() : next) >= width / 2) return nullptr;
        end = near <= probe.noise ? worth : reach.ratio * near + probe.noise + probe.least;
      }
      end = std::max(end, reach.within);
      if (KeyDistance(beam[next]) > end) return nullptr;
      if (found.size() >= reach.at_least) {
        worth = reach.at_least == 0 ? end : std::max(end, KeyDistance(found[reach.at_least - 1]));
      }
    }
    const std::atomic<Record*>& head = Head(KeyId(beam[next]), level);
    AskFor(head);
    size_t word = next / 64;
    expanded[word] |= uint64_t{1} << (next % 64);
    while (expanded[word] == ~uint64_t{0}) ++word;
    next = 64 * word + static_cast<size_t>(std::countr_one(expanded[word]));
    if (next < beam.size()) AskFor(Head(KeyId(beam[next]), level));  // probably the one after
    return &head;
  };
  uint64_t asked = 1;  // the filter
  uint64_t passed = passing.size();
  const auto keep = [&](uint32_t id, float distance) {
    if (found.size() >= width && distance >= KeyDistance(found[width - 1]) && distance > reach.within) {
      return;
    }
    const uint64_t key = Key(distance, id);
    const size_t at = beam.Insert(key);
    if (at == beam.room()) return;
    next = std::min(next, at);
    const uint64_t before = (uint64_t{1} << (at % 64)) - 1;
    size_t word = beam.size() / 64;
    for (; word > at / 64; --word) expanded[word] = expanded[word] << 1 | expanded[word - 1] >> 63;
    expanded[word] = (expanded[word] & before) | (expanded[word] & ~before) << 1;
    __builtin_prefetch(&Head(id, level));
    if (!kFiltered) return;
    ++asked;
    if (!filter(id)) return;
    ++passed;
    passing.Insert(key);
  };

  uint32_t* rows = scratch.block.data();     // of the list read last
  uint32_t* scored = scratch.scored.data();  // of the one before, what is left
  float* distances = scratch.distances.data();
  size_t rows_read = 0;
  size_t rows_scored = 0;
  const auto keep_scored = [&] {
    if (open && rows_scored > 0) {
      if (!beam.Reserve(beam.size() + rows_scored) || (kFiltered && !passing.Reserve(passing.size() + rows_scored)) ||
          !scratch.expanded.Resize(beam.room() / 64 + 2)) {
        return false;
      }
      expanded = scratch.expanded.data();
    }
    for (size_t i = 0; i < rows_scored; ++i) {
      if (distances[i] <= worth) keep(scored[i], distances[i]);
    }
    rows_scored = 0;
    if (found.size() >= width) worth = std::min(worth, std::max(KeyDistance(found[width - 1]), reach.within));
    return true;
  };

  uint64_t computed = 1;
  uint64_t sifted = 0;
  uint64_t left_by_sifting = 0;
  uint64_t lists = 0;
  Walked walked = Walked::kDone;
  const std::atomic<Record*>* list = choose();
  for (size_t round = 1; list != nullptr || rows_read > 0; ++round) {
    if (round % kRounds == 0) {
      if (goal.interrupt()) {
        walked = keep_scored() ? Walked::kInterrupted : Walked::kNoMemory;
        break;
      }
      if (open) {
        // Of the rows on the way. Where it is small, the walk will be long.
        const double share =
            kFiltered ? static_cast<double>(std::max(passed, uint64_t{1})) / static_cast<double>(asked) : 1;
        const double scan = std::isnan(goal.scan_cost) ? ScanCost(limit, goal.row_cost * share, kLook) : goal.scan_cost;
        if (WalkedCost(static_cast<double>(computed), static_cast<double>(beam.size())) > scan ||
            (kFiltered && asked >= kTelling && WalkCost(goal.ef, share) > 1.5 * scan)) {
          walked = Walked::kCostly;
          break;
        }
      }
    }
    size_t left = rows_read;
    if (probe.sift != nullptr) {
      left = probe.sift(probe, rows, rows_read, worth);
      sifted += rows_read;
      left_by_sifting += left;
    }
    if (!keep_scored()) {
      walked = Walked::kNoMemory;
      break;
    }
    std::swap(rows, scored);
    rows_scored = left;
    rows_read = 0;
    if (list != nullptr) {
      const Record* record = ReadList(*list, tick);
      PENNON_STEP("read");
      if (!scratch.touched.Reserve(scratch.touched.size() + record->count)) {
        walked = Walked::kNoMemory;
        break;
      }
      ++lists;
      rows_read = ReadFresh(*record, limit, scratch, rows);
      probe.Prefetch(rows, rows_read);
      list = choose();
    }
    probe.Score(scored, rows_scored, distances);
    computed += rows_scored;
    if (list == nullptr) {
      if (!keep_scored()) {
        walked = Walked::kNoMemory;
        break;
      }
      list = choose();
    }
  }
  found.Finish(ranged ? limit : width);
  if (kFiltered) std::swap(scratch.beam, scratch.passing);
  scratch.Count(scratch.computed, computed);
  scratch.Count(scratch.sifted, sifted);
  scratch.Count(scratch.passed, left_by_sifting);
  scratch.Count(scratch.hops, lists);
  scratch.Count(scratch.lists, lists);
  Forget(scratch);
  return walked;
}

template Walked Graph::Beam<false>(const Probe&, uint64_t, int32_t, uint64_t, const Reach&, const Goal&,
                                   Scratch&) const noexcept;

Walked Graph::Walk(const Reader& reader, const Probe& probe, Goal goal) const noexcept {
  Scratch& scratch = reader.scratch();
  const Version& version = reader.version();
  const uint32_t limit = goal.limit = std::min(goal.limit, version.rows);
  scratch.beam.Truncate(0);
  if (limit == 0 || goal.ef == 0) return Walked::kDone;
  if (!PrepareScratch(scratch, limit)) return Walked::kNoMemory;
  // Parents have smaller ids than their children: a prefix of the rows is connected, and the way up leads into it.
  uint32_t entry = version.entry;
  int32_t levels = version.levels;
  while (entry >= limit) {
    entry = ReadList(entry, 0, version.tick)->ids()[0];
    levels = std::min(levels, levels_[entry] + 1);
  }
  const uint64_t best = Descend(probe, entry, levels - 1, 1, version.tick, limit, scratch);
  const size_t ef = std::min<size_t>(goal.ef, limit);
  Reach reach = ReachOf(goal.k, ef, probe, version.survey);
  if (std::isfinite(goal.within)) {
    reach = Reach::Plain(KeptOf(ef, version.survey.mode));
    reach.within = goal.within;
  }
  return goal.filter.passes == nullptr ? Beam<false>(probe, best, 0, version.tick, reach, goal, scratch)
                                       : Beam<true>(probe, best, 0, version.tick, reach, goal, scratch);
}

}  // namespace pennon::graph
