// Linking a batch: plan, parents, apply, wave by wave.
#include <algorithm>
#include <new>

#include "graph/graph.h"
#include "graph/steps.h"

namespace pennon::graph {
namespace {

constexpr uint32_t kMaxWave = 256;

uint32_t WaveSize(uint32_t linked, uint32_t left) { return std::min({std::max(linked / 50, 1u), kMaxWave, left}); }

// Of room for what is only known wave by wave, so that it seldom grows.
size_t Margin(size_t n) { return n / 8; }

bool Tested(const uint32_t* bits, size_t i) { return (bits[i / 32] >> (i % 32) & 1) != 0; }
void SetTested(uint32_t* bits, size_t i, bool value) {
  bits[i / 32] = (bits[i / 32] & ~(1u << (i % 32))) | (uint32_t{value} << (i % 32));
}

// Children promised to a row by this wave and not yet in its list.
class Promises {
 public:
  uint32_t& operator[](uint32_t row) {
    size_t i = (row * 0x9E3779B1u) % kSlots;
    while (entries_[i].count != 0 && entries_[i].row != row) i = (i + 1) % kSlots;
    entries_[i].row = row;
    return entries_[i].count;
  }
  void Clear() { std::fill_n(entries_, kSlots, Entry{}); }

 private:
  static constexpr size_t kSlots = 4 * kMaxWave;
  struct Entry {
    uint32_t row = 0;
    uint32_t count = 0;
  };
  Entry entries_[kSlots];
};

}  // namespace

// A reverse edge to come: `row` joins the list of `target`.
struct Graph::Edge {
  uint64_t list;  // level, then target
  uint64_t key;   // (distance, row)
  bool child;

  uint32_t target() const { return static_cast<uint32_t>(list); }
  int32_t level() const { return static_cast<int32_t>(list >> 32); }
  bool operator<(const Edge& other) const { return list != other.list ? list < other.list : key < other.key; }
};

// Where a planned row's keys lie in its part of the plan buffers.
struct Graph::Plan {
  uint32_t candidates;    // of level 0, ascending
  size_t first_selected;  // of level 0; m a level
  uint32_t selected[64];  // how many, per level
  uint64_t parent;
};

// What the waves of a batch need that ends at `end`, and a worker.
struct Graph::Room {
  Room(const Params& params, uint32_t end, uint32_t added)
      : wave(WaveSize(end, added)),
        stride(std::min(params.ef_construction, end)),
        block(2 * (params.capacity(0) + wave + stride)),
        beam(std::min(2 * size_t{params.ef_construction}, size_t{end}) + 8),
        touched(std::max(std::min(32 * size_t{params.ef_construction}, size_t{end}), size_t{256})) {}

  size_t wave;
  size_t stride;   // candidates of a row
  size_t block;    // rows at a time
  size_t beam;     // keys, rounded up as a walk does it
  size_t touched;  // by a walk, mostly
};

// Lives as long as the graph, so that an append pays for what it changes and not for scratch.
class Graph::Linker {
 public:
  explicit Linker(Graph& graph)
      : graph_(graph),
        workers_(graph.scratch_allocator_),
        plans_(graph.scratch_allocator_),
        candidates_(graph.scratch_allocator_),
        selected_(graph.scratch_allocator_),
        edges_(graph.scratch_allocator_),
        groups_(graph.scratch_allocator_) {}
  ~Linker() {
    for (Scratch* worker : workers_) {
      worker->~Scratch();
      graph_.scratch_allocator_.Free(worker, sizeof(Scratch));
    }
  }

  Outcome Run(const Scorer& scorer, size_t threads, const std::function<bool()>& stopped) noexcept;
  bool TakeSurvey(const Scorer& scorer, size_t threads) noexcept;
  void Release() noexcept {
    for (Scratch* worker : workers_) worker->Release();
    plans_.Release();
    candidates_.Release();
    selected_.Release();
    edges_.Release();
    groups_.Release();
  }

 private:
  bool Prepare(size_t threads);
  Outcome Wave(uint32_t first, uint32_t rows);
  bool PlanRow(Scratch& scratch, uint32_t row);
  bool AddSiblings(Scratch& scratch, const Probe& probe, uint32_t row, int32_t level);
  size_t Select(Scratch& scratch, const uint64_t* candidates, size_t n, size_t limit, uint64_t* selected);
  void ChooseParents(uint32_t first, uint32_t rows);
  uint64_t ChooseParent(uint32_t row, const Plan& plan, const uint64_t* candidates);
  bool HasRoom(uint32_t row);
  void WriteNewLists(uint32_t first, uint32_t rows);
  void Apply(Scratch& scratch, size_t begin, size_t end);
  void Overflow(Scratch& scratch, Record* record, const Edge* edges, size_t n);
  uint64_t* CandidatesOf(uint32_t row) { return candidates_.data() + (row - wave_first_) * stride_; }
  uint64_t* SelectedOf(uint32_t row, int32_t level) {
    return selected_.data() + plans_[row - wave_first_].first_selected + static_cast<size_t>(level) * params().m;
  }
  const Params& params() const { return graph_.params_; }
  Version& version() const { return *graph_.batch_.version; }
  // To score a few rows against.
  Probe Of(uint32_t row, void* scratch) const { return scorer_.Of(row, scratch, version().survey.mode.unsifted()); }

  Graph& graph_;
  Scorer scorer_ = {};
  Buffer<Scratch*> workers_;
  Buffer<Plan> plans_;
  Buffer<uint64_t> candidates_;  // stride_ a row of the wave
  Buffer<uint64_t> selected_;
  Buffer<Edge> edges_;
  Buffer<uint32_t> groups_;  // where in edges_ each target starts
  Promises promises_;
  size_t stride_ = 0;
  uint32_t wave_first_ = 0;
};

Outcome Graph::Link(uint32_t rows, const Scorer& scorer, size_t threads,
                    const std::function<bool()>& stopped) noexcept {
  // No wave has work for more.
  threads = std::min<size_t>(threads, WaveSize(linked() + rows, rows));
  if (!pool_.SetThreads(threads)) return Outcome::kNoThreads;
  if (!Begin(rows)) return Outcome::kOutOfMemory;
  const Outcome outcome = linker_->Run(scorer, threads, stopped);
  if (outcome != Outcome::kOk) Abort();
  return outcome;
}

Outcome Graph::TakeSurvey(const Scorer& scorer, size_t threads) noexcept {
  Outcome outcome = pool_.SetThreads(threads) ? Outcome::kOk : Outcome::kNoThreads;
  if (outcome == Outcome::kOk && !linker_->TakeSurvey(scorer, threads)) outcome = Outcome::kOutOfMemory;
  if (outcome != Outcome::kOk) Abort();
  return outcome;
}

// A search is taken to keep as many rows as an insertion.
uint64_t Graph::EstimateScratch(const Params& params, uint32_t dim, uint64_t rows, uint64_t batch, size_t threads,
                                size_t probe_bytes) {
  if (rows == 0) return sizeof(SlotType);
  // The last batch, or the last whole one, has the largest waves.
  const auto end = static_cast<uint32_t>(rows);
  const auto last = static_cast<uint32_t>(rows % batch);
  const auto whole = static_cast<uint32_t>(std::min(batch, rows));
  Room room(params, end, last == 0 ? whole : last);
  if (last != 0 && end > last) {
    const Room before(params, end - last, whole);
    room.wave = std::max(room.wave, before.wave);
    room.block = std::max(room.block, before.block);
  }
  const auto words = [](uint64_t n) { return (n + 63) / 64; };
  // Doubles where a batch passes it.
  uint64_t visited = words(whole);
  while (visited < words(rows)) {
    const uint64_t passing = std::min((64 * visited / batch + 1) * batch, rows);
    visited = std::max(words(passing), 2 * visited);
  }
  const uint64_t lists = 3 * (params.capacity(0) + 3) * sizeof(uint32_t);
  const uint64_t walk = room.touched * sizeof(uint32_t) + 33 * room.beam / 32 * sizeof(uint64_t) + probe_bytes;
  const uint64_t worker = sizeof(Scratch) + walk + visited * sizeof(uint64_t) + lists / 3 +
                          room.block * (sizeof(uint32_t) + sizeof(float) + sizeof(uint64_t)) +
                          room.stride * sizeof(uint64_t) + probe_bytes + 128;
  const double above = params.max_level > 1 ? 1.0 / (params.m - 1) : 0;
  const auto wave = static_cast<double>(room.wave);
  const auto selected = static_cast<size_t>(wave * (1 + above) * params.m);
  const auto edges = static_cast<size_t>(wave * (1 + SelectedOf(params, dim, rows) * (1 + above)));
  return sizeof(SlotType) + walk + words(rows) * sizeof(uint64_t) + lists +
         std::min<uint64_t>(threads, room.wave) * worker + room.wave * (sizeof(Plan) + room.stride * sizeof(uint64_t)) +
         (selected + Margin(selected)) * sizeof(uint64_t) + (edges + Margin(edges)) * (sizeof(Edge) + sizeof(uint32_t));
}

bool Graph::MakeLinker() noexcept {
  linker_ = new (std::nothrow) Linker(*this);
  return linker_ != nullptr;
}

void Graph::DropLinker() noexcept { delete linker_; }

void Graph::ReleaseIdle() noexcept {
  pool_.Stop();
  linker_->Release();
  ReleaseSearches();
}

void Graph::ReleaseSearches() noexcept {
  slots_.ForEachIdle([](SlotType& slot) { slot.scratch.Release(); });
}

Outcome Graph::Linker::Run(const Scorer& scorer, size_t threads, const std::function<bool()>& stopped) noexcept {
  scorer_ = scorer;
  version().largest_norm = scorer.largest_norm;
  if (!Prepare(threads)) return Outcome::kOutOfMemory;
  const uint32_t end = version().rows;
  for (uint32_t first = graph_.before_.rows; first < end;) {
    if (stopped()) return Outcome::kStopped;
    if (!graph_.TakeSurvey(scorer, {workers_.data(), threads}, version(), first)) {
      return Outcome::kOutOfMemory;
    }
    const uint32_t wave = WaveSize(first, end - first);
    const Outcome outcome = Wave(first, wave);
    if (outcome != Outcome::kOk) return outcome;
    first += wave;
    PENNON_STEP("wave");
    graph_.linked_.store(first, std::memory_order_release);
  }
  return Outcome::kOk;
}

bool Graph::Linker::TakeSurvey(const Scorer& scorer, size_t threads) noexcept {
  scorer_ = scorer;
  version().largest_norm = scorer.largest_norm;
  return Prepare(threads) && graph_.TakeSurvey(scorer, {workers_.data(), threads}, version(), version().rows);
}

bool Graph::Linker::Prepare(size_t threads) {
  if (!workers_.Reserve(threads)) return false;
  while (workers_.size() < threads) {
    void* memory = graph_.scratch_allocator_.Allocate(sizeof(Scratch));
    if (memory == nullptr) return false;
    workers_.Push(new (memory) Scratch(graph_.scratch_allocator_));
  }
  const uint32_t end = graph_.batch_.version->rows;
  const Room room(params(), end, end - graph_.before_.rows);
  stride_ = room.stride;
  for (size_t i = 0; i < threads; ++i) {
    Scratch* worker = workers_[i];
    if (!worker->block.Fit(room.block) || !worker->distances.Fit(room.block) || !worker->found.Fit(room.block) ||
        !worker->rest.Fit(room.stride) || !worker->beam.Fit(room.beam) || !worker->touched.Fit(room.touched) ||
        !worker->probes.Fit(2 * scorer_.scratch_bytes + 128) || !graph_.PrepareScratch(*worker, end)) {
      return false;
    }
  }
  return plans_.Fit(room.wave) && plans_.Resize(room.wave) && candidates_.Fit(room.wave * stride_);
}

Outcome Graph::Linker::Wave(uint32_t first, uint32_t rows) {
  size_t upper = 0;
  for (uint32_t row = first; row < first + rows; ++row) {
    const int32_t level = graph_.DrawLevel(row);
    graph_.levels_[row] = static_cast<uint8_t>(level);
    graph_.upper_[row] = graph_.upper_used_ + static_cast<uint32_t>(upper);
    plans_[row - first].first_selected = (row - first + upper) * params().m;
    upper += static_cast<size_t>(level);
  }
  const size_t selected = (rows + upper) * params().m;
  if (!selected_.Fit(selected, Margin(selected)) || !graph_.upper_heads_.Reserve(graph_.upper_used_ + upper)) {
    return Outcome::kOutOfMemory;
  }

  wave_first_ = first;
  std::atomic<bool> planned{true};
  graph_.pool_.For(rows, [&](size_t worker, size_t i) {
    if (!PlanRow(*workers_[worker], first + static_cast<uint32_t>(i))) planned.store(false, std::memory_order_relaxed);
  });
  for (Scratch* worker : workers_) {
    graph_.build_distances_.fetch_add(worker->computed.exchange(0, std::memory_order_relaxed),
                                      std::memory_order_relaxed);
  }
  if (!planned.load(std::memory_order_relaxed)) return Outcome::kOutOfMemory;

  size_t edges = 0;
  for (uint32_t i = 0; i < rows; ++i) {
    ++edges;
    for (int32_t level = 0; level <= graph_.levels_[first + i]; ++level) edges += plans_[i].selected[level];
  }
  edges_.Truncate(0);
  if (!edges_.Fit(edges, Margin(edges)) || !groups_.Fit(edges + 1, Margin(edges)) || !graph_.level0_.Reserve(rows) ||
      !graph_.upper_level_.Reserve(upper)) {
    return Outcome::kOutOfMemory;
  }
  graph_.upper_used_ += static_cast<uint32_t>(upper);
  ChooseParents(first, rows);
  WriteNewLists(first, rows);
  std::sort(edges_.begin(), edges_.end());
  groups_.Truncate(0);
  size_t untouched = 0;
  size_t upper_untouched = 0;
  for (size_t i = 0; i < edges_.size(); ++i) {
    if (i > 0 && edges_[i].list == edges_[i - 1].list) continue;
    groups_.Push(static_cast<uint32_t>(i));
    if (graph_.Touched(edges_[i].target(), edges_[i].level())) continue;
    ++(edges_[i].level() == 0 ? untouched : upper_untouched);
  }
  if (!graph_.level0_.Reserve(untouched) || !graph_.upper_level_.Reserve(upper_untouched)) return Outcome::kOutOfMemory;
  for (const uint32_t i : groups_) graph_.Touch(edges_[i].target(), edges_[i].level());
  const size_t targets = groups_.size();
  groups_.Push(static_cast<uint32_t>(edges_.size()));
  graph_.pool_.For(targets, [&](size_t worker, size_t i) { Apply(*workers_[worker], groups_[i], groups_[i + 1]); });

  for (uint32_t row = first; row < first + rows; ++row) {
    if (graph_.levels_[row] + 1 > version().levels) {
      version().levels = graph_.levels_[row] + 1;
      version().entry = row;
    }
  }
  return Outcome::kOk;
}

// Reads only. Leaves the row's level-0 candidates and its selected neighbours per level.
bool Graph::Linker::PlanRow(Scratch& scratch, uint32_t row) {
  Plan& plan = plans_[row - wave_first_];
  const Version& linked = version();
  const int32_t top = graph_.levels_[row];
  const size_t ef = params().ef_construction;
  const Probe probe = scorer_.Of(row, scratch.probes.data(), linked.survey.mode);
  uint64_t best = linked.levels > 0 ? graph_.Descend(probe, linked.entry, linked.levels - 1, top + 1, linked.tick,
                                                     wave_first_, scratch)
                                    : uint64_t{0};
  for (int32_t level = top; level >= 0; --level) {
    scratch.beam.Truncate(0);
    if (level < linked.levels) {
      const Reach reach = level == 0 ? graph_.PlanReach(probe, linked.survey) : Reach::Plain(ef);
      if (graph_.Beam<false>(probe, best, level, linked.tick, reach, {ef, ef, wave_first_}, scratch) != Walked::kDone)
        return false;
      best = scratch.beam[0];
    }
    if (!AddSiblings(scratch, probe, row, level)) return false;
    const size_t n = scratch.beam.size();
    plan.selected[level] =
        static_cast<uint32_t>(Select(scratch, scratch.beam.data(), n, params().m, SelectedOf(row, level)));
    if (level == 0) {
      plan.candidates = static_cast<uint32_t>(n);
      std::copy_n(scratch.beam.data(), n, CandidatesOf(row));
    }
  }
  return true;
}

// The wave's own earlier rows join the beam, by brute force; the ef_construction nearest stay.
bool Graph::Linker::AddSiblings(Scratch& scratch, const Probe& probe, uint32_t row, int32_t level) {
  const size_t ef = std::clamp(row, 1u, params().ef_construction);
  Buffer<uint64_t>& beam = scratch.beam;
  if (!beam.Reserve(ef + 1)) return false;
  beam.Truncate(std::min(beam.size(), ef));
  uint32_t* siblings = scratch.block.data();
  size_t n = 0;
  for (uint32_t sibling = wave_first_; sibling < row; ++sibling) {
    if (graph_.levels_[sibling] >= level) siblings[n++] = sibling;
  }
  if (probe.sift != nullptr && beam.size() == ef) {
    n = probe.sift(probe, siblings, n, KeyDistance(beam[ef - 1]));
  }
  probe.Score(siblings, n, scratch.distances.data());
  scratch.Count(scratch.computed, n);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t key = Key(scratch.distances[i], siblings[i]);
    if (beam.size() == ef) {
      if (key > beam[ef - 1]) continue;
      beam.Truncate(ef - 1);
    }
    uint64_t* place = std::upper_bound(beam.begin(), beam.end(), key);
    std::copy_backward(place, beam.end(), beam.end() + 1);
    *place = key;
    beam.Truncate(beam.size() + 1);
  }
  return true;
}

// The heuristic of Malkov and Yashunin, algorithm 4: in ascending order, a candidate stays unless one that stays is
// nearer to it than the row is.
size_t Graph::Linker::Select(Scratch& scratch, const uint64_t* candidates, size_t n, size_t limit, uint64_t* selected) {
  if (n <= limit) {
    std::copy_n(candidates, n, selected);
    return n;
  }
  // Each that stays strikes out those behind it that it is nearer to.
  uint64_t* left = scratch.rest.data();
  uint32_t* ids = scratch.block.data();
  float* distances = scratch.distances.data();
  std::copy_n(candidates, n, left);
  for (size_t i = 0; i < n; ++i) ids[i] = KeyId(left[i]);
  char* memory = scratch.probes.data() + (scorer_.scratch_bytes + 63) / 64 * 64;
  size_t kept = 0;
  for (;;) {
    selected[kept++] = left[0];
    if (kept == limit || n == 1) return kept;
    Of(ids[0], memory).Score(ids + 1, n - 1, distances);
    scratch.Count(scratch.computed, n - 1);
    size_t staying = 0;
    for (size_t i = 1; i < n; ++i) {
      left[staying] = left[i];
      ids[staying] = ids[i];
      staying += distances[i - 1] >= KeyDistance(left[i]) ? 1 : 0;
    }
    if (staying == 0) return kept;
    n = staying;
  }
}

bool Graph::Linker::HasRoom(uint32_t row) {
  const uint32_t in_list = row < wave_first_ ? graph_.Head(row, 0).load(std::memory_order_relaxed)->children : 0u;
  return in_list + promises_[row] < params().most_children();
}

uint64_t Graph::Linker::ChooseParent(uint32_t row, const Plan& plan, const uint64_t* candidates) {
  for (size_t i = 0; i < plan.candidates; ++i) {
    if (HasRoom(KeyId(candidates[i]))) return candidates[i];
  }
  constexpr size_t kNearest = 8;
  const Probe probe = Of(row, workers_[0]->probes.data());
  for (size_t i = 0; i < std::min<size_t>(plan.candidates, kNearest); ++i) {
    const uint32_t near = KeyId(candidates[i]);
    if (near >= wave_first_) continue;
    const Record* record = graph_.Head(near, 0).load(std::memory_order_relaxed);
    const uint32_t* children = record->ids() + (near == 0 ? 0 : 1);
    for (uint16_t c = 0; c < record->children; ++c) {
      if (HasRoom(children[c])) return Key(probe.Score(children[c]), children[c]);
    }
  }
  while (!HasRoom(graph_.open_row_)) ++graph_.open_row_;
  return Key(probe.Score(graph_.open_row_), graph_.open_row_);
}

void Graph::Linker::ChooseParents(uint32_t first, uint32_t rows) {
  promises_.Clear();
  for (uint32_t i = 0; i < rows; ++i) {
    if (first + i == 0) continue;
    plans_[i].parent = ChooseParent(first + i, plans_[i], CandidatesOf(first + i));
    ++promises_[KeyId(plans_[i].parent)];
    PENNON_STEP("parent");
  }
}

void Graph::Linker::WriteNewLists(uint32_t first, uint32_t rows) {
  for (uint32_t i = 0; i < rows; ++i) {
    const uint32_t row = first + i;
    const Plan& plan = plans_[i];
    for (int32_t level = 0; level <= graph_.levels_[row]; ++level) {
      const uint64_t* selected = SelectedOf(row, level);
      Record* record = graph_.TakeNew(row, level);
      uint32_t* ids = record->ids();
      uint16_t count = 0;
      const bool has_parent = level == 0 && row != 0;
      if (has_parent) {
        ids[count++] = KeyId(plan.parent);
        edges_.Push({KeyId(plan.parent), plan.parent >> 32 << 32 | row, true});
      }
      for (uint32_t s = 0; s < plan.selected[level]; ++s) {
        if (has_parent && KeyId(selected[s]) == KeyId(plan.parent)) continue;
        ids[count++] = KeyId(selected[s]);
        PENNON_STEP("write");
        edges_.Push({static_cast<uint64_t>(level) << 32 | KeyId(selected[s]), selected[s] >> 32 << 32 | row, false});
      }
      record->count = count;
    }
  }
}

// One target's new edges. The only worker on this list; allocates nothing.
void Graph::Linker::Apply(Scratch& scratch, size_t begin, size_t end) {
  const Edge* edges = edges_.data() + begin;
  const size_t n = end - begin;
  Record* record = graph_.Head(edges->target(), edges->level()).load(std::memory_order_relaxed);
  const uint32_t capacity = params().capacity(edges->level());
  if (record->count + n > capacity) return Overflow(scratch, record, edges, n);
  uint32_t* ids = record->ids();
  uint32_t* tested = ids + capacity;
  for (size_t i = 0; i < n; ++i) {
    size_t slot = record->count;
    if (edges[i].child) {
      const size_t place = record->pinned();
      ids[slot] = ids[place];
      SetTested(tested, slot, Tested(tested, place));
      slot = place;
      ++record->children;
    }
    ids[slot] = KeyId(edges[i].key);
    SetTested(tested, slot, false);
    ++record->count;
    PENNON_STEP("write");
  }
}

// The heuristic over what is in the list and what comes. Pinned edges stay and dominate like others. Two members that
// were tested against each other before need no test.
void Graph::Linker::Overflow(Scratch& scratch, Record* record, const Edge* edges, size_t n) {
  enum : uint8_t { kTestedBefore = 1, kPinned = 2 };
  struct Member {
    uint64_t key;
    uint8_t flags;
    bool operator<(const Member& other) const { return key < other.key; }
  };
  const uint32_t capacity = params().capacity(record->level);
  uint32_t* ids = record->ids();
  uint32_t* tested = ids + capacity;
  const Probe target = Of(record->row, scratch.probes.data());
  char* memory = scratch.probes.data() + (scorer_.scratch_bytes + 63) / 64 * 64;

  // found: members as pairs of words, kept ones in block.
  Member* members = reinterpret_cast<Member*>(scratch.found.data());
  size_t size = 0;
  target.Prefetch(ids, record->count);
  target.Score(ids, record->count, scratch.distances.data());
  scratch.Count(scratch.computed, record->count);
  const size_t pinned_before = record->pinned();
  for (size_t i = 0; i < record->count; ++i) {
    const uint8_t flags =
        static_cast<uint8_t>((Tested(tested, i) ? kTestedBefore : 0) | (i < pinned_before ? kPinned : 0));
    members[size++] = {Key(scratch.distances[i], ids[i]), flags};
  }
  size_t others = capacity - pinned_before;
  for (size_t i = 0; i < n; ++i) {
    members[size++] = {edges[i].key, edges[i].child ? uint8_t{kPinned} : uint8_t{0}};
    others -= edges[i].child;
  }
  std::sort(members, members + size);

  size_t kept = 0;
  size_t kept_others = 0;
  uint32_t* row_of = scratch.block.data();
  for (size_t i = 0; i < size; ++i) {
    const Member member = members[i];
    bool stays = true;
    if ((member.flags & kPinned) == 0) {
      if (kept_others == others) continue;
      const Probe probe = Of(KeyId(member.key), memory);
      size_t block = 0;
      uint32_t* against = row_of + capacity;
      for (size_t j = 0; j <= kept && stays; ++j) {
        if (j < kept) {
          const bool skip = (member.flags & members[j].flags & kTestedBefore) != 0;
          if (!skip) against[block++] = row_of[j];
        }
        if (block == 4 || (j == kept && block > 0)) {
          probe.Score(against, block, scratch.distances.data());
          scratch.Count(scratch.computed, block);
          for (size_t l = 0; l < block; ++l) stays = stays && scratch.distances[l] >= KeyDistance(member.key);
          block = 0;
        }
      }
      if (!stays) continue;
      ++kept_others;
    }
    row_of[kept] = KeyId(member.key);
    members[kept++] = member;
  }

  // The parent keeps its slot; children in ascending order behind it, then the others.
  const uint32_t parent = ids[0];
  const bool has_parent = record->level == 0 && record->row != 0;
  size_t count = has_parent ? 1 : 0;
  uint16_t children = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (size_t i = 0; i < kept; ++i) {
      const uint32_t id = KeyId(members[i].key);
      const bool pinned = (members[i].flags & kPinned) != 0;
      if ((has_parent && id == parent) || pinned != (pass == 0)) continue;
      ids[count++] = id;
      PENNON_STEP("write");
      children = static_cast<uint16_t>(children + pinned);
    }
  }
  record->count = static_cast<uint16_t>(count);
  record->children = children;
  for (size_t i = 0; i < count; ++i) SetTested(tested, i, true);
}

}  // namespace pennon::graph
