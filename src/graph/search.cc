// The walk: greedy on the upper levels, then a beam on the lowest (Malkov and Yashunin, algorithms 2 and 5).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "graph/graph.h"

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

// How many of the ascending keys are below `key`; without branches on the keys.
size_t CountBelow(const uint64_t* keys, size_t n, uint64_t key) {
  size_t below = 0;
  while (n > 0) {
    const size_t half = (n + 1) / 2;
    below += keys[below + half - 1] < key ? half : 0;
    n -= half;
  }
  return below;
}

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
  return scratch.block.Reserve(most) && scratch.distances.Reserve(most) && scratch.touched.Reserve(256);
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
  if (survey.reach == 0 || ef <= rank || !std::isfinite(probe.least)) return {ef};
  if (rank == kRank && ef == params_.ef_construction) return {2 * ef, rank, survey.reach};
  const double power = std::log(static_cast<double>(ef) / static_cast<double>(rank)) /
                       std::log(static_cast<double>(params_.ef_construction) / double{kRank});
  return {2 * ef, rank, static_cast<float>(std::pow(survey.reach, power))};
}

// The up to reach.width nearest rows of a level, ascending in scratch.beam.
bool Graph::Beam(const Probe& probe, uint64_t entry, int32_t level, uint64_t tick, const Reach& reach, uint32_t limit,
                 Scratch& scratch) const noexcept {
  const size_t ef = reach.width;
  if (!scratch.beam.Reserve(ef + 1) || !scratch.expanded.Reserve(ef + 1) || !scratch.touched.Reserve(1)) return false;
  uint64_t* beam = scratch.beam.data();
  uint8_t* expanded = scratch.expanded.data();
  size_t size = 1;
  beam[0] = entry;
  expanded[0] = 0;
  Visit(scratch, KeyId(entry));
  uint64_t computed = 1;
  bool memory = true;
  uint32_t farthest = ~uint32_t{0};  // that is worth keeping, in the order of keys; it only comes nearer
  for (size_t next = 0; next < size;) {
    if (size >= reach.rank) {
      const float near = KeyDistance(beam[reach.rank - 1]) - probe.least;
      if (near > probe.noise) {
        const float end = reach.ratio * near + probe.noise;
        if (KeyDistance(beam[next]) - probe.least > end) break;
        if (!reach.keeps_farther) farthest = KeyOrder(Key(end + probe.least, 0));
      } else if (next >= reach.width / 2) {
        break;  // ratios of noise mean nothing
      }
    }
    const Record* record = ReadList(KeyId(beam[next]), level, tick);
    expanded[next++] = 1;
    while (next < size && expanded[next] != 0) ++next;
    if (next < size) PrefetchList(KeyId(beam[next]), level);
    if (!scratch.touched.Reserve(scratch.touched.size() + record->count)) {
      memory = false;
      break;
    }
    // New rows go to the end of `touched`, where they are scored.
    uint32_t* fresh = scratch.touched.end();
    size_t n = 0;
    for (uint32_t id : record->neighbors()) {
      const uint64_t bit = uint64_t{1} << (id % 64);
      // Beyond the limit there may be no bit to look at.
      uint64_t& word = scratch.visited[id < limit ? id / 64 : 0];
      const bool seen = id >= limit || (word & bit) != 0;
      word |= seen ? 0 : bit;
      fresh[n] = id;
      n += seen ? 0 : 1;
    }
    scratch.touched.Truncate(scratch.touched.size() + n);
    probe.Score(fresh, n, scratch.distances.data());
    computed += n;
    for (size_t i = 0; i < n; ++i) {
      const uint64_t key = Key(scratch.distances[i], fresh[i]);
      if (KeyOrder(key) > farthest) continue;
      if (size == ef) {
        if (KeyOrder(key) >= KeyOrder(beam[size - 1])) continue;
        --size;
      }
      const size_t at = CountBelow(beam, size, key);
      std::memmove(beam + at + 1, beam + at, (size - at) * sizeof(uint64_t));
      std::memmove(expanded + at + 1, expanded + at, size - at);
      beam[at] = key;
      expanded[at] = 0;
      ++size;
      if (at <= next) {
        next = at;
        PrefetchList(fresh[i], level);
      } else {
        __builtin_prefetch(&Head(fresh[i], level));
      }
    }
  }
  scratch.beam.Truncate(size);
  scratch.Count(scratch.computed, computed);
  Forget(scratch);
  return memory;
}

// The same for rows that pass; those that do not are walked through. Ends early (*finished) when it has cost as much as
// a scan would.
bool Graph::FilteredBeam(const Probe& probe, uint64_t entry, uint64_t tick, size_t ef, uint32_t limit,
                         const Filter& filter, bool* finished, Scratch& scratch) const noexcept {
  Buffer<uint64_t>& queue = scratch.queue;
  Buffer<uint64_t>& beam = scratch.beam;
  queue.Truncate(0);
  beam.Truncate(0);
  if (!beam.Reserve(ef + 1) || !queue.Reserve(1) || !scratch.touched.Reserve(1)) return false;
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
  bool memory = true;
  while (!queue.empty()) {
    const uint64_t nearest = queue[0];
    if (beam.size() == ef && KeyOrder(nearest) > KeyOrder(beam[0])) break;
    // A scan would look at every row and score those that pass.
    const uint64_t scan = limit / 8 + static_cast<uint64_t>(double(limit) * double(passed) / double(computed)) + 256;
    if (computed > scan) {
      *finished = false;
      break;
    }
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.Pop();
    const Record* record = ReadList(KeyId(nearest), 0, tick);
    if (!queue.Reserve(queue.size() + record->count) ||
        !scratch.touched.Reserve(scratch.touched.size() + record->count)) {
      memory = false;
      break;
    }
    size_t n = 0;
    for (uint32_t id : record->neighbors()) {
      if (id < limit && Visit(scratch, id)) scratch.block[n++] = id;
    }
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
  return memory;
}

bool Graph::Walk(const Reader& reader, const Probe& probe, size_t k, size_t ef, uint32_t limit, const Filter& filter,
                 bool* finished) const noexcept {
  Scratch& scratch = reader.scratch();
  const Version& version = reader.version();
  limit = std::min(limit, version.rows);
  scratch.beam.Truncate(0);
  *finished = true;
  if (limit == 0 || ef == 0) return true;
  if (!PrepareScratch(scratch, limit)) return false;
  // Parents have smaller ids than their children: a prefix of the rows is connected, and the way up leads into it.
  uint32_t entry = version.entry;
  int32_t levels = version.levels;
  while (entry >= limit) {
    entry = ReadList(entry, 0, version.tick)->ids()[0];
    levels = std::min(levels, levels_[entry] + 1);
  }
  const uint64_t best = Descend(probe, entry, levels - 1, 1, version.tick, limit, scratch);
  if (filter.passes != nullptr) {
    return FilteredBeam(probe, best, version.tick, std::min<size_t>(ef, limit), limit, filter, finished, scratch);
  }
  return Beam(probe, best, 0, version.tick, ReachOf(k, std::min<size_t>(ef, limit), probe, version.survey), limit,
              scratch);
}

}  // namespace pennon::graph
