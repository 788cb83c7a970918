// ctest: labels=contract-10,asan,tsan timeout=120
// Tables on a file system in memory and on the machine's: what is committed when, by whom, and what a failure leaves.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "lance/file_writer.h"
#include "lance/roaring.h"
#include "lance/row_ids.h"
#include "lance/table.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "support/arrays.h"
#include "support/memory_file_system.h"
#include "support/vectors.h"

namespace pennon::lance_format {
namespace {

constexpr char kFirst[] = "t/_versions/18446744073709551614.manifest";
constexpr char kSecond[] = "t/_versions/18446744073709551613.manifest";

std::shared_ptr<arrow::RecordBatchReader> Rows(int64_t count) {
  arrow::Int64Builder ids;
  for (int64_t i = 0; i < count; ++i) EXPECT_TRUE(ids.Append(i).ok());
  const auto schema = arrow::schema({arrow::field("id", arrow::int64())});
  const auto batch = arrow::RecordBatch::Make(schema, count, {ids.Finish().ValueOrDie()});
  return arrow::RecordBatchReader::Make({batch}, schema).ValueOrDie();
}

Table Make(io::FileSystem& files, uint64_t rows_a_fragment = 1 << 20) {
  return Table::Create(files, "t", Rows(0)->schema(), {.rows_a_fragment = rows_a_fragment}).ValueOrDie();
}

std::vector<std::string> List(io::FileSystem& files, const std::string& path) { return files.List(path).ValueOrDie(); }

TEST(Table, IsThereWithItsFirstRows) {
  io::MemoryFileSystem files;
  Table table = Make(files);
  EXPECT_TRUE(List(files, "t").empty());
  ASSERT_TRUE(table.Append(*Rows(10)).ok());
  EXPECT_EQ(table.version(), 1);
  EXPECT_EQ(table.rows(), 10);
  EXPECT_TRUE(files.Read(kFirst).ok());
  EXPECT_EQ(List(files, "t/_transactions").size(), 1);
  EXPECT_TRUE(List(files, "t/_transactions")[0].starts_with("0-"));
  const auto again = Table::Create(files, "t", Rows(0)->schema());
  EXPECT_TRUE(again.status().IsAlreadyExists()) << again.status();
}

TEST(Table, TakesWhatItWasMadeFromAgain) {
  const auto item = arrow::field("item", arrow::float32(), false);
  const auto vectors = arrow::fixed_size_list(item, 2);
  const auto inner =
      arrow::struct_({arrow::field("v", vectors), arrow::field("l", arrow::list(arrow::field("x", arrow::int8())))});
  const auto schema = arrow::schema({arrow::field("v", vectors), arrow::field("s", inner)});
  const auto batch = arrow::RecordBatch::Make(
      schema, 1, {FromJson(vectors, "[[1, 2]]"), FromJson(inner, R"([{"v": [3, 4], "l": [null]}])")});
  const auto append = [](Table& table, const std::shared_ptr<arrow::RecordBatch>& rows) {
    return table.Append(*arrow::RecordBatchReader::Make({rows}).ValueOrDie()).status();
  };
  io::MemoryFileSystem files;
  auto made = Table::Create(files, "t", schema).ValueOrDie();
  ASSERT_TRUE(append(made, batch).ok());
  auto opened = Table::Open(files, "t").ValueOrDie();
  EXPECT_FALSE(opened.schema().Equals(*schema));
  const auto status = append(opened, batch);
  EXPECT_TRUE(status.ok()) << status;
  for (const auto& other :
       {arrow::fixed_size_list(item, 1), arrow::fixed_size_list(arrow::float16(), 2), arrow::list(arrow::float32())}) {
    const auto wrong = schema->SetField(0, arrow::field("v", other)).ValueOrDie();
    const auto column = arrow::MakeArrayOfNull(other, 1).ValueOrDie();
    EXPECT_TRUE(append(opened, arrow::RecordBatch::Make(wrong, 1, {column, batch->column(1)})).IsInvalid());
  }
  // Where the table says that there is none.
  const auto number = arrow::schema({arrow::field("n", arrow::int32(), false)});
  auto strict = Table::Create(files, "n", number).ValueOrDie();
  const auto nullable = arrow::schema({arrow::field("n", arrow::int32())});
  const auto numbers = FromJson(arrow::int32(), "[1]");
  EXPECT_TRUE(append(strict, arrow::RecordBatch::Make(nullable, 1, {numbers})).IsInvalid());
  auto loose = Table::Create(files, "l", nullable).ValueOrDie();
  EXPECT_TRUE(append(loose, arrow::RecordBatch::Make(number, 1, {numbers})).ok());
}

// Cleanup knows no table where there is no version yet, and a disk may be full of it.
TEST(Table, WhatAFailedAppendHasWrittenIsGone) {
  io::MemoryFileSystem files;
  const auto schema = arrow::schema({arrow::field("n", arrow::int32(), false)});
  auto table = Table::Create(files, "t", schema, {.rows_a_fragment = 2}).ValueOrDie();
  const auto batch = [&](const char* json) {
    const auto numbers = FromJson(arrow::int32(), json);
    return arrow::RecordBatch::Make(schema, numbers->length(), {numbers});
  };
  const auto append = [&](arrow::RecordBatchVector batches) {
    return table.Append(*arrow::RecordBatchReader::Make(std::move(batches), schema).ValueOrDie()).status();
  };
  EXPECT_TRUE(append({batch("[1, 2, 3]"), batch("[null]")}).IsInvalid());
  EXPECT_TRUE(List(files, "t/data").empty());
  ASSERT_TRUE(append({batch("[1, 2, 3]")}).ok());
  EXPECT_EQ(List(files, "t/data").size(), 2);
}

TEST(Table, RowsThatAreNoneFitToo) {
  io::MemoryFileSystem files;
  Table table = Make(files);
  ASSERT_TRUE(table.Append(*Rows(1)).ok());
  for (const auto& schema : {arrow::schema({}), arrow::schema({arrow::field("id", arrow::int32())}),
                             arrow::schema({arrow::field("di", arrow::int64())})}) {
    const auto none = arrow::RecordBatchReader::Make({}, schema).ValueOrDie();
    const auto status = table.Append(*none).status();
    EXPECT_TRUE(status.IsInvalid()) << status;
    EXPECT_NE(status.message().find("expected the schema id: int64"), std::string::npos) << status;
  }
  EXPECT_EQ(table.version(), 1);
  EXPECT_TRUE(table.Append(*Rows(0)).ok());
}

TEST(Table, OptionsAreChecked) {
  io::MemoryFileSystem files;
  ASSERT_TRUE(Make(files).Append(*Rows(1)).ok());
  for (const TableOptions& options :
       {TableOptions{.rows_a_fragment = 0}, TableOptions{.rows_a_fragment = uint64_t{1} << 32},
        TableOptions{.pages = {.budget = 0}}, TableOptions{.pages = {.budget = int64_t{1} << 31}}}) {
    EXPECT_TRUE(Table::Create(files, "other", Rows(0)->schema(), options).status().IsInvalid());
    EXPECT_TRUE(Table::Open(files, "t", {}, options).status().IsInvalid());
  }
}

TEST(Table, IsADirectory) {
  io::MemoryFileSystem files;
  ASSERT_TRUE(files.Create("file").ValueOrDie()->Close().ok());
  const auto status = Table::Open(files, "file").status();
  EXPECT_TRUE(status.IsIOError()) << status;
  EXPECT_NE(status.message().find("file: expected a Lance table"), std::string::npos) << status;
}

TEST(Table, NamesOfLancesOwnAreRefused) {
  io::MemoryFileSystem files;
  for (const char* name : {"_rowid", "_rowaddr"}) {
    const auto status = Table::Create(files, "t", arrow::schema({arrow::field(name, arrow::uint64())})).status();
    EXPECT_TRUE(status.IsInvalid()) << status;
    EXPECT_NE(status.message().find(name), std::string::npos) << status;
  }
}

TEST(Table, RowIdsAreFragmentAndOffset) {
  io::MemoryFileSystem files;
  Table table = Make(files, 4);
  ASSERT_TRUE(table.Append(*Rows(10)).ok());
  ASSERT_TRUE(table.Append(*Rows(3)).ok());
  EXPECT_EQ(table.version(), 2);
  EXPECT_EQ(List(files, "t/data").size(), 4);
  const auto rows = RowsInOrder::Read(files, "t", table.manifest()).ValueOrDie();
  EXPECT_EQ(rows.IdAt(3), 3);
  EXPECT_EQ(rows.IdAt(4), uint64_t{1} << 32);
  EXPECT_EQ(rows.IdAt(9), (uint64_t{2} << 32) + 1);
  EXPECT_EQ(rows.IdAt(10), uint64_t{3} << 32);
}

TEST(Table, OneOfTwoWritersWins) {
  io::MemoryFileSystem files;
  Table table = Make(files);
  Table other = Make(files);
  ASSERT_TRUE(table.Append(*Rows(1)).ok());
  const std::string manifest = files.Read(kFirst).ValueOrDie();
  const arrow::Status status = other.Append(*Rows(2)).status();
  EXPECT_TRUE(status.IsAlreadyExists()) << status;
  EXPECT_EQ(other.version(), 0);
  EXPECT_EQ(other.rows(), 0);
  EXPECT_EQ(files.Read(kFirst).ValueOrDie(), manifest);
  EXPECT_FALSE(files.Read(kSecond).ok());
}

TEST(Table, AFileEndsInItsFooter) {
  io::MemoryFileSystem files;
  Table table = Make(files);
  ASSERT_TRUE(table.Append(*Rows(2)).ok());
  const std::string file = files.Read("t/data/" + List(files, "t/data")[0]).ValueOrDie();
  const auto at = [&](size_t from_end) {
    uint64_t number;
    std::memcpy(&number, file.data() + file.size() - from_end, sizeof(number));
    return number;
  };
  EXPECT_EQ(file.substr(0, 9), std::string("\0\0\0\0\0\0\0\0\1", 9));
  EXPECT_EQ(at(32), file.size() - 40 - 32);  // one column's place, one buffer's
  EXPECT_EQ(at(24), file.size() - 40 - 16);
  EXPECT_EQ(at(40) + file.substr(at(40), at(32) - at(40)).size(), at(32));
  EXPECT_EQ(at(16), uint64_t{1} << 32 | 1);
  EXPECT_EQ(file.substr(file.size() - 8), std::string("\2\0\2\0LANC", 8));
}

TEST(Table, MemoryIsThatOfPages) {
  constexpr int64_t kBudget = 1 << 16;
  const auto type = arrow::struct_({arrow::field("n", arrow::int64()), arrow::field("t", arrow::utf8()),
                                    arrow::field("l", arrow::list(arrow::uint8()))});
  const auto rows = arrow::StructArray::Make({FromJson(arrow::int64(), "[1, null, 3]"),
                                              FromJson(arrow::utf8(), R"(["a text of some length", "", null])"),
                                              FromJson(arrow::list(arrow::uint8()), "[[1, 2, 3, 4], [], null]")},
                                             type->fields())
                        .ValueOrDie();
  const auto batch = arrow::RecordBatch::FromStructArray(rows).ValueOrDie();
  for (const FileVersion version : {FileVersion::k2_0, FileVersion::k2_2}) {
    for (const int64_t batches : {1000, 30000}) {
      // In one piece, so that a batch is many pages.
      const auto many =
          arrow::ConcatenateRecordBatches(arrow::RecordBatchVector(static_cast<size_t>(batches), batch)).ValueOrDie();
      io::MemoryFileSystem files;
      arrow::ProxyMemoryPool pool(arrow::default_memory_pool());
      Table table =
          Table::Create(files, "t", many->schema(), {.pages = {.version = version, .budget = kBudget, .pool = &pool}})
              .ValueOrDie();
      ASSERT_TRUE(table.Append(*arrow::RecordBatchReader::Make({many, many}).ValueOrDie()).ok());
      EXPECT_LT(pool.max_memory(), 4 * kBudget * many->num_columns());
      EXPECT_EQ(pool.bytes_allocated(), 0);
    }
  }
}

arrow::Status Append(const std::shared_ptr<arrow::Field>& field, const std::shared_ptr<arrow::Array>& array) {
  io::MemoryFileSystem files;
  const auto schema = arrow::schema({field});
  Table table = Table::Create(files, "t", schema).ValueOrDie();
  const auto batch = arrow::RecordBatch::Make(schema, array->length(), {array});
  const arrow::Status status = table.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).status();
  EXPECT_EQ(table.version(), status.ok() ? 1 : 0);
  return status;
}

TEST(Table, NullsWhereThereMayBeNone) {
  const auto number = arrow::field("n", arrow::int32(), /*nullable=*/false);
  const auto expect = [](const std::shared_ptr<arrow::Field>& field, const char* json, const char* path) {
    const arrow::Status status = Append(field, FromJson(field->type(), json));
    EXPECT_EQ(status.IsInvalid(), path != nullptr) << status;
    EXPECT_EQ(status.ok(), path == nullptr) << status;
    if (path != nullptr) {
      EXPECT_NE(status.message().find(std::string("column ") + path + ": expected no nulls"), std::string::npos)
          << status;
    }
  };
  expect(number, "[1, null]", "n");
  const auto structs = arrow::field("s", arrow::struct_({number}));
  expect(structs, R"([{"n": 1}, {"n": null}])", "s.n");
  expect(structs, R"([{"n": 1}, null])", nullptr);
  expect(arrow::field("l", arrow::list(number)), "[[1], [2, null]]", "l.item");
  expect(arrow::field("l", arrow::list(structs->type())), R"([[{"n": 1}], null, [null, {"n": null}]])", "l.item.n");
  expect(arrow::field("l", arrow::large_list(structs->type())), R"([[{"n": 1}], null, [null, {"n": 2}]])", nullptr);
  expect(arrow::field("v", arrow::fixed_size_list(number, 2)), "[[1, 2], null, [3, null]]", "v.item");
  expect(arrow::field("v", arrow::fixed_size_list(number, 2)), "[[1, 2], null]", nullptr);
}

TEST(Table, StructsWithoutFieldsAreOf20) {
  io::MemoryFileSystem files;
  const auto schema = arrow::schema({arrow::field("l", arrow::list(arrow::struct_({})))});
  Table table = Table::Create(files, "t", schema).ValueOrDie();
  const auto array = arrow::MakeArrayOfNull(schema->field(0)->type(), 2).ValueOrDie();
  const auto batch = arrow::RecordBatch::Make(schema, 2, {array});
  const arrow::Status status = table.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).status();
  EXPECT_TRUE(status.IsNotImplemented()) << status;
  EXPECT_NE(status.message().find("column l.item: expected a struct of at least one field"), std::string::npos)
      << status;
}

TEST(Table, ValuesWiderThanAPageCanSay) {
  io::MemoryFileSystem files;
  const auto make = [&](const char* name, FileVersion version) {
    const auto schema = arrow::schema({arrow::field("v", arrow::fixed_size_list(arrow::float32(), 200000000))});
    return FileWriter::Make(files.Create(name).ValueOrDie(), schema, {.version = version}).status();
  };
  EXPECT_TRUE(make("f", FileVersion::k2_0).ok());
  const arrow::Status status = make("g", FileVersion::k2_2);
  EXPECT_TRUE(status.IsNotImplemented()) << status;
  EXPECT_NE(status.message().find("column v: expected values of less than 2^32 bits"), std::string::npos) << status;
}

class OnDisk : public testing::Test {
 protected:
  OnDisk() : path_(std::filesystem::temp_directory_path() / ("pennon-lance-" + std::to_string(getpid()))) {}
  ~OnDisk() override { std::filesystem::remove_all(path_); }
  std::string path(const char* below) const { return path_.string() + "/" + below; }

  io::FileSystem& files_ = io::LocalFileSystem();

 private:
  const std::filesystem::path path_;
};

TEST_F(OnDisk, FilesArePutOnce) {
  ASSERT_TRUE(files_.MakeDirectory(path("a/b")).ok());
  ASSERT_TRUE(files_.PutIfAbsent(path("a/b/f"), "one").ok());
  const arrow::Status status = files_.PutIfAbsent(path("a/b/f"), "two");
  EXPECT_TRUE(status.IsAlreadyExists()) << status;
  EXPECT_EQ(files_.Read(path("a/b/f")).ValueOrDie(), "one");
  EXPECT_EQ(List(files_, path("a/b")), std::vector<std::string>{"f"});
  EXPECT_TRUE(files_.Create(path("a/b/f")).status().IsAlreadyExists());
  EXPECT_TRUE(List(files_, path("none")).empty());
  EXPECT_TRUE(files_.Create(path("none/f")).status().IsIOError());
  EXPECT_FALSE(files_.MakeDirectory(path("a/b/f/c")).ok());
}

TEST_F(OnDisk, APipeIsNotWaitedFor) {
  std::filesystem::create_directories(path(""));
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_TRUE(io::LocalFileSystem().Open(path("pipe")).status().IsIOError());
}

TEST_F(OnDisk, AFileThatIsTooLargeIsNotPut) {
  ASSERT_TRUE(files_.MakeDirectory(path("a")).ok());
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 100, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const arrow::Status status = files_.PutIfAbsent(path("a/f"), std::string(101, 'x'));
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, ignored);
  EXPECT_TRUE(status.IsIOError()) << status;
  EXPECT_TRUE(List(files_, path("a")).empty());
}

TEST_F(OnDisk, FilesAreListedWithWhatIsBelow) {
  ASSERT_TRUE(files_.MakeDirectory(path("a/b")).ok());
  ASSERT_TRUE(files_.PutIfAbsent(path("a/b/f"), "one").ok());
  ASSERT_TRUE(files_.PutIfAbsent(path("a/c"), "").ok());
  for (const char* directory : {"a", "a/", "a//"}) {
    const auto found = files_.ListFiles(path(directory)).ValueOrDie();
    ASSERT_EQ(found.size(), 2);
    EXPECT_EQ(found[0].path, "b/f");
    EXPECT_EQ(found[0].size, 3);
    EXPECT_GT(found[0].modified_ns, int64_t{1700000000} * 1000000000);
    EXPECT_EQ(found[1].path, "c");
  }
  EXPECT_TRUE(files_.ListFiles(path("none")).ValueOrDie().empty());
  EXPECT_TRUE(files_.Remove(path("a/b")).IsIOError());
  EXPECT_TRUE(files_.Remove(path("a/b/f")).ok());
  EXPECT_TRUE(files_.Remove(path("a/b")).ok());
  EXPECT_TRUE(files_.Remove(path("a/b")).ok());
  EXPECT_EQ(List(files_, path("a")), std::vector<std::string>{"c"});
}

TEST_F(OnDisk, ToLance) {
  const auto vectors = ToArray(Normal(100, 8, 1), 8, {3, 50});
  auto index = LiveIndex::Make({.dim = 8}).ValueOrDie();
  ASSERT_TRUE(index.Append(vectors).ok());
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  const auto schema = arrow::schema({arrow::field("v", vectors->type())});
  auto dataset = lance::Dataset::Create(path("t.lance"), schema).ValueOrDie();
  const auto no_rows = snapshot.ToLance(dataset, {}).status();
  EXPECT_NE(no_rows.message().find("the 100 rows that were appended up to the snapshot, got 0"), std::string::npos)
      << no_rows;
  const auto batch = arrow::RecordBatch::Make(schema, 100, {vectors});
  ASSERT_TRUE(dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ok());

  std::vector<uint64_t> positions;
  for (uint64_t i = 0; i < 100; ++i) {
    if (i != 3 && i != 50) positions.push_back(i);
  }
  EXPECT_TRUE(snapshot.ToLance(dataset, {.column = "w"}).status().IsInvalid());
  EXPECT_TRUE(snapshot.ToLance(dataset, {.positions = std::span(positions).first(97)}).status().IsInvalid());
  positions.back() = 100;
  EXPECT_TRUE(snapshot.ToLance(dataset, {.positions = positions}).status().IsInvalid());
  EXPECT_EQ(dataset.version(), 1);
  positions.back() = 99;
  const auto summary = snapshot.ToLance(dataset, {.type = lance::IndexType::kHnswSq, .positions = positions});
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->type, lance::IndexType::kHnswSq);
  EXPECT_EQ(dataset.version(), 2);
  EXPECT_TRUE(snapshot.ToLance(dataset, {.positions = positions}).status().IsAlreadyExists());
  ASSERT_TRUE(snapshot.ToLance(dataset, {.name = "other", .positions = positions}).ok());
  EXPECT_EQ(dataset.version(), 3);

  positions.back() = 0;
  EXPECT_TRUE(snapshot.ToLance(dataset, {.name = "twice", .positions = positions}).status().IsInvalid());
  // What is refused is so before its files are written.
  EXPECT_EQ(List(files_, path("t.lance/_indices")).size(), 2);

  positions.back() = 99;
  ASSERT_TRUE(snapshot.ToLance(dataset, {.name = "other", .replace = true, .positions = positions}).ok());
  ASSERT_TRUE(snapshot.ToLance(dataset, {.name = "new", .replace = true, .positions = positions}).ok());
  std::vector<std::string> names;
  for (const auto& index : dataset.Indices().ValueOrDie()) names.push_back(index.name);
  EXPECT_EQ(names, (std::vector<std::string>{"v_idx", "other", "new"}));

  EXPECT_TRUE(lance::Dataset::Create("s3://bucket/t.lance", schema).status().IsInvalid());
  EXPECT_TRUE(lance::Dataset::Create(path("t.lance"), schema).status().IsAlreadyExists());
}

// The row ids of an index file's rows, which are its first page.
std::vector<uint64_t> RowIds(const std::string& file, size_t count) {
  std::vector<uint64_t> row_ids(count);
  const size_t at = file.find(std::string("\7\0\0\0\0\0\0\0", 8));
  std::memcpy(row_ids.data(), file.data() + at, count * sizeof(uint64_t));
  return row_ids;
}

// Null vectors have no ids, row ids are the caller's, a batch that failed is none, and one of nulls alone is one.
TEST_F(OnDisk, RowsKeepTheirPlaces) {
  const auto vectors = ToArray(Normal(20, 8, 1), 8, {0, 1, 2, 3, 4, 5, 6, 9, 15, 19});
  auto index = LiveIndex::Make({.dim = 8, .memory_limit = 2 << 20}).ValueOrDie();
  const auto row_ids = FromJson(arrow::uint64(), "[19, 3, 4, 7, 7, 1, 2, 0, 9, 11]");
  ASSERT_TRUE(index.Append(vectors->Slice(0, 10), {.row_ids = row_ids}).ok());
  ASSERT_TRUE(index.Append(vectors->Slice(0, 5)).ok());  // nulls
  // Its vectors have room, its lists have not.
  ASSERT_TRUE(index.Append(ToArray(Normal(20000, 8, 2), 8, {3})).status().IsCapacityError());
  std::stop_source stopped;
  stopped.request_stop();
  ASSERT_TRUE(index.Append(vectors->Slice(5, 10), {.stop_token = stopped.get_token()}).status().IsCancelled());
  const Snapshot before = index.GetSnapshot().ValueOrDie();
  ASSERT_TRUE(index.Append(vectors->Slice(10, 10)).ok());

  const auto schema = arrow::schema({arrow::field("v", vectors->type())});
  auto dataset = lance::Dataset::Create(path("t.lance"), schema, {.rows_a_fragment = 15}).ValueOrDie();
  arrow::RecordBatchVector batches;
  for (const auto& slice : {vectors->Slice(0, 10), vectors->Slice(0, 5), vectors->Slice(10, 10)}) {
    batches.push_back(arrow::RecordBatch::Make(schema, slice->length(), {slice}));
  }
  ASSERT_TRUE(dataset.Append(*arrow::RecordBatchReader::Make(batches).ValueOrDie()).ok());
  const auto auxiliary = [&](size_t which) {
    return files_.Read(path("t.lance/_indices/") + List(files_, path("t.lance/_indices"))[which] + "/auxiliary.idx")
        .ValueOrDie();
  };
  ASSERT_TRUE(before.ToLance(dataset, {.name = "before"}).ok());
  EXPECT_EQ(RowIds(auxiliary(0), 2), (std::vector<uint64_t>{7, 8}));
  const std::string first = List(files_, path("t.lance/_indices"))[0];
  ASSERT_TRUE(index.GetSnapshot().ValueOrDie().ToLance(dataset, {.name = "after"}).ok());
  const size_t second = List(files_, path("t.lance/_indices"))[0] == first ? 1 : 0;
  const uint64_t next = uint64_t{1} << 32;  // fragment
  EXPECT_EQ(RowIds(auxiliary(second), 10),
            (std::vector<uint64_t>{7, 8, next, next + 1, next + 2, next + 3, next + 4, next + 6, next + 7, next + 8}));
}

// Codes rank rows that differ by less than a step of the range no better than chance.
TEST_F(OnDisk, AutoLooksAtWhatCodesLose) {
  auto values = Normal(2000, 8, 1);
  const auto choose = [&](const Vectors& of, const char* name) {
    const auto vectors = ToArray(of, 8);
    auto index = LiveIndex::Make({.dim = 8}).ValueOrDie();
    EXPECT_TRUE(index.Append(vectors).ok());
    const auto schema = arrow::schema({arrow::field("v", vectors->type())});
    auto dataset = lance::Dataset::Create(path(name), schema).ValueOrDie();
    const auto batch = arrow::RecordBatch::Make(schema, 2000, {vectors});
    EXPECT_TRUE(dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ok());
    return index.GetSnapshot().ValueOrDie().ToLance(dataset, {.type = lance::IndexType::kAuto}).ValueOrDie();
  };
  const auto even = choose(values, "even.lance");
  EXPECT_EQ(even.type, lance::IndexType::kHnswSq) << even.reason;
  EXPECT_TRUE(even.reason.starts_with("sq: of the 10 rows nearest to each of 100, codes find 0.9")) << even.reason;
  EXPECT_NE(even.reason.find("0.0 MB instead of 0.1 MB"), std::string::npos) << even.reason;
  values[5][0] = 1000;
  const auto skewed = choose(values, "skewed.lance");
  EXPECT_EQ(skewed.type, lance::IndexType::kHnswFlat) << skewed.reason;
  EXPECT_TRUE(skewed.reason.starts_with("flat: ")) << skewed.reason;
}

TEST_F(OnDisk, AutoKnowsWhatFlatCannotHold) {
  const auto vectors = FromJson(arrow::fixed_size_list(arrow::float16(), 2), "[[0, 1000], [1, 0], [0, 0], [0, 2]]");
  auto index = LiveIndex::Make({.dim = 2, .metric = Metric::kCosine}).ValueOrDie();
  ASSERT_TRUE(index.Append(vectors).ok());
  const auto schema = arrow::schema({arrow::field("v", vectors->type())});
  auto dataset = lance::Dataset::Create(path("t.lance"), schema).ValueOrDie();
  const auto batch = arrow::RecordBatch::Make(schema, 4, {vectors});
  ASSERT_TRUE(dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ok());
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  EXPECT_TRUE(snapshot.ToLance(dataset, {}).status().IsNotImplemented());
  const auto summary = snapshot.ToLance(dataset, {.type = lance::IndexType::kAuto});
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->type, lance::IndexType::kHnswSq);
  EXPECT_TRUE(summary->reason.starts_with("sq: there are zero vectors")) << summary->reason;
}

// Lance scans the rows of fragments that an index does not name.
TEST_F(OnDisk, AnIndexNamesTheFragmentsOfItsRows) {
  const auto vectors = ToArray(Normal(10, 8, 1), 8);
  auto index = LiveIndex::Make({.dim = 8}).ValueOrDie();
  ASSERT_TRUE(index.Append(vectors).ok());
  const auto schema = arrow::schema({arrow::field("v", vectors->type())});
  auto dataset = lance::Dataset::Create(path("t.lance"), schema).ValueOrDie();
  const auto batch = arrow::RecordBatch::Make(schema, 10, {vectors});
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ok());
  }
  ASSERT_TRUE(index.GetSnapshot().ValueOrDie().ToLance(dataset, {}).ok());
  const std::string manifest = files_.Read(path("t.lance/_versions/18446744073709551612.manifest")).ValueOrDie();
  EXPECT_NE(manifest.find(RoaringBitmap({0})), std::string::npos);
  EXPECT_EQ(manifest.find(RoaringBitmap({0, 1})), std::string::npos);
}

TEST_F(OnDisk, APathIsNotCutAtAZeroByte) {
  const std::string name = path("a") + std::string("\0b", 2);
  const auto schema = Rows(0)->schema();
  EXPECT_TRUE(lance::Dataset::Create(name, schema).status().IsInvalid());
  EXPECT_TRUE(lance::Dataset::Overwrite(name, schema).status().IsInvalid());
  EXPECT_TRUE(lance::Dataset::Open(name).status().IsInvalid());
  EXPECT_TRUE(lance::Dataset::Cleanup(name).status().IsInvalid());
  EXPECT_FALSE(std::filesystem::exists(path("a")));
}

// What a killed first commit leaves is no table.
TEST_F(OnDisk, ATableMayBeginWhereOneBegan) {
  ASSERT_TRUE(files_.MakeDirectory(path("t.lance/_versions")).ok());
  ASSERT_TRUE(files_.PutIfAbsent(path("t.lance/_versions/18446744073709551614.manifest.7.tmp"), "half").ok());
  auto dataset = lance::Dataset::Create(path("t.lance"), Rows(0)->schema()).ValueOrDie();
  EXPECT_TRUE(dataset.Append(*Rows(3)).ok());
  EXPECT_EQ(dataset.version(), 1);
}

// All files that the newest version names, and what it says, without names and times.
std::vector<std::string> Contents(io::FileSystem& files, const std::string& path) {
  const Table table = Table::Open(files, path).ValueOrDie();
  Manifest manifest = table.manifest();
  std::vector<std::string> contents;
  const auto read = [&](const std::string& name) { contents.push_back(files.Read(path + "/" + name).ValueOrDie()); };
  for (Fragment& fragment : manifest.fragments) {
    for (DataFile& file : fragment.files) {
      read("data/" + file.path);
      file.path.clear();
    }
  }
  for (Index& index : manifest.indices) {
    for (const IndexFile& file : index.files) read("_indices/" + index.uuid.ToString() + "/" + file.name);
    index.uuid = {};
    index.created_at_ms = {};
  }
  manifest.created_at_ns = 0;
  manifest.transaction_file.clear();
  contents.push_back(ManifestFile(manifest));
  return contents;
}

TEST_F(OnDisk, AnExportDuringAnIngestIsThatOfAQuietIndex) {
  const auto vectors = ToArray(Normal(1500, 8, 1), 8);
  auto index = LiveIndex::Make({.dim = 8}).ValueOrDie();
  ASSERT_TRUE(index.Append(vectors).ok());
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  const auto schema = arrow::schema({arrow::field("v", vectors->type())});
  const auto batch = arrow::RecordBatch::Make(schema, 1500, {vectors});
  const auto exported = [&](const char* name) {
    auto dataset =
        lance::Dataset::Create(path(name), schema, {.rows_a_fragment = 600, .page_bytes = 1 << 12}).ValueOrDie();
    EXPECT_TRUE(dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ok());
    EXPECT_TRUE(snapshot.ToLance(dataset, {.name = "flat"}).ok());
    EXPECT_TRUE(snapshot.ToLance(dataset, {.name = "sq", .type = lance::IndexType::kHnswSq}).ok());
    return Contents(files_, path(name));
  };
  std::vector<std::string> during;
  std::atomic<int> appended{0};
  {
    const std::jthread writer([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        ASSERT_TRUE(index.Append(vectors->Slice(0, 100)).ok());
        ++appended;
      }
    });
    while (appended == 0) std::this_thread::yield();
    during = exported("during.lance");
  }
  EXPECT_GT(appended, 1);
  const auto after = exported("after.lance");
  EXPECT_EQ(during.size(), 3 + 2 * 2 + 1);  // fragments, files of indices, the manifest
  EXPECT_TRUE(during == after);
}

}  // namespace
}  // namespace pennon::lance_format
