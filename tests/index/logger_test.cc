// ctest: labels=manners timeout=60
// What a host's logger is told of, on which thread, and that it can do no harm.
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/live_index.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 32;

using Lines = std::vector<std::pair<LogLevel, std::string>>;

// One element is so large that codes lose the others.
Vectors Lopsided(size_t n, uint64_t seed) {
  Vectors rows = Normal(n, kDim, seed);
  for (auto& row : rows) {
    for (float& value : row) value *= 1e-4f;
    row[0] = 1;
  }
  return rows;
}

struct Logged {
  explicit Logged(LiveIndexOptions options = {}) {
    options.dim = kDim;
    options.build = {.m = 4, .ef_construction = 16};
    options.logger = [this, thread = std::this_thread::get_id()](LogLevel level, std::string_view message) {
      EXPECT_EQ(std::this_thread::get_id(), thread);
      lines.emplace_back(level, message);
    };
    index = std::make_unique<LiveIndex>(LiveIndex::Make(options).ValueOrDie());
  }
  Lines Take() { return std::exchange(lines, {}); }

  Lines lines;
  std::unique_ptr<LiveIndex> index;
};

TEST(Logger, IsToldWhyAppendsFail) {
  FailingPool pool;
  Logged logged({.max_rows = 2000, .pool = &pool});
  LiveIndex& index = *logged.index;
  const auto rows = ToArray(Normal(1500, kDim, 1), kDim);
  ASSERT_TRUE(index.Append(rows, {.threads = 2}).ok());
  logged.Take();
  const auto batch = [](const char* name, const std::shared_ptr<arrow::Array>& column) {
    return arrow::RecordBatch::Make(arrow::schema({arrow::field(name, column->type())}), column->length(), {column});
  };
  std::stop_source stop;
  stop.request_stop();
  const auto fails = [&](const auto& vectors, const AppendOptions& options) {
    const arrow::Status status = index.Append(vectors, options).status();
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(logged.Take(), (Lines{{LogLevel::kWarning, status.message()}}));
  };
  fails(rows, {});
  fails(rows->Slice(0, 300), {.threads = -1});
  fails(rows->Slice(0, 300), {.deadline = std::chrono::steady_clock::now()});
  fails(rows->Slice(0, 300), {.stop_token = stop.get_token()});
  fails(*batch("vector", rows), {});
  fails(*batch("words", arrow::MakeArrayOfNull(arrow::utf8(), 3).ValueOrDie()), {});
  pool.left = 0;
  fails(rows->Slice(0, 300), {});
  EXPECT_EQ(index.GetStats().appends_failed, 7u);
}

TEST(Logger, IsToldOfCodesWhenSomethingChanges) {
  Logged logged;
  const auto append = [&](const Vectors& rows) {
    EXPECT_TRUE(logged.index->Append(ToArray(rows, kDim), {.threads = 2}).ok());
    return logged.Take();
  };
  EXPECT_EQ(append(Normal(1000, kDim, 1)), Lines());
  EXPECT_EQ(append(Normal(24, kDim, 2)), (Lines{{LogLevel::kInfo, "at 1024 rows: codes were made"}}));
  EXPECT_EQ(append(Normal(1, kDim, 3)), (Lines{{LogLevel::kInfo, "at 1025 rows: walks go by codes"}}));
  EXPECT_EQ(append(Normal(3000, kDim, 4)), Lines());
  EXPECT_EQ(append(Lopsided(30'000, 5)), (Lines{{LogLevel::kInfo, "at 34025 rows: walks go by exact distances"}}));
  logged.index->Search(std::vector<float>(kDim)).ValueOrDie();
  EXPECT_FALSE(logged.index->Search(std::vector<float>(1)).ok());
  EXPECT_EQ(logged.Take(), Lines());
  Logged without({.codes = Codes::kNone});
  ASSERT_TRUE(without.index->Append(ToArray(Normal(3000, kDim, 1), kDim)).ok());
  EXPECT_EQ(without.Take(), Lines());
}

TEST(Logger, MayThrowAndMayCallBack) {
  std::unique_ptr<LiveIndex> index;
  int calls = 0;
  index = std::make_unique<LiveIndex>(
      LiveIndex::Make({.dim = kDim,
                       .logger =
                           [&](LogLevel, std::string_view) {
                             if (++calls == 1) {
                               EXPECT_TRUE(index->Append(ToArray(Normal(1500, kDim, 1), kDim), {.threads = 2}).ok());
                               index->Trim();
                             }
                             throw std::runtime_error("the logger's");
                           }})
          .ValueOrDie());
  EXPECT_EQ(index->Append(nullptr).status().message(), "vectors: expected an array, got null");
  EXPECT_EQ(index->size(), 1500u);
  EXPECT_GE(calls, 2);
}

}  // namespace
}  // namespace pennon
