// ctest: labels=contract-10,asan timeout=240
// An index that was exported to a table and loaded again: it answers as it did, bit for bit, and grows.
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "io/file_system.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 16;
constexpr size_t kRows = 3000;

class LoadIndex : public testing::Test {
 protected:
  LoadIndex() : path_(std::filesystem::temp_directory_path() / ("pennon-load-" + std::to_string(getpid()))) {}
  ~LoadIndex() override { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

 private:
  const std::filesystem::path path_;
};

struct Case {
  Metric metric;
  lance::IndexType type;
  bool half;
  Codes codes;
  lance::FileVersion version;
};

struct Exported {
  Snapshot snapshot;
  lance::Dataset dataset;
};

// Rows in fragments of 1100, a vector in 50 null.
Exported Export(const std::string& path, const Case& is) {
  Vectors vectors = Normal(kRows, kDim, 1);
  std::set<size_t> nulls;
  for (size_t i = 0; i < kRows; i += 50) nulls.insert(i);
  const auto array = ToArray(vectors, kDim, nulls, is.half);
  auto index =
      LiveIndex::Make({.dim = kDim, .metric = is.metric, .codes = is.codes, .build = {.m = 8, .ef_construction = 40}})
          .ValueOrDie();
  for (int64_t from = 0; from < static_cast<int64_t>(kRows); from += 450) {
    EXPECT_TRUE(index.Append(array->Slice(from, 450)).ok());
  }
  const auto schema = arrow::schema({arrow::field("v", array->type())});
  auto dataset =
      lance::Dataset::Create(path, schema, {.file_version = is.version, .rows_a_fragment = 1100}).ValueOrDie();
  const auto batch = arrow::RecordBatch::Make(schema, array->length(), {array});
  EXPECT_TRUE(dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ok());
  std::vector<uint64_t> positions;
  for (uint64_t i = 0; i < kRows; ++i) {
    if (!nulls.contains(i)) positions.push_back(i);
  }
  Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  const auto status = snapshot.ToLance(dataset, {.type = is.type, .positions = positions}).status();
  EXPECT_TRUE(status.ok()) << status;
  return {std::move(snapshot), lance::Dataset::Open(path).ValueOrDie()};
}

uint64_t RowIdOf(uint64_t position) { return (position / 1100) << 32 | position % 1100; }

TEST_F(LoadIndex, AnswersAsItDid) {
  int number = 0;
  for (const Metric metric : {Metric::kL2, Metric::kCosine, Metric::kDot}) {
    for (const auto type : {lance::IndexType::kHnswFlat, lance::IndexType::kHnswSq}) {
      for (const bool half : {false, true}) {
        const Case is = {metric, type, half, half ? Codes::kNone : Codes::kQuantized,
                         half ? lance::FileVersion::k2_0 : lance::FileVersion::k2_2};
        SCOPED_TRACE(std::string(ToString(metric)) + (type == lance::IndexType::kHnswSq ? " sq" : " flat") +
                     (half ? " half" : ""));
        const Exported exported = Export(path(std::to_string(++number)), is);
        std::vector<std::string> said;
        auto result = exported.dataset.LoadIndex(
            {.codes = is.codes, .logger = [&](LogLevel, std::string_view line) { said.emplace_back(line); }});
        ASSERT_TRUE(result.ok()) << result.status();
        LiveIndex loaded = *std::move(result);
        EXPECT_EQ(loaded.size(), exported.snapshot.size());
        EXPECT_EQ(loaded.options().metric, metric);
        ASSERT_EQ(said.size(), 1);
        EXPECT_NE(said[0].find("loaded 2940 rows"), std::string::npos) << said[0];
        for (const auto& query : Normal(60, kDim, 7)) {
          for (const SearchOptions& search : {SearchOptions{.k = 10, .ef = 12}, SearchOptions{.k = 20, .ef = 100},
                                              SearchOptions{.k = 5, .exact = true}}) {
            const Answer was = exported.snapshot.Search(query, search).ValueOrDie();
            const Answer is_now = loaded.Search(query, search).ValueOrDie();
            ASSERT_EQ(is_now.rows.size(), was.rows.size());
            for (size_t i = 0; i < was.rows.size(); ++i) {
              EXPECT_EQ(is_now.rows[i].id, was.rows[i].id);
              EXPECT_EQ(is_now.rows[i].distance, was.rows[i].distance);
              EXPECT_EQ(is_now.rows[i].row_id, RowIdOf(was.rows[i].row_id));
            }
          }
        }
        ASSERT_TRUE(loaded.Verify().ValueOrDie().ok);
        const auto more = loaded.Append(ToArray(Normal(700, kDim, 9), kDim));
        ASSERT_TRUE(more.ok()) << more.status();
        EXPECT_EQ(more->first, 2940);
        EXPECT_EQ(loaded.size(), 3640);
        const auto report = loaded.Verify().ValueOrDie();
        EXPECT_TRUE(report.ok) << report.problem;
        const auto found = loaded.Search(Normal(700, kDim, 9)[3], {.k = 1}).ValueOrDie();
        if (metric == Metric::kL2) {
          EXPECT_EQ(found.rows[0].id, 2943);
          EXPECT_EQ(found.rows[0].row_id, (uint64_t{3} << 32) + 3);  // of the fragment that an append makes
        }
      }
    }
  }
}

TEST_F(LoadIndex, KnowsWhereItsRowsAre) {
  const Case is = {Metric::kL2, lance::IndexType::kHnswFlat, false, Codes::kQuantized, lance::FileVersion::k2_2};
  Exported exported = Export(path("t"), is);
  const LiveIndex loaded = exported.dataset.LoadIndex().ValueOrDie();
  const auto again = loaded.GetSnapshot().ValueOrDie().ToLance(exported.dataset, {.name = "again"});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(exported.dataset.LoadIndex().status().IsInvalid());  // there are two
  const LiveIndex of_again = exported.dataset.LoadIndex({.name = "again"}).ValueOrDie();
  for (const auto& query : Normal(20, kDim, 3)) {
    EXPECT_EQ(of_again.Search(query).ValueOrDie().rows, loaded.Search(query).ValueOrDie().rows);
  }
}

// The table has rows after the index's last, which are null, and the index has its rows in another order.
TEST_F(LoadIndex, WhatIsAppendedComesAfterAllRows) {
  const Vectors vectors = Normal(240, kDim, 1);
  const Vectors first(vectors.begin(), vectors.begin() + 200);
  const Vectors later(vectors.begin() + 200, vectors.end());
  const auto array = ToArray(first, kDim, {0, 198, 199});
  const auto schema = arrow::schema({arrow::field("v", array->type())});
  auto dataset = lance::Dataset::Create(path("t"), schema, {.rows_a_fragment = 64}).ValueOrDie();
  const auto append = [&](const std::shared_ptr<arrow::Array>& rows) {
    const auto batch = arrow::RecordBatch::Make(schema, rows->length(), {rows});
    return dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie());
  };
  ASSERT_TRUE(append(array).ok());
  auto index = LiveIndex::Make({.dim = kDim}).ValueOrDie();
  std::vector<uint64_t> positions;
  for (uint64_t row = 197; row > 0; --row) {
    ASSERT_TRUE(index.Append(array->Slice(static_cast<int64_t>(row), 1)).ok());
    positions.push_back(row);
  }
  ASSERT_TRUE(index.GetSnapshot().ValueOrDie().ToLance(dataset, {.positions = positions}).ok());

  LiveIndex loaded = dataset.LoadIndex().ValueOrDie();
  EXPECT_EQ(append(ToArray(later, kDim)).ValueOrDie(), 200);
  ASSERT_TRUE(loaded.Append(ToArray(later, kDim)).ok());
  const auto again = loaded.GetSnapshot().ValueOrDie().ToLance(dataset, {.name = "again"});
  ASSERT_TRUE(again.ok()) << again.status();
  const LiveIndex of_again = dataset.LoadIndex({.name = "again"}).ValueOrDie();
  EXPECT_EQ(of_again.size(), 237);
  for (size_t row = 0; row < vectors.size(); ++row) {
    if (row == 0 || row == 198 || row == 199) continue;
    const uint64_t row_id = row < 200 ? uint64_t{row / 64} << 32 | row % 64 : uint64_t{4} << 32 | (row - 200);
    EXPECT_EQ(of_again.Search(vectors[row], {.k = 1}).ValueOrDie().rows[0].row_id, row_id);
    EXPECT_EQ(loaded.Search(vectors[row], {.k = 1}).ValueOrDie().rows[0].row_id, row_id);
  }
}

TEST_F(LoadIndex, SaysWhatIsWrong) {
  const Case is = {Metric::kL2, lance::IndexType::kHnswFlat, false, Codes::kQuantized, lance::FileVersion::k2_0};
  const Exported exported = Export(path("t"), is);
  const auto expect = [&](const lance::LoadOptions& options, const char* words) {
    const auto status = exported.dataset.LoadIndex(options).status();
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find(words), std::string::npos) << status;
    return status;
  };
  EXPECT_TRUE(expect({.name = "none"}, "there are: v_idx").IsInvalid());
  EXPECT_TRUE(expect({.max_rows = 100}, "the limit is 100").IsCapacityError());
  EXPECT_TRUE(expect({.memory_limit = 100000}, "memory: the limit is 100000 bytes").IsCapacityError());
  const auto first = lance::Dataset::Open(path("t"), {.version = 1}).ValueOrDie();
  EXPECT_TRUE(first.LoadIndex().status().IsInvalid());
  // Each byte of the graph's metadata is looked at.
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path("t"))) {
    if (entry.path().filename() != "index.idx") continue;
    const std::string file = entry.path().string();
    std::string bytes = io::LocalFileSystem().Read(file).ValueOrDie();
    const size_t at = bytes.find("level_offsets");
    ASSERT_NE(at, std::string::npos);
    bytes[at] = 'L';
    std::filesystem::remove(file);
    ASSERT_TRUE(io::LocalFileSystem().PutIfAbsent(file, bytes).ok());
  }
  EXPECT_TRUE(expect({}, "level_offsets").IsInvalid());
}

}  // namespace
}  // namespace pennon
