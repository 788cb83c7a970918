// ctest: labels=contract-1,contract-11,asan,tsan timeout=300
// Filters, vector sources and memory pools are the user's: what they throw becomes a Status, what they fail at leaves
// everything as it was, and they may call back.
#include <atomic>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/hnsw_graph.h"
#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 6;
constexpr size_t kRows = 2000;

std::shared_ptr<arrow::Array> Rows(size_t n, uint64_t seed = 1) { return ToArray(Normal(n, kDim, seed), kDim); }

LiveIndex MakeIndex(arrow::MemoryPool* pool = nullptr) {
  return LiveIndex::Make({.dim = kDim, .build = {.m = 6, .ef_construction = 24}, .pool = pool}).ValueOrDie();
}

TEST(UserCode, AFilterThatThrows) {
  LiveIndex index = MakeIndex();
  ASSERT_TRUE(index.Append(Rows(kRows)).ok());
  const std::vector<float> query = Normal(1, kDim, 2)[0];
  const auto even = [](uint64_t row_id) { return row_id % 2 == 0; };
  const std::vector<SearchResult> before =
      index.Search(query, {.filter = RowFilter::Predicate(even)}).ValueOrDie().rows;
  const std::function<void()> throwers[] = {[] { throw std::runtime_error("the filter's"); }, [] { throw 1; },
                                            [] { throw std::bad_alloc(); }};
  const arrow::Status expected[] = {arrow::Status::UnknownError("the filter's"),
                                    arrow::Status::UnknownError("unknown exception"),
                                    arrow::Status::OutOfMemory("out of memory")};
  for (size_t i = 0; i < std::size(throwers); ++i) {
    for (const int64_t passed : {0, 1, 100}) {
      // A walk, a scan, a walk that finds too few and becomes a scan.
      for (const SearchOptions& options : {SearchOptions{}, SearchOptions{.exact = true}, SearchOptions{.k = 999}}) {
        for (const int threads : {0, 1, 4}) {
          std::atomic<int64_t> left = passed;
          SearchOptions search = options;
          search.filter = RowFilter::Predicate([&](uint64_t row_id) {
            if (left-- == 0) throwers[i]();
            return even(row_id);
          });
          const arrow::Status status = threads == 0
                                           ? index.Search(query, search).status()
                                           : index.SearchBatch(*Rows(8), search, {.threads = threads}).status();
          EXPECT_EQ(status, expected[i]);
        }
      }
    }
  }
  EXPECT_EQ(index.Search(query, {.filter = RowFilter::Predicate(even)}).ValueOrDie().rows, before);
}

// Of a walk, of a scan, of one that becomes the other.
TEST(UserCode, AFilterThatThrowsAtEachCall) {
  LiveIndex index = MakeIndex();
  ASSERT_TRUE(index.Append(Rows(300)).ok());
  const std::vector<float> query = Normal(1, kDim, 2)[0];
  for (const SearchOptions& options :
       {SearchOptions{.k = 3, .ef = 5}, SearchOptions{.exact = true}, SearchOptions{.k = 140}}) {
    int64_t calls = 0;
    for (int64_t passed = 0; passed <= calls; ++passed) {
      SearchOptions search = options;
      calls = 0;
      search.filter = RowFilter::Predicate([&](uint64_t row_id) {
        if (calls++ == passed) throw std::runtime_error("the filter's");
        return row_id % 2 == 0;
      });
      const auto found = index.Search(query, search);
      if (calls <= passed) {
        EXPECT_EQ(found.ValueOrDie().rows.size(), std::min<size_t>(150, static_cast<size_t>(options.k)));
        break;
      }
      ASSERT_TRUE(found.status().IsUnknownError());
    }
    EXPECT_GT(calls, 10);
  }
}

TEST(UserCode, AFilterThatSearches) {
  LiveIndex index = MakeIndex();
  ASSERT_TRUE(index.Append(Rows(kRows)).ok());
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  const Vectors queries = Normal(8, kDim, 2);
  const auto plainly = [](uint64_t row_id) { return row_id % 3 == 0; };
  const auto nested = [&](uint64_t row_id) {
    const auto one = index.Search(queries[row_id % 8], {.k = 1, .filter = RowFilter::Predicate(plainly)}).ValueOrDie();
    if (row_id % 100 == 0) snapshot.SearchBatch(*Rows(2), {.k = 1}, {.threads = 2}).ValueOrDie();
    return plainly(row_id) && one.rows.size() == 1;
  };
  for (const bool exact : {false, true}) {
    EXPECT_EQ(index.Search(queries[0], {.filter = RowFilter::Predicate(nested), .exact = exact}).ValueOrDie().rows,
              index.Search(queries[0], {.filter = RowFilter::Predicate(plainly), .exact = exact}).ValueOrDie().rows);
  }
  const auto answers = [&](std::function<bool(uint64_t)> passes) {
    std::vector<std::vector<SearchResult>> rows;
    for (const Answer& answer :
         index.SearchBatch(*ToArray(queries, kDim), {.filter = RowFilter::Predicate(std::move(passes))}, {.threads = 3})
             .ValueOrDie()) {
      rows.push_back(answer.rows);
    }
    return rows;
  };
  EXPECT_EQ(answers(nested), answers(plainly));
}

enum class Trouble { kNone, kThrows, kNaN };

// Points on a line; whatever asks for row `bad` is in trouble.
struct Line {
  Trouble trouble;
  uint32_t bad;
  bool in_row_ids = false;

  size_t size() const { return 1200; }
  size_t dim() const { return 1; }
  uint64_t row_id(uint32_t id) const {
    if (in_row_ids) Meet(id);
    return id;
  }
  float DistanceTo(std::span<const float> query, uint32_t id) const {
    return Meet(id) + std::abs(query[0] - static_cast<float>(id));
  }
  float DistanceBetween(uint32_t a, uint32_t b) const {
    return Meet(a) + Meet(b) + static_cast<float>(a > b ? a - b : b - a);
  }

 private:
  float Meet(uint32_t id) const {
    if (id != bad || trouble == Trouble::kNone) return 0;
    if (trouble == Trouble::kThrows) throw std::runtime_error("no such row");
    return std::numeric_limits<float>::quiet_NaN();
  }
};

// Points on a line, of which one call throws, after `left` others.
struct LineForAWhile {
  std::atomic<int64_t>& left;

  size_t size() const { return 500; }
  size_t dim() const { return 1; }
  uint64_t row_id(uint32_t id) const { return Meet(), id; }
  float DistanceTo(std::span<const float> query, uint32_t id) const {
    return Meet(), std::abs(query[0] - static_cast<float>(id));
  }
  float DistanceBetween(uint32_t a, uint32_t b) const { return Meet(), static_cast<float>(a > b ? a - b : b - a); }

 private:
  void Meet() const {
    if (left.fetch_sub(1) == 0) throw std::runtime_error("no such row");
  }
};

TEST(UserCode, AVectorSourceThatThrowsAtEachCall) {
  const Line sound{Trouble::kNone, 0};
  std::atomic<int64_t> left;
  const LineForAWhile source{left};
  const std::vector<float> query = {250};
  for (const int threads : {1, 3}) {
    HnswGraph clean = HnswGraph::Make({.m = 4, .ef_construction = 8}).ValueOrDie();
    HnswGraph tried = HnswGraph::Make({.m = 4, .ef_construction = 8}).ValueOrDie();
    for (const uint32_t rows : {3u, 400u, 460u}) {
      const uint32_t first = static_cast<uint32_t>(clean.size());
      const auto before = tried.ToLanceHnswBatch(sound).ValueOrDie();
      // Every call of the first ones, then fewer and fewer.
      int64_t failures = 0;
      for (int64_t passed = 0;; passed += 1 + passed / 32) {
        left = passed;
        const arrow::Status status = tried.InsertBatch(first, rows, source, threads);
        if (status.ok()) break;
        ++failures;
        ASSERT_TRUE(status.IsUnknownError()) << status.ToString();
        ASSERT_EQ(tried.indexed_size(), first);
        ASSERT_TRUE(tried.ToLanceHnswBatch(sound).ValueOrDie()->Equals(*before, true));
      }
      EXPECT_GT(failures, rows == 3 ? 1 : 100);
      ASSERT_TRUE(clean.InsertBatch(first, rows, sound, 1).ok());
      ASSERT_TRUE(
          tried.ToLanceHnswBatch(sound).ValueOrDie()->Equals(*clean.ToLanceHnswBatch(sound).ValueOrDie(), true));
    }
    const auto expected = clean.Search(query, {.k = 5}, sound).ValueOrDie();
    for (int64_t passed = 0;; ++passed) {
      left = passed;
      const auto found = tried.Search(query, {.k = 5}, source);
      if (found.ok()) {
        EXPECT_EQ(*found, expected);
        EXPECT_GT(passed, 50);
        break;
      }
      ASSERT_TRUE(found.status().IsUnknownError());
    }
  }
}

TEST(UserCode, AVectorSourceInTrouble) {
  const Line sound{Trouble::kNone, 0};
  const auto graph = [] { return HnswGraph::Make({.m = 4, .ef_construction = 16}).ValueOrDie(); };
  const auto batch = [&](const HnswGraph& of) { return of.ToLanceHnswBatch(sound).ValueOrDie(); };
  HnswGraph clean = graph();
  HnswGraph tried = graph();
  const std::vector<float> query = {500};
  for (const uint32_t rows : {400u, 800u, 1200u}) {
    for (const auto trouble : {Trouble::kThrows, Trouble::kNaN}) {
      for (const uint32_t bad : {rows - 400, rows - 200, rows - 1}) {
        const arrow::Status status = tried.InsertBatch(rows - 400, rows, Line{trouble, bad}, 3);
        EXPECT_EQ(status.IsInvalid(), trouble == Trouble::kNaN) << status.ToString();
        EXPECT_EQ(status.IsUnknownError(), trouble == Trouble::kThrows) << status.ToString();
      }
    }
    ASSERT_TRUE(clean.InsertBatch(rows - 400, rows, sound, 3).ok());
    ASSERT_TRUE(tried.InsertBatch(rows - 400, rows, sound, 3).ok());
    ASSERT_TRUE(batch(tried)->Equals(*batch(clean)));
  }
  for (const Line& source :
       {Line{Trouble::kThrows, 500}, Line{Trouble::kNaN, 500}, Line{Trouble::kThrows, 500, true}}) {
    for (const int64_t k : {3, 1100}) {
      EXPECT_FALSE(tried.Search(query, {.k = k}, source).ok());
      EXPECT_EQ(tried.Search(query, {.k = k}, sound).ValueOrDie()[0], (SearchResult{500, 500, 0}));
    }
  }
  EXPECT_TRUE(tried.ToLanceHnswBatch(Line{Trouble::kThrows, 500}).status().IsUnknownError());
  EXPECT_TRUE(tried.ToLanceHnswBatch(Line{Trouble::kNaN, 500}).status().IsInvalid());
}

TEST(UserCode, APoolThatThrows) {
  FailingPool pool;
  pool.throws = true;
  {
    LiveIndex clean = MakeIndex();
    LiveIndex tried = MakeIndex(&pool);
    const std::vector<float> query = Normal(1, kDim, 2)[0];
    // Until it succeeds, one allocation later each time.
    const auto until_ok = [&](const std::function<arrow::Status()>& call) {
      int failures = 0;
      for (int64_t left = 0;; ++left) {
        pool.left = left;
        const arrow::Status status = call();
        pool.left = -1;
        if (status.ok()) return failures;
        EXPECT_TRUE(status.IsOutOfMemory() || status.message() == "as asked") << status.ToString();
        ++failures;
      }
    };
    for (uint64_t seed = 1; seed < 3; ++seed) {
      EXPECT_GT(until_ok([&] { return tried.Append(Rows(1100, seed), {.threads = 2}).status(); }), 0);
      ASSERT_TRUE(clean.Append(Rows(1100, seed)).ok());
    }
    const Answer expected = clean.Search(query).ValueOrDie();
    Answer answer;
    until_ok([&] { return tried.Search(query).Value(&answer); });
    EXPECT_EQ(answer.rows, expected.rows);
    const Snapshot snapshot = tried.GetSnapshot().ValueOrDie();
    std::shared_ptr<arrow::RecordBatch> batch;
    EXPECT_GT(until_ok([&] { return snapshot.ToLanceHnswBatch().Value(&batch); }), 0);
    EXPECT_TRUE(batch->Equals(*clean.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie()));
    EXPECT_GT(until_ok([&] { return snapshot.ToRecordBatch().Value(&batch); }), 0);
    for (const bool throws : {true, false}) {
      pool.throws = throws;
      EXPECT_GT(until_ok([&] { return ToRecordBatch(expected, &pool).Value(&batch); }), 0);
      EXPECT_GT(until_ok([&] { return ToRecordBatch(std::span(&expected, 1), &pool).Value(&batch); }), 0);
      EXPECT_EQ(batch->num_rows(), 10);
    }
  }
  EXPECT_EQ(pool.bytes_allocated(), 0);
}

TEST(UserCode, APoolThatThrowsWhenItIsGivenMemoryBack) {
  FailingPool pool;
  pool.throws_when_freed = true;
  {
    LiveIndex index = MakeIndex(&pool);
    ASSERT_TRUE(index.Append(Rows(kRows)).ok());
    ASSERT_TRUE(index.Append(Rows(kRows)).ok());
    EXPECT_TRUE(index.Verify().ValueOrDie().ok);
  }
  EXPECT_EQ(pool.bytes_allocated(), 0);
}

}  // namespace
}  // namespace pennon
