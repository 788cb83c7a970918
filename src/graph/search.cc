// The walk: greedy on the upper levels, then a beam on the lowest (Malkov and Yashunin, algorithms 2 and 5).
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "graph/graph.h"
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

// The kernel takes beams of a multiple of eight keys.
size_t RoundUp(size_t keys) { return (keys + 7) / 8 * 8; }

void Forget(Scratch& scratch) {
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

// The nearest rows of a level, as many as reach says, ascending in scratch.beam.
//
// Each round works on three hops, so that the memory of one arrives while the others are worked on: the rows of the
// first are sifted by their sketches, those of the hop before it are kept, the list of the third, chosen a round ago,
// is read, and the rows that are left of the first are scored. A hop is therefore chosen before the two before it have
// been kept.
Walked Graph::Beam(const Probe& probe, uint64_t entry, int32_t level, uint64_t tick, const Reach& reach, uint32_t limit,
                   const Interrupt& interrupt, Scratch& scratch) const noexcept {
  constexpr size_t kRounds = 8;  // between looks at the interrupt
  const size_t room = RoundUp(reach.width);
  const size_t words = room / 64 + 2;  // the last is never written to, and ends the search for a key to expand
  if (!scratch.beam.Reserve(room) || !scratch.expanded.Reserve(words) || !scratch.touched.Reserve(1)) {
    return Walked::kNoMemory;
  }
  uint64_t* beam = scratch.beam.data();
  uint64_t* expanded = scratch.expanded.data();
  std::fill_n(beam, room, ~uint64_t{0});
  std::fill_n(expanded, words, uint64_t{0});
  const auto insert = Kernels().insert;
  size_t size = 1;
  size_t next = 0;  // the nearest that was not expanded
  beam[0] = entry;
  Visit(scratch, KeyId(entry));
  float worth = std::numeric_limits<float>::infinity();  // farther rows are not kept

  // The next list to read; null at the end of the walk, unless rows still to be scored change that.
  const auto choose = [&]() -> std::atomic<Record*> const* {
    if (next >= size) return nullptr;
    if (size >= reach.rank) {
      float end = KeyDistance(beam[reach.rank - 1]);
      if (reach.ratio > 1) {
        const float near = end - probe.least;
        // Ratios of noise mean nothing.
        if (near <= probe.noise && next >= reach.width / 2) return nullptr;
        end = near <= probe.noise ? worth : reach.ratio * near + probe.noise + probe.least;
      }
      if (KeyDistance(beam[next]) > end) return nullptr;
      if (size >= reach.at_least) {
        worth = reach.at_least == 0 ? end : std::max(end, KeyDistance(beam[reach.at_least - 1]));
      }
    }
    const std::atomic<Record*>& head = Head(KeyId(beam[next]), level);
    const char* record = reinterpret_cast<const char*>(head.load(std::memory_order_relaxed));
    for (size_t at = 0; at < 192; at += 64) __builtin_prefetch(record + at);
    size_t word = next / 64;
    expanded[word] |= uint64_t{1} << (next % 64);
    while (expanded[word] == ~uint64_t{0}) ++word;
    next = 64 * word + static_cast<size_t>(std::countr_one(expanded[word]));
    return &head;
  };
  const auto keep = [&](uint32_t id, float distance) {
    if (size >= reach.width && distance >= KeyDistance(beam[reach.width - 1])) return;
    const size_t at = insert(beam, std::min(RoundUp(size + 1), room), Key(distance, id));
    if (at == room) return;
    size = std::min(size + 1, room);
    next = std::min(next, at);
    const uint64_t before = (uint64_t{1} << (at % 64)) - 1;
    size_t word = size / 64;
    for (; word > at / 64; --word) expanded[word] = expanded[word] << 1 | expanded[word - 1] >> 63;
    expanded[word] = (expanded[word] & before) | (expanded[word] & ~before) << 1;
    __builtin_prefetch(&Head(id, level));
  };

  uint32_t* rows = scratch.block.data();     // of the list read last
  uint32_t* scored = scratch.scored.data();  // of the one before, what is left
  float* distances = scratch.distances.data();
  size_t rows_read = 0;
  size_t rows_scored = 0;
  const auto keep_scored = [&] {
    for (size_t i = 0; i < rows_scored; ++i) {
      if (distances[i] <= worth) keep(scored[i], distances[i]);
    }
    rows_scored = 0;
    if (size >= reach.width) worth = std::min(worth, KeyDistance(beam[reach.width - 1]));
  };

  uint64_t computed = 1;
  uint64_t sifted = 0;
  uint64_t passed = 0;
  Walked walked = Walked::kDone;
  const std::atomic<Record*>* list = choose();
  for (size_t round = 1; list != nullptr || rows_read > 0; ++round) {
    if (round % kRounds == 0 && interrupt()) {
      keep_scored();
      walked = Walked::kInterrupted;
      break;
    }
    size_t left = rows_read;
    if (probe.sift != nullptr) {
      left = probe.sift(probe, rows, rows_read, worth);
      sifted += rows_read;
      passed += left;
    }
    keep_scored();
    std::swap(rows, scored);
    rows_scored = left;
    rows_read = 0;
    if (list != nullptr) {
      const Record* record = ReadList(*list, tick);
      if (!scratch.touched.Reserve(scratch.touched.size() + record->count)) {
        walked = Walked::kNoMemory;
        break;
      }
      rows_read = ReadFresh(*record, limit, scratch, rows);
      probe.Prefetch(rows, rows_read);
      list = choose();
    }
    probe.Score(scored, rows_scored, distances);
    computed += rows_scored;
    if (list == nullptr) {
      keep_scored();
      list = choose();
    }
  }
  scratch.beam.Truncate(std::min(size, reach.width));
  scratch.Count(scratch.computed, computed);
  scratch.Count(scratch.sifted, sifted);
  scratch.Count(scratch.passed, passed);
  Forget(scratch);
  return walked;
}

// The same for rows that pass; those that do not are walked through.
Walked Graph::FilteredBeam(const Probe& probe, uint64_t entry, uint64_t tick, size_t ef, uint32_t limit,
                           const Filter& filter, const Interrupt& interrupt, Scratch& scratch) const noexcept {
  Buffer<uint64_t>& queue = scratch.queue;
  Buffer<uint64_t>& beam = scratch.beam;
  queue.Truncate(0);
  beam.Truncate(0);
  if (!beam.Reserve(ef + 1) || !queue.Reserve(1) || !scratch.touched.Reserve(1)) return Walked::kNoMemory;
  uint64_t passed = 0;
  auto offer = [&](uint64_t key) {
    if (!filter(KeyId(key))) return;
    ++passed;
    if (beam.size() == ef) {
      std::pop_heap(beam.begin(), beam.end());
      beam.Pop();
    }
    beam.Push(key);
    std::push_heap(beam.begin(), beam.end());
  };
  Visit(scratch, KeyId(entry));
  queue.Push(entry);
  offer(entry);
  uint64_t computed = 1;
  Walked walked = Walked::kDone;
  while (!queue.empty()) {
    const uint64_t nearest = queue[0];
    if (beam.size() == ef && KeyOrder(nearest) > KeyOrder(beam[0])) break;
    // A scan would look at every row and score those that pass.
    const uint64_t scan = limit / 8 + static_cast<uint64_t>(double(limit) * double(passed) / double(computed)) + 256;
    if (computed > scan) {
      walked = Walked::kCostly;
      break;
    }
    if (interrupt()) {
      walked = Walked::kInterrupted;
      break;
    }
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.Pop();
    const Record* record = ReadList(KeyId(nearest), 0, tick);
    if (!queue.Reserve(queue.size() + record->count) ||
        !scratch.touched.Reserve(scratch.touched.size() + record->count)) {
      walked = Walked::kNoMemory;
      break;
    }
    const size_t n = ReadFresh(*record, limit, scratch, scratch.block.data());
    probe.Score(scratch.block.data(), n, scratch.distances.data());
    computed += n;
    for (size_t i = 0; i < n; ++i) {
      const uint64_t key = Key(scratch.distances[i], scratch.block[i]);
      if (beam.size() == ef && KeyOrder(key) >= KeyOrder(beam[0])) continue;
      queue.Push(key);
      std::push_heap(queue.begin(), queue.end(), std::greater<>());
      offer(key);
    }
  }
  scratch.Count(scratch.computed, computed);
  Forget(scratch);
  std::sort_heap(beam.begin(), beam.end());
  return walked;
}

Walked Graph::Walk(const Reader& reader, const Probe& probe, size_t k, size_t ef, uint32_t limit, const Filter& filter,
                   const Interrupt& interrupt) const noexcept {
  Scratch& scratch = reader.scratch();
  const Version& version = reader.version();
  limit = std::min(limit, version.rows);
  scratch.beam.Truncate(0);
  if (limit == 0 || ef == 0) return Walked::kDone;
  if (!PrepareScratch(scratch, limit)) return Walked::kNoMemory;
  // Parents have smaller ids than their children: a prefix of the rows is connected, and the way up leads into it.
  uint32_t entry = version.entry;
  int32_t levels = version.levels;
  while (entry >= limit) {
    entry = ReadList(entry, 0, version.tick)->ids()[0];
    levels = std::min(levels, levels_[entry] + 1);
  }
  const uint64_t best = Descend(probe, entry, levels - 1, 1, version.tick, limit, scratch);
  if (filter.passes != nullptr) {
    const size_t width = std::min<size_t>(KeptOf(ef, version.survey.mode), limit);
    return FilteredBeam(probe, best, version.tick, width, limit, filter, interrupt, scratch);
  }
  return Beam(probe, best, 0, version.tick, ReachOf(k, std::min<size_t>(ef, limit), probe, version.survey), limit,
              interrupt, scratch);
}

}  // namespace pennon::graph
