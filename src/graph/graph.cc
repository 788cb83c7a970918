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
    : Lists(lists, scratch),
      params_(params),
      scratch_allocator_(scratch),
      heads_(lists),
      upper_heads_(lists),
      upper_(lists),
      levels_(lists),
      level0_(lists, params.capacity(0)),
      upper_level_(lists, params.capacity(1)) {}

Graph::~Graph() { DropLinker(); }

bool Graph::Init() noexcept { return MakeLinker() && Lists::Init({}); }

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

// Starts a batch of so many rows. On failure nothing has begun.
bool Graph::Begin(uint32_t rows) noexcept {
  Extent extent = *current_.load(std::memory_order_relaxed);
  before_ = {.rows = extent.rows,
             .upper = upper_used_,
             .open_row = open_row_,
             .level0_blocks = level0_.blocks(),
             .upper_blocks = upper_level_.blocks()};
  const uint64_t end = uint64_t{extent.rows} + rows;
  extent.rows = static_cast<uint32_t>(end);
  if (heads_.Reserve(end) && upper_.Reserve(end) && levels_.Reserve(end) && Lists::Begin(extent)) return true;
  heads_.Truncate(before_.rows);
  upper_.Truncate(before_.rows);
  levels_.Truncate(before_.rows);
  return false;
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
  return Outcome::kOk;
}

void Graph::SetSurvey(const Survey& survey, float largest_norm) noexcept {
  batch_.version->survey = survey;
  batch_.version->largest_norm = largest_norm;
}

Record* Graph::TakeNew(uint32_t row, int32_t level) noexcept {
  Record* record = SlabOf(level).Take();
  record->row = row;
  record->level = static_cast<uint8_t>(level);
  record->count = 0;
  record->children = 0;
  const uint32_t capacity = params_.capacity(level);
  std::fill_n(record->ids() + capacity, (capacity + 31) / 32, 0);
  Put(Head(row, level), nullptr, record);
  PENNON_STEP("new list");
  return record;
}

// The batch's record of a list; the caller has reserved one.
Record* Graph::Touch(uint32_t row, int32_t level) noexcept {
  Record* old = Head(row, level).load(std::memory_order_relaxed);
  if (Touched(row, level)) return old;
  Record* record = SlabOf(level).Take();
  record->row = row;
  record->level = static_cast<uint8_t>(level);
  record->count = old->count;
  record->children = old->children;
  const uint32_t capacity = params_.capacity(level);
  std::copy_n(old->ids(), capacity + (capacity + 31) / 32, record->ids());
  Put(Head(row, level), old, record);
  return record;
}

void Graph::Publish() noexcept {
  Lists::Publish();
  visible_.store(current_.load(std::memory_order_relaxed)->rows, std::memory_order_release);
}

void Graph::Abort() noexcept {
  const bool unseen = Lists::Abort();
  heads_.Truncate(before_.rows);
  upper_.Truncate(before_.rows);
  levels_.Truncate(before_.rows);
  upper_heads_.Truncate(before_.upper);
  upper_used_ = before_.upper;
  open_row_ = before_.open_row;
  linked_.store(before_.rows, std::memory_order_release);
  if (!unseen) return;
  level0_.ReturnFrom(before_.level0_blocks);
  upper_level_.ReturnFrom(before_.upper_blocks);
}

Graph::Reader::Reader(const Graph& graph, const Version* pinned) noexcept : graph_(graph) {
  thread_local decltype(slots_)::Hint last;
  slot_ = graph.slots_.Claim(last);
  if (slot_ == nullptr) return;
  version_ = graph.slots_.Enter(*slot_);
  if (pinned != nullptr) version_ = pinned;  // the slot is then only the epoch
}

Graph::Reader::~Reader() {
  if (slot_ != nullptr) graph_.slots_.Leave(*slot_);
}

}  // namespace pennon::graph
