// ctest: labels=contract-10,contract-11,asan timeout=60
// Manifests that others wrote: what is read, what is kept for the next version, what is refused.
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "lance/little_endian.h"
#include "lance/manifest.h"
#include "lance/roaring.h"
#include "lance/schema.h"
#include "lance/table.h"
#include "support/memory_file_system.h"

namespace pennon::lance_format {
namespace {

std::string OfPylance() {
  std::ifstream file(PENNON_TEST_DATA "/pylance14.manifest", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A manifest file around a message, or one with a field more.
std::string File(const std::string& message) {
  std::string file;
  Put(file, static_cast<uint32_t>(message.size()));
  file += message;
  Put(file, uint64_t{0});
  Put(file, uint32_t{2} << 16);
  return file + "LANC";
}

std::string Plain(const std::string& more = "") {
  return File(std::string("\x18\x01\x7a\x0c\x0a\x05lance\x12\x03"
                          "2.0") +
              more);
}

std::string Fragments(const std::string& fragment) {
  return Plain("\x12" + std::string(1, static_cast<char>(fragment.size())) + fragment);
}

TEST(Manifest, OfPylance) {
  const Manifest manifest = ReadManifest(OfPylance()).ValueOrDie();
  EXPECT_EQ(manifest.version, 5);
  EXPECT_EQ(manifest.file_version, "2.2");
  EXPECT_EQ(manifest.reader_flags, kDeletionFiles);
  EXPECT_EQ(manifest.writer_flags, 9);
  EXPECT_EQ(manifest.max_fragment_id, 1);
  EXPECT_GT(manifest.created_at_ns, int64_t{1700000000} * 1000000000);
  EXPECT_TRUE(manifest.transaction_file.starts_with("4-"));
  EXPECT_NE(manifest.inline_transaction.find(manifest.transaction_file.substr(2, 36)), std::string::npos);
  EXPECT_TRUE(CheckWritable(manifest).ok());
  const auto schema = arrow::schema(
      {arrow::field("a", arrow::int64()), arrow::field("v", arrow::fixed_size_list(arrow::float32(), 8)),
       arrow::field("s", arrow::struct_({arrow::field("x", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")),
                                         arrow::field("l", arrow::list(arrow::utf8()))}))});
  EXPECT_TRUE(MakeSchema(manifest.fields).ValueOrDie()->Equals(*schema));

  ASSERT_EQ(manifest.fragments.size(), 2);
  const Fragment& fragment = manifest.fragments[1];
  EXPECT_EQ(fragment.id, 1);
  EXPECT_EQ(fragment.rows, 300);
  EXPECT_EQ(fragment.live_rows(), 299);
  EXPECT_TRUE(fragment.deletions->Name(fragment.id).starts_with("1-3-")) << fragment.deletions->Name(fragment.id);
  EXPECT_TRUE(fragment.deletions->Name(fragment.id).ends_with(".arrow"));
  ASSERT_EQ(fragment.files.size(), 1);
  EXPECT_EQ(fragment.files[0].field_ids, (std::vector<int32_t>{0, 1, 3, 5}));
  EXPECT_EQ(fragment.files[0].columns, (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(fragment.files[0].minor_version, 2);
  EXPECT_GT(fragment.files[0].size, 1000);

  ASSERT_EQ(manifest.indices.size(), 1);
  const Index& index = manifest.indices[0];
  EXPECT_EQ(index.name, "v_idx");
  EXPECT_EQ(index.field_ids, std::vector<int32_t>{1});
  EXPECT_EQ(index.fragments, RoaringBitmap({0, 1}));
  EXPECT_EQ(index.files.size(), 2);
  EXPECT_NE(index.details.find("VectorIndexDetails"), std::string::npos);
}

TEST(Manifest, WhatIsNotKnownIsKept) {
  const std::string unknown("\xfa\x3e\x03new\xfd\x3e\x01\x02\x03\x04", 12);  // fields 1007, of two wire types
  const Manifest manifest = ReadManifest(OfPylance()).ValueOrDie();
  EXPECT_NE(manifest.others.find("written by pylance 14.0.2"), std::string::npos);
  EXPECT_NE(manifest.others.find("someone"), std::string::npos);
  EXPECT_NE(manifest.fields[0].others.find("unit"), std::string::npos);

  Manifest first = manifest;
  first.inline_transaction = {};
  first.others += unknown;
  first.fields[0].others += unknown;
  first.fragments[0].others += unknown;
  first.fragments[0].files[0].others += unknown;
  first.fragments[0].deletions->others += unknown;
  first.indices[0].others += unknown;
  first.indices[0].files[1].others += unknown;
  const std::string file = ManifestFile(first);
  const Manifest again = ReadManifest(file).ValueOrDie();
  EXPECT_EQ(again.others, first.others);
  EXPECT_EQ(again.fields[0].others, first.fields[0].others);
  EXPECT_EQ(again.fragments[0].others, first.fragments[0].others);
  EXPECT_EQ(again.fragments[0].files[0].others, first.fragments[0].files[0].others);
  EXPECT_EQ(again.fragments[0].deletions->others, first.fragments[0].deletions->others);
  EXPECT_EQ(again.indices[0].others, first.indices[0].others);
  EXPECT_EQ(again.indices[0].files[1].others, first.indices[0].files[1].others);
  EXPECT_EQ(ManifestFile(again), file);
}

// Where a part of the file is says a manifest for itself alone: Lance 13 ends at one that is of another.
TEST(Manifest, PlacesAreNotKept) {
  const std::string places("\x20\x07\x30\x00\xa8\x01\x00\xb8\x01\x00", 10);  // 4, 6, 21, 23
  const Manifest manifest = ReadManifest(Plain(places)).ValueOrDie();
  EXPECT_EQ(manifest.others, "");
  EXPECT_FALSE(manifest.inline_transaction.empty());
}

TEST(Manifest, FlagsThatAreNotKnown) {
  EXPECT_TRUE(ReadManifest(Plain()).ok());
  const auto reader = ReadManifest(Plain("\x48\x10"));
  EXPECT_TRUE(reader.status().IsNotImplemented());
  EXPECT_NE(reader.status().message().find("several base paths"), std::string::npos) << reader.status();
  const auto far = ReadManifest(Plain("\x48\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"));
  EXPECT_NE(far.status().message().find("9223372036854775808"), std::string::npos) << far.status();
  const arrow::Status writer = CheckWritable(ReadManifest(Plain("\x50\x20")).ValueOrDie());
  EXPECT_TRUE(writer.IsNotImplemented());
  EXPECT_NE(writer.message().find("no transaction files"), std::string::npos) << writer;
}

TEST(Manifest, ThatIsNone) {
  const auto refused = [](const std::string& file, const char* why) {
    const auto status = ReadManifest(file).status();
    EXPECT_NE(status.message().find(why), std::string::npos) << status;
  };
  refused("", "ends in LANC");
  refused("LANC", "ends in LANC");
  refused(File(""), "files of format lance");
  refused(File("\x0a"), "protocol buffer");
  refused(Fragments(std::string("\x12\x05\x0a\x03../", 7)), "below the table");
  refused(Fragments(std::string("\x12\x06\x0a\x04/etc", 8)), "below the table");
  refused(Fragments(std::string("\x12\x05\x0a\x03./a", 7)), "below the table");
  refused(Fragments(std::string("\x12\x06\x0a\x04"
                                "a//b",
                                8)),
          "below the table");
  refused(Fragments(std::string("\x12\x06\x0a\x01x\x12\x01\x00", 8)), "got a legacy one");
  refused(Fragments(std::string("\x12\x08\x0a\x01x\x12\x01\x00\x20\x02", 10)), "a column for each");
  refused(Fragments("\x08\x80\x80\x80\x80\x10"), "below 2^32");
  refused(Fragments("\x20\x03\x1a\x02\x20\x04"), "no more deleted, got 3 and 4");
  refused(Plain(std::string("\x12\x02\x20\x01\x12\x02\x20\x01", 8)), "one twice");
  refused(Plain("\x30\x7f"), "index section: expected a position");
  refused(Plain(std::string("\x30\x00", 2)).replace(0, 4, "\xff\xff\xff\x7f"), "got 2147483647");
}

TEST(Manifest, DamagedIsReadOrRefused) {
  const std::string whole = OfPylance();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ReadManifest(whole.substr(0, size)).ok());
  }
  size_t read = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int bit : {0, 3, 7}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ 1 << bit);
      const auto manifest = ReadManifest(damaged);
      if (!manifest.ok()) continue;
      ++read;
      EXPECT_TRUE(ReadManifest(ManifestFile(*manifest)).ok()) << i;
    }
  }
  EXPECT_GT(read, 100);
}

// Where names are printed, or go to Python, they must be text.
TEST(Manifest, NamesAreText) {
  const Field field{.name = "a", .id = 0, .logical_type = "int64"};
  Manifest manifest{.version = 1, .fields = {field}, .indices = {{.field_ids = {0}, .name = "i"}}};
  ASSERT_TRUE(ReadManifest(ManifestFile(manifest)).ok());
  manifest.indices[0].name = "\xff";
  EXPECT_TRUE(ReadManifest(ManifestFile(manifest)).status().IsInvalid());
  manifest.indices[0].name = "é";
  manifest.file_version = "2.\xff";
  EXPECT_TRUE(ReadManifest(ManifestFile(manifest)).status().IsInvalid());
  manifest.fields[0].name = "\xff";
  EXPECT_TRUE(MakeSchema(manifest.fields).status().IsInvalid());
  manifest.fields[0] = {.name = "t", .id = 0, .logical_type = "timestamp:us:\xff"};
  EXPECT_TRUE(MakeSchema(manifest.fields).status().IsInvalid());
}

TEST(Roaring, ContainsWhatWasWritten) {
  std::vector<uint32_t> values = {0, 5, 65535, 65536, 0xFFFFFFFF};
  for (uint32_t i = 0; i < 5000; ++i) values.push_back(0x70000 + 3 * i);
  std::sort(values.begin(), values.end());
  const std::string bytes = RoaringBitmap(values);
  const RoaringView view = RoaringView::Make(bytes).ValueOrDie();
  EXPECT_EQ(view.size(), values.size());
  for (const uint32_t value : values) {
    EXPECT_TRUE(view.Contains(value));
    EXPECT_EQ(view.Contains(value + 1), std::binary_search(values.begin(), values.end(), value + 1));
  }
  for (size_t size = 0; size < bytes.size(); size += size < 100 ? 1 : 97) {
    EXPECT_FALSE(RoaringView::Make(std::string_view(bytes).substr(0, size)).ok()) << size;
  }
}

// Runs 10 to 19 and 65000 to 65535, and an array of one.
TEST(Roaring, Runs) {
  std::string bytes;
  Put(bytes, uint32_t{12347} | 1 << 16);
  bytes += '\x01';
  for (const uint16_t half : {0, 545, 2, 0, 2, 10, 9, 65000, 535, 7}) Put(bytes, half);
  const RoaringView view = RoaringView::Make(bytes).ValueOrDie();
  EXPECT_EQ(view.size(), 547);
  for (const uint32_t in : {10, 19, 65000, 65535, 0x20007}) EXPECT_TRUE(view.Contains(in)) << in;
  for (const uint32_t out : {0, 9, 20, 64999, 65536, 0x20006, 0x20008}) EXPECT_FALSE(view.Contains(out)) << out;
}

TEST(Schema, TypesThereAndBack) {
  using arrow::field;
  const auto schema = arrow::schema(
      {field("a", arrow::timestamp(arrow::TimeUnit::NANO, "+01:00")), field("b", arrow::decimal128(38, -3), false),
       field("c", arrow::fixed_size_binary(7)), field("d", arrow::fixed_size_list(arrow::uint8(), 16)),
       field("e", arrow::time32(arrow::TimeUnit::MILLI)),
       field("f", arrow::struct_({field("x", arrow::large_list(field("item", arrow::boolean(), false))),
                                  field("y", arrow::struct_({field("z", arrow::date64())}))})),
       field("g", arrow::duration(arrow::TimeUnit::SECOND))});
  EXPECT_TRUE(MakeSchema(MakeFields(*schema).ValueOrDie()).ValueOrDie()->Equals(*schema));
}

TEST(Schema, ThatIsNone) {
  const auto refused = [](std::vector<Field> fields, const char* why) {
    const auto status = MakeSchema(fields).status();
    EXPECT_NE(status.message().find(why), std::string::npos) << status;
  };
  for (const char* type : {"", "map", "blob", "decimal:128:39:1", "decimal:128:5", "decimal:128:05:1", "timestamp:xs:-",
                           "fixed_size_list:float:0", "fixed_size_list:string:4", "fixed_size_list:float:99999999999",
                           "fixed_size_list:list:2", "list", "fixed_size_binary:-1"}) {
    refused({{.name = "a", .logical_type = type}}, type);
  }
  refused({{.name = "a", .id = 1, .parent = 1, .logical_type = "struct"}}, "its parent before it");
  refused({{.name = "a", .logical_type = "bool"}, {.name = "b", .logical_type = "bool"}}, "an id of its own");
  std::vector<Field> deep;
  for (int32_t i = 0; i < 100; ++i) deep.push_back({.name = "a", .id = i, .parent = i - 1, .logical_type = "struct"});
  refused(deep, "at most 64 parents");
}

class Opened : public testing::Test {
 protected:
  void Put(const std::string& name, uint64_t version) {
    Manifest manifest = ReadManifest(OfPylance()).ValueOrDie();
    manifest.version = version;
    ASSERT_TRUE(files_.PutIfAbsent("t/_versions/" + name + ".manifest", ManifestFile(manifest)).ok());
  }
  io::MemoryFileSystem files_;
};

TEST_F(Opened, NamesOfBothSchemes) {
  EXPECT_TRUE(Table::Open(files_, "t").status().IsIOError());
  Put("9", 9);
  Put("10", 10);
  Put("latest", 11);
  Put("d9223372036854775809", 12);
  EXPECT_EQ(Table::Open(files_, "t").ValueOrDie().version(), 10);
  EXPECT_EQ(Table::Open(files_, "t", 9).ValueOrDie().version(), 9);
  Put("18446744073709551603", 12);
  const Table table = Table::Open(files_, "t").ValueOrDie();
  EXPECT_EQ(table.version(), 12);
  EXPECT_EQ(table.rows(), 598);
  EXPECT_TRUE(table.has_deletions());
  EXPECT_EQ(table.schema().num_fields(), 3);
  const auto none = Table::Open(files_, "t", 11).status();
  EXPECT_NE(none.message().find("expected version 11, found 9 to 12"), std::string::npos) << none;
  Put("18446744073709551602", 12);
  const auto other = Table::Open(files_, "t").status();
  EXPECT_NE(other.message().find("expected version 13, got 12"), std::string::npos) << other;
}

}  // namespace
}  // namespace pennon::lance_format
