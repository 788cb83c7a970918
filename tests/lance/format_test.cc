// ctest: labels=contract-10,asan timeout=120
// The bytes of Lance's messages, against those that pylance 14 was seen to accept.
#include <bit>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/api.h>
#include <arrow/util/float16.h>
#include <gtest/gtest.h>

#include "lance/array_encoding.h"
#include "lance/encoder.h"
#include "lance/half.h"
#include "lance/ivf.h"
#include "lance/manifest.h"
#include "lance/roaring.h"
#include "lance/schema.h"
#include "lance/uuid.h"
#include "support/arrays.h"

namespace pennon::lance_format {
namespace {

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<uint8_t>(c) >> 4];
    text += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return text;
}

struct Written {
  int32_t column;
  std::vector<std::string> buffers;  // hex
  std::string encoding;
  uint64_t rows;
};

std::vector<Written> Pages(const std::vector<std::shared_ptr<arrow::Array>>& arrays, int64_t budget = 1 << 20,
                           FileVersion version = FileVersion::k2_0) {
  std::vector<Written> pages;
  const PageSink sink = [&](const Page& page) {
    Written written{page.column, {}, Hex(page.encoding), page.rows};
    for (const auto& buffer : page.buffers) written.buffers.push_back(Hex(buffer));
    pages.push_back(written);
    return arrow::Status::OK();
  };
  int32_t columns = 0;
  const auto encoder = MakeEncoder(*arrays[0]->type(), columns, sink,
                                   {.version = version, .budget = budget, .pool = arrow::default_memory_pool()});
  for (const auto& array : arrays) EXPECT_TRUE(encoder->Append(*array).ok());
  EXPECT_TRUE(encoder->Flush().ok());
  return pages;
}

using Buffers = std::vector<std::string>;

TEST(Encoding, OfAColumn) {
  EXPECT_EQ(Hex(ColumnEncoding()),
            "12270a250a1f2f6c616e63652e656e636f64696e67732e436f6c756d6e456e636f64696e6712020a00");
}

TEST(Encoding, Int64) {
  const auto pages = Pages({FromJson(arrow::int64(), "[1, 2]")});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, "120a0a080a060a0408401200");
  EXPECT_EQ(pages[0].buffers, Buffers{"01000000000000000200000000000000"});
}

TEST(Encoding, NullsHaveABitmapBeforeTheValues) {
  const auto pages = Pages({FromJson(arrow::int16(), "[9, 1, null, 3]")->Slice(1)});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, Hex(SomeNulls(Flat(1, 0), Flat(16, 1))));
  EXPECT_EQ(pages[0].buffers[0], "05");
  EXPECT_EQ(pages[0].buffers[1].substr(0, 4), "0100");
  EXPECT_EQ(pages[0].buffers[1].substr(8), "0300");
}

TEST(Encoding, Bools) {
  const auto pages = Pages({FromJson(arrow::boolean(), "[true, true, false, true]")->Slice(1)});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, Hex(NoNulls(Flat(1, 0))));
  EXPECT_EQ(pages[0].buffers, Buffers{"05"});
}

TEST(Encoding, FixedSizeList) {
  EXPECT_EQ(Hex(NoNulls(FixedSizeList(384, NoNulls(Flat(32, 0))))),
            "12170a150a131a11088003120c120a0a080a060a0408201200");
  const auto pages =
      Pages({FromJson(arrow::fixed_size_list(arrow::uint8(), 2), "[[1, 2], null, [3, null]]")->Slice(1)});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, Hex(SomeNulls(Flat(1, 0), FixedSizeList(2, SomeNulls(Flat(1, 1), Flat(8, 2))))));
  EXPECT_EQ(pages[0].buffers[0], "02");
}

TEST(Encoding, Utf8) {
  const auto pages = Pages({FromJson(arrow::utf8(), R"(["no", "ab", "c"])")->Slice(1)});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, "321a0a0c120a0a080a060a040840120012080a060808120208011804");
  EXPECT_EQ(pages[0].buffers, (Buffers{"02000000000000000300000000000000", "616263"}));
}

TEST(Encoding, NullsOfUtf8AreAdded) {
  const auto pages = Pages({FromJson(arrow::large_utf8(), R"([null, "ab", null, ""])")});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, Hex(Binary(NoNulls(Flat(64, 0)), Flat(8, 1), 3)));
  EXPECT_EQ(pages[0].buffers[0], "0300000000000000020000000000000005000000000000000200000000000000");
}

TEST(Encoding, Lists) {
  const auto pages = Pages({FromJson(arrow::list(arrow::int8()), "[[1, 2], [], [3, 4, 5, 6, 7]]")});
  ASSERT_EQ(pages.size(), 2);
  EXPECT_EQ(pages[0].column, 0);
  EXPECT_EQ(pages[0].encoding, "22120a0c120a0a080a060a040840120010081807");
  EXPECT_EQ(pages[0].buffers, Buffers{"020000000000000002000000000000000700000000000000"});
  EXPECT_EQ(pages[1].column, 1);
  EXPECT_EQ(pages[1].rows, 7);
  EXPECT_EQ(pages[1].buffers, Buffers{"01020304050607"});
}

TEST(Encoding, ItemsOfNullListsAreLeftOut) {
  const auto values = FromJson(arrow::int8(), "[1, 2, 3, 4]");
  const auto offsets = FromJson(arrow::int32(), "[0, 1, 3, 4]");
  const auto valid = arrow::AllocateBitmap(3).ValueOrDie();
  valid->mutable_data()[0] = 0b101;
  const auto lists = std::make_shared<arrow::ListArray>(arrow::list(arrow::int8()), 3, offsets->data()->buffers[1],
                                                        values, std::shared_ptr<arrow::Buffer>(valid));
  const auto pages = Pages({lists});
  ASSERT_EQ(pages.size(), 2);
  EXPECT_EQ(pages[0].buffers, Buffers{"010000000000000004000000000000000200000000000000"});
  EXPECT_EQ(pages[1].buffers, Buffers{"0104"});
}

TEST(Encoding, StructsAreAnEmptyPageAndTheirFields) {
  const auto type = arrow::struct_({arrow::field("a", arrow::int8()), arrow::field("b", arrow::utf8())});
  const auto pages = Pages({FromJson(type, R"([{"a": 1, "b": "x"}, {"a": null, "b": "y"}])")});
  ASSERT_EQ(pages.size(), 3);
  EXPECT_EQ(pages[0].encoding, "2a00");
  EXPECT_TRUE(pages[0].buffers.empty());
  EXPECT_EQ(pages[2].column, 2);
}

// Lance 14 looks for a page of each column.
TEST(Encoding, ItemsOfEmptyListsHaveAPageOfNoRows) {
  const auto type = arrow::list(arrow::struct_({arrow::field("a", arrow::int8()), arrow::field("b", arrow::utf8())}));
  const auto pages = Pages({FromJson(type, "[[], null, []]")}, 1);
  std::vector<uint64_t> rows(4);
  std::vector<int> count(4);
  for (const Written& page : pages) {
    rows[static_cast<size_t>(page.column)] += page.rows;
    ++count[static_cast<size_t>(page.column)];
  }
  EXPECT_EQ(rows, (std::vector<uint64_t>{3, 0, 0, 0}));
  EXPECT_EQ(count, (std::vector<int>{3, 1, 1, 1}));
}

TEST(Encoding, PagesEndAtTheBudget) {
  const auto numbers = FromJson(arrow::int64(), "[1, 2, 3, 4, 5]");
  auto pages = Pages({numbers, numbers}, 24);
  ASSERT_EQ(pages.size(), 4);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(pages[i].rows, i < 3 ? 3 : 1);
  // A row larger than the budget is a page; ends begin anew in each.
  pages = Pages({FromJson(arrow::utf8(), R"(["a", "0123456789012345678901234567890", "b", "c"])")}, 24);
  ASSERT_EQ(pages.size(), 3);
  EXPECT_EQ(pages[1].rows, 1);
  EXPECT_EQ(pages[2].rows, 2);
  EXPECT_EQ(pages[2].buffers, (Buffers{"01000000000000000200000000000000", "6263"}));
}

std::vector<Written> Zipped(const std::vector<std::shared_ptr<arrow::Array>>& arrays, int64_t budget = 1 << 20) {
  return Pages(arrays, budget, FileVersion::k2_2);
}

TEST(FullZip, NumbersAreAsTheyAre) {
  const auto pages = Zipped({FromJson(arrow::int64(), "[0, 1, 2, 3]")->Slice(1)});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, "1a0f1840280330033a040a020840420101");
  EXPECT_EQ(pages[0].buffers, Buffers{"010000000000000002000000000000000300000000000000"});
}

TEST(FullZip, FixedSizeList) {
  const auto type = arrow::fixed_size_list(arrow::float32(), 384);
  const auto pages = Zipped(
      {arrow::MakeArrayFromScalar(
           *arrow::MakeScalar(type, arrow::MakeArrayFromScalar(arrow::FloatScalar(1), 384).ValueOrDie()).ValueOrDie(),
           3)
           .ValueOrDie()});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, "1a17188060280330033a0b5a0908800312040a020820420101");
}

TEST(FullZip, Utf8) {
  const auto pages = Zipped({FromJson(arrow::utf8(), R"(["no", "ab", "c"])")->Slice(1)});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, "1a132020280230023a0812060a040a020820420101");
  EXPECT_EQ(pages[0].buffers, (Buffers{"0200000061620100000063", "00060b"}));
}

TEST(FullZip, Lists) {
  const auto pages = Zipped({FromJson(arrow::list(arrow::uint32()), "[[1], [5, 6], [], [7]]")->Slice(1)});
  ASSERT_EQ(pages.size(), 1);
  EXPECT_EQ(pages[0].encoding, "1a14080110011820280430033a040a02082042020105");
  EXPECT_EQ(pages[0].buffers, (Buffers{"02050000000006000000030207000000", "000a0b10"}));
}

// The rest as pylance 14 writes them.
TEST(FullZip, Nulls) {
  auto pages = Zipped({FromJson(arrow::boolean(), "[true, false, null, true]")});
  EXPECT_EQ(pages[0].buffers, Buffers{"0001000001000001"});
  pages = Zipped({FromJson(arrow::fixed_size_binary(3), R"(["abc", null, "def"])")});
  EXPECT_EQ(pages[0].buffers, Buffers{"006162630100000000646566"});
  pages = Zipped({FromJson(arrow::large_utf8(), R"(["ab", null, ""])")});
  EXPECT_EQ(pages[0].buffers, (Buffers{"000200000000000000616201000000000000000000", "000b0c15"}));
  pages = Zipped({FromJson(arrow::fixed_size_list(arrow::uint8(), 2), "[[1, null], [3, 4]]")});
  EXPECT_EQ(pages[0].buffers[0].substr(0, 4), "0101");
  EXPECT_EQ(pages[0].buffers[0].substr(6), "030304");
}

TEST(FullZip, NullsAndEmptyLists) {
  auto pages = Zipped({FromJson(arrow::list(arrow::int32()), "[[1, 2], [], null, [null, 3]]")});
  EXPECT_EQ(pages[0].buffers[0].substr(0, 24), "040100000000020000000706");
  EXPECT_EQ(pages[0].buffers[1], "000a0b0c16");
  pages = Zipped({FromJson(arrow::list(arrow::utf8()), R"([["ab", null], [], null, ["c"]])")});
  EXPECT_EQ(pages[0].buffers, (Buffers{"04020000006162010706040100000063", "0008090a10"}));
  pages = Zipped({FromJson(arrow::list(arrow::list(arrow::int8())), "[[[1], []], null, [], [null, [null, 2]]]")});
  EXPECT_EQ(pages[0].buffers, (Buffers{"10010b14151209000002", "000304050a"}));
}

// Though null lists may be empty and of null numbers elsewhere.
TEST(FullZip, LevelsAreThoseOfThePage) {
  auto pages = Zipped({FromJson(arrow::list(arrow::int8()), "[[7], null]")});
  EXPECT_EQ(pages[0].buffers[0], "020703");
  pages = Zipped({FromJson(arrow::struct_({arrow::field("a", arrow::int8())}), R"([{"a": 7}, null])")});
  EXPECT_EQ(pages[0].buffers[0].substr(0, 6), "000701");
}

// Lance 14 takes the nulls of a struct in a struct from its first field, and those of a list in it from that.
TEST(FullZip, StructsInStructsAroundListsHaveALevelForNull) {
  const auto inner = arrow::struct_({arrow::field("a", arrow::int8()), arrow::field("l", arrow::list(arrow::int8())),
                                     arrow::field("b", arrow::int8())});
  const auto pages =
      Zipped({FromJson(arrow::struct_({arrow::field("s", inner)}), R"([{"s": {"a": 7, "l": [1], "b": 8}}, null])")});
  ASSERT_EQ(pages.size(), 3);
  EXPECT_EQ(pages[0].buffers[0].substr(0, 6), "000702");
  EXPECT_EQ(pages[2].buffers[0].substr(0, 6), "000802");
}

TEST(FullZip, AColumnIsALeaf) {
  const auto type = arrow::struct_({arrow::field("l", arrow::list(arrow::int8())), arrow::field("b", arrow::utf8())});
  const auto pages =
      Zipped({FromJson(type, R"([{"l": [1, 2]}, null, {"l": null}, {"l": [], "b": "y"}, {"l": [null]}])")});
  ASSERT_EQ(pages.size(), 2);
  EXPECT_EQ(pages[0].column, 0);
  EXPECT_EQ(pages[0].buffers, (Buffers{"080100020c0a0b0900", "000405060709"}));
  EXPECT_EQ(pages[1].column, 1);
  EXPECT_EQ(pages[1].rows, 5);
}

TEST(FullZip, PagesEndAtTheBudgetAndWithARow) {
  const auto numbers = FromJson(arrow::int64(), "[1, 2, 3, 4, 5]");
  auto pages = Zipped({numbers, numbers}, 64);
  ASSERT_EQ(pages.size(), 2);
  EXPECT_EQ(pages[0].rows, 8);
  EXPECT_EQ(pages[1].rows, 2);
  pages = Zipped({FromJson(arrow::list(arrow::int64()), "[[1, 2], [3, 4, 5, 6, 7, 8, 9, 10, 11], [], [12]]")}, 64);
  ASSERT_EQ(pages.size(), 3);
  EXPECT_EQ(pages[1].rows, 1);
  EXPECT_EQ(pages[2].rows, 2);
}

// A page without nulls is as if there were none in the column.
TEST(FullZip, PagesSayWhatIsInThem) {
  const auto pages = Zipped({FromJson(arrow::int8(), "[1, 2]"), FromJson(arrow::int8(), "[3, null]")}, 12);
  ASSERT_EQ(pages.size(), 2);
  EXPECT_EQ(pages[0].buffers, Buffers{"0102"});
  EXPECT_EQ(pages[1].buffers[0].substr(0, 6), "000301");
}

TEST(Encoding, MuchIsAPageWithoutACopy) {
  const auto numbers = arrow::MakeArrayFromScalar(arrow::Int64Scalar(7), 1 << 18).ValueOrDie();
  for (const FileVersion version : {FileVersion::k2_0, FileVersion::k2_2}) {
    const uint8_t* first = nullptr;
    std::vector<uint64_t> rows;
    const PageSink sink = [&](const Page& page) {
      if (first == nullptr) first = reinterpret_cast<const uint8_t*>(page.buffers[0].data());
      rows.push_back(page.rows);
      return arrow::Status::OK();
    };
    int32_t columns = 0;
    const auto encoder =
        MakeEncoder(*numbers->type(), columns, sink, {.version = version, .pool = arrow::default_memory_pool()});
    ASSERT_TRUE(encoder->Append(*numbers->Slice(1, 1 << 17)).ok());
    ASSERT_TRUE(encoder->Append(*numbers->Slice(0, 10)).ok());
    ASSERT_TRUE(encoder->Append(*numbers).ok());
    ASSERT_TRUE(encoder->Flush().ok());
    EXPECT_EQ(first, numbers->data()->GetValues<uint8_t>(1, 0) + 8);
    EXPECT_EQ(rows, (std::vector<uint64_t>{1 << 17, (1 << 18) + 10}));
  }
}

TEST(Schema, Field) {
  EXPECT_EQ(Hex(ToMessage(Field{.name = "v", .id = 2, .logical_type = "float"})),
            "120176180220ffffffffffffffffff012a05666c6f61743001");
}

TEST(Schema, IdsInPreorderAndLanceNames) {
  const auto schema = arrow::schema(
      {arrow::field("l", arrow::list(arrow::field("element", arrow::float16()))),
       arrow::field("s", arrow::struct_({arrow::field("t", arrow::timestamp(arrow::TimeUnit::MICRO), false)})),
       arrow::field("z", arrow::timestamp(arrow::TimeUnit::NANO, "Europe/Paris")),
       arrow::field("d", arrow::decimal128(10, 2)), arrow::field("v", arrow::fixed_size_list(arrow::float32(), 3))});
  const auto fields = MakeFields(*schema).ValueOrDie();
  const std::vector<std::string> types = {"list",
                                          "halffloat",
                                          "struct",
                                          "timestamp:us:-",
                                          "timestamp:ns:Europe/Paris",
                                          "decimal:128:10:2",
                                          "fixed_size_list:float:3"};
  const std::vector<int32_t> parents = {-1, 0, -1, 2, -1, -1, -1};
  ASSERT_EQ(fields.size(), types.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    EXPECT_EQ(fields[i].id, static_cast<int32_t>(i));
    EXPECT_EQ(fields[i].logical_type, types[i]);
    EXPECT_EQ(fields[i].parent, parents[i]);
  }
  EXPECT_EQ(fields[1].name, "item");
  EXPECT_FALSE(fields[3].nullable);
}

TEST(Schema, WhatLanceWouldRefuse) {
  const auto& number = arrow::int32();
  const std::string zero("a\0b", 3);
  for (const std::string& name : {std::string("a.b"), std::string("a`b"), std::string(), zero}) {
    const auto status = MakeFields(*arrow::schema({arrow::field(name, number)})).status();
    EXPECT_TRUE(status.IsInvalid()) << name;
    EXPECT_EQ(status.message().find('\0'), std::string::npos);
  }
  const auto inner = [&](const std::string& name) { return arrow::struct_({arrow::field(name, number)}); };
  EXPECT_TRUE(MakeFields(*arrow::schema({arrow::field("a", inner("b.`"))})).ok());
  EXPECT_TRUE(MakeFields(*arrow::schema({arrow::field("a", inner(zero))})).status().IsInvalid());
  EXPECT_TRUE(MakeFields(*arrow::schema({arrow::field("a", number), arrow::field("a", number)})).status().IsInvalid());
  EXPECT_TRUE(MakeFields(*arrow::schema({arrow::field("a", arrow::fixed_size_binary(0))})).status().IsNotImplemented());
}

TEST(Schema, WhatIsWrittenIsReadAgain) {
  auto type = arrow::int32();
  for (int parents = 0; parents <= 64; ++parents) {
    const auto fields = MakeFields(*arrow::schema({arrow::field("a", type)}));
    ASSERT_TRUE(fields.ok()) << fields.status();
    EXPECT_TRUE(MakeSchema(*fields).ok());
    type = parents % 2 == 0 ? arrow::list(type) : arrow::struct_({arrow::field("b", type)});
  }
  EXPECT_TRUE(MakeFields(*arrow::schema({arrow::field("a", type)})).status().IsNotImplemented());
}

TEST(Schema, OtherTypesAreNamed) {
  const auto status = MakeFields(*arrow::schema({arrow::field("a", arrow::list(arrow::month_interval()))})).status();
  EXPECT_TRUE(status.IsNotImplemented());
  EXPECT_NE(status.message().find("a.item"), std::string::npos) << status;
  EXPECT_NE(status.message().find("month_interval"), std::string::npos) << status;
}

// Of all floats whose last 11 bits are none, one or all: what lies between, and on, the middles of halves.
TEST(HalfBits, RoundsAsArrowDoes) {
  for (uint64_t high = 0; high < uint64_t{1} << 21; ++high) {
    for (const uint32_t low : {0u, 1u, 0x7FFu}) {
      const auto value = std::bit_cast<float>(static_cast<uint32_t>(high << 11 | low));
      const arrow::util::Float16 expected = arrow::util::Float16::FromFloat(value);
      const arrow::util::Float16 got = arrow::util::Float16::FromBits(HalfBits(value));
      if (expected.is_nan() ? got.is_nan() : got.bits() == expected.bits()) continue;
      FAIL() << value << ": expected " << expected.bits() << ", got " << got.bits();
    }
  }
}

TEST(Manifest, Roaring) {
  EXPECT_EQ(Hex(RoaringBitmap({0, 1})), "3a30000001000000000001001000000000000100");
  // Two containers, at bytes 24 and 26; and one that is a bitset.
  EXPECT_EQ(Hex(RoaringBitmap({7, 65536})), "3a300000020000000000000001000000180000001a00000007000000");
  std::vector<uint32_t> many;
  for (uint32_t i = 0; i < 5000; ++i) many.push_back(2 * i);
  EXPECT_EQ(RoaringBitmap(many).size(), 16 + 8192);
}

TEST(Manifest, WithoutAnIndexItIsAtTheStart) {
  const std::string file = ManifestFile({.version = 1, .transaction_file = "0-x.txn"});
  EXPECT_EQ(Hex(file.substr(file.size() - 16)), "0000000000000000000002004c414e43");
}

TEST(Index, OnePartition) { EXPECT_EQ(Hex(ToMessage({.partitions = {{0, 2000}}}, false)), "1201001a02d00f"); }

TEST(Uuids, AreOfVersion4AndDiffer) {
  const std::string text = Uuid::Random().ToString();
  ASSERT_EQ(text.size(), 36);
  EXPECT_EQ(text[14], '4');
  EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos);
  EXPECT_NE(text, Uuid::Random().ToString());
}

}  // namespace
}  // namespace pennon::lance_format
