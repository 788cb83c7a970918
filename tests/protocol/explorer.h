// Runs a small program of a few threads in every way that C++'s memory model allows, but for load buffering (as RC11):
// every interleaving, and every store that a load may see.
//
// Memory is that of views: a location has its stores in modification order, a thread knows of each location the newest
// store that it must see and may load any newer one, and a store carries what a release publishes, through
// read-modify-writes too. A read-modify-write comes directly after what it reads. Sequentially consistent operations
// are taken as acquire and release; weak exchanges do not fail for no reason. What happens before is known by vector
// clocks: accesses to plain fields that race, memory used after it was given back, or given back while it may be in
// use, and reading what was never written are failures. Memory is not given out twice, so each use of what is gone is
// seen.
//
// Threads are fibers. A step of a thread is its loads up to its next write and this write: nothing that others do
// depends on a load, and a load sees no fewer stores when it comes later, so it can wait for the write. Between two
// steps there is a choice of threads. All choices are gone through depth first, running the program anew for each; a
// way ends where a state is one that was seen before: what each thread has read so far (which, a thread being
// deterministic, is all about it), what it may still see, and all that can still be seen in memory or still race.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "memory/allocator.h"

namespace explorer {

constexpr size_t kThreads = 3;
constexpr size_t kOwner = 0;        // of the threads, the one that gives memory back
constexpr size_t kMain = kThreads;  // sets up, and looks at what is left
constexpr size_t kLocations = 64;

inline uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93u;
  x = (x ^ (x >> 29)) * 0x9FB21C651E98DF25u;
  return x ^ (x >> 32);
}

// What a thread knows, or a store tells.
struct View {
  std::array<uint8_t, kLocations> seen{};      // the newest store of a location
  std::array<uint16_t, kThreads + 1> clock{};  // how far each thread's accesses happened before

  void Join(const View& other) {
    for (size_t i = 0; i < kLocations; ++i) seen[i] = std::max(seen[i], other.seen[i]);
    for (size_t i = 0; i <= kThreads; ++i) clock[i] = std::max(clock[i], other.clock[i]);
  }
};

// States seen.
class Seen {
 public:
  // False if it was there.
  bool Insert(uint64_t state) {
    if (2 * ++size_ > slots_.size()) Grow();
    if (Place(state)) return true;
    --size_;
    return false;
  }
  size_t size() const { return size_; }

 private:
  bool Place(uint64_t state) {
    size_t i = state & (slots_.size() - 1);
    for (; slots_[i] != 0; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i] == state) return false;
    }
    slots_[i] = state;
    return true;
  }
  void Grow() {
    std::vector<uint64_t> old(slots_.size() * 2);
    old.swap(slots_);
    for (uint64_t state : old) {
      if (state != 0) Place(state);
    }
  }

  std::vector<uint64_t> slots_ = std::vector<uint64_t>(1 << 16);
  size_t size_ = 0;
};

struct Program {
  void* shared;  // what set_up makes there, at the same address in all executions
  std::function<void()> set_up;
  std::array<std::function<void()>, kThreads> threads;
  std::function<void()> finish;  // after all of them
};

struct Result {
  std::string failure;  // and the way to it; empty: none
  uint64_t executions = 0;
  uint64_t states = 0;
  double seconds = 0;
};

class Explorer {
 public:
  static Explorer& Get() {
    static Explorer explorer;
    return explorer;
  }

  Result Explore(const Program& program) {
    const auto start = std::chrono::steady_clock::now();
    program_ = &program;
    Result result;
    choices_.clear();
    seen_ = {};
    do {
      Run();
      ++result.executions;
      if (!failure_.empty()) {
        const std::string failure = failure_;
        tracing_ = true;
        Run();
        tracing_ = false;
        result.failure = failure + "\n" + trace_;
        break;
      }
    } while (Next());
    result.states = seen_.size();
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

  // For the program.
  void Check(bool holds, const char* what) {
    if (!holds) Fail(what);
  }
  uint64_t operations() const { return threads_[running_].operations; }
  size_t running() const { return running_; }
  // What the running thread has read matters no more; what it will do depends on `rest`.
  uint64_t observed() const { return threads_[running_].observed; }
  template <typename... Rest>
  void Forget(Rest... rest) {
    threads_[running_].observed = 0;
    (Observe(uint64_t(rest)), ...);
  }

  void Observe(uint64_t value) {
    uint64_t& observed = threads_[running_].observed;
    observed = Mix(observed * 0x9E3779B97F4A7C15u + value + 1);
  }

  void* Allocate(size_t bytes, const char* name) {
    Arena& arena = arenas_[running_];
    arena.used = (arena.used + 63) / 64 * 64;
    if (arena.used + bytes > arena.memory.size()) Fail("the arena is full");
    char* memory = arena.memory.data() + arena.used;
    arena.used += bytes;
    std::memset(memory, 0xDD, bytes);
    objects_.push_back({memory, bytes, name, true, false, {}});
    return memory;
  }
  void Free(void* memory) {
    Object& object = *std::find_if(objects_.rbegin(), objects_.rend(), [&](Object& o) { return o.memory == memory; });
    if (tracing_) Note("gives back ", object);
    if (!object.live) Fail("memory given back twice");
    if (running_ != kOwner && running_ != kMain) Fail("memory given back by another thread");
    const View& view = threads_[running_].view;
    for (size_t u = 0; u <= kThreads; ++u) {
      if (u != running_ && object.used[u] > view.clock[u]) Fail("memory given back while it may be in use");
    }
    object.live = false;
    std::memset(memory, 0xDD, object.bytes);
  }
  // How many pieces of memory of that name, or of any, are in use.
  size_t Live(const char* name = nullptr) const {
    return static_cast<size_t>(std::count_if(objects_.begin() + 1, objects_.end(), [&](const Object& object) {
      return object.live && (name == nullptr || std::strcmp(object.name, name) == 0);
    }));
  }

  // For Atomic.
  uint32_t NewLocation(const void* address, uint64_t value) {
    if (locations_used_ == kLocations) Fail("too many locations");
    const auto id = static_cast<uint32_t>(locations_used_++);
    if (locations_.size() < locations_used_) locations_.emplace_back();
    Location& location = locations_[id];
    location.address = address;
    location.object = ObjectAt(address);
    location.made_by = running_;
    location.made_at = threads_[running_].view.clock[running_];
    location.stores.clear();
    location.stores.push_back({value, {}, false});
    Use(location.object);
    return id;
  }
  uint64_t Load(uint32_t id, std::memory_order order) {
    BeforeOperation();
    Location& location = At(id);
    const size_t oldest = view().seen[id];
    const size_t at = oldest + Choose(location.stores.size() - oldest);
    return Read(id, at, order, "loads");
  }
  void Store(uint32_t id, uint64_t value, std::memory_order order) {
    BeforeOperation();
    options_.clear();
    AddAttachable(At(id), view().seen[id]);
    const size_t after = options_[Choose(options_.size())];
    Observe(0);
    if (tracing_) Note(order == std::memory_order_relaxed ? "stores relaxed" : "stores", At(id), value);
    Insert(id, after, value, order, false);
  }
  // f gives the new value.
  template <typename F>
  uint64_t Modify(uint32_t id, std::memory_order order, F&& f) {
    BeforeOperation();
    options_.clear();
    AddAttachable(At(id), view().seen[id]);
    const size_t at = options_[Choose(options_.size())];
    const uint64_t before = Read(id, at, order, "modifies");
    Insert(id, at, f(before), order, true);
    return before;
  }
  bool CompareExchange(uint32_t id, uint64_t& expected, uint64_t desired, std::memory_order success,
                       std::memory_order failure) {
    BeforeOperation();
    const Location& location = At(id);
    options_.clear();
    for (size_t at = view().seen[id]; at < location.stores.size(); ++at) {
      if (location.stores[at].value != expected || Attachable(location, at)) options_.push_back(at);
    }
    const size_t at = options_[Choose(options_.size())];
    if (location.stores[at].value != expected) {
      expected = Read(id, at, failure, "fails to exchange");
      return false;
    }
    Read(id, at, success, "exchanges");
    Insert(id, at, desired, success, true);
    return true;
  }

  // For Plain.
  uint32_t NewCell(const void* address) {
    const auto id = static_cast<uint32_t>(cells_.size());
    cells_.push_back({address, ObjectAt(address), false, 0, 0, 0, {}});
    return id;
  }
  void ReadPlain(uint32_t id) {
    Cell& cell = CellAt(id);
    if (!cell.written) Fail("reads what was never written");
    if (cell.writer != running_ && cell.written_at > view().clock[cell.writer]) Fail("reads what is being written");
    cell.read_at[running_] = view().clock[running_];
    Observe(cell.value);
  }
  void WritePlain(uint32_t id, uint64_t value) {
    Cell& cell = CellAt(id);
    Share(value);
    if (cell.written && cell.writer != running_ && cell.written_at > view().clock[cell.writer]) {
      Fail("writes what is being written");
    }
    for (size_t u = 0; u <= kThreads; ++u) {
      if (u != running_ && cell.read_at[u] > view().clock[u]) Fail("writes what is being read");
    }
    cell.written = true;
    cell.value = value;
    cell.writer = running_;
    cell.written_at = view().clock[running_];
    cell.read_at = {};
  }
  [[noreturn]] void Fail(const char* what) {
    failure_ = what;
    if (tracing_) trace_ += Who() + ": " + what + "\n";
    End();
  }

 private:
  struct Message {
    uint64_t value;
    View carried;
    bool modified;  // by a read-modify-write of the one before
  };
  struct Location {
    const void* address;
    size_t object;
    size_t made_by;
    uint16_t made_at;
    std::vector<Message> stores;
  };
  struct Cell {
    const void* address;
    size_t object;
    bool written;
    uint64_t value;
    size_t writer;
    uint16_t written_at;
    std::array<uint16_t, kThreads + 1> read_at;
  };
  struct Object {
    char* memory;
    size_t bytes;
    const char* name;
    bool live;
    bool shared;  // its address was stored somewhere
    std::array<uint16_t, kThreads + 1> used;
  };
  struct Thread {
    View view;
    uint64_t observed = 0;
    uint64_t operations = 0;
    bool between_steps = false;
    bool finished = false;
  };
  struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(256 << 10);
  };
  struct Arena {
    std::vector<char> memory = std::vector<char>(16 << 10);
    size_t used = 0;
  };
  struct Choice {
    uint8_t taken;
    uint8_t of;
  };

  Explorer() = default;

  View& view() { return threads_[running_].view; }

  // One execution: the choices made so far, then the first of each.
  void Run() {
    next_choice_ = 0;
    failure_.clear();
    trace_.clear();
    threads_ = {};
    for (Arena& arena : arenas_) arena.used = 0;
    locations_used_ = 0;
    cells_.clear();
    objects_.clear();
    objects_.push_back({static_cast<char*>(program_->shared), 0, "shared", true, true, {}});
    running_ = kMain;
    threads_[kMain].view.clock[kMain] = 1;
    ended_ = false;
    getcontext(&main_);
    if (ended_) return;
    program_->set_up();
    for (size_t t = 0; t < kThreads; ++t) {
      threads_[t].view = threads_[kMain].view;
      threads_[t].view.clock[t] = 1;
      threads_[t].finished = !program_->threads[t];
      Fiber& fiber = fibers_[t];
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = fiber.stack.size();
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, [] { Get().Body(); }, 0);
    }
    ++threads_[kMain].view.clock[kMain];
    Schedule();
    running_ = kMain;
    for (const Thread& thread : threads_) threads_[kMain].view.Join(thread.view);
    program_->finish();
  }
  void Body() {
    program_->threads[running_]();
    threads_[running_].finished = true;
    Schedule();
  }
  [[noreturn]] void End() {
    ended_ = true;
    setcontext(&main_);
    std::abort();
  }

  // Lets a thread go on; from the last one's end, main.
  void Schedule() {
    std::array<size_t, kThreads> ready{};
    size_t n = 0;
    for (size_t i = 0; i < kThreads; ++i) {
      const size_t t = (running_ + i) % kThreads;
      if (!threads_[t].finished) ready[n++] = t;
    }
    const size_t from = running_;
    if (n == 0) {
      swapcontext(&fibers_[from].context, &finish_);
    }
    if (next_choice_ == choices_.size() && !tracing_ && !seen_.Insert(State(0))) End();
    running_ = ready[Choose(n, false)];
    if (running_ == from) return;
    swapcontext(from == kMain ? &finish_ : &fibers_[from].context, &fibers_[running_].context);
  }

  void BeforeOperation() {
    Thread& thread = threads_[running_];
    if (thread.between_steps && running_ != kMain) {
      thread.between_steps = false;
      Schedule();
    }
    ++threads_[running_].operations;
  }

  size_t Choose(size_t n, bool in_step = true) {
    if (n == 1) return 0;
    if (next_choice_ == choices_.size()) {
      if (in_step && !tracing_ && !seen_.Insert(State(running_ + 1))) End();
      choices_.push_back({0, static_cast<uint8_t>(n)});
    }
    return choices_[next_choice_++].taken;
  }
  // The next way to go; false: there is none.
  bool Next() {
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().of) choices_.pop_back();
    if (choices_.empty()) return false;
    ++choices_.back().taken;
    return true;
  }

  Location& At(uint32_t id) {
    if (id >= locations_used_ || !objects_[locations_[id].object].live) Fail("uses memory that was given back");
    Location& location = locations_[id];
    if (location.made_by != running_ && location.made_at > view().clock[location.made_by]) {
      Fail("uses what is being made");
    }
    Use(location.object);
    return location;
  }
  Cell& CellAt(uint32_t id) {
    if (id >= cells_.size() || !objects_[cells_[id].object].live) Fail("uses memory that was given back");
    Use(cells_[id].object);
    return cells_[id];
  }
  void Use(size_t object) {
    if (running_ != kOwner) objects_[object].used[running_] = view().clock[running_];
  }
  size_t ObjectAt(const void* address) const {
    const char* at = static_cast<const char*>(address);
    for (size_t i = objects_.size(); --i > 0;) {
      if (at >= objects_[i].memory && at < objects_[i].memory + objects_[i].bytes) return i;
    }
    return 0;  // never given back
  }

  void Share(uint64_t value) {
    if (const size_t object = ObjectAt(reinterpret_cast<const void*>(value)); object != 0)
      objects_[object].shared = true;
  }

  static bool Attachable(const Location& location, size_t at) {
    return at + 1 == location.stores.size() || !location.stores[at + 1].modified;
  }
  void AddAttachable(const Location& location, size_t from) {
    for (size_t at = from; at < location.stores.size(); ++at) {
      if (Attachable(location, at)) options_.push_back(at);
    }
  }
  uint64_t Read(uint32_t id, size_t at, std::memory_order order, const char* how) {
    const Message& message = locations_[id].stores[at];
    if (tracing_) Note(how, locations_[id], message.value, locations_[id].stores.size() - 1 - at);
    View& view = threads_[running_].view;
    if (order != std::memory_order_relaxed && order != std::memory_order_release) view.Join(message.carried);
    view.seen[id] = std::max(view.seen[id], static_cast<uint8_t>(at));
    Observe(message.value);
    return message.value;
  }
  void Insert(uint32_t id, size_t after, uint64_t value, std::memory_order order, bool modified) {
    Location& location = locations_[id];
    const size_t at = after + 1;
    if (at < location.stores.size()) MoveUp(id, at);
    Thread& thread = threads_[running_];
    thread.view.seen[id] = static_cast<uint8_t>(at);
    Message message{value, {}, modified};
    if (order != std::memory_order_relaxed && order != std::memory_order_acquire) message.carried = thread.view;
    message.carried.seen[id] = static_cast<uint8_t>(at);
    if (modified) message.carried.Join(location.stores[after].carried);  // a release sequence
    location.stores.insert(location.stores.begin() + static_cast<ptrdiff_t>(at), message);
    if (location.stores.size() > 250) Fail("too many stores");
    if (tracing_) Note("  which is now", location, value);
    Share(value);
    if (++thread.view.clock[running_] == 512) Fail("too many steps");
    thread.between_steps = objects_[location.object].shared;
  }
  void MoveUp(uint32_t id, size_t from) {
    const auto move = [&](View& view) {
      if (view.seen[id] >= from) ++view.seen[id];
    };
    for (Thread& thread : threads_) move(thread.view);
    for (size_t l = 0; l < locations_used_; ++l) {
      for (Message& message : locations_[l].stores) move(message.carried);
    }
  }

  // What the rest of the execution depends on.
  uint64_t State(size_t in_step_of) {
    std::array<uint16_t, kThreads + 1> known;  // by all others
    known.fill(UINT16_MAX);
    std::array<uint8_t, kLocations> floor;  // no thread can see what is older
    floor.fill(UINT8_MAX);
    for (size_t t = 0; t < kThreads; ++t) {
      if (threads_[t].finished) continue;
      const View& view = threads_[t].view;
      for (size_t u = 0; u <= kThreads; ++u) {
        if (u != t) known[u] = std::min(known[u], view.clock[u]);
      }
      for (size_t l = 0; l < locations_used_; ++l) floor[l] = std::min(floor[l], view.seen[l]);
    }
    // Of each thread's clock only the order to accesses counts that may still race.
    std::array<std::array<uint64_t, 8>, kThreads + 1> accesses{};
    const auto access = [&](size_t thread, uint16_t at) {
      if (at > known[thread]) accesses[thread][at / 64 % 8] |= uint64_t{1} << (at % 64);
    };
    for (const Object& object : objects_) {
      if (!object.live || &object == objects_.data()) continue;
      for (size_t u = 0; u <= kThreads; ++u) access(u, object.used[u]);
    }
    for (const Cell& cell : cells_) {
      if (!objects_[cell.object].live) continue;
      if (cell.written) access(cell.writer, cell.written_at);
      for (size_t u = 0; u <= kThreads; ++u) access(u, cell.read_at[u]);
    }
    for (size_t l = 0; l < locations_used_; ++l) {
      if (objects_[locations_[l].object].live) access(locations_[l].made_by, locations_[l].made_at);
    }
    const auto rank = [&](size_t thread, uint16_t at) {
      uint64_t n = 0;
      for (size_t word = 0; word < at / 64u; ++word) n += std::popcount(accesses[thread][word]);
      return n + std::popcount(accesses[thread][at / 64] << (63 - at % 64));
    };
    const auto hash_view = [&](const View& view) {
      uint64_t sum = 0;
      for (size_t l = 0; l < locations_used_; ++l) {
        if (view.seen[l] > floor[l] && objects_[locations_[l].object].live) {
          sum += Mix(reinterpret_cast<uintptr_t>(locations_[l].address) * 256 + (view.seen[l] - floor[l]));
        }
      }
      for (size_t u = 0; u <= kThreads; ++u) sum = Mix(sum + u) + rank(u, view.clock[u]);
      return Mix(sum);
    };

    uint64_t state = in_step_of;
    for (size_t t = 0; t < kThreads; ++t) {
      state = Mix(state + (threads_[t].finished ? 0 : threads_[t].observed));
      if (!threads_[t].finished) state += hash_view(threads_[t].view);
    }
    for (size_t l = 0; l < locations_used_; ++l) {
      const Location& location = locations_[l];
      if (!objects_[location.object].live) continue;
      uint64_t hash = reinterpret_cast<uintptr_t>(location.address);
      if (location.made_at > known[location.made_by]) hash = Mix(hash) + rank(location.made_by, location.made_at);
      for (size_t at = floor[l]; at < location.stores.size(); ++at) {
        const Message& message = location.stores[at];
        hash = Mix(hash + message.value) + hash_view(message.carried) + (message.modified ? 1 : 0);
      }
      state += Mix(hash);
    }
    const auto add = [&](const void* address, uint64_t kind, size_t thread, uint16_t at) {
      if (at > known[thread]) {
        state += Mix(Mix(reinterpret_cast<uintptr_t>(address) * 64 + kind * 8 + thread) + rank(thread, at));
      }
    };
    for (const Cell& cell : cells_) {
      if (!objects_[cell.object].live) continue;
      state += Mix(Mix(reinterpret_cast<uintptr_t>(cell.address)) + (cell.written ? cell.value + 1 : 0));
      if (cell.written) add(cell.address, 1, cell.writer, cell.written_at);
      for (size_t u = 0; u <= kThreads; ++u) add(cell.address, 2, u, cell.read_at[u]);
    }
    for (const Object& object : objects_) {
      if (!object.live || &object == objects_.data()) continue;
      state += Mix(reinterpret_cast<uintptr_t>(object.memory) + (object.shared ? 1 : 0));
      for (size_t u = 0; u <= kThreads; ++u) add(object.memory, 3, u, object.used[u]);
    }
    return state | 1;
  }

  // Traces.
  std::string Who() const { return running_ == kMain ? "main" : "thread " + std::to_string(running_); }
  void Note(const char* what, const Object& object) {
    trace_ += Who() + " " + what + object.name + " " + std::to_string(&object - objects_.data()) + "\n";
  }
  void Note(const char* what, const Location& location, uint64_t value, size_t older = 0) {
    char line[160];
    const Object& object = objects_[location.object];
    const auto offset = static_cast<const char*>(location.address) - object.memory;
    std::snprintf(line, sizeof(line), "%s %s %s %zu+%#tx: %#llx%s\n", Who().c_str(), what, object.name, location.object,
                  offset, static_cast<unsigned long long>(value), older != 0 ? " (not the newest)" : "");
    trace_ += line;
  }

  const Program* program_ = nullptr;
  std::vector<Choice> choices_;
  size_t next_choice_ = 0;
  Seen seen_;

  // Of the execution.
  size_t running_ = kMain;
  bool ended_ = false;
  bool tracing_ = false;
  std::string failure_;
  std::string trace_;
  std::array<Thread, kThreads + 1> threads_;
  std::array<Fiber, kThreads> fibers_;
  std::array<Arena, kThreads + 1> arenas_;
  ucontext_t main_;
  ucontext_t finish_;
  std::vector<Location> locations_;
  size_t locations_used_ = 0;
  std::vector<Cell> cells_;
  std::vector<Object> objects_;
  std::vector<size_t> options_;
};

// std::atomic's place.
template <typename T>
class Atomic {
 public:
  Atomic() : Atomic(T{}) {}
  Atomic(T value) : id_(Explorer::Get().NewLocation(this, Word(value))) {}

  T load(std::memory_order order) const { return Value(Explorer::Get().Load(id_, order)); }
  void store(T value, std::memory_order order) { Explorer::Get().Store(id_, Word(value), order); }
  T exchange(T value, std::memory_order order) {
    return Value(Explorer::Get().Modify(id_, order, [&](uint64_t) { return Word(value); }));
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    uint64_t word = Word(expected);
    const bool exchanged = Explorer::Get().CompareExchange(id_, word, Word(desired), success, failure);
    expected = Value(word);
    return exchanged;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  T fetch_add(int64_t n, std::memory_order order) {
    return Value(Explorer::Get().Modify(id_, order, [&](uint64_t word) { return Word(Value(word) + n); }));
  }
  T fetch_sub(int64_t n, std::memory_order order) { return fetch_add(-n, order); }
  T fetch_or(T bits, std::memory_order order) {
    return Value(Explorer::Get().Modify(id_, order, [&](uint64_t word) { return word | Word(bits); }));
  }

 private:
  static uint64_t Word(T value) {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<uintptr_t>(value);
    } else {
      return value;
    }
  }
  static T Value(uint64_t word) {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<T>(word);
    } else {
      return static_cast<T>(word);
    }
  }

  uint32_t id_;
};

// A field that is not atomic.
template <typename T>
class Plain {
 public:
  Plain() : id_(Explorer::Get().NewCell(this)) {}
  Plain(T value) : Plain() { *this = value; }
  Plain(const Plain& other) : Plain(static_cast<T>(other)) {}
  Plain& operator=(T value) {
    value_ = value;
    Explorer::Get().WritePlain(id_, Word());
    return *this;
  }
  Plain& operator=(const Plain& other) { return *this = static_cast<T>(other); }
  operator T() const {
    Explorer::Get().ReadPlain(id_);
    return value_;
  }

 private:
  uint64_t Word() const {
    uint64_t word = 0;
    std::memcpy(&word, &value_, sizeof(T));
    return word;
  }

  T value_;
  uint32_t id_;
};

struct Memory {
  template <typename T>
  using Atomic = explorer::Atomic<T>;
  template <typename T>
  using Plain = explorer::Plain<T>;
};

}  // namespace explorer
