// ctest: labels=contract-10,asan,tsan timeout=120
// Writers that meet: who goes on from what, and who is told what the other did.
#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "lance/cleanup.h"
#include "lance/roaring.h"
#include "lance/row_ids.h"
#include "lance/table.h"
#include "support/memory_file_system.h"

namespace pennon::lance_format {
namespace {

using arrow::Status;

std::shared_ptr<arrow::RecordBatchReader> Rows(int64_t count) {
  arrow::Int64Builder ids;
  for (int64_t i = 0; i < count; ++i) EXPECT_TRUE(ids.Append(i).ok());
  const auto schema = arrow::schema({arrow::field("id", arrow::int64())});
  const auto batch = arrow::RecordBatch::Make(schema, count, {ids.Finish().ValueOrDie()});
  return arrow::RecordBatchReader::Make({batch}, schema).ValueOrDie();
}

Index IndexOf(const std::string& name, const std::vector<uint32_t>& fragments) {
  return {.uuid = Uuid::Random(), .field_ids = {0}, .name = name, .fragments = RoaringBitmap(fragments), .version = 1};
}

class Commits : public testing::Test {
 protected:
  Commits() {
    auto table = Table::Create(files_, "t", Rows(0)->schema()).ValueOrDie();
    EXPECT_TRUE(table.Append(*Rows(10)).ok());
    EXPECT_TRUE(table.Append(*Rows(20)).ok());
  }

  Table Open() { return Table::Open(files_, "t").ValueOrDie(); }

  // Another writer's version: an operation, serialised as transaction.proto says, and what it changed.
  void Other(const std::string& operation, const std::function<void(Manifest&)>& change = {}) {
    Manifest next = Open().manifest();
    next.transaction_file = std::to_string(next.version) + "-other.txn";
    ASSERT_TRUE(files_.PutIfAbsent("t/_transactions/" + next.transaction_file, operation).ok());
    if (change) change(next);
    ++next.version;
    ASSERT_TRUE(files_.PutIfAbsent(VersionName{next.version}.Path("t"), ManifestFile(next)).ok());
  }
  // The bytes of one that holds a message.
  static std::string Operation(int number, const std::string& message = "") {
    const int key = number << 3 | 2;
    std::string bytes;
    for (const int byte : {(key & 0x7F) | 0x80, key >> 7, static_cast<int>(message.size())}) {
      bytes.push_back(static_cast<char>(byte));
    }
    return bytes.append(message);
  }

  // Success, or that it is refused, and why.
  static void Expect(const Status& status, const char* why) {
    if (why != nullptr) return Refused(status, why);
    EXPECT_TRUE(status.ok()) << status;
  }
  static void Refused(const Status& status, const std::string& why) {
    EXPECT_TRUE(status.IsAlreadyExists()) << status;
    EXPECT_NE(status.message().find(why), std::string::npos) << status;
  }

  io::MemoryFileSystem files_;
};

TEST_F(Commits, AnAppendAfterAppendsAndIndices) {
  Table stale = Open();
  Table other = Open();
  EXPECT_EQ(other.Append(*Rows(5)).ValueOrDie(), 30);
  ASSERT_TRUE(other.AddIndex(IndexOf("i", {0, 1, 2})).ok());
  EXPECT_EQ(stale.Append(*Rows(7)).ValueOrDie(), 35);
  EXPECT_EQ(stale.version(), 5);
  EXPECT_EQ(stale.rows(), 42);
  EXPECT_EQ(RowsInOrder::Read(files_, "t", stale.manifest()).ValueOrDie().IdAt(35), uint64_t{3} << 32);
  EXPECT_EQ(Open().manifest().indices[0].name, "i");
  EXPECT_EQ(*Open().manifest().indices[0].fragments, RoaringBitmap({0, 1, 2}));
  // By which others see what was done: it read version 2, and is told of in version 5.
  EXPECT_TRUE(Open().manifest().transaction_file.starts_with("2-"));
}

TEST_F(Commits, AnIndexAfterAnAppend) {
  Table stale = Open();
  ASSERT_TRUE(Open().Append(*Rows(5)).ok());
  ASSERT_TRUE(stale.AddIndex(IndexOf("i", {0, 1})).ok());
  EXPECT_EQ(stale.rows(), 35);
  EXPECT_EQ(stale.manifest().indices[0].dataset_version, 2);
}

TEST_F(Commits, AnIndexOfTheSameName) {
  Table stale = Open();
  ASSERT_TRUE(Open().AddIndex(IndexOf("i", {0})).ok());
  Refused(stale.AddIndex(IndexOf("i", {1})), "t, version 3: index i does not fit after another writer's CreateIndex");
  ASSERT_TRUE(stale.AddIndex(IndexOf("j", {1})).ok());
  Refused(stale.AddIndex(IndexOf("i", {1})), "there is an index i");
  EXPECT_EQ(Open().version(), 4);
}

TEST_F(Commits, WhatOthersDo) {
  struct Case {
    std::string operation;
    const char* append;  // why it is refused, or null
    const char* index;   // of fragment 1
  };
  const std::string fragment_0("\x12\x02\x08\x00", 4);  // as updated_fragments
  const std::string fragment_1("\x12\x02\x08\x01", 4);
  const std::vector<Case> cases = {
      {Operation(101), nullptr, nullptr},
      {Operation(102), "Overwrite", "Overwrite"},
      {Operation(104, std::string("\x1a\x04\x0a\x02\x08\x00", 6)), nullptr, nullptr},
      {Operation(104, std::string("\x1a\x04\x0a\x02\x08\x01", 6)), nullptr, "Rewrite of its rows"},
      {Operation(105), nullptr, nullptr},
      {Operation(106), "Restore", "Restore"},
      {Operation(107), nullptr, nullptr},
      {Operation(108, fragment_1), nullptr, nullptr},
      {Operation(108, fragment_1 + std::string("\x22\x01\x00", 3)), nullptr, "Update of its column"},
      {Operation(108, fragment_1 + std::string("\x22\x01\x05", 3)), nullptr, nullptr},
      {Operation(108, fragment_0 + std::string("\x22\x01\x00", 3)), nullptr, nullptr},
      {Operation(110), nullptr, nullptr},
      {Operation(111, std::string("\x0a\x07\x08\x01\x12\x03\x12\x01\x00", 9)), nullptr,
       "DataReplacement of its column"},
      {Operation(112), "UpdateMemWalState", "UpdateMemWalState"},
      {Operation(150), "operation 150", "operation 150"},
  };
  for (const Case& other : cases) {
    SCOPED_TRACE(other.operation);
    Table appends = Open();
    Table indexes = Open();
    Other(other.operation);
    Expect(appends.Append(*Rows(1)).status(), other.append);
    Expect(indexes.AddIndex(IndexOf(std::to_string(Open().version()), {1})), other.index);
  }
}

TEST_F(Commits, AnOverwriteBeginsAnew) {
  const auto schema = arrow::schema({arrow::field("x", arrow::int64()), arrow::field("id", arrow::int64())});
  const auto number = (*Rows(3)->Next())->column(0);
  const auto rows = [&] {
    return arrow::RecordBatchReader::Make({arrow::RecordBatch::Make(schema, 3, {number, number})}).ValueOrDie();
  };
  Table appends = Open();
  ASSERT_TRUE(Open().AddIndex(IndexOf("i", {0, 1})).ok());
  // schema_metadata and config, as others write them.
  Other(Operation(110),
        [](Manifest& next) { next.others = "\x2a\x06\x0a\x01k\x12\x01v\x82\x01\x06\x0a\x01k\x12\x01v"; });
  Table anew = Table::Overwrite(files_, "t", schema, {.pages = {.version = FileVersion::k2_0}}).ValueOrDie();
  EXPECT_EQ(anew.version(), 4);
  EXPECT_EQ(anew.rows(), 0);
  EXPECT_EQ(Open().rows(), 30);
  ASSERT_TRUE(Open().Append(*Rows(5)).ok());
  EXPECT_EQ(anew.Append(*rows()).ValueOrDie(), 0);
  const Table newest = Open();
  EXPECT_EQ(newest.version(), 6);
  EXPECT_EQ(newest.rows(), 3);
  EXPECT_TRUE(newest.schema().Equals(*schema));
  EXPECT_TRUE(newest.manifest().indices.empty());
  EXPECT_EQ(newest.manifest().file_version, "2.0");
  EXPECT_EQ(newest.manifest().fragments[0].id, 3);
  EXPECT_EQ(newest.manifest().others, "\x82\x01\x06\x0a\x01k\x12\x01v");
  EXPECT_TRUE(newest.manifest().transaction_file.starts_with("4-"));
  EXPECT_EQ(Table::Open(files_, "t", 5).ValueOrDie().rows(), 35);
  // It goes on as any other, and who was there before does not.
  EXPECT_EQ(anew.Append(*rows()).ValueOrDie(), 3);
  EXPECT_EQ(RowsInOrder::Read(files_, "t", anew.manifest()).ValueOrDie().IdAt(3), uint64_t{4} << 32);
  Refused(appends.Append(*Rows(1)).status(), "an append does not fit after another writer's Overwrite");
  EXPECT_EQ(Open().rows(), 6);
}

TEST_F(Commits, AnOverwriteAfterWhatOthersDo) {
  for (const int other : {101, 102, 104, 105, 106, 107, 108, 110, 111, 112, 150}) {
    SCOPED_TRACE(other);
    Table anew = Table::Overwrite(files_, "t", Rows(0)->schema()).ValueOrDie();
    Other(Operation(other));
    const bool fits = other != 102 && other != 112 && other != 150;
    Expect(anew.Append(*Rows(1)).status(), fits ? nullptr : "an overwrite does not fit after another writer's ");
  }
}

TEST_F(Commits, AnOverwriteMayBeTheFirst) {
  Table first = Table::Overwrite(files_, "n", Rows(0)->schema()).ValueOrDie();
  Table second = Table::Overwrite(files_, "n", Rows(0)->schema()).ValueOrDie();
  EXPECT_EQ(first.version(), 0);
  ASSERT_TRUE(first.Append(*Rows(1)).ok());
  Refused(second.Append(*Rows(1)).status(), "another writer has");
  EXPECT_TRUE(Table::Create(files_, "n", Rows(0)->schema()).status().IsAlreadyExists());
}

TEST_F(Commits, ColumnsThatOthersChanged) {
  Table appends = Open();
  Table indexes = Open();
  Table sees = Open();
  Other(Operation(105), [](Manifest& next) { next.fields.push_back({.name = "b", .id = 1, .logical_type = "bool"}); });
  Refused(appends.Append(*Rows(1)).status(), "changed the columns");
  EXPECT_TRUE(indexes.AddIndex(IndexOf("i", {1})).ok());
  Other(Operation(109), [](Manifest& next) { next.fields.erase(next.fields.begin()); });
  Refused(sees.AddIndex(IndexOf("j", {1})), "changed its column");
}

TEST_F(Commits, WhatIsNotToBeSeen) {
  Table stale = Open();
  Table later = Open();
  Other(Operation(100));
  Other(Operation(100));
  ASSERT_TRUE(files_.Remove(VersionName{3}.Path("t")).ok());
  Refused(stale.Append(*Rows(1)).status(), "expected version 3");
  EXPECT_EQ(Open().version(), 4);

  later = Open();
  Other("");
  const Status none = later.Append(*Rows(1)).status();
  EXPECT_NE(none.message().find("expected an operation"), std::string::npos) << none;
  later = Open();
  Other(Operation(100), [](Manifest& next) { next.writer_flags = 64; });
  const Status flag = later.Append(*Rows(1)).status();
  EXPECT_TRUE(flag.IsNotImplemented() && flag.message().find("overlay") != std::string::npos) << flag;
  EXPECT_TRUE(Open().Append(*Rows(1)).status().IsNotImplemented());
}

TEST_F(Commits, OldVersionsMayOnlyBeRead) {
  Table old = Table::Open(files_, "t", 1).ValueOrDie();
  EXPECT_EQ(old.rows(), 10);
  const Status status = old.Append(*Rows(1)).status();
  EXPECT_NE(status.message().find("expected the newest version"), std::string::npos) << status;
  EXPECT_TRUE(Table::Open(files_, "t", 2).ValueOrDie().Append(*Rows(1)).ok());
}

TEST_F(Commits, NamesStayOfTheirScheme) {
  for (const uint64_t version : {1, 2}) {
    const std::string bytes = files_.Read(VersionName{version}.Path("t")).ValueOrDie();
    ASSERT_TRUE(files_.PutIfAbsent(VersionName{version, ManifestNaming::kAscending}.Path("t"), bytes).ok());
    ASSERT_TRUE(files_.Remove(VersionName{version}.Path("t")).ok());
  }
  ASSERT_TRUE(Open().Append(*Rows(1)).ok());
  EXPECT_EQ(files_.List("t/_versions").ValueOrDie(),
            (std::vector<std::string>{"1.manifest", "2.manifest", "3.manifest"}));
}

TEST_F(Commits, WhatOthersSaidGoesOn) {
  Other(Operation(110), [](Manifest& next) {
    next.others += std::string("\x82\x01\x06\x0a\x01k\x12\x01v", 9);
    next.fragments[1].others += std::string("\xfa\x3e\x01x", 4);
    next.fragments[0].deletions = DeletionFile{.read_version = 2, .id = 9, .rows = 3};
    next.reader_flags = next.writer_flags = kDeletionFiles;
    next.max_fragment_id = 7;
  });
  const Manifest before = Open().manifest();
  EXPECT_EQ(Open().Append(*Rows(2)).ValueOrDie(), 27);
  const Manifest after = Open().manifest();
  EXPECT_EQ(after.others, before.others);
  EXPECT_EQ(after.fragments[1].others, before.fragments[1].others);
  EXPECT_EQ(after.fragments[0].deletions->rows, 3);
  EXPECT_EQ(after.reader_flags, kDeletionFiles);
  EXPECT_EQ(after.fragments.back().id, 8);
}

TEST_F(Commits, ATableThatIsNoLongerThere) {
  Table table = Open();
  ASSERT_TRUE(files_.Remove(VersionName{2}.Path("t")).ok());
  EXPECT_TRUE(table.Append(*Rows(1)).status().IsIOError());
}

TEST_F(Commits, CleanupOfWhatItDoesNotKnow) {
  ASSERT_TRUE(files_.PutIfAbsent("t/data/lost.lance", "left").ok());
  const auto orphans = FindOrphans(files_, "t", 1).ValueOrDie();
  ASSERT_EQ(orphans.size(), 1);
  EXPECT_EQ(orphans[0].path, "data/lost.lance");
  EXPECT_EQ(orphans[0].size, 4);
  EXPECT_TRUE(FindOrphans(files_, "t", 0).ValueOrDie().empty());  // it is of time 0
  EXPECT_TRUE(FindOrphans(files_, "none", 1).status().IsIOError());
  // It may be that they name it.
  ASSERT_TRUE(files_.PutIfAbsent("t/tree/b/_versions/1.manifest", "").ok());
  EXPECT_TRUE(FindOrphans(files_, "t", 1).status().IsNotImplemented());
  ASSERT_TRUE(files_.Remove("t/tree/b/_versions/1.manifest").ok());
  Other(Operation(100), [](Manifest& next) { next.reader_flags = 16; });
  EXPECT_TRUE(FindOrphans(files_, "t", 1).status().IsNotImplemented());
}

TEST_F(Commits, AllRowsOfManyWritersAreThere) {
  constexpr int kWriters = 4;
  constexpr int kAppends = 15;
  std::vector<std::jthread> writers;
  std::vector<std::set<uint64_t>> positions(kWriters);
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer, table = Open()]() mutable {
      for (int i = 0; i < kAppends; ++i) {
        const auto position = table.Append(*Rows(3));
        ASSERT_TRUE(position.ok()) << position.status();
        positions[static_cast<size_t>(writer)].insert(*position);
        ASSERT_TRUE(table.AddIndex(IndexOf(std::to_string(writer) + "-" + std::to_string(i), {0})).ok());
      }
    });
  }
  writers.clear();
  const Table table = Open();
  EXPECT_EQ(table.version(), 2 + 2 * kWriters * kAppends);
  EXPECT_EQ(table.rows(), 30 + 3 * kWriters * kAppends);
  EXPECT_EQ(table.manifest().indices.size(), kWriters * kAppends);
  std::set<uint64_t> all;
  for (const auto& some : positions) all.insert(some.begin(), some.end());
  EXPECT_EQ(all.size(), kWriters * kAppends);
  EXPECT_EQ(*all.begin(), 30);
  EXPECT_EQ(*all.rbegin(), table.rows() - 3);
}

}  // namespace
}  // namespace pennon::lance_format
