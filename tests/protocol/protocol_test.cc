// ctest: labels=contract-1,contract-2,contract-3,contract-5 timeout=300
// The protocol of versions, slots and lists in every interleaving and with all that weak memory lets loads see: that a
// reader reads the records of its version and nothing that was given back, in a bounded number of steps, and that in
// the end nothing stays that nobody needs.
//
// PENNON_PROTOCOL=long: larger programs too, for many minutes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "graph/versioned_lists.h"
#include "protocol/explorer.h"

namespace pennon::graph {
namespace {

using explorer::Explorer;

void Check(bool holds, const char* what) { Explorer::Get().Check(holds, what); }
uint64_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

class ExplorerAllocator : public Allocator {
 public:
  explicit ExplorerAllocator(const char* name) : name_(name) {}
  void* Allocate(size_t bytes) noexcept override { return Explorer::Get().Allocate(bytes, name_); }
  void Free(void* memory, size_t) noexcept override { Explorer::Get().Free(memory); }

 private:
  const char* name_;
};

// What batches do. At first there is one list.
constexpr size_t kLists = 3;
struct Change {
  std::array<bool, kLists> lists;  // that are changed
  uint32_t added;                  // lists
  bool published;
};
constexpr Change kFirst = {{true, false, false}, 1, true};
constexpr Change kAborted = {{true, true, false}, 1, false};
constexpr Change kLast = {{true, false, false}, 1, true};
constexpr std::array<Change, 3> kChanges = {kFirst, kAborted, kLast};

// The tick of a list's record in a version.
uint64_t RecordTick(uint64_t version, uint32_t list) {
  uint64_t tick = 0;
  uint32_t lists = 1;
  for (uint64_t t = 1; t <= version; ++t) {
    const Change& change = kChanges[t - 1];
    if (!change.published) continue;
    if (change.lists[list] || (list >= lists && list < lists + change.added)) tick = t;
    lists += change.added;
  }
  return tick;
}

uint64_t Content(uint64_t tick, uint32_t list) { return 100 * (tick + 1) + list; }

struct ModelRecord : Chained<explorer::Memory, ModelRecord> {
  explorer::Plain<uint32_t> list;
  explorer::Plain<uint64_t> content;
};

struct ModelState {
  explorer::Plain<uint32_t> lists;
};

struct ModelScratch {
  explicit ModelScratch(Allocator&) {}
  explorer::Plain<uint64_t> user;
};

using Base = VersionedLists<explorer::Memory, ModelRecord, ModelState, ModelScratch>;

class Model : public Base {
 public:
  Model(Allocator& lists, Allocator& scratch) : Base(lists, scratch) {
    Check(Init({1}), "no memory");
    ModelRecord* record = Take(0);
    record->tick = 0;
    record->previous.store(nullptr, std::memory_order_relaxed);
    record->content = Content(0, 0);
    heads_[0].store(record, std::memory_order_relaxed);
  }
  ~Model() {
    for (uint32_t list = 0; list < lists_; ++list) Give(heads_[list].load(std::memory_order_relaxed));
  }

  void Append(const Change& change) {
    const uint32_t lists = lists_ + change.added;
    Check(Begin({lists}), "no memory");
    const uint64_t tick = batch_.version->tick;
    for (uint32_t list = 0; list < lists; ++list) {
      if (list < lists_ && !change.lists[list]) continue;
      ModelRecord* old = list < lists_ ? heads_[list].load(std::memory_order_relaxed) : nullptr;
      ModelRecord* record = Take(list);
      record->content = old != nullptr ? uint64_t{old->content} : 0;
      Put(heads_[list], old, record);
    }
    // What later waves of the batch write.
    for (uint32_t list = 0; list < lists; ++list) {
      if (Touched(heads_[list])) heads_[list].load(std::memory_order_relaxed)->content = Content(tick, list);
    }
    if (change.published) {
      lists_ = lists;
      Publish();
    } else {
      Abort();
    }
    ForgetAllBut(tick);
  }

  void ReleaseIdle() {
    slots_.ForEachIdle([](SlotType& slot) { slot.scratch.user = 0; });
  }
  size_t lists() const { return lists_; }

  class Reader {
   public:
    using Hint = decltype(slots_)::Hint;

    Reader(const Model& model, Hint& last, const Version* pinned)
        : model_(model), observed_(Explorer::Get().observed()) {
      const uint64_t before = Explorer::Get().operations();
      slot_ = model.slots_.Claim(last);
      slot_->scratch.user = Explorer::Get().running();
      version_ = model.slots_.Enter(*slot_);
      most_steps_in = std::max(most_steps_in, Explorer::Get().operations() - before);
      if (pinned != nullptr) version_ = pinned;
      Forget();
    }
    ~Reader() {
      Check(slot_->scratch.user == Explorer::Get().running(), "a slot has two users");
      model_.slots_.Leave(*slot_);
    }
    void ReadAll() const {
      const uint64_t tick = version_->tick;
      const uint32_t lists = version_->lists;
      for (uint32_t list = 0; list < lists; ++list) {
        const uint64_t before = Explorer::Get().operations();
        const ModelRecord* record = ReadList(model_.heads_[list], tick);
        most_steps_a_list = std::max(most_steps_a_list, Explorer::Get().operations() - before);
        Check(record->list == list, "a record of another list");
        Check(record->tick == RecordTick(tick, list), "not the list's record of the version");
        Check(record->content == Content(record->tick, list), "not the record's content");
        Forget(tick, lists, list);
      }
    }
    const Version* version() const { return version_; }

    inline static uint64_t most_steps_in = 0;
    inline static uint64_t most_steps_a_list = 0;

   private:
    template <typename... More>
    void Forget(More... more) const {
      Explorer::Get().Forget(observed_, Address(slot_), Address(version_), more...);
    }

    const Model& model_;
    const uint64_t observed_;  // before
    SlotType* slot_;
    const Version* version_;
  };

 private:
  // The writer goes on from what is in memory.
  void ForgetAllBut(uint64_t tick) const {
    Explorer& explorer = Explorer::Get();
    explorer.Forget(tick);
    const auto observe_chain = [&](const ModelRecord* record) {
      for (; record != nullptr; record = record->next) explorer.Observe(Address(record));
    };
    for (const Version* version : versions_) {
      explorer.Observe(Address(version));
      observe_chain(version->superseded);
    }
    for (const Retired& retired : retired_) {
      explorer.Observe(retired.tick);
      observe_chain(retired.chain);
    }
  }
  ModelRecord* Take(uint32_t list) {
    ModelRecord* record = new (Explorer::Get().Allocate(sizeof(ModelRecord), "record")) ModelRecord;
    record->list = list;
    return record;
  }
  Head& HeadOf(const ModelRecord& record) noexcept override { return heads_[record.list]; }
  size_t BytesOf(const ModelRecord&) const noexcept override { return 1; }
  void Give(ModelRecord* record) noexcept override { Explorer::Get().Free(record); }

  std::array<Head, kLists> heads_;
  uint32_t lists_ = 1;
};

alignas(Model) char place[sizeof(Model)];
Model* model = nullptr;

// Reads all lists so many times, each time in a slot of its own; or pins what it sees first and reads that again.
struct Reads {
  int times;
  bool pinned = false;

  void operator()() const {
    Model::Reader::Hint last;
    const Model::Version* version = nullptr;
    for (int i = 0; i < times; ++i) {
      {
        const Model::Reader reader(*model, last, version);
        if (pinned && i == 0) Model::Pin(version = reader.version());
        reader.ReadAll();
      }
      Explorer::Get().Forget(Address(last.slot), Address(version), i);
    }
    if (pinned) model->Unpin(version);
  }
};

void AppendAll() {
  for (const Change& change : kChanges) model->Append(change);
}

void Explore(void (*writer)(), const Reads& one, const Reads& other) {
  static ExplorerAllocator lists("version");
  static ExplorerAllocator scratch("slot");
  Model::Reader::most_steps_in = 0;
  Model::Reader::most_steps_a_list = 0;
  explorer::Program program;
  program.shared = place;
  program.set_up = [] { model = new (place) Model(lists, scratch); };
  program.threads[explorer::kOwner] = writer;
  program.threads[1] = one;
  if (other.times > 0) program.threads[2] = other;
  program.finish = [] {
    model->Trim();
    Check(model->live_versions() == 1, "a version stays that nobody needs");
    Check(Explorer::Get().Live("record") == model->lists(), "a record stays that nobody needs");
    model->~Model();
    Check(Explorer::Get().Live() == 0, "memory leaks");
  };
  const explorer::Result result = Explorer::Get().Explore(program);
  EXPECT_TRUE(result.failure.empty()) << result.failure;
  std::printf("%zu states, %zu executions, %.1f s; at most %zu steps to enter, %zu to read a list\n",
              size_t{result.states}, size_t{result.executions}, result.seconds, size_t{Model::Reader::most_steps_in},
              size_t{Model::Reader::most_steps_a_list});
  // Two for each of two slots, and for the hint; three for a new one, whose place another reader may take; two to
  // enter: never all of them in one search.
  EXPECT_LE(Model::Reader::most_steps_in, 8u);
  // The record being written, and those of at most three live versions.
  EXPECT_LE(Model::Reader::most_steps_a_list, 4u);
}

TEST(Protocol, OneReaderReadsTwice) { Explore(AppendAll, {2}, {0}); }

TEST(Protocol, OneReaderPins) { Explore(AppendAll, {2, true}, {0}); }

TEST(Protocol, TwoReadersPinTheSameVersion) {
  Explore(
      [] {
        model->Append(kFirst);
        model->Trim();
      },
      {1, true}, {1, true});
}

TEST(Protocol, IdleScratchIsReleased) {
  Explore(
      [] {
        model->Append(kFirst);
        model->ReleaseIdle();
      },
      {2}, {0});
}

TEST(Protocol, TwoReadersRead) { Explore(AppendAll, {1}, {1}); }

bool Long() {
  const char* length = std::getenv("PENNON_PROTOCOL");
  return length != nullptr && std::string(length) == "long";
}

TEST(Protocol, OneReaderReadsTwiceBesideAnother) {
  if (!Long()) GTEST_SKIP() << "PENNON_PROTOCOL=long";
  Explore(AppendAll, {2}, {1});
}

TEST(Protocol, OneReaderPinsBesideAnother) {
  if (!Long()) GTEST_SKIP() << "PENNON_PROTOCOL=long";
  Explore(AppendAll, {2, true}, {1});
}

}  // namespace
}  // namespace pennon::graph
