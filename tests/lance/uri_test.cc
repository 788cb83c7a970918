// ctest: labels=contract-10,asan timeout=60
// Tables by URI, and in file systems of Arrow's.
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <arrow/filesystem/mockfs.h>
#include <arrow/io/interfaces.h>
#include <gtest/gtest.h>

#include "io/arrow_file_system.h"
#include "lance/schema.h"
#include "lance/table.h"
#include "lance/table_reader.h"
#include "pennon/lance.h"
#include "support/arrays.h"
#include "support/memory_file_system.h"

namespace pennon {
namespace {

using arrow::Status;
using arrow::fs::internal::MockFileSystem;

std::shared_ptr<arrow::RecordBatch> Rows(int64_t rows) {
  arrow::Int64Builder ids;
  arrow::StringBuilder texts;
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE(ids.Append(i).ok());
    EXPECT_TRUE(texts.Append(std::string(static_cast<size_t>(i % 7), 'x') + std::to_string(i)).ok());
  }
  const auto schema = arrow::schema({arrow::field("id", arrow::int64()), arrow::field("text", arrow::utf8())});
  return arrow::RecordBatch::Make(schema, rows, {ids.Finish().ValueOrDie(), texts.Finish().ValueOrDie()});
}

// A table of three fragments, in memory of Arrow's.
std::shared_ptr<MockFileSystem> WriteMock(const std::shared_ptr<arrow::RecordBatch>& rows) {
  io::MemoryFileSystem memory;
  auto table =
      lance_format::Table::Create(memory, "bucket/t.lance", rows->schema(), {.rows_a_fragment = 40}).ValueOrDie();
  EXPECT_TRUE(table.Append(*arrow::RecordBatchReader::Make({rows}).ValueOrDie()).ok());
  auto mock = std::make_shared<MockFileSystem>(arrow::fs::TimePoint());
  for (const auto& file : memory.ListFiles("bucket").ValueOrDie()) {
    const std::string path = "bucket/" + file.path;
    EXPECT_TRUE(mock->CreateFile(path, memory.Read(path).ValueOrDie()).ok());
  }
  return mock;
}

TEST(Uris, TablesInArrowsFileSystemsAreRead) {
  const auto rows = Rows(100);
  const auto mock = WriteMock(rows);
  const auto files = io::MakeArrowFileSystem(mock);
  const auto table = lance_format::Table::Open(*files, "bucket/t.lance");
  ASSERT_TRUE(table.ok()) << table.status();
  lance_format::TableReader reader(*files, table->directory(), table->manifest(), table->shared_schema(),
                                   arrow::default_memory_pool());
  const auto scan = reader.Scan({}).ValueOrDie()->ToTable();
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_TRUE((*scan)->Equals(*arrow::Table::FromRecordBatches({rows}).ValueOrDie()));
  const std::vector<uint64_t> positions = {99, 0, 41, 40, 7};
  const auto taken = reader.TakeAddresses(reader.AddressesAt(positions).ValueOrDie(), {});
  ASSERT_TRUE(taken.ok()) << taken.status();
  for (size_t i = 0; i < positions.size(); ++i) {
    EXPECT_TRUE(
        (*taken)->Slice(static_cast<int64_t>(i), 1)->Equals(*rows->Slice(static_cast<int64_t>(positions[i]), 1)));
  }
}

TEST(Uris, ArrowsFileSystemsAreNotWritten) {
  const auto rows = Rows(100);
  const auto mock = WriteMock(rows);
  const auto files = io::MakeArrowFileSystem(mock);
  auto table = lance_format::Table::Open(*files, "bucket/t.lance").ValueOrDie();
  const size_t before = mock->AllFiles().size();
  const Status appended = table.Append(*arrow::RecordBatchReader::Make({rows}).ValueOrDie()).status();
  EXPECT_TRUE(appended.IsNotImplemented()) << appended;
  EXPECT_NE(appended.message().find("mock://bucket/t.lance/data/"), std::string::npos) << appended;
  EXPECT_NE(appended.message().find("writing is for local file systems"), std::string::npos) << appended;
  EXPECT_TRUE(files->PutIfAbsent("bucket/x", "y").IsNotImplemented());
  EXPECT_TRUE(files->MakeDirectory("bucket/x").IsNotImplemented());
  EXPECT_TRUE(files->Remove("bucket/t.lance/data").IsNotImplemented());
  EXPECT_EQ(mock->AllFiles().size(), before);
}

TEST(Uris, FilesOfArrowsFileSystems) {
  const auto mock = std::make_shared<MockFileSystem>(arrow::fs::TimePoint());
  ASSERT_TRUE(mock->CreateFile("d/b", "123").ok());
  ASSERT_TRUE(mock->CreateFile("d/a/c", "12345").ok());
  const auto files = io::MakeArrowFileSystem(mock);
  EXPECT_EQ(files->List("d").ValueOrDie(), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(files->List("none").ValueOrDie().empty());
  const auto listed = files->ListFiles("d").ValueOrDie();
  ASSERT_EQ(listed.size(), 2);
  EXPECT_EQ(listed[0].path, "a/c");
  EXPECT_EQ(listed[0].size, 5);
  EXPECT_TRUE(files->Open("d/none").status().IsIOError());
  const auto file = files->Open("d/a/c").ValueOrDie();
  EXPECT_EQ(file->size(), 5);
  char bytes[3] = {};
  ASSERT_TRUE(file->ReadAt(1, 3, bytes).ok());
  EXPECT_EQ(std::string(bytes, 3), "234");
  const Status beyond = file->ReadAt(3, 3, bytes);
  EXPECT_TRUE(beyond.IsIOError());
  EXPECT_NE(beyond.message().find("mock://d/a/c"), std::string::npos) << beyond;
}

// A hundred bytes, each its place. No read ends before there are as many as the test wants at a time.
class SlowFile : public arrow::io::RandomAccessFile {
 public:
  using Bytes = std::shared_ptr<arrow::Buffer>;

  Status Close() override { return Status::OK(); }
  bool closed() const override { return false; }
  arrow::Result<int64_t> Tell() const override { return 0; }
  Status Seek(int64_t) override { return Status::OK(); }
  arrow::Result<int64_t> GetSize() override { return 100; }
  arrow::Result<int64_t> Read(int64_t, void*) override { return Status::NotImplemented("one after the other"); }
  arrow::Result<Bytes> Read(int64_t) override { return Status::NotImplemented("one after the other"); }
  arrow::Result<int64_t> ReadAt(int64_t position, int64_t nbytes, void* to) override {
    ARROW_ASSIGN_OR_RAISE(const auto bytes, ReadAt(position, nbytes));
    std::memcpy(to, bytes->data(), static_cast<size_t>(bytes->size()));
    return bytes->size();
  }
  arrow::Result<Bytes> ReadAt(int64_t position, int64_t nbytes) override {
    if (position == broken) return Status::Invalid("gone");
    std::unique_lock lock(mutex_);
    ++begun_;
    all_.notify_all();
    if (!all_.wait_for(lock, std::chrono::seconds(20), [&] { return begun_ >= together; })) {
      return Status::IOError("alone");
    }
    std::string bytes;
    for (int64_t i = position; i < position + nbytes && i < end; ++i) bytes += static_cast<char>(i);
    return arrow::Buffer::FromString(bytes);
  }

  int together = 1;
  int64_t broken = -1;
  int64_t end = 100;

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  int begun_ = 0;
};

class SlowFileSystem : public MockFileSystem {
 public:
  SlowFileSystem() : MockFileSystem(arrow::fs::TimePoint()) {}
  arrow::Result<std::shared_ptr<arrow::io::RandomAccessFile>> OpenInputFile(const std::string&) override {
    return file;
  }

  const std::shared_ptr<SlowFile> file = std::make_shared<SlowFile>();
};

TEST(Uris, ReadsGoOutTogether) {
  const auto slow = std::make_shared<SlowFileSystem>();
  const auto file = io::MakeArrowFileSystem(slow)->Open("f").ValueOrDie();
  std::string to(6, '\0');
  slow->file->together = 3;
  const auto finish = file->StartReads({{97, 3, to.data()}, {50, 2, to.data() + 3}, {65, 1, to.data() + 5}});
  const auto finished = finish();
  EXPECT_TRUE(finished.ok()) << finished;
  EXPECT_EQ(to, "abc23A");

  slow->file->broken = 30;
  const auto gone = file->StartReads({{40, 2, to.data()}, {30, 3, to.data()}})();
  EXPECT_TRUE(gone.IsIOError());
  EXPECT_NE(gone.message().find("3 bytes at 30 of mock://f: gone"), std::string::npos) << gone;
  slow->file->end = 50;
  EXPECT_TRUE(file->StartReads({{48, 3, to.data()}})().IsIOError());
}

TEST(Uris, LocalOnesAreWrittenToo) {
  const auto folder = std::filesystem::temp_directory_path() / ("pennon-uri-test-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const auto rows = Rows(10);
  const std::string uri = "file://" + folder.string() + "/t.lance";
  {
    auto dataset = lance::Dataset::Create(uri, rows->schema());
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    EXPECT_TRUE(dataset->Append(*arrow::RecordBatchReader::Make({rows}).ValueOrDie()).ok());
  }
  for (const std::string& path : {uri, uri + "/", folder.string() + "/t.lance"}) {
    const auto dataset = lance::Dataset::Open(path);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    const std::vector<uint64_t> positions = {3};
    EXPECT_TRUE(dataset->TakePositions(positions).ValueOrDie()->Equals(*rows->Slice(3, 1)));
  }
  EXPECT_TRUE(lance::Dataset::Cleanup(uri).ok());
  std::filesystem::remove_all(folder);
}

TEST(Uris, WhatIsNotOpenedIsNamed) {
  const auto none = lance::Dataset::Open("mock:///t.lance").status();
  EXPECT_TRUE(none.IsIOError()) << none;
  const auto unknown = lance::Dataset::Open("carrier-pigeon://t.lance").status();
  EXPECT_TRUE(unknown.IsInvalid()) << unknown;
  EXPECT_NE(unknown.message().find("carrier-pigeon"), std::string::npos) << unknown;
  for (const auto& status : {lance::Dataset::Create("mock:///t.lance", Rows(1)->schema()).status(),
                             lance::Dataset::Cleanup("mock:///t.lance").status()}) {
    EXPECT_TRUE(status.IsInvalid()) << status;
    EXPECT_NE(status.message().find("writing is for local file systems"), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace pennon
