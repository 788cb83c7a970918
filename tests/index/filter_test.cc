// ctest: labels=contract-8,asan,tsan timeout=120
// Filters of every kind, one a query, and batches on several threads.
#include <algorithm>
#include <atomic>
#include <random>
#include <stdexcept>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 12;
constexpr size_t kRows = 5000;
constexpr uint64_t kFirst = 1'000'000'000'000;

LiveIndex MakeIndex(arrow::MemoryPool* pool = nullptr) {
  LiveIndex index = LiveIndex::Make({.dim = kDim, .build = {.m = 8, .ef_construction = 40}, .pool = pool}).ValueOrDie();
  EXPECT_TRUE(index.Append(ToArray(Normal(kRows, kDim, 1), kDim), {.first_row_id = kFirst}).ok());
  return index;
}

// Of every kind, the same rows: those of `passing`, by position.
std::vector<RowFilter> AllKinds(const std::vector<bool>& passing) {
  arrow::BooleanBuilder bits;
  arrow::UInt64Builder ids;
  arrow::Int64Builder signed_ids;
  for (size_t i = passing.size(); i-- > 0;) {
    if (!passing[i]) continue;
    EXPECT_TRUE(ids.Append(kFirst + i).ok());
    EXPECT_TRUE(signed_ids.Append(static_cast<int64_t>(kFirst + i)).ok());
  }
  for (const bool passes : passing) EXPECT_TRUE(bits.Append(passes).ok());
  const auto bitmap = std::static_pointer_cast<arrow::BooleanArray>(bits.Finish().ValueOrDie());
  return {RowFilter::Bitmap(bitmap, kFirst), RowFilter::IdBitmap(bitmap),
          RowFilter::RowIds(*ids.Finish().ValueOrDie()).ValueOrDie(),
          RowFilter::RowIds(*signed_ids.Finish().ValueOrDie()).ValueOrDie(),
          RowFilter::Predicate([passing](uint64_t row_id) { return passing[row_id - kFirst]; })};
}

TEST(Filter, EveryKindPassesTheSameRows) {
  const LiveIndex index = MakeIndex();
  const std::vector<float> query = Normal(1, kDim, 2)[0];
  for (const double share : {0.0, 0.0005, 0.01, 0.3, 1.0}) {
    std::mt19937_64 random(3);
    std::vector<bool> passing(kRows);
    size_t passes = 0;
    for (size_t i = 0; i < kRows; ++i) {
      passing[i] = std::uniform_real_distribution<double>()(random) < share;
      passes += passing[i] ? 1 : 0;
    }
    const std::vector<RowFilter> filters = AllKinds(passing);
    for (const bool exact : {false, true}) {
      const Answer first = index.Search(query, {.filter = filters[0], .exact = exact}).ValueOrDie();
      EXPECT_EQ(first.rows.size(), std::min<size_t>(10, passes));
      for (const SearchResult& row : first.rows) EXPECT_TRUE(passing[row.id]);
      for (const RowFilter& filter : filters) {
        EXPECT_EQ(index.Search(query, {.filter = filter, .exact = exact}).ValueOrDie().rows, first.rows);
      }
    }
  }
}

TEST(Filter, ABitmapPassesNothingOutsideOfItself) {
  const RowFilter filter =
      RowFilter::Bitmap(std::static_pointer_cast<arrow::BooleanArray>(
                            arrow::MakeArrayFromScalar(arrow::BooleanScalar(true), 3).ValueOrDie()),
                        UINT64_MAX - 4);
  for (const uint64_t row_id : {UINT64_MAX - 5, uint64_t{0}, uint64_t{3}, UINT64_MAX - 1, UINT64_MAX}) {
    EXPECT_FALSE(filter.Passes(row_id, 0)) << row_id;
  }
  for (uint64_t row_id = UINT64_MAX - 4; row_id < UINT64_MAX - 1; ++row_id) EXPECT_TRUE(filter.Passes(row_id, 0));
}

// Bitmaps that begin before, at and after the first row, in the middle of a word and of a buffer, with nulls, and row
// ids that do not follow each other.
TEST(Filter, BitmapsOfAnyPlaceAndRowIds) {
  std::mt19937_64 random(5);
  const Vectors rows = Normal(1500, kDim, 1);
  const std::vector<float> query = Normal(1, kDim, 2)[0];
  for (const bool follow : {true, false}) {
    arrow::UInt64Builder row_ids;
    for (uint64_t i = 0; i < rows.size(); ++i)
      ASSERT_TRUE(row_ids.Append(follow ? 1000 + i : 1000 + i * 7 % 1500).ok());
    LiveIndex index = LiveIndex::Make({.dim = kDim, .build = {.m = 8, .ef_construction = 40}}).ValueOrDie();
    ASSERT_TRUE(index.Append(ToArray(rows, kDim), {.row_ids = row_ids.Finish().ValueOrDie()}).ok());
    const auto all = index.Search(query, {.k = 1500}).ValueOrDie().rows;
    for (const bool nulls : {false, true}) {
      arrow::BooleanBuilder builder;
      for (int i = 0; i < 4000; ++i) {
        ASSERT_TRUE((nulls && random() % 5 == 0 ? builder.AppendNull() : builder.Append(random() % 4 == 0)).ok());
      }
      const auto bits = std::static_pointer_cast<arrow::BooleanArray>(builder.Finish().ValueOrDie());
      for (const int64_t offset : {0, 3, 64, 101}) {
        const auto part = std::static_pointer_cast<arrow::BooleanArray>(bits->Slice(offset, 1400));
        for (const uint64_t first : {0, 900, 1000, 1001, 1063, 1064, 1130, 2480, 2600}) {
          for (const RowFilter& filter : {RowFilter::Bitmap(part, first), RowFilter::IdBitmap(part)}) {
            std::vector<SearchResult> passing;
            for (const SearchResult& row : all) {
              if (filter.Passes(row.row_id, row.id)) passing.push_back(row);
            }
            EXPECT_EQ(index.Search(query, {.k = 1500, .filter = filter}).ValueOrDie().rows, passing)
                << follow << nulls << " " << offset << " " << first;
          }
        }
      }
    }
  }
}

TEST(Filter, RowIdsThatWrapDoNotFollowEachOther) {
  arrow::UInt64Builder row_ids;
  ASSERT_TRUE(row_ids.AppendValues({UINT64_MAX, 0}).ok());
  LiveIndex index = LiveIndex::Make({.dim = 1}).ValueOrDie();
  ASSERT_TRUE(index.Append(ToArray({{1}, {2}}, 1), {.row_ids = row_ids.Finish().ValueOrDie()}).ok());
  const auto both = std::static_pointer_cast<arrow::BooleanArray>(
      arrow::MakeArrayFromScalar(arrow::BooleanScalar(true), 2).ValueOrDie());
  const auto rows =
      index.Search(std::vector<float>{1}, {.filter = RowFilter::Bitmap(both, UINT64_MAX)}).ValueOrDie().rows;
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].row_id, UINT64_MAX);
  EXPECT_TRUE(index.Append(ToArray({{1}}, 1)).status().IsInvalid()) << "no row id follows the largest";

  // Bits that would be of row ids past 2^64 are of none.
  LiveIndex low = LiveIndex::Make({.dim = 1}).ValueOrDie();
  ASSERT_TRUE(low.Append(ToArray({{1}, {2}}, 1)).ok());
  EXPECT_TRUE(
      low.Search(std::vector<float>{1}, {.filter = RowFilter::Bitmap(both, UINT64_MAX)}).ValueOrDie().rows.empty());
}

// Whether they do is known of what was appended, not of what was tried.
TEST(Filter, RowIdsOfAnUndoneBatchDecideNothing) {
  const auto undone = ToArray(Normal(100, kDim, 2), kDim);
  FailingPool pool;
  int64_t last = 0;  // allocation of an append
  for (LiveIndex index = MakeIndex(&pool);; ++last) {
    pool.left = last;
    if (index.Append(undone, {.threads = 1}).ok()) break;
  }
  pool.left = -1;
  LiveIndex index = MakeIndex(&pool);
  pool.left = last - 1;
  ASSERT_FALSE(index.Append(undone, {.threads = 1}).ok());
  pool.left = -1;
  ASSERT_TRUE(index.Append(ToArray(Normal(50, kDim, 3), kDim), {.first_row_id = kFirst + kRows + 1000}).ok());
  const auto bits = std::static_pointer_cast<arrow::BooleanArray>(
      arrow::MakeArrayFromScalar(arrow::BooleanScalar(true), 5).ValueOrDie());
  const RowFilter filter = RowFilter::Bitmap(bits, kFirst + kRows + 1000);
  const auto rows = index.Search(Normal(1, kDim, 3)[0], {.filter = filter}).ValueOrDie().rows;
  ASSERT_EQ(rows.size(), 5u);
  for (const SearchResult& row : rows) EXPECT_EQ(row.row_id - (kFirst + kRows + 1000), row.id - kRows);
}

TEST(Filter, ABatchAsksAPredicateOnceARow) {
  const LiveIndex index = MakeIndex();
  std::vector<std::atomic<int>> asked(kRows);
  const auto filter = RowFilter::Predicate([&](uint64_t row_id) {
    ++asked[row_id - kFirst];
    return row_id % 3 == 0;
  });
  const auto queries = ToArray(Normal(50, kDim, 4), kDim);
  const auto answers = index.SearchBatch(*queries, {.filter = filter}, {.threads = 1}).ValueOrDie();
  EXPECT_EQ(std::count_if(asked.begin(), asked.end(), [](const auto& n) { return n > 1; }), 0);
  const auto pure = RowFilter::Predicate([&](uint64_t row_id) { return row_id % 3 == 0; });
  const auto again = index.SearchBatch(*queries, {}, {.filters = std::vector<RowFilter>(50, pure), .threads = 3});
  for (size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i].rows, again.ValueOrDie()[i].rows);
}

TEST(Filter, OneOfNothingPassesNothing) {
  const LiveIndex index = MakeIndex();
  const auto empty = std::make_shared<arrow::BooleanArray>(
      arrow::ArrayData::Make(arrow::boolean(), 0, {nullptr, nullptr}, 0));  // legal without a buffer
  for (const RowFilter& filter : {RowFilter::Bitmap(nullptr), RowFilter::IdBitmap(nullptr), RowFilter::Predicate({}),
                                  RowFilter::Bitmap(empty), RowFilter::IdBitmap(empty)}) {
    EXPECT_FALSE(filter.all());
    EXPECT_TRUE(index.Search(std::vector<float>(kDim), {.filter = filter}).ValueOrDie().rows.empty());
  }
}

TEST(Filter, OneAQueryOnAnyNumberOfThreads) {
  const LiveIndex index = MakeIndex();
  const Vectors queries = Normal(97, kDim, 4);
  const auto array = ToArray(queries, kDim);
  std::vector<RowFilter> filters;
  for (size_t i = 0; i < queries.size(); ++i) {
    filters.push_back(i % 4 == 0 ? RowFilter()
                                 : RowFilter::Predicate([i](uint64_t row_id) { return row_id % (i + 1) == 0; }));
  }
  for (const int threads : {0, 1, 2, 5, 200}) {
    const auto answers = index.SearchBatch(*array, {}, {.filters = filters, .threads = threads}).ValueOrDie();
    ASSERT_EQ(answers.size(), queries.size());
    for (size_t i = 0; i < queries.size(); ++i) {
      EXPECT_EQ(answers[i].rows, index.Search(queries[i], {.filter = filters[i]}).ValueOrDie().rows) << i;
    }
  }
}

TEST(Filter, TheFirstQueryThatFailsIsReportedForAnyNumberOfThreads) {
  const LiveIndex index = MakeIndex();
  const auto array = ToArray(Normal(40, kDim, 4), kDim);
  std::vector<RowFilter> filters(40);
  for (const size_t i : {17, 18, 31}) {
    filters[i] = RowFilter::Predicate([i](uint64_t) -> bool { throw std::runtime_error(std::to_string(i)); });
  }
  for (const int threads : {1, 2, 7}) {
    const arrow::Status status = index.SearchBatch(*array, {}, {.filters = filters, .threads = threads}).status();
    EXPECT_EQ(status.message(), "17");
  }
}

TEST(Filter, BadOnesAreRefused) {
  const LiveIndex index = MakeIndex();
  const auto array = ToArray(Normal(3, kDim, 4), kDim);
  const auto message = [&](const SearchOptions& search, const BatchOptions& batch) {
    return index.SearchBatch(*array, search, batch).status().message();
  };
  EXPECT_EQ(message({}, {.threads = -1}), "threads: expected 0 or more, got -1");
  EXPECT_EQ(message({}, {.filters = std::vector<RowFilter>(2)}), "filters: expected one for each of 3 queries, got 2");
  EXPECT_EQ(
      message({.filter = RowFilter::Predicate([](uint64_t) { return true; })}, {.filters = std::vector<RowFilter>(3)}),
      "filters: expected none, as there is one for all queries");
  const auto floats = arrow::MakeArrayOfNull(arrow::float32(), 2).ValueOrDie();
  EXPECT_EQ(RowFilter::RowIds(*floats).status().message(), "row ids: expected uint64 or int64, got float");
  const auto nulls = arrow::MakeArrayOfNull(arrow::uint64(), 2).ValueOrDie();
  EXPECT_EQ(RowFilter::RowIds(*nulls).status().message(), "row ids: expected no nulls, got 2");
  arrow::Int64Builder negative;
  ASSERT_TRUE(negative.AppendValues({4, -1}).ok());
  EXPECT_EQ(RowFilter::RowIds(*negative.Finish().ValueOrDie()).status().message(),
            "row ids: expected 0 or more, got -1 at offset 1");
}

}  // namespace
}  // namespace pennon
