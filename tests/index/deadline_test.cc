// ctest: labels=contract-9,contract-1,asan timeout=120
// Calls that are cut short say so, give what they found, and leave nothing behind.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <latch>
#include <limits>
#include <set>
#include <stop_token>
#include <thread>

#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

using std::chrono::steady_clock;

constexpr int kDim = 16;
constexpr size_t kRows = 20'000;

LiveIndex MakeIndex(Codes codes = Codes::kQuantized) {
  LiveIndex index =
      LiveIndex::Make({.dim = kDim, .codes = codes, .build = {.m = 8, .ef_construction = 40}}).ValueOrDie();
  EXPECT_TRUE(index.Append(ToArray(Normal(kRows, kDim, 1), kDim)).ok());
  return index;
}

// Rows with their exact distances in the order of the contract, none twice.
void ExpectOrdered(const Answer& answer, const Vectors& rows, const std::vector<float>& query) {
  std::set<uint32_t> seen;
  for (size_t i = 0; i < answer.rows.size(); ++i) {
    const SearchResult& row = answer.rows[i];
    EXPECT_TRUE(seen.insert(row.id).second);
    EXPECT_LE(answer.rows[i == 0 ? 0 : i - 1].distance, row.distance);
    double distance = 0;
    for (size_t d = 0; d < kDim; ++d) distance += std::pow(double{rows[row.id][d]} - query[d], 2);
    EXPECT_NEAR(row.distance, distance, 1e-4 * distance);
  }
}

TEST(Deadline, OneThatHasPassedGivesAnEmptyAnswerThatSaysSo) {
  const LiveIndex index = MakeIndex();
  const Vectors queries = Normal(3, kDim, 2);
  for (const bool exact : {false, true}) {
    const SearchOptions late = {.exact = exact, .deadline = steady_clock::now()};
    const Answer answer = index.Search(queries[0], late).ValueOrDie();
    EXPECT_TRUE(answer.rows.empty());
    EXPECT_FALSE(answer.complete);
    EXPECT_EQ(answer.reason, "the deadline has passed");
    std::stop_source stop;
    stop.request_stop();
    const SearchOptions stopped = {.exact = exact, .stop_token = stop.get_token()};
    for (const Answer& one : index.SearchBatch(*ToArray(queries, kDim), stopped).ValueOrDie()) {
      EXPECT_TRUE(one.rows.empty());
      EXPECT_FALSE(one.complete);
      EXPECT_EQ(one.reason, "a stop was requested");
    }
    EXPECT_TRUE(index.Search(queries[0], {.exact = exact}).ValueOrDie().complete);
  }
}

// From a deadline that has passed to one that has not at the end.
TEST(Deadline, EveryTimeGivesWhatWasFoundUntilThen) {
  const Vectors rows = Normal(kRows, kDim, 1);
  const std::vector<float> query = Normal(1, kDim, 3)[0];
  for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
    const LiveIndex index = MakeIndex(codes);
    const RowFilter odd = RowFilter::Predicate([](uint64_t row_id) { return row_id % 2 == 1; });
    for (const SearchOptions& options : {SearchOptions{.ef = 5000}, SearchOptions{.ef = 5000, .filter = odd},
                                         SearchOptions{.exact = true}, SearchOptions{.k = 9999, .ef = 5000}}) {
      const Answer whole = index.Search(query, options).ValueOrDie();
      EXPECT_TRUE(whole.complete && whole.reason.empty());
      for (auto time = std::chrono::nanoseconds(1);; time = time * 5 / 4 + std::chrono::nanoseconds(100)) {
        SearchOptions hurried = options;
        hurried.deadline = steady_clock::now() + time;
        const Answer answer = index.Search(query, hurried).ValueOrDie();
        ExpectOrdered(answer, rows, query);
        if (answer.complete) {
          EXPECT_EQ(answer.rows, whole.rows);
          break;
        }
        EXPECT_EQ(answer.reason, "the deadline has passed");
        EXPECT_LE(answer.rows.size(), whole.rows.size());
        // The scratch that it leaves is clean.
        EXPECT_EQ(index.Search(query, options).ValueOrDie().rows, whole.rows);
      }
    }
  }
}

TEST(Deadline, AStopThatAPredicateRequestsEndsTheSearchSoon) {
  const LiveIndex index = MakeIndex();
  const std::vector<float> query = Normal(1, kDim, 3)[0];
  for (const bool exact : {false, true}) {
    std::stop_source stop;
    int calls = 0;
    const RowFilter filter = RowFilter::Predicate([&](uint64_t) {
      if (++calls == 100) stop.request_stop();
      return true;
    });
    const Answer answer =
        index.Search(query, {.ef = 500, .filter = filter, .exact = exact, .stop_token = stop.get_token()}).ValueOrDie();
    EXPECT_FALSE(answer.complete);
    EXPECT_EQ(answer.reason, "a stop was requested");
    EXPECT_FALSE(answer.rows.empty());
    EXPECT_LT(calls, 200) << "exact " << exact;
  }
}

// A walk that gives up for a scan leaves what it has found to an answer that is cut short.
TEST(Deadline, ALaterStopGivesNoWorseAnswer) {
  const LiveIndex index = MakeIndex();
  const std::vector<float> query = Normal(1, kDim, 3)[0];
  size_t found = 0;
  float nearest = std::numeric_limits<float>::infinity();
  for (int at = 64;; at += 64) {
    std::stop_source stop;
    int calls = 0;
    const RowFilter rare = RowFilter::Predicate([&](uint64_t row_id) {
      if (++calls == at) stop.request_stop();
      return row_id % 300 == 7;
    });
    const Answer answer = index.Search(query, {.filter = rare, .stop_token = stop.get_token()}).ValueOrDie();
    EXPECT_GE(answer.rows.size(), found) << at;
    found = answer.rows.size();
    if (found > 0) {
      EXPECT_LE(answer.rows[0].distance, nearest) << at;
      nearest = answer.rows[0].distance;
    }
    if (answer.complete) break;
  }
  EXPECT_EQ(found, 10u);
}

TEST(Deadline, AnAppendThatMissesItIsUndoneWhole) {
  const auto batch = [](uint64_t seed) { return ToArray(Normal(3000, kDim, seed), kDim); };
  LiveIndex tried = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  LiveIndex untried = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  for (uint64_t seed = 0; seed < 3; ++seed) {
    for (auto time = std::chrono::microseconds(0);; time = time * 2 + std::chrono::microseconds(50)) {
      const uint32_t before = tried.size();
      const auto appended = tried.Append(batch(seed), {.deadline = steady_clock::now() + time});
      if (appended.ok()) break;
      EXPECT_TRUE(appended.status().IsCancelled());
      EXPECT_EQ(appended.status().message(), "append: the deadline has passed");
      EXPECT_EQ(tried.size(), before);
    }
    ASSERT_TRUE(untried.Append(batch(seed)).ok());
  }
  EXPECT_TRUE(tried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(
      *untried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()));
}

TEST(Deadline, EndsTheWaitForAnotherAppend) {
  const auto batch = [](uint64_t seed) { return ToArray(Normal(300, kDim, seed), kDim); };
  FailingPool pool;
  LiveIndex tried = LiveIndex::Make({.dim = kDim, .pool = &pool}).ValueOrDie();
  std::latch inside(1);
  std::latch cancelled(1);
  std::atomic<bool> first = true;
  pool.when_asked = [&] {
    if (!first.exchange(false)) return;
    inside.count_down();
    cancelled.wait();
  };
  std::jthread other([&] { EXPECT_TRUE(tried.Append(batch(1)).ok()); });
  inside.wait();
  const auto late = tried.Append(batch(2), {.deadline = steady_clock::now() + std::chrono::milliseconds(20)});
  EXPECT_TRUE(late.status().IsCancelled());
  EXPECT_EQ(late.status().message(), "append: the deadline has passed");
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  const auto stopped = tried.Append(batch(3), {.stop_token = stop.get_token()});
  EXPECT_TRUE(stopped.status().IsCancelled());
  EXPECT_EQ(stopped.status().message(), "append: a stop was requested");
  EXPECT_EQ(tried.size(), 0u);
  cancelled.count_down();
  other.join();
  EXPECT_EQ(tried.GetStats().appends_failed, 2u);

  LiveIndex untried = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  for (const uint64_t seed : {1, 4}) ASSERT_TRUE(untried.Append(batch(seed)).ok());
  ASSERT_TRUE(tried.Append(batch(4)).ok());
  EXPECT_TRUE(tried.GetSnapshot().ValueOrDie().ToRecordBatch().ValueOrDie()->Equals(
      *untried.GetSnapshot().ValueOrDie().ToRecordBatch().ValueOrDie()));
  EXPECT_TRUE(tried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()->Equals(
      *untried.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()));
}

TEST(Deadline, IsLookedAtWhileVectorsAreCheckedAndCopied) {
  FailingPool pool;
  LiveIndex index = LiveIndex::Make({.dim = 64, .pool = &pool}).ValueOrDie();
  const auto batch = ToArray(Normal(4000, 64, 1), 64);  // 1 MB
  std::stop_source stop;
  pool.when_asked = [&] { stop.request_stop(); };
  const int64_t before = pool.total_bytes_allocated();
  EXPECT_TRUE(index.Append(batch, {.stop_token = stop.get_token()}).status().IsCancelled());
  const int64_t copying = pool.total_bytes_allocated();
  EXPECT_GT(copying, before);
  EXPECT_LT(copying, before + 200'000) << "addresses, row ids and a piece of the copies";
  EXPECT_TRUE(index.Append(batch, {.stop_token = stop.get_token()}).status().IsCancelled());
  EXPECT_EQ(pool.total_bytes_allocated(), copying) << "nothing is needed to check vectors";
  EXPECT_EQ(index.GetMemoryUsage().vectors_bytes, 0);
  EXPECT_EQ(index.Append(batch).ValueOrDie().last, 4000u);
  EXPECT_EQ(index.size(), 4000u);
}

}  // namespace
}  // namespace pennon
