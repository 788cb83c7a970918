// ctest: labels=contract-8,contract-9,asan timeout=120
// Range search, pages, and what a search tells of itself.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <stop_token>
#include <utility>

#include <gtest/gtest.h>

#include "pennon/pennon.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 16;
constexpr size_t kRows = 6000;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

LiveIndex MakeIndex(Metric metric, Codes codes, size_t rows = kRows) {
  LiveIndex index =
      LiveIndex::Make({.dim = kDim, .metric = metric, .codes = codes, .build = {.m = 12, .ef_construction = 60}})
          .ValueOrDie();
  EXPECT_TRUE(index.Append(ToArray(Normal(rows, kDim, 1), kDim), {.first_row_id = 100}).ok());
  return index;
}

// Row ids of every other row, as a filter.
RowFilter Odd() {
  return RowFilter::Predicate([](uint64_t row_id) { return row_id % 2 == 1; });
}

TEST(Range, GivesNothingBeyondTheRadiusAndNearlyAllThatIsWithin) {
  for (const Metric metric : {Metric::kL2, Metric::kCosine, Metric::kDot}) {
    for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
      const LiveIndex index = MakeIndex(metric, codes);
      size_t within = 0;
      size_t found = 0;
      for (const auto& query : Normal(20, kDim, 2)) {
        for (const RowFilter& filter : {RowFilter(), Odd()}) {
          const auto all = index.Search(query, {.k = kRows, .filter = filter}).ValueOrDie().rows;
          for (const size_t rank : {0, 1, 7, 60, 400, 2500}) {
            const float radius = all[rank].distance;
            const Answer exact = index.SearchRange(query, radius, {.filter = filter, .exact = true}).ValueOrDie();
            ASSERT_EQ(exact.rows,
                      std::vector(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(exact.rows.size())));
            ASSERT_GT(exact.rows.size(), rank);
            ASSERT_EQ(exact.rows.back().distance, radius);
            ASSERT_GT(all[exact.rows.size()].distance, radius);
            const Answer answer = index.SearchRange(query, radius, {.filter = filter}).ValueOrDie();
            EXPECT_TRUE(answer.complete);
            // A part of the exact answer, in its order.
            auto at = exact.rows.begin();
            for (const SearchResult& row : answer.rows) {
              at = std::find(at, exact.rows.end(), row);
              ASSERT_NE(at, exact.rows.end()) << row.distance << " where the radius is " << radius;
            }
            within += exact.rows.size();
            found += answer.rows.size();
          }
        }
      }
      EXPECT_GT(static_cast<double>(found), 0.97 * static_cast<double>(within)) << ToString(metric);
    }
  }
}

TEST(Range, ALargerEfFindsNoFewer) {
  LiveIndex index = LiveIndex::Make({.dim = kDim, .build = {.m = 12, .ef_construction = 60}}).ValueOrDie();
  Vectors rows = Normal(8000, kDim, 1);  // in 40 clusters
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t d = 0; d < kDim; ++d) rows[i][d] = 0.2f * rows[i][d] + static_cast<float>(i % 40 >> d % 6 & 1);
  }
  ASSERT_TRUE(index.Append(ToArray(rows, kDim)).ok());
  const float radius = index.Search(rows[0], {.k = 150, .exact = true}).ValueOrDie().rows.back().distance;
  for (const int64_t ef : {16, 64, 256, 1000, 20'000}) {
    EXPECT_GE(index.SearchRange(rows[0], radius, {.ef = ef}).ValueOrDie().rows.size(), 145u) << ef;
  }
  EXPECT_EQ(index.SearchRange(rows[0], std::numeric_limits<float>::max()).ValueOrDie().rows.size(), 8000u);
}

TEST(Range, OfAnyRadius) {
  const LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized);
  const auto query = Normal(1, kDim, 2)[0];
  for (const bool exact : {false, true}) {
    EXPECT_EQ(index.SearchRange(query, kInfinity, {.exact = exact}).ValueOrDie().rows.size(), kRows);
    EXPECT_EQ(index.SearchRange(query, 1e30f, {.exact = exact}).ValueOrDie().rows.size(), kRows);
    for (const float radius : {-kInfinity, -1.0f, 0.0f}) {
      EXPECT_TRUE(index.SearchRange(query, radius, {.exact = exact}).ValueOrDie().rows.empty()) << radius;
    }
  }
  EXPECT_EQ(index.SearchRange(query, std::nanf("")).status().message(), "radius: expected a number, got NaN");
  EXPECT_TRUE(index.SearchRange(Normal(1, kDim + 1, 2)[0], 1).status().IsInvalid());
  const LiveIndex empty = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  EXPECT_TRUE(empty.SearchRange(query, kInfinity).ValueOrDie().rows.empty());
  std::stop_source stop;
  stop.request_stop();
  const Answer answer = index.SearchRange(query, 10, {.stop_token = stop.get_token()}).ValueOrDie();
  EXPECT_FALSE(answer.complete);
  EXPECT_EQ(answer.reason, "a stop was requested");
}

TEST(Range, ThatIsCutShortKeepsWhatItFound) {
  const LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized);
  const auto query = Normal(1, kDim, 2)[0];
  const float radius = index.Search(query, {.k = 800}).ValueOrDie().rows.back().distance;
  const size_t all = index.SearchRange(query, radius).ValueOrDie().rows.size();
  for (const int64_t calls : {2, 10, 60, 400, 3000}) {
    std::stop_source stop;
    int64_t left = calls;
    const auto filter = RowFilter::Predicate([&](uint64_t) {
      if (--left == 0) stop.request_stop();
      return true;
    });
    const Answer answer =
        index.SearchRange(query, radius, {.filter = filter, .stop_token = stop.get_token()}).ValueOrDie();
    EXPECT_TRUE(std::is_sorted(answer.rows.begin(), answer.rows.end(),
                               [](const auto& a, const auto& b) { return a.distance < b.distance; }));
    if (answer.complete) continue;
    EXPECT_LT(answer.rows.size(), all);
    // The first walk has found its nearest rows by then.
    EXPECT_GT(answer.rows.size(), calls < 400 ? 0u : 30u) << calls;
  }
}

TEST(Range, OfEqualRowsGivesThemAll) {
  LiveIndex index = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  ASSERT_TRUE(index.Append(ToArray(Vectors(3000, std::vector<float>(kDim, 1)), kDim)).ok());
  ASSERT_TRUE(index.Append(ToArray(Normal(3000, kDim, 1), kDim)).ok());
  EXPECT_EQ(index.SearchRange(std::vector<float>(kDim, 1), 0).ValueOrDie().rows.size(), 3000u);
}

TEST(Pager, ReadToTheEndGivesEachRowThatPassesOnce) {
  for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
    const LiveIndex index = MakeIndex(Metric::kL2, codes);
    const auto query = Normal(1, kDim, 3)[0];
    for (const RowFilter& filter : {RowFilter(), Odd()}) {
      for (const bool exact : {false, true}) {
        const auto all = index.Search(query, {.k = kRows, .filter = filter}).ValueOrDie().rows;
        Pager pager =
            Pager::Make(index.GetSnapshot().ValueOrDie(), query, {.filter = filter, .exact = exact}).ValueOrDie();
        std::vector<SearchResult> read;
        size_t out_of_order = 0;
        for (int64_t k = 1;; k = k % 97 + 5) {
          const Answer page = pager.Next(k).ValueOrDie();
          EXPECT_TRUE(page.complete);
          EXPECT_TRUE(std::is_sorted(page.rows.begin(), page.rows.end(),
                                     [](const auto& a, const auto& b) { return a.distance < b.distance; }));
          for (const SearchResult& row : page.rows) {
            out_of_order += !read.empty() && row.distance < read.back().distance ? 1 : 0;
            read.push_back(row);
          }
          if (static_cast<int64_t>(page.rows.size()) < k) break;
          ASSERT_LE(read.size(), kRows);
        }
        EXPECT_TRUE(pager.Next(10).ValueOrDie().rows.empty());
        if (exact) {
          EXPECT_EQ(read, all);
        } else {
          EXPECT_LT(out_of_order, 10u);
        }
        std::sort(read.begin(), read.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
        EXPECT_EQ(std::unique(read.begin(), read.end()), read.end());
        EXPECT_EQ(read.size(), all.size());
      }
    }
  }
}

// Of a graph so poor that walks miss much.
TEST(Pager, ExactPagesAreOneListWhereWalksMissRows) {
  LiveIndex index = LiveIndex::Make({.dim = kDim, .build = {.m = 2, .ef_construction = 2}}).ValueOrDie();
  ASSERT_TRUE(index.Append(ToArray(Normal(2000, kDim, 1), kDim)).ok());
  const auto query = Normal(1, kDim, 3)[0];
  const auto all = index.Search(query, {.k = 300, .exact = true}).ValueOrDie().rows;
  const auto read = [&](bool exact) {
    Pager pager = Pager::Make(index.GetSnapshot().ValueOrDie(), query, {.ef = 1, .exact = exact}).ValueOrDie();
    std::vector<SearchResult> rows;
    for (int page = 0; page < 60; ++page) {
      for (const SearchResult& row : pager.Next(5).ValueOrDie().rows) rows.push_back(row);
    }
    return rows;
  };
  EXPECT_EQ(read(true), all);
  EXPECT_NE(read(false), all);
}

TEST(Pager, CostsWhatIsReadInFewSearches) {
  const LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized);
  const auto query = Normal(1, kDim, 3)[0];
  const auto cost_of = [&](auto&& read) {
    const Stats before = index.GetStats();
    read();
    const Stats after = index.GetStats();
    return std::pair(after.searches - before.searches, after.search_distances - before.search_distances);
  };
  const auto pages = [&](int n, int64_t ef) {
    return cost_of([&] {
      Pager pager = Pager::Make(index.GetSnapshot().ValueOrDie(), query, {.ef = ef}).ValueOrDie();
      for (int page = 0; page < n; ++page) EXPECT_EQ(pager.Next(5).ValueOrDie().rows.size(), 5u);
    });
  };
  for (const int n : {1, 10, 40}) {
    const auto search = cost_of([&] { EXPECT_TRUE(index.Search(query, {.k = 8 * 5 * n, .ef = 1}).ok()); });
    const auto [searches, distances] = pages(n, 1);
    EXPECT_LE(searches, 8u) << n;
    EXPECT_LT(distances, 2 * search.second) << n;
  }
  EXPECT_GT(pages(1, 500).second, 3 * pages(1, 1).second);
}

TEST(Pager, ACopyReadsOnByItself) {
  const LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized);
  Pager pager = Pager::Make(index.GetSnapshot().ValueOrDie(), Normal(1, kDim, 3)[0]).ValueOrDie();
  ASSERT_TRUE(pager.Next(30).ok());
  Pager copy = pager;
  for (int page = 0; page < 5; ++page) EXPECT_EQ(copy.Next(30).ValueOrDie().rows, pager.Next(30).ValueOrDie().rows);
}

TEST(Pager, IsBoundToItsSnapshot) {
  LiveIndex index = MakeIndex(Metric::kCosine, Codes::kQuantized, 2000);
  const auto query = Normal(1, kDim, 3)[0];
  Pager pager = Pager::Make(index.GetSnapshot().ValueOrDie(), query).ValueOrDie();
  std::set<uint32_t> read;
  for (uint64_t seed = 10; read.size() < 2000; ++seed) {
    ASSERT_LT(seed, 100u);
    for (const SearchResult& row : pager.Next(111).ValueOrDie().rows) {
      EXPECT_LT(row.id, 2000u);
      EXPECT_TRUE(read.insert(row.id).second);
    }
    ASSERT_TRUE(index.Append(ToArray(Normal(50, kDim, seed), kDim)).ok());
  }
  EXPECT_TRUE(pager.Next(1).ValueOrDie().rows.empty());
}

TEST(Pager, GoesOnAfterAPageThatWasCutShort) {
  const LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized);
  const auto query = Normal(1, kDim, 3)[0];
  Pager pager = Pager::Make(index.GetSnapshot().ValueOrDie(), query).ValueOrDie();
  std::stop_source stop;
  stop.request_stop();
  std::set<uint32_t> read;
  size_t cut_short = 0;
  for (int round = 0; read.size() < kRows; ++round) {
    const Answer page =
        round % 2 == 1 ? pager.Next(50, std::nullopt, stop.get_token()).ValueOrDie()
        : round % 4 == 0
            ? pager.Next(50).ValueOrDie()
            : pager.Next(50, std::chrono::steady_clock::now() + std::chrono::microseconds(30)).ValueOrDie();
    cut_short += page.complete ? 0 : 1;
    EXPECT_TRUE(page.rows.size() == 50 || !page.complete || read.size() + page.rows.size() == kRows);
    for (const SearchResult& row : page.rows) EXPECT_TRUE(read.insert(row.id).second);
    ASSERT_LT(round, 1000);
  }
  EXPECT_GT(cut_short, 0u);
}

TEST(Pager, APageThatIsCutShortHasWhatWasFoundBefore) {
  const LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized);
  const auto query = Normal(1, kDim, 3)[0];
  Pager pager = Pager::Make(index.GetSnapshot().ValueOrDie(), query).ValueOrDie();
  std::vector<SearchResult> read = pager.Next(3).ValueOrDie().rows;
  std::stop_source stop;
  stop.request_stop();
  const Answer page = pager.Next(10, std::nullopt, stop.get_token()).ValueOrDie();
  EXPECT_FALSE(page.complete);
  EXPECT_GE(page.rows.size(), 3u);
  read.insert(read.end(), page.rows.begin(), page.rows.end());
  EXPECT_EQ(read, index.Search(query, {.k = static_cast<int64_t>(read.size())}).ValueOrDie().rows);
}

TEST(Pager, APageThatFailsTakesNothingAway) {
  FailingPool pool;
  LiveIndex index = LiveIndex::Make({.dim = kDim, .pool = &pool}).ValueOrDie();
  ASSERT_TRUE(index.Append(ToArray(Normal(3000, kDim, 1), kDim)).ok());
  const auto query = Normal(1, kDim, 3)[0];
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  ASSERT_TRUE(snapshot.Search(query, {.k = 3000}).ok());
  Pager pager = Pager::Make(snapshot, query).ValueOrDie();
  std::set<uint32_t> read;
  size_t failed = 0;
  for (int64_t round = 0; read.size() < 3000; ++round) {
    ASSERT_LT(round, 1000);
    index.Trim();  // so that pages need memory
    pool.left = round % 3 == 2 ? -1 : round % 3;
    const auto page = pager.Next(1 + round);
    pool.left = -1;
    if (!page.ok()) {
      EXPECT_TRUE(page.status().IsOutOfMemory());
      ++failed;
      continue;
    }
    for (const SearchResult& row : page->rows) EXPECT_TRUE(read.insert(row.id).second);
  }
  EXPECT_GT(failed, 3u);
}

TEST(Pager, BadInputIsRefused) {
  const LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized, 100);
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  EXPECT_TRUE(Pager::Make(snapshot, std::vector<float>(kDim - 1)).status().IsInvalid());
  Pager pager = Pager::Make(snapshot, std::vector<float>(kDim)).ValueOrDie();
  EXPECT_EQ(pager.Next(0).status().message(), "k: expected at least 1, got 0");
  EXPECT_EQ(pager.Next(INT64_MAX).ValueOrDie().rows.size(), 100u);
  Pager none =
      Pager::Make(LiveIndex::Make({.dim = kDim}).ValueOrDie().GetSnapshot().ValueOrDie(), std::vector<float>(kDim))
          .ValueOrDie();
  EXPECT_TRUE(none.Next(5).ValueOrDie().rows.empty());
}

TEST(Explain, TellsWhatTheSearchDid) {
  LiveIndex index = MakeIndex(Metric::kL2, Codes::kQuantized);
  const auto query = Normal(1, kDim, 3)[0];
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  ASSERT_TRUE(index.Append(ToArray(Normal(1000, kDim, 4), kDim)).ok());
  const Stats before = index.GetStats();
  const auto start = std::chrono::steady_clock::now();
  const Explanation walk = snapshot.Explain(query, {.k = 10, .ef = 50}).ValueOrDie();
  const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(walk.answer.rows, snapshot.Search(query, {.k = 10, .ef = 50}).ValueOrDie().rows);
  EXPECT_FALSE(walk.scanned);
  EXPECT_GT(walk.hops, 10u);
  EXPECT_GE(walk.lists_read, walk.hops);
  EXPECT_GT(walk.walk.distances, 50u);
  EXPECT_GE(walk.rank.distances, 10u);
  EXPECT_EQ(walk.encode.distances, 0u);
  EXPECT_EQ(walk.scan.distances, 0u);
  for (const SearchPart& part : {walk.encode, walk.walk, walk.rank}) EXPECT_GT(part.nanos, 0);
  EXPECT_EQ(walk.scan.nanos, 0);
  EXPECT_LE(walk.encode.nanos + walk.walk.nanos + walk.rank.nanos, elapsed.count());
  EXPECT_EQ(walk.sketches, 0u) << "rows are so small that they are not sifted";
  EXPECT_EQ(index.GetStats().search_distances - before.search_distances,
            2 * (walk.walk.distances + walk.rank.distances));

  const Explanation scan = snapshot.Explain(query, {.k = 10, .exact = true}).ValueOrDie();
  EXPECT_TRUE(scan.scanned);
  // By codes, and exactly those few that they do not rule out.
  EXPECT_GT(scan.scan.distances, kRows);
  EXPECT_LT(scan.scan.distances, kRows + kRows / 10);
  EXPECT_EQ(scan.hops, 0u);
  const auto few = RowFilter::Predicate([](uint64_t row_id) { return row_id == 777; });
  const Explanation fallback = snapshot.Explain(query, {.k = 10, .filter = few}).ValueOrDie();
  EXPECT_TRUE(fallback.scanned);
  EXPECT_GT(fallback.hops, 0u);
  EXPECT_EQ(fallback.scan.distances, 1u);
}

TEST(Explain, TellsOfSketches) {
  constexpr int kWide = 384;
  // Near a subspace, or no row would be nearer than others.
  const Vectors basis = Normal(kDim, kWide, 1);
  const auto rows = [&](size_t n, uint64_t seed) {
    Vectors wide = Normal(n, kWide, seed);
    const Vectors within = Normal(n, kDim, seed + 1);
    for (size_t i = 0; i < n; ++i) {
      for (size_t b = 0; b < basis.size(); ++b) {
        for (size_t d = 0; d < kWide; ++d) wide[i][d] += within[i][b] * basis[b][d];
      }
    }
    return wide;
  };
  LiveIndex index = LiveIndex::Make({.dim = kWide, .build = {.m = 16, .ef_construction = 40}}).ValueOrDie();
  ASSERT_TRUE(index.Append(ToArray(rows(2000, 2), kWide)).ok());
  ASSERT_TRUE(index.Append(ToArray(rows(500, 4), kWide)).ok());
  const Explanation walk = index.GetSnapshot().ValueOrDie().Explain(rows(1, 6)[0]).ValueOrDie();
  EXPECT_FALSE(walk.scanned);
  EXPECT_GT(walk.sketches, walk.walk.distances);
}

}  // namespace
}  // namespace pennon
