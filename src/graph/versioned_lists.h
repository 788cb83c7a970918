// Lists under versions: one writer goes on changing them, any number of readers see each as of the version they hold.
//
// Threads: Claim, Enter, Leave, Pin, Unpin and ReadList are any reader's; all else belongs to one writer at a time (the
// lock is the caller's). A reader takes a fixed number of steps whatever the writer does.
//
// A list is a chain of records, newest first, that its head names. A batch puts a record of its own before each list
// that it changes and may write into it until it is published: readers pass it by, since its tick is above theirs.
//
// Invariants:
//  1. A tick is used once, by one batch, published or aborted. A version's tick is its batch's.
//  2. A version is immutable but for its pins. `current` is the newest.
//  3. A version is live while it is current, some slot holds it, or it has pins; only who holds it can pin it.
//  4. Readers and the writer's scan touch slots, and the list of slots, by read-modify-writes only. So one of the two
//     comes second and knows what the other did before: either the scan sees kRegistering and helps, or the reader's
//     load of `current`, which follows its own, sees the version that was published before the scan. A plain store, by
//     Leave for one, would cut the chain: whoever claims the slot next would know of the last reader and not of the
//     scan.
//  5. A superseded record is in its chain while a live version needs it. Unlinked, it is reused when every slot is free
//     or holds a version that was published later; readers enter before they look at a head, so these cannot see it.
//
// Memory is NativeMemory, or that of tests/protocol: there this header runs in all interleavings, with all that C++
// lets loads see. Each order below is needed, and each weaker one is seen to fail.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>

#include "graph/steps.h"
#include "memory/allocator.h"
#include "memory/buffer.h"

namespace pennon::graph {

struct NativeMemory {
  template <typename T>
  using Atomic = std::atomic<T>;
  template <typename T>
  using Plain = T;
};

// What a Record of lists derives from.
template <typename Memory, typename Record>
struct Chained {
  typename Memory::template Plain<uint64_t> tick;
  typename Memory::template Atomic<Record*> previous;
  Record* next;  // the writer's: in whichever list of records it is
};

template <typename Memory, typename Record, typename State>
struct VersionOf : State {
  VersionOf(uint64_t drawn, const State& state) : State(state), tick(drawn) {}

  typename Memory::template Plain<uint64_t> tick;
  mutable typename Memory::template Atomic<uint64_t> pins{0};
  // The writer's: records of which this is the newest live version that needs them; mark of the last scan.
  Record* superseded = nullptr;
  uint64_t seen = 0;
};

template <typename Memory, typename Scratch>
struct alignas(64) Slot {
  static constexpr uintptr_t kFree = 0;
  static constexpr uintptr_t kRegistering = 1;  // claimed, holds nothing yet; any other state: the version it holds

  explicit Slot(Allocator& allocator) : scratch(allocator) {}

  typename Memory::template Atomic<uintptr_t> state{kRegistering};
  typename Memory::template Plain<Slot*> next;
  Scratch scratch;  // of whoever has claimed the slot
};

template <typename Memory, typename Version, typename Scratch>
class Slots {
  template <typename T>
  using Atomic = typename Memory::template Atomic<T>;

 public:
  using SlotType = Slot<Memory, Scratch>;
  // A thread's memory of the slot that it had last.
  struct Hint {
    uint64_t owner = 0;
    SlotType* slot = nullptr;
  };

  Slots(Allocator& allocator, const Atomic<Version*>& current) : allocator_(allocator), current_(current) {}
  ~Slots() {
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr;) {
      SlotType* next = slot->next;
      slot->~SlotType();
      allocator_.Free(slot, sizeof(SlotType));
      slot = next;
    }
  }

  // Reader. Null if there was no memory for one more slot.
  SlotType* Claim(Hint& last) noexcept {
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

  // Reader: the version that the claimed slot holds from here to Leave.
  const Version* Enter(SlotType& slot) noexcept {
    Version* version = current_.load(std::memory_order_acquire);
    uintptr_t state = SlotType::kRegistering;
    if (slot.state.compare_exchange_strong(state, reinterpret_cast<uintptr_t>(version), std::memory_order_acquire,
                                           std::memory_order_acquire)) {
      return version;
    }
    return reinterpret_cast<const Version*>(state);  // the writer has helped; only this needs the acquire
  }
  void Leave(SlotType& slot) noexcept { slot.state.exchange(SlotType::kFree, std::memory_order_release); }

  // Writer: calls visit(version) for the versions that slots hold. Readers that are registering it helps instead: they
  // get the newest version, and see all that was done before.
  template <typename Visit>
  void Scan(Visit&& visit) noexcept {
    for (SlotType* slot = head_.fetch_add(0, std::memory_order_acq_rel); slot != nullptr; slot = slot->next) {
      uintptr_t state = slot->state.fetch_or(0, std::memory_order_acq_rel);
      const uintptr_t current = reinterpret_cast<uintptr_t>(current_.load(std::memory_order_relaxed));
      if (state == SlotType::kRegistering &&
          slot->state.compare_exchange_strong(state, current, std::memory_order_acquire, std::memory_order_acquire)) {
        continue;  // who reads it sees what fetch_or released
      }
      if (state != SlotType::kFree) visit(reinterpret_cast<Version*>(state));
    }
  }

  // Writer: the slots that are free, each claimed meanwhile.
  template <typename Visit>
  void ForEachIdle(Visit&& visit) noexcept {
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) {
      if (!TryClaim(*slot)) continue;
      visit(*slot);
      Leave(*slot);
    }
  }

  // Any thread: all slots; what is read of their scratch must be atomic.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (SlotType* slot = head_.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) visit(*slot);
  }

 private:
  static bool TryClaim(SlotType& slot) noexcept {
    uintptr_t state = slot.state.load(std::memory_order_relaxed);
    return state == SlotType::kFree &&
           slot.state.compare_exchange_strong(state, SlotType::kRegistering, std::memory_order_acquire,
                                              std::memory_order_relaxed);
  }
  static uint64_t NextId() {
    static std::atomic<uint64_t> next{1};
    return next.fetch_add(1, std::memory_order_relaxed);
  }

  Allocator& allocator_;
  const Atomic<Version*>& current_;
  Atomic<SlotType*> head_{nullptr};
  const uint64_t id_ = NextId();  // so that a thread's memory of its slot never outlives the slot
};

// State: what a version is beside its tick. Where the lists are, and what is in their records, is the derived class'.
template <typename Memory, typename Record, typename State, typename Scratch>
class VersionedLists {
 public:
  using Version = VersionOf<Memory, Record, State>;
  using SlotType = Slot<Memory, Scratch>;
  using Head = typename Memory::template Atomic<Record*>;

  VersionedLists(const VersionedLists&) = delete;
  VersionedLists& operator=(const VersionedLists&) = delete;

  // Keeps a version that the caller holds, by a slot or by another pin, until Unpin.
  static void Pin(const Version* version) { version->pins.fetch_add(1, std::memory_order_relaxed); }
  // True if nobody has it pinned any more and it is not the newest: a Trim would free something.
  bool Unpin(const Version* version) const {
    const bool newest = version == current_.load(std::memory_order_relaxed);
    return version->pins.fetch_sub(1, std::memory_order_release) == 1 && !newest;
  }

  // The list as of a tick, that of a version which the caller holds. What comes before a record was complete before the
  // record was put there, so one acquire does for the whole chain.
  static const Record* ReadList(const Head& head, uint64_t tick) {
    const Record* record = head.load(std::memory_order_acquire);
    while (record->tick > tick) record = record->previous.load(std::memory_order_relaxed);
    return record;
  }

  // Writer: frees what no reader needs any more.
  void Trim() noexcept { Reclaim(); }

  uint64_t live_versions() const { return live_versions_.load(std::memory_order_relaxed); }

 protected:
  struct Retired {
    uint64_t tick;  // may be reused when every slot holds a later version
    Record* chain;
  };
  // Being made.
  struct Batch {
    Version* version = nullptr;
    Record* touched = nullptr;  // records of old lists
    Record* fresh = nullptr;    // records of new lists
  };

  // Versions come from `lists`, slots from `scratch`.
  VersionedLists(Allocator& lists, Allocator& scratch)
      : allocator_(lists), slots_(scratch, current_), versions_(lists), retired_(lists) {}
  ~VersionedLists() {
    for (Version* version : versions_) allocator_.Free(version, sizeof(Version));
    if (batch_.version != nullptr) allocator_.Free(batch_.version, sizeof(Version));
  }

  virtual Head& HeadOf(const Record& record) noexcept = 0;
  virtual size_t BytesOf(const Record& record) const noexcept = 0;
  virtual void Give(Record* record) noexcept = 0;  // that nobody needs

  // The first version. False: no memory.
  [[nodiscard]] bool Init(const State& state) noexcept {
    if (!versions_.Reserve(4) || !retired_.Reserve(4)) return false;
    void* memory = allocator_.Allocate(sizeof(Version));
    if (memory == nullptr) return false;
    versions_.Push(new (memory) Version(0, state));
    current_.store(versions_[0], std::memory_order_relaxed);
    live_versions_.store(1, std::memory_order_relaxed);
    return true;
  }

  // Starts a batch: its version, and room for what its end will retire. False: no memory, and nothing has begun.
  [[nodiscard]] bool Begin(const State& state) noexcept {
    if (!versions_.Reserve(versions_.size() + 1) || !retired_.Reserve(retired_.size() + 2)) return false;
    void* memory = allocator_.Allocate(sizeof(Version));
    if (memory == nullptr) return false;
    batch_ = {};
    batch_.version = new (memory) Version(++last_tick_, state);
    return true;
  }

  bool Touched(const Head& head) const { return head.load(std::memory_order_relaxed)->tick == batch_.version->tick; }
  // The batch's record of a list, which was untouched so far: a copy of its newest, `old`; or of a new list, where
  // `old` is null. It stays open to changes until Publish.
  void Put(Head& head, Record* old, Record* record) noexcept {
    record->tick = batch_.version->tick;
    record->previous.store(old, std::memory_order_relaxed);
    Record*& chain = old == nullptr ? batch_.fresh : batch_.touched;
    record->next = chain;
    chain = record;
    PENNON_STEP("copy");
    head.store(record, std::memory_order_release);
    PENNON_STEP("link");
  }

  void Publish() noexcept {
    versions_.Push(batch_.version);
    current_.store(batch_.version, std::memory_order_release);
    PENNON_STEP("publish");
    Reclaim();
  }

  // True if readers cannot be passing through the batch's records any more.
  bool Abort() noexcept {
    // Readers may be passing through records of old lists, so these wait; nobody else has seen those of new ones.
    while (Record* record = batch_.touched) {
      batch_.touched = record->next;
      HeadOf(*record).store(record->previous.load(std::memory_order_relaxed), std::memory_order_release);
      PENNON_STEP("restore");
      Retire(record);
    }
    Release(batch_.fresh);
    PENNON_STEP("abort");
    allocator_.Free(batch_.version, sizeof(Version));
    batch_ = {};
    PENNON_STEP("abort");
    Reclaim();
    return retired_.empty();
  }

  Allocator& allocator_;
  typename Memory::template Atomic<Version*> current_{nullptr};
  mutable Slots<Memory, Version, Scratch> slots_;
  Buffer<Version*> versions_;  // live at the last scan, by tick
  Buffer<Retired> retired_;
  Batch batch_;
  std::atomic<uint64_t> old_records_bytes_{0};  // that are in chains, as of the last publish

 private:
  // Marks what slots hold, but for readers helped; gives the oldest tick among them, or the largest there is.
  uint64_t ScanLive() noexcept {
    ++scans_;
    uint64_t oldest = ~uint64_t{0};
    slots_.Scan([&](Version* version) {
      PENNON_STEP("slot");
      version->seen = scans_;
      oldest = std::min<uint64_t>(oldest, version->tick);
    });
    return oldest;
  }

  // Drops versions that nobody needs and the records that only they needed.
  void Reclaim() noexcept {
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
      // Pins after slots: a reader pins the version before it leaves its slot.
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
        old_records_bytes_.fetch_add(BytesOf(*old), std::memory_order_relaxed);
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
    // Again: readers have come since the first scan, and may have seen what was then unlinked.
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
  void Settle(Record* record) noexcept {
    Record* newer = HeadOf(*record).load(std::memory_order_relaxed);
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
    newer->previous.store(record->previous.load(std::memory_order_relaxed), std::memory_order_relaxed);
    old_records_bytes_.fetch_sub(BytesOf(*record), std::memory_order_relaxed);
    Retire(record);
  }

  void Retire(Record* record) noexcept {
    const uint64_t tick = current_.load(std::memory_order_relaxed)->tick;
    if (retired_.empty() || retired_[retired_.size() - 1].tick != tick) {
      retired_.Push({tick, nullptr});  // at most one a tick; Begin has reserved it
    }
    Record*& chain = retired_[retired_.size() - 1].chain;
    record->next = chain;
    chain = record;
  }

  void Release(Record* chain) noexcept {
    while (chain != nullptr) {
      Record* next = chain->next;
      Give(chain);
      PENNON_STEP("free");
      chain = next;
    }
  }

  uint64_t last_tick_ = 0;
  uint64_t scans_ = 0;
  std::atomic<uint64_t> live_versions_{0};
};

}  // namespace pennon::graph
