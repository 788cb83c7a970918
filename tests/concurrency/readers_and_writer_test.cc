// ctest: labels=contract-1,contract-2,contract-3,contract-6,tsan,asan timeout=300
// Readers and a writer whose threads give way at random steps and do a wave's tasks in a random order: thousands of
// versions, snapshots that end on other threads, an index that ends before its snapshots.
#include <atomic>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/steps.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 4;
constexpr int kReaders = 4;

// Row r is (r, r, r, r): its distance to a query tells whether the answer is its own.
std::shared_ptr<arrow::Array> Rows(uint32_t first, uint32_t n) {
  Vectors rows(n);
  for (uint32_t i = 0; i < n; ++i) rows[i].assign(kDim, static_cast<float>(first + i));
  return ToArray(rows, kDim);
}

// Of all that is random but the threads themselves.
uint64_t Seed() {
  const char* seed = std::getenv("PENNON_SEED");
  return seed != nullptr ? std::stoull(seed) : 1;
}

// A snapshot, a search that was answered, and the answer.
struct Asked {
  Snapshot snapshot;
  std::vector<float> query;
  std::vector<SearchResult> answer;

  void AskAgain() const { EXPECT_EQ(snapshot.Search(query, {.k = 5, .ef = 12}).ValueOrDie().rows, answer); }
};

// What one thread leaves for another to ask again and to end.
class Exchange {
 public:
  // Gives one, takes another's once there are many.
  std::optional<Asked> Swap(Asked asked) {
    constexpr size_t kHeld = 12;
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(asked));
    return waiting_.size() > kHeld ? std::optional(TakeLocked()) : std::nullopt;
  }
  std::optional<Asked> Take() {
    std::lock_guard lock(mutex_);
    return waiting_.empty() ? std::nullopt : std::optional(TakeLocked());
  }

 private:
  Asked TakeLocked() {
    Asked first = std::move(waiting_.front());
    waiting_.pop_front();
    return first;
  }

  std::mutex mutex_;
  std::deque<Asked> waiting_;
};

class ReadersAndWriter : public ::testing::Test {
 protected:
  // Each thread gives way at about one step in `most`.
  static void GiveWay(uint64_t seed, uint64_t most) {
    graph::after_step = [seed, most](std::string_view) {
      static std::atomic<uint64_t> threads{0};
      thread_local std::minstd_rand random(static_cast<uint32_t>(seed + 31 * ++threads));
      if (random() % most == 0) std::this_thread::yield();
    };
  }
  void TearDown() override {
    graph::after_step = nullptr;
    graph::task_order = 0;
  }
};

TEST_F(ReadersAndWriter, EveryAnswerIsOfOneVersion) {
  const uint64_t seed = Seed();
  GiveWay(seed, 64);
  constexpr uint32_t kVersions = 2000;
  const LiveIndexOptions options = {.dim = kDim, .build = {.m = 3, .ef_construction = 8}};
  LiveIndex clean = LiveIndex::Make(options).ValueOrDie();
  std::optional<LiveIndex> index = LiveIndex::Make(options).ValueOrDie();
  std::atomic<uint32_t> published{0};  // rows that every search from now on must see
  std::atomic<bool> done{false};
  std::atomic<uint64_t> asked{0};
  Exchange exchange;
  const auto read = [&](uint64_t reader) {
    std::mt19937_64 random(seed + reader);
    while (!done.load()) {
      const uint32_t least = published.load();
      Snapshot snapshot = index->GetSnapshot().ValueOrDie();
      const uint32_t rows = snapshot.size();
      ASSERT_GE(rows, least);
      if (rows == 0) continue;
      const auto wanted = static_cast<float>(random() % rows);
      std::vector<float> query(kDim, wanted);
      std::vector<SearchResult> answer = snapshot.Search(query, {.k = 5, .ef = 12}).ValueOrDie().rows;
      ASSERT_EQ(answer.size(), std::min<size_t>(5, rows));
      for (const SearchResult& row : answer) {
        ASSERT_LT(row.id, rows);
        const float apart = static_cast<float>(row.id) - wanted;
        ASSERT_EQ(row.distance, kDim * apart * apart);
      }
      ASSERT_GE(index->Search(query, {.k = 5, .ef = 12}).ValueOrDie().rows.size(), answer.size());
      if (const auto other = exchange.Swap({std::move(snapshot), std::move(query), std::move(answer)})) {
        other->AskAgain();
        ++asked;
      }
    }
  };
  std::vector<std::thread> readers;
  readers.reserve(kReaders);
  for (uint64_t reader = 0; reader < kReaders; ++reader) readers.emplace_back(read, reader);
  std::mt19937_64 random(seed + kReaders);
  const auto doomed = Rows(10'000, 20'000);
  uint32_t rows = 0;
  for (uint32_t version = 0; version < kVersions && !HasFailure(); ++version) {
    const uint32_t n = random() % 16 == 0 ? 30 : 1;
    const int threads = random() % 4 == 0 ? 3 : 1;
    graph::task_order = random();
    if (random() % 16 == 0) {
      std::stop_source stop;
      const uint64_t distances = index->GetStats().build_distances + 300;
      std::jthread stopper([&, distances] {
        while (index->GetStats().build_distances <= distances) std::this_thread::yield();
        stop.request_stop();
      });
      const auto stopped = index->Append(doomed, {.threads = threads, .stop_token = stop.get_token()});
      EXPECT_TRUE(stopped.status().IsCancelled());
    }
    ASSERT_TRUE(index->Append(Rows(rows, n), {.threads = threads}).ok());
    ASSERT_TRUE(clean.Append(Rows(rows, n), {.threads = 1}).ok());
    rows += n;
    published = rows;
    if (random() % 200 == 0) index->Trim();
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(asked.load(), 100u);
  EXPECT_TRUE(index->Verify().ValueOrDie().ok);
  EXPECT_TRUE(index->GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(
      *clean.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie(), true));

  // The index ends while threads ask and end what is left of its snapshots.
  std::vector<std::thread> last;
  last.reserve(kReaders);
  for (int reader = 0; reader < kReaders; ++reader) {
    last.emplace_back([&] {
      while (const auto held = exchange.Take()) held->AskAgain();
    });
  }
  index.reset();
  for (std::thread& reader : last) reader.join();
}

// Every number of threads, and every order of their tasks, gives the same graph.
TEST_F(ReadersAndWriter, TheGraphIsTheSame) {
  const uint64_t seed = Seed();
  GiveWay(seed, 256);
  const auto build = [](int threads) {
    LiveIndex index =
        LiveIndex::Make({.dim = kDim, .metric = Metric::kCosine, .build = {.m = 4, .ef_construction = 16}})
            .ValueOrDie();
    for (uint64_t batch = 0; batch < 3; ++batch) {
      EXPECT_TRUE(index.Append(ToArray(Normal(700, kDim, batch), kDim), {.threads = threads}).ok());
    }
    return index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
  };
  const auto expected = build(1);
  std::mt19937_64 random(seed);
  for (const int threads : {2, 3, 8}) {
    graph::task_order = random();
    EXPECT_TRUE(build(threads)->Equals(*expected, true)) << threads;
  }
}

}  // namespace
}  // namespace pennon
