// The HNSW graph: linked in waves by one writer, searched by any number of readers at the version they hold.
//
// Threads: Link, Publish, Abort, Trim belong to one writer at a time (the lock is the caller's). Reader and what it
// gives may be used from any thread at any time.
//
// Link plans the rows of a wave in parallel, reading only; assigns parents serially in row order; then applies the
// reverse edges in parallel, each target list owned by one worker. The result depends on rows, parameters and batch
// boundaries, never on threads.
//
// Parents: every row but the first has a parent with a smaller id; the edges between them are pinned, so level 0 is
// strongly connected at every version.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>

#include "graph/lists.h"
#include "graph/probe.h"
#include "graph/thread_pool.h"
#include "graph/versioned_lists.h"
#include "memory/allocator.h"
#include "memory/buffer.h"
#include "memory/segmented_array.h"

namespace pennon::graph {

struct Params {
  int32_t max_level;
  uint32_t m;
  uint32_t ef_construction;
  uint64_t seed;

  uint32_t capacity(int32_t level) const { return level == 0 ? 2 * m : m; }
  // Of a row: few, so that slots are left for diverse neighbours.
  uint32_t most_children() const { return std::max(m / 4, 2u); }
};

enum class Outcome { kOk, kOutOfMemory, kStopped, kNoThreads };

// Rows that a search may return.
struct Filter {
  const void* object = nullptr;
  bool (*passes)(const void* object, uint32_t id) noexcept = nullptr;  // null: all

  bool operator()(uint32_t id) const { return passes == nullptr || passes(object, id); }
};

// Asked now and then by what may take long; true: it is to end.
struct Interrupt {
  const void* object = nullptr;
  bool (*due)(const void* object) noexcept = nullptr;  // null: never

  bool operator()() const { return due != nullptr && due(object); }
};

enum class Walked {
  kDone,
  kInterrupted,  // what has been found is there
  kCostly,       // it has cost as much as a scan would
  kNoMemory,
};

// What walks over these rows look like, measured on a sample of them.
struct Survey {
  uint32_t rows = 0;  // that there were
  float largest_norm = 0;
  // The distance within which a row has ef_construction others on the average, as a multiple of that of its tenth
  // nearest; 0: unknown.
  float reach = 0;
  Mode mode;
};

// What a version is of.
struct Extent {
  uint32_t rows = 0;
  uint32_t entry = 0;  // a row of the top level, if there are rows
  int32_t levels = 0;  // levels that have rows
  Survey survey;
  float largest_norm = 0;  // the scorer's
};

// Scratch of one search or one worker.
struct Scratch {
  explicit Scratch(Allocator& allocator)
      : visited(allocator),
        touched(allocator),
        expanded(allocator),
        beam(allocator),
        passing(allocator),
        found(allocator),
        rest(allocator),
        block(allocator),
        scored(allocator),
        distances(allocator),
        probes(allocator) {}

  Buffer<uint64_t> visited;   // a bit a row
  Buffer<uint32_t> touched;   // rows whose bit is set
  Buffer<uint64_t> expanded;  // of the beam's keys, a bit each
  Buffer<uint64_t> beam;      // best keys so far, ascending
  Buffer<uint64_t> passing;   // those that pass a filter
  Buffer<uint64_t> found;     // keys for the caller
  Buffer<uint64_t> rest;      // keys that the heuristic has yet to look at
  Buffer<uint32_t> block;
  Buffer<uint32_t> scored;  // another block, while it is scored and kept
  Buffer<float> distances;
  Buffer<char> probes;  // the worker's
  // Read by Stats from any thread.
  std::atomic<uint64_t> searches{0};
  std::atomic<uint64_t> computed{0};
  std::atomic<uint64_t> sifted{0};  // rows whose sketches were looked at
  std::atomic<uint64_t> passed{0};  // of those
  std::atomic<uint64_t> hops{0};    // from a row to its neighbours
  std::atomic<uint64_t> lists{0};   // read
  std::atomic<uint64_t> scans{0};

  // Gives the buffers' memory back.
  void Release() noexcept {
    visited.Release();
    touched.Release();
    expanded.Release();
    beam.Release();
    passing.Release();
    found.Release();
    rest.Release();
    block.Release();
    scored.Release();
    distances.Release();
    probes.Release();
  }
  void Count(std::atomic<uint64_t>& counter, uint64_t n) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

// A list to be imported; ids has room for the level's capacity, in the order that lists.h tells.
struct ListDraft {
  uint32_t* ids;
  uint16_t count = 0;
  uint16_t children = 0;
};

struct Report {
  uint32_t unreachable = 0;
  const char* problem = nullptr;
  uint32_t row = 0;  // where
};

// How far a walk goes. It ends at a row whose distance, above the least there can be, is beyond `ratio` times that of
// the rank-th nearest found, so that walks for hard queries go further than those for easy ones (distance-adaptive beam
// search, Al-Jazzazi et al., 2025); with a ratio of 1 it is the plain walk. It keeps rows up to there, and the
// `at_least` nearest, but no more than `width`.
struct Reach {
  size_t width;
  size_t rank;
  float ratio = 1;
  size_t at_least = 0;
  float within = -std::numeric_limits<float>::infinity();  // rows that are no farther are all kept

  static Reach Plain(size_t ef) { return {.width = ef, .rank = ef}; }
};

using Lists = VersionedLists<NativeMemory, Record, Extent, Scratch>;
using Version = Lists::Version;

class Graph : private Lists {
 public:
  // Both allocators must outlive the graph.
  Graph(const Params& params, Allocator& lists, Allocator& scratch);
  ~Graph();

  // What the constructor cannot allocate.
  [[nodiscard]] bool Init() noexcept;
  const Params& params() const { return params_; }

  // Writer: links the next `rows` rows, which stay invisible until Publish. `stopped` is asked between waves. What does
  // not succeed has been aborted.
  [[nodiscard]] Outcome Link(uint32_t rows, const Scorer& scorer, size_t threads,
                             const std::function<bool()>& stopped) noexcept;
  void Publish() noexcept;
  void Abort() noexcept;
  using Lists::Trim;
  // Writer: gives back the scratch of searches that is not in use; and the writer's, too, with its threads.
  void ReleaseSearches() noexcept;
  void ReleaseIdle() noexcept;
  const Survey& survey() const { return current_.load(std::memory_order_relaxed)->survey; }
  uint64_t build_distances() const { return build_distances_.load(std::memory_order_relaxed); }
  using Lists::live_versions;
  // Rows linked, published or not.
  uint32_t linked() const { return linked_.load(std::memory_order_acquire); }
  uint32_t visible() const { return visible_.load(std::memory_order_acquire); }

  // Holds the newest version, or the pinned one that it is given, and a scratch, from construction to destruction.
  class Reader {
   public:
    explicit Reader(const Graph& graph, const Version* pinned = nullptr) noexcept;
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    explicit operator bool() const { return slot_ != nullptr; }  // false: no memory
    const Version& version() const { return *version_; }
    Scratch& scratch() const { return slot_->scratch; }

   private:
    const Graph& graph_;
    SlotType* slot_;
    const Version* version_ = nullptr;
  };
  using Lists::Pin;
  using Lists::Unpin;

  // What a search asks of a walk.
  struct Goal {
    size_t k;  // rows wanted
    size_t ef;
    uint32_t limit;  // only rows below it
    Filter filter = {};
    float within = -std::numeric_limits<float>::infinity();  // and all rows that are found no farther than that
    // What a scan would cost instead; NaN: to be told from how many rows pass, of which each costs row_cost.
    double scan_cost = std::numeric_limits<double>::quiet_NaN();
    double row_cost = 1;
    Interrupt interrupt = {};
  };
  // In rows of 384 dimensions that a scan scores exactly: what a scan costs of such a share of the rows, of which each
  // costs `look` before it is known to pass, and about what a walk does. Fitted to 100,000 embeddings, where a walk for
  // ef scores 50 + 1.75 ef rows and keeps 40 + 2 ef. Keeping rows in order costs the square of their number.
  static double ScanCost(uint32_t rows, double share, double look) { return rows * (look + share); }
  static double WalkCost(size_t ef, double share) {
    return WalkedCost((50 + 1.75 * static_cast<double>(ef)) / share, (40 + 2 * static_cast<double>(ef)) / share);
  }
  static constexpr double kLook = 1.0 / 16;  // where a predicate or a list of row ids is asked
  // The nearest rows that pass, as ascending keys in scratch.beam: about ef of them, fewer for easy queries and up to
  // twice as many for hard ones.
  [[nodiscard]] Walked Walk(const Reader& reader, const Probe& probe, Goal goal) const noexcept;

  // The list of a row as of a tick.
  const Record* ReadList(uint32_t row, int32_t level, uint64_t tick) const { return ReadList(Head(row, level), tick); }
  using Lists::ReadList;
  int32_t LevelOf(uint32_t row) const { return levels_[row]; }

  // All lists of a version are well formed and every row reaches every other over level 0. False: no memory.
  [[nodiscard]] bool Verify(const Reader& reader, Report* report) const noexcept;

  // Writer, on an empty graph: lists made elsewhere, with a tree of parents in them, which stay invisible until
  // Publish. `entry` is on the top level.
  [[nodiscard]] Outcome Import(uint32_t rows, const uint8_t* levels, uint32_t entry,
                               const std::function<void(uint32_t row, int32_t level, ListDraft& draft)>& fill);
  // And what walks over them look like, as it was once measured, or as it is. What does not succeed has been aborted.
  void SetSurvey(const Survey& survey, float largest_norm) noexcept;
  [[nodiscard]] Outcome TakeSurvey(const Scorer& scorer, size_t threads) noexcept;

  // About what the lists of so many rows will take, that come in batches of so many; and versions.
  struct Bytes {
    uint64_t lists = 0;
    uint64_t old = 0;
  };
  static Bytes EstimateBytes(const Params& params, uint32_t dim, uint64_t rows, uint64_t batch);
  // About what appends and searches will need beside them.
  static uint64_t EstimateScratch(const Params& params, uint32_t dim, uint64_t rows, uint64_t batch, size_t threads,
                                  size_t probe_bytes);
  // Bytes that old versions keep, as of the last publish.
  uint64_t versions_bytes() const {
    return old_records_bytes_.load(std::memory_order_relaxed) + live_versions() * sizeof(Version);
  }
  template <typename Visit>
  void ForEachScratch(Visit&& visit) const {
    slots_.ForEach([&](const SlotType& slot) { visit(slot.scratch); });
  }

 private:
  static constexpr size_t kRank = 10;  // the nearest row that reaches are measured from
  static double WalkedCost(double scored, double kept) { return 1.25 * scored + kept * kept / 1536; }
  struct Edge;
  struct Plan;
  struct Room;
  class Linker;

  std::atomic<Record*>& Head(uint32_t row, int32_t level) {
    return level == 0 ? heads_[row] : upper_heads_[upper_[row] + static_cast<uint32_t>(level) - 1];
  }
  const std::atomic<Record*>& Head(uint32_t row, int32_t level) const {
    return level == 0 ? heads_[row] : upper_heads_[upper_[row] + static_cast<uint32_t>(level) - 1];
  }
  // How many neighbours the heuristic leaves a new row on level 0, about.
  static double SelectedOf(const Params& params, uint32_t dim, uint64_t rows);
  int32_t DrawLevel(uint32_t row) const;
  [[nodiscard]] bool MakeLinker() noexcept;
  void DropLinker() noexcept;
  [[nodiscard]] bool Begin(uint32_t rows) noexcept;
  Record* TakeNew(uint32_t row, int32_t level) noexcept;
  Record* Touch(uint32_t row, int32_t level) noexcept;
  bool Touched(uint32_t row, int32_t level) const { return Lists::Touched(Head(row, level)); }
  uint64_t Descend(const Probe& probe, uint32_t entry, int32_t from, int32_t to, uint64_t tick, uint32_t limit,
                   Scratch& scratch) const noexcept;
  // Renews the version's survey if the rows, or their largest norm, have doubled since. False: no memory.
  [[nodiscard]] bool TakeSurvey(const Scorer& scorer, std::span<Scratch* const> workers, Version& at,
                                uint32_t rows) noexcept;
  // How many rows the plain walk keeps: by codes twice as many, to be ranked again.
  static size_t KeptOf(size_t ef, Mode mode) { return mode.coded ? 2 * std::max(ef, kRank) : ef; }
  Reach ReachOf(size_t k, size_t ef, const Probe& probe, const Survey& survey) const;
  // Of a walk that leaves enough for the heuristic to choose from.
  Reach PlanReach(const Probe& probe, const Survey& survey) const;
  template <bool kFiltered>
  [[nodiscard]] Walked Beam(const Probe& probe, uint64_t entry, int32_t level, uint64_t tick, const Reach& reach,
                            const Goal& goal, Scratch& scratch) const noexcept;
  [[nodiscard]] bool PrepareScratch(Scratch& scratch, uint32_t rows) const noexcept;

  std::atomic<Record*>& HeadOf(const Record& record) noexcept override { return Head(record.row, record.level); }
  size_t BytesOf(const Record& record) const noexcept override {
    return (record.level == 0 ? level0_ : upper_level_).record_bytes();
  }
  void Give(Record* record) noexcept override { SlabOf(record->level).Give(record); }
  Slab& SlabOf(int32_t level) { return level == 0 ? level0_ : upper_level_; }

  const Params params_;
  Allocator& scratch_allocator_;

  // Shared with readers.
  SegmentedArray<std::atomic<Record*>> heads_;
  SegmentedArray<std::atomic<Record*>> upper_heads_;  // of one row in a run: levels 1 and up
  SegmentedArray<uint32_t> upper_;                    // where a row's run starts
  SegmentedArray<uint8_t> levels_;

  // The writer's.
  Slab level0_;
  Slab upper_level_;
  ThreadPool pool_;
  Linker* linker_ = nullptr;
  uint32_t upper_used_ = 0;
  uint32_t open_row_ = 0;  // no row below it has room for a child

  // What there was before the batch that is being linked.
  struct Before {
    uint32_t rows = 0;
    uint32_t upper = 0;
    uint32_t open_row = 0;
    size_t level0_blocks = 0;
    size_t upper_blocks = 0;
  } before_;

  std::atomic<uint32_t> linked_{0};
  std::atomic<uint32_t> visible_{0};
  std::atomic<uint64_t> build_distances_{0};
};

}  // namespace pennon::graph
