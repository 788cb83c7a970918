// ctest: labels=contract-10,contract-11,asan timeout=60
// Tables of stable row ids: which row has which, whatever says so and wherever the row is by now.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "lance/cleanup.h"
#include "lance/manifest.h"
#include "lance/roaring.h"
#include "lance/row_ids.h"
#include "lance/table.h"
#include "lance/table_reader.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "support/arrays.h"
#include "support/memory_file_system.h"
#include "support/row_ids.h"

namespace pennon::lance_format {
namespace {

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

Manifest Stable(std::vector<Fragment> fragments) {
  return {.fragments = std::move(fragments), .reader_flags = kStableRowIds, .writer_flags = kStableRowIds};
}

arrow::Result<std::vector<uint64_t>> Decoded(const std::string& sequence, uint64_t rows) {
  io::MemoryFileSystem files;
  const Manifest manifest = Stable({{.id = 3, .rows = rows, .row_ids = sequence}});
  ARROW_ASSIGN_OR_RAISE(const IdRuns runs, ReadRowIds(files, "t", manifest, manifest.fragments[0]));
  std::vector<uint64_t> ids;
  for (const IdRun& run : runs) {
    EXPECT_EQ(run.address, uint64_t{3} << 32 | ids.size());
    for (uint64_t i = 0; i < run.rows; ++i) ids.push_back(run.id + i);
  }
  return ids;
}

TEST(RowIdSequences, OfEachKind) {
  using Values = std::vector<uint64_t>;
  EXPECT_EQ(Decoded(IdRange(7, 11), 4).ValueOrDie(), (Values{7, 8, 9, 10}));
  EXPECT_EQ(Decoded(IdRange(kMost - 2, kMost), 2).ValueOrDie(), (Values{kMost - 2, kMost - 1}));
  for (const size_t width : {2, 4}) {
    EXPECT_EQ(Decoded(IdsWithHoles(100, 106, Numbers(width, 90, {10, 13, 15})), 3).ValueOrDie(),
              (Values{101, 102, 104}));
    EXPECT_EQ(Decoded(SortedIds(Numbers(width, 1000, {0, 5, 65535})), 3).ValueOrDie(), (Values{1000, 1005, 66535}));
  }
  EXPECT_EQ(Decoded(IdsWithHoles(0, 3, Numbers(8, 0, {1})), 2).ValueOrDie(), (Values{0, 2}));
  EXPECT_EQ(Decoded(IdsWithHoles(4, 6, Numbers(2, 0, {})), 2).ValueOrDie(), (Values{4, 5}));
  EXPECT_EQ(Decoded(IdsOfBitmap(20, 31, "\x8d\x02"), 5).ValueOrDie(), (Values{20, 22, 23, 27, 29}));
  EXPECT_EQ(Decoded(Ids(Numbers(8, 0, {kMost, 0, 9, 10, 4})), 5).ValueOrDie(), (Values{kMost, 0, 9, 10, 4}));
  EXPECT_EQ(Decoded(IdRange(5, 7) + IdRange(0, 0) + Ids(Numbers(2, 6, {1, 0, 5})) + IdRange(0, 1), 6).ValueOrDie(),
            (Values{5, 6, 7, 6, 11, 0}));
  EXPECT_EQ(Decoded("", 0).ValueOrDie(), Values{});
}

TEST(RowIdSequences, WhatFollowsIsOneRun) {
  io::MemoryFileSystem files;
  const std::string sequence =
      IdRange(0, 5) + IdsOfBitmap(5, 13, "\xff") + SortedIds(Numbers(2, 0, {13, 14})) + IdRange(15, uint64_t{1} << 31);
  const Manifest manifest = Stable({{.rows = uint64_t{1} << 31, .row_ids = sequence}});
  EXPECT_EQ(ReadRowIds(files, "t", manifest, manifest.fragments[0]).ValueOrDie().size(), 1);
}

TEST(RowIdSequences, ThatAreDamaged) {
  const auto refused = [](const std::string& sequence, uint64_t rows, const std::string& why) {
    const auto status = Decoded(sequence, rows).status();
    EXPECT_TRUE(status.IsInvalid()) << status;
    EXPECT_NE(status.message().find("fragment 3, row ids: expected " + why), std::string::npos) << status;
  };
  refused("", 4, "4, one a row, got 0");
  refused(IdRange(0, 3), 4, "4, one a row, got 3");
  refused(IdRange(0, 5), 4, "4, one a row, got more");
  refused(IdRange(0, uint64_t{1} << 60), 4, "4, one a row, got more");
  refused(IdRange(0, 3) + IdRange(9, kMost), 4, "4, one a row, got more");
  refused(IdRange(5, 1), 4, "a range, got one from 5 to 1");
  refused(IdsWithHoles(0, kMost, Numbers(2, 0, {1})), 4, "4, one a row, got more");
  for (const std::vector<uint64_t>& holes : {std::vector<uint64_t>{3, 2}, {2, 2}, {0, 6}, {9, 9}}) {
    refused(IdsWithHoles(1, 6, Numbers(2, 0, holes)), 4, "holes that ascend");
  }
  refused(IdsWithHoles(0, 4, ""), 4, "an array of u16, u32 or u64");
  refused(IdsOfBitmap(0, 9, "\x0f"), 4, "a bitmap of 9 bits, got 1 bytes");
  refused(IdsOfBitmap(0, kMost, "\x0f"), 4, "a bitmap of ");
  refused(Ids(Numbers(2, kMost - 9, {1, 2, 3, 4})), 4, "a base that offsets can be added to");
  refused(Ids(Numbers(4, kMost, {})), 0, "a base that offsets can be added to");
  refused(Ids(OneField(2, OneField(2, "12345"))), 1, "numbers of 4 bytes, got 5 bytes");
  refused(Ids(OneField(7, "")), 0, "an array of u16, u32 or u64, got 7");
  refused(OneField(1, OneField(9, "")), 0, "a range or an array, got 9");
  refused(OneField(1, ""), 0, "a range or an array, got 0");
  refused(std::string("\x0a\x7f"), 0, "a protocol buffer message");
}

TEST(RowIdSequences, InAFileOfTheirOwn) {
  io::MemoryFileSystem files;
  const std::string sequence = IdRange(40, 44);
  ASSERT_TRUE(files.PutIfAbsent("t/data/ids.lance", "before" + sequence + "after").ok());
  Manifest manifest = Stable({{.rows = 4, .row_ids_file = FileSlice{"data/ids.lance", 6, sequence.size()}}});
  const auto read = ReadManifest(ManifestFile(manifest)).ValueOrDie();
  EXPECT_EQ(ReadRowIds(files, "t", read, read.fragments[0]).ValueOrDie()[0].id, 40);
  manifest.fragments[0].row_ids_file->size = kMost;
  manifest.version = 1;
  EXPECT_TRUE(ReadRowIds(files, "t", manifest, manifest.fragments[0]).status().IsIOError());
  ASSERT_TRUE(files.PutIfAbsent("t/_versions/18446744073709551614.manifest", ManifestFile(manifest)).ok());
  EXPECT_TRUE(FindOrphans(files, "t", std::numeric_limits<int64_t>::max()).ValueOrDie().empty());
  manifest.fragments[0].row_ids_file->path = "../ids";
  EXPECT_TRUE(ReadManifest(ManifestFile(manifest)).status().IsInvalid());
}

// An updated row is in two fragments, and deleted in one.
TEST(RowIdsOfATable, AreOfTheRowThatIsThere) {
  io::MemoryFileSystem files;
  const DeletionFile deleted{.type = DeletionFile::kBitmap, .rows = 2};
  Manifest manifest = Stable({{.id = 4, .rows = 10, .deletions = deleted, .row_ids = IdRange(0, 10)},
                              {.id = 9, .rows = 3, .row_ids = Ids(Numbers(2, 0, {20, 3, 17}))}});
  ASSERT_TRUE(files.PutIfAbsent("t/_deletions/" + deleted.Name(4), RoaringBitmap({3, 6})).ok());
  const RowIds ids = RowIds::Read(files, "t", manifest).ValueOrDie();
  EXPECT_EQ(ids.AddressOf(2), uint64_t{4} << 32 | 2);
  EXPECT_EQ(ids.AddressOf(3), uint64_t{9} << 32 | 1);
  EXPECT_EQ(ids.AddressOf(17), uint64_t{9} << 32 | 2);
  EXPECT_EQ(ids.AddressOf(20), uint64_t{9} << 32);
  for (const uint64_t none : {uint64_t{6}, uint64_t{10}, uint64_t{21}, uint64_t{4} << 32, kMost}) {
    EXPECT_EQ(ids.AddressOf(none), std::nullopt);
  }
  manifest.fragments[1].row_ids = Ids(Numbers(2, 0, {20, 4, 17}));
  const auto twice = RowIds::Read(files, "t", manifest).status();
  EXPECT_TRUE(twice.IsInvalid());
  EXPECT_NE(twice.message().find("got 4 twice"), std::string::npos) << twice;
  manifest.reader_flags = 0;
  const RowIds addresses = RowIds::Read(files, "t", manifest).ValueOrDie();
  EXPECT_EQ(addresses.AddressOf(uint64_t{4} << 32 | 9), uint64_t{4} << 32 | 9);
  EXPECT_EQ(addresses.AddressOf(uint64_t{4} << 32 | 10), std::nullopt);
  EXPECT_EQ(addresses.AddressOf(9), std::nullopt);
}

TEST(RowIdsOfATable, AreReadAndTaken) {
  io::MemoryFileSystem files;
  const auto schema = arrow::schema({arrow::field("a", arrow::int64())});
  auto made = Table::Create(files, "t", schema, {.rows_a_fragment = 4}).ValueOrDie();
  const auto rows = arrow::RecordBatch::Make(schema, 6, {FromJson(arrow::int64(), "[0, 1, 2, 3, 4, 5]")});
  ASSERT_TRUE(made.Append(*arrow::RecordBatchReader::Make({rows}).ValueOrDie()).ok());
  Manifest manifest = made.manifest();
  ++manifest.version;
  manifest.reader_flags = manifest.writer_flags = kStableRowIds | kDeletionFiles;
  manifest.next_row_id = 99;
  manifest.fragments[0].row_ids = SortedIds(Numbers(4, 0, {8, 30, 31, 90}));
  manifest.fragments[0].deletions = {.type = DeletionFile::kBitmap, .rows = 1};
  manifest.fragments[1].row_ids = Ids(Numbers(2, 0, {50, 30}));
  const std::string name = manifest.fragments[0].deletions->Name(0);
  ASSERT_TRUE(files.PutIfAbsent("t/_deletions/" + name, RoaringBitmap({1})).ok());
  ASSERT_TRUE(files.PutIfAbsent("t/_versions/18446744073709551613.manifest", ManifestFile(manifest)).ok());

  auto table = Table::Open(files, "t").ValueOrDie();
  EXPECT_EQ(table.NextRowId(), 99);
  TableReader reader(files, "t", table.manifest(), table.shared_schema(), arrow::default_memory_pool());
  for (const int64_t batch_rows : {1, 2, 100}) {
    const auto scan = reader.Scan({.batch_rows = batch_rows, .row_ids = true}).ValueOrDie();
    const auto read = scan->ToTable().ValueOrDie()->CombineChunks().ValueOrDie();
    EXPECT_TRUE(read->column(0)->chunk(0)->Equals(FromJson(arrow::int64(), "[0, 2, 3, 4, 5]")));
    EXPECT_TRUE(read->column(1)->chunk(0)->Equals(FromJson(arrow::uint64(), "[8, 31, 90, 50, 30]")));
  }
  const auto taken = reader.Take(std::vector<uint64_t>{30, 8, 30, 90, 50}, {}).ValueOrDie();
  EXPECT_TRUE(taken->column(0)->Equals(FromJson(arrow::int64(), "[5, 0, 5, 3, 4]")));
  const std::vector<uint64_t> at = {4, 1};
  EXPECT_TRUE(reader.TakePositions(at, {}).ValueOrDie()->column(0)->Equals(FromJson(arrow::int64(), "[5, 2]")));
  EXPECT_TRUE(reader.Take(std::vector<uint64_t>{7}, {}).status().IsInvalid());
}

// They come after all that were given, by others meanwhile, too.
TEST(RowIdsOfATable, AreGivenToWhatIsAppended) {
  io::MemoryFileSystem files;
  const auto schema = arrow::schema({arrow::field("a", arrow::int64())});
  const auto rows = arrow::RecordBatch::Make(schema, 3, {FromJson(arrow::int64(), "[7, 8, 9]")});
  const auto append = [&](Table& table) {
    return table.Append(*arrow::RecordBatchReader::Make({rows}).ValueOrDie()).status();
  };
  auto made = Table::Create(files, "t", schema).ValueOrDie();
  ASSERT_TRUE(append(made).ok());
  Manifest manifest = made.manifest();
  ++manifest.version;
  manifest.reader_flags = manifest.writer_flags = kStableRowIds;
  manifest.next_row_id = 10;
  manifest.fragments[0].row_ids = Ids(Numbers(2, 0, {6, 5, 4}));
  ASSERT_TRUE(files.PutIfAbsent("t/_versions/18446744073709551613.manifest", ManifestFile(manifest)).ok());

  const auto ids = [&](const Manifest& of) {
    const auto in_order = RowsInOrder::Read(files, "t", of).ValueOrDie();
    std::vector<uint64_t> found;
    for (uint64_t row = 0; row < 3 * of.fragments.size(); ++row) found.push_back(in_order.IdAt(row));
    return found;
  };
  Table stale = Table::Open(files, "t", {}, {.rows_a_fragment = 2}).ValueOrDie();
  Table other = Table::Open(files, "t").ValueOrDie();
  ASSERT_TRUE(append(other).ok());
  EXPECT_EQ(ids(other.manifest()), (std::vector<uint64_t>{6, 5, 4, 10, 11, 12}));
  ASSERT_TRUE(append(stale).ok());
  const Manifest newest = Table::Open(files, "t").ValueOrDie().manifest();
  EXPECT_EQ(newest.next_row_id, 16);
  const auto in_order = RowsInOrder::Read(files, "t", newest).ValueOrDie();
  for (uint64_t row = 3; row < 9; ++row) EXPECT_EQ(in_order.IdAt(row), row + 7);
  EXPECT_EQ(in_order.AddressAt(7), uint64_t{2} << 32 | 1);
  EXPECT_EQ(in_order.AddressAt(8), uint64_t{3} << 32);
  // created_at and last_updated_at, of one run: both rows are of version 4.
  const std::string versions("\x0a\x0a\x0a\x06\x0a\x04\x08\x00\x10\x02\x10\x04", 12);
  EXPECT_EQ(newest.fragments[2].others, "\x3a\x0c" + versions + "\x4a\x0c" + versions);

  Table anew = Table::Overwrite(files, "t", schema).ValueOrDie();
  ASSERT_TRUE(append(anew).ok());
  EXPECT_EQ(ids(Table::Open(files, "t").ValueOrDie().manifest()), (std::vector<uint64_t>{16, 17, 18}));

  manifest.next_row_id = kMost - 1;
  Fragment fragment{.rows = 2};
  EXPECT_TRUE(GiveRowIds(manifest, fragment).IsCapacityError());
}

// Of pylance, where row ids are the column id. Of 20 rows the index has vectors of before.
TEST(RowIdsOfATable, AreThoseOfItsIndex) {
  const auto dataset = lance::Dataset::Open(PENNON_TEST_DATA "/pylance14-row-ids.lance").ValueOrDie();
  const auto scan = dataset.Scan({.row_ids = true}).ValueOrDie()->ToTable().ValueOrDie()->CombineChunks().ValueOrDie();
  ASSERT_EQ(scan->num_rows(), 290);
  const auto& ids = static_cast<const arrow::UInt64Array&>(*scan->GetColumnByName("_rowid")->chunk(0));
  const auto& column = static_cast<const arrow::Int64Array&>(*scan->GetColumnByName("id")->chunk(0));
  const auto& vectors = static_cast<const arrow::FixedSizeListArray&>(*scan->GetColumnByName("v")->chunk(0));
  const auto values = static_cast<const arrow::FloatArray&>(*vectors.values()).raw_values();
  std::map<uint64_t, std::vector<float>> rows;  // that have a vector
  for (int64_t i = 0; i < ids.length(); ++i) {
    ASSERT_EQ(ids.Value(i), static_cast<uint64_t>(column.Value(i)));
    if (vectors.IsNull(i)) continue;
    const float* const vector = values + vectors.value_offset(i);
    rows[ids.Value(i)].assign(vector, vector + vectors.value_length(i));
  }
  const auto taken = dataset.Take({ids.raw_values() + 100, 90}).ValueOrDie();
  EXPECT_TRUE(taken->column(0)->Equals(column.Slice(100, 90)));
  for (const uint64_t gone : {3, 11, 10, 340}) EXPECT_TRUE(dataset.Take({&gone, 1}).status().IsInvalid()) << gone;

  const auto searcher = dataset.OpenSearcher().ValueOrDie();
  EXPECT_EQ(searcher.GetStats().scanned_rows, 56);
  const auto loaded = dataset.LoadIndex().ValueOrDie();
  const auto rebuilt = dataset.LoadIndex({.rebuild = true}).ValueOrDie();
  EXPECT_EQ(rebuilt.size(), rows.size());
  uint64_t indexed = 0;
  for (const auto& [id, vector] : rows) {
    const bool is_indexed = id < 190 || (id >= 210 && id < 300);
    indexed += is_indexed ? 1 : 0;
    const Answer answer = loaded.Search(vector, {.k = 1}).ValueOrDie();
    EXPECT_EQ(answer.rows[0].row_id == id, is_indexed) << id;
    for (const bool exact : {true, false}) {
      for (const Answer& all : {searcher.Search(vector, {.exact = exact}).ValueOrDie(),
                                rebuilt.Search(vector, {.exact = exact}).ValueOrDie()}) {
        EXPECT_EQ(all.rows[0].row_id, id);
        EXPECT_EQ(all.rows[0].distance, 0);
      }
    }
  }
  EXPECT_EQ(loaded.Search(rows.begin()->second, {.k = 1000}).ValueOrDie().rows.size(), indexed);
  EXPECT_EQ(searcher.Search(rows.begin()->second, {.k = 1000}).ValueOrDie().rows.size(), rows.size());

  // What is appended then has the table's next ids.
  LiveIndex more = dataset.LoadIndex().ValueOrDie();
  ASSERT_TRUE(more.Append(vectors.Slice(0, 1)).ok());
  const auto nearest = more.Search(rows.begin()->second, {.k = 2}).ValueOrDie().rows;
  EXPECT_EQ(nearest[0].row_id, 0);
  EXPECT_EQ(nearest[1].row_id, 340);
}

}  // namespace
}  // namespace pennon::lance_format
