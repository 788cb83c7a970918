// ctest: labels=contract-10,asan timeout=60
// How often a reader waits for a server that is far away.
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <arrow/filesystem/mockfs.h>
#include <gtest/gtest.h>

#include "index/lance_dataset.h"
#include "io/arrow_file_system.h"
#include "io/file_system.h"
#include "lance/roaring.h"
#include "lance/table.h"
#include "lance/table_reader.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "support/distant_file_system.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 16;
constexpr uint64_t kRows = 1000;

class RoundsTest : public testing::Test {
 protected:
  RoundsTest()
      : path_(std::filesystem::temp_directory_path() / ("pennon-rounds-" + std::to_string(getpid()))),
        files_(io::LocalFileSystem()) {}
  ~RoundsTest() override { std::filesystem::remove_all(path_); }

  // Of ten fragments, with an index.
  void Write(lance::FileVersion version) {
    std::filesystem::remove_all(path_);
    arrow::Int64Builder ids;
    arrow::StringBuilder texts;
    for (uint64_t i = 0; i < kRows; ++i) {
      ASSERT_TRUE(ids.Append(static_cast<int64_t>(i)).ok());
      ASSERT_TRUE(texts.Append("text of " + std::to_string(i)).ok());
    }
    const auto vectors = ToArray(Normal(kRows, kDim, 3), kDim, {});
    const auto schema = arrow::schema(
        {arrow::field("id", arrow::int64()), arrow::field("text", arrow::utf8()), arrow::field("v", vectors->type())});
    rows_ = arrow::RecordBatch::Make(schema, kRows, {ids.Finish().ValueOrDie(), texts.Finish().ValueOrDie(), vectors});
    auto dataset = lance::Dataset::Create(path_.string(), schema, {.file_version = version, .rows_a_fragment = 100});
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    ASSERT_TRUE(dataset->Append(*arrow::RecordBatchReader::Make({rows_}).ValueOrDie()).ok());
    auto index = LiveIndex::Make({.dim = kDim, .vector_column = "v"}).ValueOrDie();
    ASSERT_TRUE(index.Append(vectors).ok());
    ASSERT_TRUE(index.GetSnapshot().ValueOrDie().ToLance(*dataset, {}).ok());
  }

  lance_format::Table OpenTable() { return lance_format::Table::Open(files_, path_.string()).ValueOrDie(); }
  lance_format::TableReader MakeReader(const lance_format::Table& table) {
    return {files_, table.directory(), table.manifest(), table.shared_schema(), arrow::default_memory_pool()};
  }
  void ExpectTaken(lance_format::TableReader& reader, const std::vector<uint64_t>& positions) {
    const auto taken = reader.TakePositions(positions, {});
    ASSERT_TRUE(taken.ok()) << taken.status();
    for (size_t i = 0; i < positions.size(); ++i) {
      EXPECT_TRUE(
          (*taken)->Slice(static_cast<int64_t>(i), 1)->Equals(*rows_->Slice(static_cast<int64_t>(positions[i]), 1)));
    }
  }

  const std::filesystem::path path_;
  io::DistantFileSystem files_;
  std::shared_ptr<arrow::RecordBatch> rows_;
};

TEST_F(RoundsTest, TakesAskForAllThatTheyNeedTogether) {
  std::vector<uint64_t> hundred;  // of all fragments
  for (uint64_t i = 0; i < 100; ++i) hundred.push_back(i * 10 % kRows);
  for (const bool old : {true, false}) {
    Write(old ? lance::FileVersion::k2_0 : lance::FileVersion::k2_2);
    const auto table = OpenTable();
    EXPECT_LE(files_.TakeRounds(), 3);  // what versions there are, how large the manifest is, and that
    for (const auto& positions : {std::vector<uint64_t>{57}, hundred}) {
      auto reader = MakeReader(table);
      ExpectTaken(reader, positions);
      EXPECT_EQ(files_.TakeRounds(), 3) << old;  // the files' ends; where strings are; values
      ExpectTaken(reader, positions);
      EXPECT_EQ(files_.TakeRounds(), old ? 2 : 1);
    }
    auto reader = MakeReader(table);
    EXPECT_TRUE(reader.Scan({}).ValueOrDie()->ToTable().ValueOrDie()->Equals(
        *arrow::Table::FromRecordBatches({rows_}).ValueOrDie()));
    EXPECT_EQ(files_.TakeRounds(), 21);  // of ten fragments
  }
}

TEST_F(RoundsTest, DeletionsAreReadWithTheRest) {
  Write(lance::FileVersion::k2_2);
  const auto table = OpenTable();
  auto manifest = table.manifest();
  std::filesystem::create_directory(path_ / "_deletions");
  for (lance_format::Fragment& fragment : manifest.fragments) {
    fragment.deletions = {.type = lance_format::DeletionFile::kBitmap, .read_version = 1, .id = 1, .rows = 1};
    const std::string file = (path_ / "_deletions" / fragment.deletions->Name(fragment.id)).string();
    ASSERT_TRUE(io::LocalFileSystem().PutIfAbsent(file, lance_format::RoaringBitmap({0})).ok());
  }
  files_.TakeRounds();
  lance_format::TableReader reader(files_, table.directory(), manifest, table.shared_schema(),
                                   arrow::default_memory_pool());
  const std::vector<uint64_t> positions = {0, 99, 500};
  const auto taken = reader.TakePositions(positions, {}).ValueOrDie();
  EXPECT_EQ(static_cast<const arrow::Int64Array&>(*taken->column(0)).Value(1), 101);
  EXPECT_EQ(files_.TakeRounds(), 4);  // how large those are, and they, beside the files' ends; then as ever
}

TEST_F(RoundsTest, PartsOfAnIndexAreOpenedTogether) {
  Write(lance::FileVersion::k2_2);
  const auto table = OpenTable();
  auto reader = MakeReader(table);
  files_.TakeRounds();
  const lance_format::Index& index = table.manifest().indices[0];
  const std::vector<const lance_format::Index*> indices = {&index, &index, &index};
  const auto row_ids = std::make_shared<const lance_format::RowIds>(
      lance_format::RowIds::Read(files_, table.directory(), table.manifest()).ValueOrDie());
  const auto segments = IndexSegment::Open(table, indices, row_ids, arrow::default_memory_pool()).ValueOrDie();
  EXPECT_EQ(files_.TakeRounds(), 2);  // ends; partitions
  const auto& partition = segments[2].partitions().partitions[0];
  EXPECT_EQ(segments[2].ReadRows(partition, reader).ValueOrDie()->Next().ValueOrDie()->num_rows(), kRows);
  EXPECT_EQ(files_.TakeRounds(), 1);  // ids and vectors
  EXPECT_TRUE(segments[2].ReadGraph(partition).ok());
  EXPECT_EQ(files_.TakeRounds(), 3);  // ids; where lists are; they
}

// Sizes of files are in manifests, and those may be anybody's.
TEST_F(RoundsTest, SizesThatAreNotSoAreErrors) {
  Write(lance::FileVersion::k2_2);
  const auto mock = std::make_shared<arrow::fs::internal::MockFileSystem>(arrow::fs::TimePoint());
  io::FileSystem& local = io::LocalFileSystem();
  for (const auto& file : local.ListFiles(path_.string()).ValueOrDie()) {
    ASSERT_TRUE(mock->CreateFile("t/" + file.path, local.Read(path_.string() + "/" + file.path).ValueOrDie()).ok());
  }
  const auto files = io::MakeArrowFileSystem(mock);
  const auto table = lance_format::Table::Open(*files, "t").ValueOrDie();
  const uint64_t size = table.manifest().fragments[0].files[0].size;
  ASSERT_GT(size, 0);
  for (const uint64_t claimed : {uint64_t{0}, size, size - 1, size + 1, uint64_t{1}, uint64_t{40}, uint64_t{1} << 40,
                                 uint64_t{1} << 62, ~uint64_t{0}}) {
    auto manifest = table.manifest();
    manifest.fragments[0].files[0].size = claimed;
    for (auto& file : manifest.indices[0].files) file.size = claimed;
    lance_format::TableReader reader(*files, "t", manifest, table.shared_schema(), arrow::default_memory_pool());
    const std::vector<uint64_t> positions = {57};
    const auto status = reader.TakePositions(positions, {}).status();
    // 2^64 - 1 is no size of a file.
    EXPECT_EQ(status.ok(), claimed == 0 || claimed == size || claimed == ~uint64_t{0}) << claimed << ": " << status;
    EXPECT_TRUE(status.ok() || status.message().find("mock://t/data/") != std::string::npos) << status;
    auto scan = reader.Scan({}).ValueOrDie();
    EXPECT_EQ(scan->ToTable().ok(), status.ok());
  }
}

}  // namespace
}  // namespace pennon
