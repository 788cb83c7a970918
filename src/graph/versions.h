// Versions, and the slots through which readers hold them.
//
// Threads: any number of readers, one writer (the writer's lock is the caller's). A reader takes a fixed number of
// steps whatever the writer does.
//
// Invariants:
//  1. A tick is used once, by one batch, published or aborted. A version's tick is its batch's.
//  2. A version is immutable but for its pins. `current` is the newest.
//  3. A version is live while it is current, some slot holds it, or it has pins; only who holds it can pin it.
//  4. Both sides touch a slot by read-modify-writes, so one of them comes second: either the writer's scan sees
//     kRegistering and helps, or the reader's load of `current`, which follows its own, sees the version that was
//     published before the scan.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#include "graph/probe.h"
#include "memory/allocator.h"
#include "memory/buffer.h"

namespace pennon::graph {

struct Record;

// What walks over these rows look like, measured on a sample of them.
struct Survey {
  uint32_t rows = 0;  // that there were
  float largest_norm = 0;
  // The distance within which a row has ef_construction others on the average, as a multiple of that of its tenth
  // nearest; 0: unknown.
  float reach = 0;
  Mode mode;
};

struct Version {
  uint64_t tick;
  uint32_t rows;
  uint32_t entry;  // a row of the top level, if there are rows
  int32_t levels;  // levels that have rows
  Survey survey;
  float largest_norm = 0;  // the scorer's
  std::atomic<uint64_t> pins{0};
  // The writer's: records of which this is the newest live version that needs them; mark of the last scan.
  Record* superseded = nullptr;
  uint64_t seen = 0;
};

template <typename Scratch>
struct alignas(64) Slot {
  static constexpr uintptr_t kEmpty = 0;
  static constexpr uintptr_t kRegistering = 1;

  explicit Slot(Allocator& allocator) : scratch(allocator) {}

  std::atomic<uintptr_t> state{kEmpty};
  std::atomic<bool> claimed{true};
  Slot* next = nullptr;
  Scratch scratch;  // of whoever has claimed the slot
};

template <typename Scratch>
class Slots {
 public:
  using SlotType = Slot<Scratch>;

  Slots(Allocator& allocator, const std::atomic<Version*>& current) : allocator_(allocator), current_(current) {}
  ~Slots() {
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr;) {
      SlotType* next = slot->next;
      slot->~SlotType();
      allocator_.Free(slot, sizeof(SlotType));
      slot = next;
    }
  }

  // Reader. Null if there was no memory for one more slot.
  SlotType* Claim() noexcept {
    thread_local struct {
      uint64_t owner = 0;
      SlotType* slot = nullptr;
    } last;
    if (last.owner == id_ && TryClaim(*last.slot)) return last.slot;
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) {
      if (TryClaim(*slot)) {
        last = {id_, slot};
        return slot;
      }
    }
    void* memory = allocator_.Allocate(sizeof(SlotType));
    if (memory == nullptr) return nullptr;
    SlotType* slot = new (memory) SlotType(allocator_);
    SlotType* head = head_.load(std::memory_order_relaxed);
    do {
      slot->next = head;
    } while (!head_.compare_exchange_weak(head, slot, std::memory_order_acq_rel, std::memory_order_relaxed));
    last = {id_, slot};
    return slot;
  }

  // Reader: the version that the slot holds from here to Leave.
  const Version* Enter(SlotType& slot) noexcept {
    slot.state.exchange(SlotType::kRegistering, std::memory_order_acq_rel);
    Version* version = current_.load(std::memory_order_acquire);
    uintptr_t expected = SlotType::kRegistering;
    if (slot.state.compare_exchange_strong(expected, reinterpret_cast<uintptr_t>(version), std::memory_order_acq_rel,
                                           std::memory_order_acquire)) {
      return version;
    }
    return reinterpret_cast<const Version*>(expected);
  }
  void Leave(SlotType& slot) noexcept {
    slot.state.store(SlotType::kEmpty, std::memory_order_release);
    slot.claimed.store(false, std::memory_order_release);
  }

  // Writer: calls visit(version) for every version that a slot holds, helping readers that are registering.
  template <typename Visit>
  void Scan(Visit&& visit) noexcept {
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) {
      uintptr_t state = slot->state.fetch_or(0, std::memory_order_acq_rel);
      if (state == SlotType::kRegistering) {
        const uintptr_t current = reinterpret_cast<uintptr_t>(current_.load(std::memory_order_relaxed));
        if (slot->state.compare_exchange_strong(state, current, std::memory_order_acq_rel, std::memory_order_acquire)) {
          state = current;
        }
      }
      if (state != SlotType::kEmpty) visit(reinterpret_cast<Version*>(state));
    }
  }

  // The slots that nobody has claimed, each claimed meanwhile.
  template <typename Visit>
  void ForEachIdle(Visit&& visit) noexcept {
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) {
      if (!TryClaim(*slot)) continue;
      visit(*slot);
      slot->claimed.store(false, std::memory_order_release);
    }
  }

  // Sums over all slots; what is read must be atomic.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) visit(*slot);
  }

 private:
  static bool TryClaim(SlotType& slot) noexcept {
    return !slot.claimed.load(std::memory_order_relaxed) && !slot.claimed.exchange(true, std::memory_order_acquire);
  }
  static uint64_t NextId() {
    static std::atomic<uint64_t> next{1};
    return next.fetch_add(1, std::memory_order_relaxed);
  }

  Allocator& allocator_;
  const std::atomic<Version*>& current_;
  std::atomic<SlotType*> head_{nullptr};
  const uint64_t id_ = NextId();  // so that a thread's memory of its slot never outlives the slot
};

}  // namespace pennon::graph
