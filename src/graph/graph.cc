#include "graph/graph.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>

#include "graph/steps.h"

namespace pennon::graph {
namespace {

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

Graph::Graph(const Params& params, Allocator& lists, Allocator& scratch)
    : params_(params),
      allocator_(lists),
      scratch_allocator_(scratch),
      heads_(lists),
      upper_heads_(lists),
      upper_(lists),
      levels_(lists),
      slots_(scratch, current_),
      level0_(lists, params.capacity(0)),
      upper_level_(lists, params.capacity(1)),
      versions_(lists),
      retired_(lists) {}

Graph::~Graph() {
  DropLinker();
  for (Version* version : versions_) allocator_.Free(version, sizeof(Version));
  if (batch_.version != nullptr) allocator_.Free(batch_.version, sizeof(Version));
}

bool Graph::Init() noexcept {
  if (!MakeLinker() || !versions_.Reserve(4) || !retired_.Reserve(4)) return false;
  void* memory = allocator_.Allocate(sizeof(Version));
  if (memory == nullptr) return false;
  versions_.Push(new (memory) Version{.tick = 0, .rows = 0, .entry = 0, .levels = 0, .survey = {}});
  current_.store(versions_[0], std::memory_order_release);
  live_versions_.store(1, std::memory_order_relaxed);
  return true;
}

// P(level >= l) = m^-l: a hash of (seed, row) against integer thresholds.
int32_t Graph::DrawLevel(uint32_t row) const {
  const uint64_t hash = Mix(Mix(params_.seed) ^ row);
  uint64_t threshold = ~uint64_t{0};
  int32_t level = 0;
  while (level + 1 < params_.max_level) {
    threshold /= params_.m;
    if (hash >= threshold) break;
    ++level;
  }
  return level;
}

// Starts a batch: its version, and room for its rows and for what its publish will retire. On failure nothing has
// begun.
bool Graph::Begin(uint32_t rows) noexcept {
  const Version& current = *current_.load(std::memory_order_relaxed);
  const uint64_t end = uint64_t{current.rows} + rows;
  if (!versions_.Reserve(versions_.size() + 1) || !retired_.Reserve(retired_.size() + 2)) return false;
  void* memory = nullptr;
  if (heads_.Reserve(end) && upper_.Reserve(end) && levels_.Reserve(end)) memory = allocator_.Allocate(sizeof(Version));
  if (memory == nullptr) {
    heads_.Truncate(current.rows);
    upper_.Truncate(current.rows);
    levels_.Truncate(current.rows);
    return false;
  }
  batch_ = {};
  batch_.version = new (memory) Version{.tick = ++last_tick_,
                                        .rows = static_cast<uint32_t>(end),
                                        .entry = current.entry,
                                        .levels = current.levels,
                                        .survey = current.survey};
  batch_.rows_before = current.rows;
  batch_.upper_before = upper_used_;
  batch_.open_row_before = open_row_;
  batch_.level0_blocks_before = level0_.blocks();
  batch_.upper_blocks_before = upper_level_.blocks();
  return true;
}

Outcome Graph::Import(uint32_t rows, const uint8_t* levels, uint32_t entry,
                      const std::function<void(uint32_t, int32_t, ListDraft&)>& fill) {
  size_t upper = 0;
  for (uint32_t row = 0; row < rows; ++row) upper += levels[row];
  if (!Begin(rows)) return Outcome::kOutOfMemory;
  if (!upper_heads_.Reserve(upper) || !level0_.Reserve(rows) || !upper_level_.Reserve(upper)) {
    Abort();
    return Outcome::kOutOfMemory;
  }
  for (uint32_t row = 0; row < rows; ++row) {
    levels_[row] = levels[row];
    upper_[row] = upper_used_;
    upper_used_ += levels[row];
    for (int32_t level = 0; level <= levels[row]; ++level) {
      Record* record = TakeNew(row, level);
      ListDraft draft{record->ids()};
      fill(row, level, draft);
      record->count = draft.count;
      record->children = draft.children;
    }
  }
  batch_.version->entry = entry;
  batch_.version->levels = levels[entry] + 1;
  linked_.store(rows, std::memory_order_release);
  Publish();
  return Outcome::kOk;
}

Record* Graph::TakeNew(uint32_t row, int32_t level) noexcept {
  Record* record = SlabOf(level).Take();
  record->tick = batch_.version->tick;
  record->previous.store(nullptr, std::memory_order_relaxed);
  record->row = row;
  record->level = static_cast<uint8_t>(level);
  record->count = 0;
  record->children = 0;
  const uint32_t capacity = params_.capacity(level);
  std::fill_n(record->ids() + capacity, (capacity + 31) / 32, 0);
  record->next = batch_.fresh;
  batch_.fresh = record;
  Head(row, level).store(record, std::memory_order_release);
  PENNON_STEP("new list");
  return record;
}

// The batch's record of a list; the caller has reserved one.
Record* Graph::Touch(uint32_t row, int32_t level) noexcept {
  std::atomic<Record*>& head = Head(row, level);
  Record* old = head.load(std::memory_order_relaxed);
  if (Touched(row, level)) return old;
  Record* record = SlabOf(level).Take();
  record->tick = batch_.version->tick;
  record->previous.store(old, std::memory_order_relaxed);
  record->row = row;
  record->level = static_cast<uint8_t>(level);
  record->count = old->count;
  record->children = old->children;
  const uint32_t capacity = params_.capacity(level);
  std::copy_n(old->ids(), capacity + (capacity + 31) / 32, record->ids());
  record->next = batch_.touched;
  batch_.touched = record;
  PENNON_STEP("copy");
  head.store(record, std::memory_order_release);
  PENNON_STEP("link");
  return record;
}

void Graph::Publish() noexcept {
  Version* version = batch_.version;
  versions_.Push(version);
  current_.store(version, std::memory_order_release);
  PENNON_STEP("publish");
  visible_.store(version->rows, std::memory_order_release);
  Reclaim();
}

void Graph::Abort() noexcept {
  // Readers may be passing through records of old rows, so these wait; nobody else has seen those of new rows.
  while (Record* record = batch_.touched) {
    batch_.touched = record->next;
    Head(record->row, record->level).store(record->previous.load(std::memory_order_relaxed), std::memory_order_release);
    PENNON_STEP("restore");
    Retire(record);
  }
  Release(batch_.fresh);
  batch_.fresh = nullptr;
  PENNON_STEP("abort");
  heads_.Truncate(batch_.rows_before);
  upper_.Truncate(batch_.rows_before);
  levels_.Truncate(batch_.rows_before);
  upper_heads_.Truncate(batch_.upper_before);
  upper_used_ = batch_.upper_before;
  open_row_ = batch_.open_row_before;
  linked_.store(batch_.rows_before, std::memory_order_release);
  allocator_.Free(batch_.version, sizeof(Version));
  batch_.version = nullptr;
  PENNON_STEP("abort");
  Reclaim();
  if (!retired_.empty()) return;  // a reader may be passing through the batch's records
  level0_.ReturnFrom(batch_.level0_blocks_before);
  upper_level_.ReturnFrom(batch_.upper_blocks_before);
}

void Graph::Trim() noexcept { Reclaim(); }

// Marks what slots hold; gives the oldest tick among them, or the largest there is.
uint64_t Graph::ScanLive() noexcept {
  ++scans_;
  uint64_t oldest = ~uint64_t{0};
  slots_.Scan([&](Version* version) {
    PENNON_STEP("slot");
    version->seen = scans_;
    oldest = std::min(oldest, version->tick);
  });
  return oldest;
}

// Drops versions that nobody needs and the records that only they needed.
void Graph::Reclaim() noexcept {
  ScanLive();
  const Version* current = current_.load(std::memory_order_relaxed);
  Record* pending = nullptr;
  auto take_chain = [&](Record* chain) {
    while (chain != nullptr) {
      Record* next = chain->next;
      chain->next = pending;
      pending = chain;
      chain = next;
    }
  };
  size_t kept = 0;
  for (Version* version : versions_) {
    PENNON_STEP("look at version");
    if (version == current || version->seen == scans_ || version->pins.load(std::memory_order_acquire) != 0) {
      versions_[kept++] = version;
    } else {
      take_chain(version->superseded);
      allocator_.Free(version, sizeof(Version));
      PENNON_STEP("drop version");
    }
  }
  versions_.Truncate(kept);
  live_versions_.store(kept, std::memory_order_relaxed);
  if (batch_.version == current) {
    while (Record* record = batch_.touched) {
      batch_.touched = record->next;
      Record* old = record->previous.load(std::memory_order_relaxed);
      old_records_bytes_.fetch_add(SlabOf(old->level).record_bytes(), std::memory_order_relaxed);
      old->next = pending;
      pending = old;
    }
    batch_ = {};
  }
  while (pending != nullptr) {
    Record* next = pending->next;
    Settle(pending);
    PENNON_STEP("settle");
    pending = next;
  }
  if (retired_.empty()) return;
  const uint64_t oldest = ScanLive();
  size_t waiting = 0;
  for (const Retired& retired : retired_) {
    if (retired.tick < oldest) {
      Release(retired.chain);
    } else {
      retired_[waiting++] = retired;
    }
  }
  retired_.Truncate(waiting);
}

// A superseded record stays with the newest live version that needs it, or is unlinked.
void Graph::Settle(Record* record) noexcept {
  Record* newer = Head(record->row, record->level).load(std::memory_order_relaxed);
  while (newer->previous.load(std::memory_order_relaxed) != record) {
    newer = newer->previous.load(std::memory_order_relaxed);
  }
  Version** end = std::lower_bound(versions_.begin(), versions_.end(), newer->tick,
                                   [](const Version* version, uint64_t tick) { return version->tick < tick; });
  if (end != versions_.begin() && end[-1]->tick >= record->tick) {
    record->next = end[-1]->superseded;
    end[-1]->superseded = record;
    return;
  }
  newer->previous.store(record->previous.load(std::memory_order_relaxed), std::memory_order_release);
  old_records_bytes_.fetch_sub(SlabOf(record->level).record_bytes(), std::memory_order_relaxed);
  Retire(record);
}

void Graph::Retire(Record* record) noexcept {
  const uint64_t tick = current_.load(std::memory_order_relaxed)->tick;
  if (retired_.empty() || retired_[retired_.size() - 1].tick != tick) {
    retired_.Push({tick, nullptr});  // at most one a tick; Link has reserved it
  }
  Record*& chain = retired_[retired_.size() - 1].chain;
  record->next = chain;
  chain = record;
}

void Graph::Release(Record* chain) noexcept {
  while (chain != nullptr) {
    Record* next = chain->next;
    SlabOf(chain->level).Give(chain);
    PENNON_STEP("free");
    chain = next;
  }
}

Graph::Reader::Reader(const Graph& graph, const Version* pinned) noexcept : graph_(graph), slot_(graph.slots_.Claim()) {
  if (slot_ == nullptr) return;
  version_ = graph.slots_.Enter(*slot_);
  if (pinned != nullptr) version_ = pinned;  // the slot is then only the epoch
}

Graph::Reader::~Reader() {
  if (slot_ != nullptr) graph_.slots_.Leave(*slot_);
}

const Version* Graph::Reader::Pin() const {
  PinAgain(version_);
  return version_;
}

void Graph::PinAgain(const Version* version) {
  const_cast<Version*>(version)->pins.fetch_add(1, std::memory_order_acq_rel);
}

bool Graph::Unpin(const Version* version) const {
  const bool newest = version == current_.load(std::memory_order_acquire);
  return const_cast<Version*>(version)->pins.fetch_sub(1, std::memory_order_acq_rel) == 1 && !newest;
}

}  // namespace pennon::graph
