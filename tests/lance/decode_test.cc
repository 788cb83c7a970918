// ctest: labels=contract-10,asan timeout=60
// Decoders of values one by one, and of deleted rows: what they give, and what they refuse.
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <arrow/util/compression.h>
#include <gtest/gtest.h>

#include "lance/bit_packing.h"
#include "lance/deletions.h"
#include "lance/fsst.h"
#include "lance/little_endian.h"
#include "lance/page_decoder.h"
#include "lance/roaring.h"
#include "lance/value_decoder.h"
#include "support/memory_file_system.h"

namespace pennon::lance_format {
namespace {

using Kind = ValueEncoding::Kind;

std::shared_ptr<arrow::Buffer> Buffer(std::string bytes) { return arrow::Buffer::FromString(std::move(bytes)); }

ValueEncoding Flat(uint64_t bits) { return {.kind = Kind::kFlat, .bits = bits}; }

ValueDecoder Decoder(const ValueEncoding& encoding) {
  return ValueDecoder::Make(encoding, arrow::default_memory_pool()).ValueOrDie();
}

template <typename Number>
std::vector<Number> Numbers(const DecodedValues& values) {
  std::vector<Number> numbers;
  for (uint64_t i = 0; i < values.count; ++i) {
    numbers.push_back(Get<Number>(reinterpret_cast<const char*>(values.bytes->data()) + i * sizeof(Number)));
  }
  return numbers;
}

// Written from the other side: number i is in the stream of its lane, bit by bit.
template <typename Word>
std::string Pack(const std::vector<Word>& values, uint64_t width) {
  constexpr size_t kBits = 8 * sizeof(Word);
  constexpr size_t kLanes = 1024 / kBits;
  constexpr size_t kOrder[] = {0, 4, 2, 6, 1, 5, 3, 7};
  std::vector<Word> words(kLanes * width);
  for (size_t lane = 0; lane < kLanes; ++lane) {
    for (size_t row = 0; row < kBits; ++row) {
      const Word value = values[kOrder[row / 8] * 16 + row % 8 * 128 + lane];
      for (size_t bit = 0; bit < width; ++bit) {
        const size_t at = row * width + bit;
        Word& word = words[at / kBits * kLanes + lane];
        word = static_cast<Word>(word | (uint64_t{value} >> bit & 1) << at % kBits);
      }
    }
  }
  std::string bytes;
  for (const Word word : words) Put(bytes, word);
  return bytes;
}

template <typename Word>
void ExpectPacked() {
  std::mt19937_64 random(1);
  for (uint64_t width = 0; width <= 8 * sizeof(Word); ++width) {
    std::vector<Word> values;
    for (int i = 0; i < 1024; ++i) values.push_back(static_cast<Word>(width == 0 ? 0 : random() >> (64 - width)));
    const std::string packed = Pack(values, width);
    ASSERT_EQ(packed.size(), PackedBytes(width));
    std::string in_line;
    Put(in_line, static_cast<Word>(width));
    in_line += packed;
    const auto decoder = Decoder({.kind = Kind::kInlineBitpacking, .bits = 8 * sizeof(Word)});
    EXPECT_EQ(Numbers<Word>(decoder.DecodeWhole(Buffer(in_line), 1024).ValueOrDie()), values) << width;
    EXPECT_EQ(decoder.DecodeWhole(Buffer(in_line), 7).ValueOrDie().count, 7);
    EXPECT_TRUE(decoder.DecodeWhole(Buffer(in_line), 1025).status().IsInvalid());
    in_line.pop_back();
    EXPECT_TRUE(decoder.DecodeWhole(Buffer(in_line), 1).status().IsInvalid()) << width;
    const auto out = Decoder({.kind = Kind::kOutOfLineBitpacking, .bits = 8 * sizeof(Word), .inner = {Flat(width)}});
    EXPECT_EQ(Numbers<Word>(out.DecodeWhole(Buffer(packed), 1024).ValueOrDie()), values) << width;
    // A block, and numbers that are not packed.
    std::string more = packed;
    for (Word i = 0; i < 3; ++i) Put(more, i);
    const auto with_tail = Numbers<Word>(out.DecodeWhole(Buffer(more), 1027).ValueOrDie());
    EXPECT_EQ(with_tail[1026], 2);
    EXPECT_EQ(out.DecodeWhole(Buffer(packed), 1025).ok(), width == 0);
  }
  std::string wide;
  Put(wide, static_cast<Word>(8 * sizeof(Word) + 1));
  wide += std::string(1 << 14, '\0');
  EXPECT_TRUE(Decoder({.kind = Kind::kInlineBitpacking, .bits = 8 * sizeof(Word)})
                  .DecodeWhole(Buffer(wide), 1)
                  .status()
                  .IsInvalid());
}

TEST(Decode, PackedBits) {
  ExpectPacked<uint8_t>();
  ExpectPacked<uint16_t>();
  ExpectPacked<uint32_t>();
  ExpectPacked<uint64_t>();
}

TEST(Decode, Runs) {
  const auto decoder = Decoder({.kind = Kind::kRle, .inner = {Flat(16), Flat(8)}});
  const auto values = Buffer(std::string("\5\0\7\0", 4));
  EXPECT_EQ(Numbers<uint16_t>(decoder.DecodeChunk({values, Buffer("\2\3")}, 5).ValueOrDie()),
            (std::vector<uint16_t>{5, 5, 7, 7, 7}));
  // The last goes on; or there are too few, or not as many lengths.
  EXPECT_EQ(Numbers<uint16_t>(decoder.DecodeChunk({values, Buffer("\2\3")}, 3).ValueOrDie()),
            (std::vector<uint16_t>{5, 5, 7}));
  EXPECT_TRUE(decoder.DecodeChunk({values, Buffer("\2\3")}, 6).status().IsInvalid());
  EXPECT_TRUE(decoder.DecodeChunk({values, Buffer("\2")}, 2).status().IsInvalid());
  EXPECT_TRUE(decoder.DecodeChunk({values}, 2).status().IsInvalid());
  EXPECT_TRUE(decoder.DecodeChunk({values, Buffer("\2\3")}, uint64_t{1} << 60).status().IsCapacityError());
  std::string whole;
  Put(whole, uint64_t{4});
  whole += std::string("\5\0\7\0\2\3", 6);
  EXPECT_EQ(decoder.DecodeWhole(Buffer(whole), 5).ValueOrDie().count, 5);
  EXPECT_TRUE(decoder.DecodeWhole(Buffer(whole.substr(0, 9)), 5).status().IsInvalid());
  EXPECT_TRUE(decoder.DecodeWhole(Buffer("abc"), 5).status().IsInvalid());
}

TEST(Decode, Fsst) {
  std::string table;
  Put(table, uint64_t{2} | uint64_t{1} << 24);
  table += std::string("abc\0\0\0\0\0longsymb", 16) + "\3\10";
  const auto fsst = FsstTable::Make(table).ValueOrDie();
  std::string text = "before ";
  ASSERT_TRUE(fsst.Decode(std::string("\0\xFFx\1\0", 5), text).ok());
  EXPECT_EQ(text, "before abcxlongsymbabc");
  EXPECT_TRUE(fsst.Decode("\2", text).IsInvalid());    // no such symbol
  EXPECT_TRUE(fsst.Decode("\xFF", text).IsInvalid());  // nothing after an escape
  for (size_t size = 0; size < table.size(); ++size) {
    EXPECT_TRUE(FsstTable::Make(table.substr(0, size)).status().IsInvalid()) << size;
  }
  table.back() = 9;
  EXPECT_TRUE(FsstTable::Make(table).status().IsInvalid());
}

TEST(Decode, SizesThatAreClaimedAreChecked) {
  arrow::MemoryPool* pool = arrow::default_memory_pool();
  std::string lz4;
  Put(lz4, uint32_t{0xFFFFFFFF});
  EXPECT_TRUE(Decompress(ValueEncoding::Scheme::kLz4, lz4 + "abc", 1 << 30, pool).status().IsInvalid());
  std::string zstd;
  Put(zstd, uint64_t{1} << 60);
  EXPECT_TRUE(Decompress(ValueEncoding::Scheme::kZstd, zstd + "abc", 1 << 30, pool).status().IsInvalid());
  // Of so few bytes zstd makes less.
  std::string less;
  Put(less, uint64_t{1} << 30);
  arrow::ProxyMemoryPool counted(pool);
  EXPECT_TRUE(Decompress(ValueEncoding::Scheme::kZstd, less + "abc", 1 << 30, &counted).status().IsInvalid());
  EXPECT_EQ(counted.max_memory(), 0);
  std::string five;
  Put(five, uint32_t{5});
  EXPECT_TRUE(Decompress(ValueEncoding::Scheme::kLz4, five + "abc", 1 << 30, pool).status().IsInvalid());
  // A token of 5 literals, and they.
  const auto plain = Decompress(ValueEncoding::Scheme::kLz4, five + "\x50hello", 5, pool).ValueOrDie();
  EXPECT_EQ(plain->ToString(), "hello");
  EXPECT_TRUE(Decompress(ValueEncoding::Scheme::kLz4, five + "\x50hello", 4, pool).status().IsInvalid());
  EXPECT_TRUE(Decoder(Flat(64)).DecodeWhole(Buffer("12345678"), uint64_t{1} << 60).status().IsInvalid());
  const ValueEncoding variable{.kind = Kind::kVariable, .bits = 32, .inner = {Flat(32)}};
  EXPECT_TRUE(Decoder(variable).DecodeChunk({Buffer("12345678")}, uint64_t{1} << 60).status().IsInvalid());
  EXPECT_TRUE(Decoder(variable).DecodeChunk({Buffer("12345678")}, 1).status().IsInvalid());
}

// Before anything else has asked Arrow for it.
TEST(Decode, TextIsUtf8) {
  arrow::MemoryPool* pool = arrow::default_memory_pool();
  for (const auto& [text, good] : {std::pair("\xc3\xa9", true), std::pair("\xff", false), std::pair("a\xc3", false)}) {
    for (const auto& type : {arrow::utf8(), arrow::large_utf8()}) {
      const std::string bytes(text);
      const auto made = MakeBinary(type, {0, static_cast<int64_t>(bytes.size())}, Buffer(bytes), nullptr, 0, pool);
      EXPECT_EQ(made.ok(), good) << bytes;
    }
  }
}

class DeletedRows : public testing::Test {
 protected:
  arrow::Result<Deletions> Read(int32_t type, const std::string& bytes, uint64_t rows, uint64_t deleted) {
    io::MemoryFileSystem files;
    Fragment fragment{.id = 3, .rows = rows, .deletions = DeletionFile{.type = type, .id = 7, .rows = deleted}};
    EXPECT_TRUE(files.PutIfAbsent("t/_deletions/" + fragment.deletions->Name(3), bytes).ok());
    return Deletions::Read(files, "t", fragment);
  }
  static std::string ArrowFile(const std::shared_ptr<arrow::Array>& rows, bool zstd = false) {
    const auto schema = arrow::schema({arrow::field("row_id", rows->type())});
    const auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
    auto options = arrow::ipc::IpcWriteOptions::Defaults();
    if (zstd) options.codec = arrow::util::Codec::Create(arrow::Compression::ZSTD).ValueOrDie();
    const auto writer = arrow::ipc::MakeFileWriter(sink, schema, options).ValueOrDie();
    EXPECT_TRUE(writer->WriteRecordBatch(*arrow::RecordBatch::Make(schema, rows->length(), {rows})).ok());
    EXPECT_TRUE(writer->Close().ok());
    return sink->Finish().ValueOrDie()->ToString();
  }
};

TEST_F(DeletedRows, AreLeftOut) {
  const std::vector<uint32_t> deleted = {0, 1, 5, 70000, 70001, 99999};
  arrow::UInt32Builder any_order;
  for (const uint32_t row : {70001u, 5u, 0u, 99999u, 1u, 70000u}) ASSERT_TRUE(any_order.Append(row).ok());
  const auto arrow_file = ArrowFile(any_order.Finish().ValueOrDie());
  for (const auto& [type, bytes] :
       {std::pair(DeletionFile::kBitmap, RoaringBitmap(deleted)), std::pair(DeletionFile::kArrow, arrow_file)}) {
    const auto deletions = Read(type, bytes, 100000, 6).ValueOrDie();
    for (const uint32_t row : deleted) EXPECT_TRUE(deletions.Contains(row));
    for (const uint32_t row : {2u, 4u, 6u, 69999u, 70002u, 99998u}) EXPECT_FALSE(deletions.Contains(row));
    EXPECT_EQ(deletions.Left({0, 100000}), (Ranges{{2, 3}, {6, 69994}, {70002, 29997}}));
    EXPECT_EQ(deletions.Left({1, 5}), (Ranges{{2, 3}}));
    EXPECT_EQ(deletions.Left({70000, 2}), Ranges{});
    EXPECT_EQ(deletions.RowAt(0), 2);
    EXPECT_EQ(deletions.RowAt(2), 4);
    EXPECT_EQ(deletions.RowAt(3), 6);
    EXPECT_EQ(deletions.RowAt(69997), 70002);
  }
  EXPECT_EQ(Deletions().Left({3, 4}), (Ranges{{3, 4}}));
  EXPECT_EQ(Deletions().RowAt(3), 3);
}

TEST_F(DeletedRows, MustBeThoseOfTheFragment) {
  const auto bitmap = RoaringBitmap({0, 5});
  EXPECT_TRUE(Read(DeletionFile::kBitmap, bitmap, 6, 2).ok());
  EXPECT_TRUE(Read(DeletionFile::kBitmap, bitmap, 5, 2).status().IsInvalid());
  const auto other = Read(DeletionFile::kBitmap, bitmap, 6, 3).status();
  EXPECT_TRUE(other.IsInvalid());
  EXPECT_NE(other.message().find("t/_deletions/3-0-7.bin: expected 3 rows"), std::string::npos) << other;
  EXPECT_TRUE(Read(DeletionFile::kBitmap, "abc", 6, 2).status().IsInvalid());
  arrow::UInt32Builder twice;
  ASSERT_TRUE(twice.Append(2).ok() && twice.Append(2).ok());
  EXPECT_TRUE(Read(DeletionFile::kArrow, ArrowFile(twice.Finish().ValueOrDie()), 6, 2).status().IsInvalid());
  EXPECT_TRUE(Read(DeletionFile::kArrow, ArrowFile(arrow::MakeArrayOfNull(arrow::uint32(), 2).ValueOrDie()), 6, 2)
                  .status()
                  .IsInvalid());
  EXPECT_TRUE(Read(DeletionFile::kArrow, "abc", 6, 2).status().IsInvalid());
}

TEST_F(DeletedRows, TakeNoMemoryForWhatTheFileDoesNotHold) {
  const auto same = arrow::MakeArrayFromScalar(arrow::UInt32Scalar(7), 20'000'000).ValueOrDie();
  const std::string packed = ArrowFile(same, true);
  ASSERT_LT(packed.size(), 30'000u);
  arrow::MemoryPool* const pool = arrow::default_memory_pool();
  const int64_t before = pool->total_bytes_allocated();
  const auto status = Read(DeletionFile::kArrow, packed, 0xFFFFFFFF, 20'000'000).status();
  EXPECT_TRUE(status.IsInvalid()) << status;
  EXPECT_LT(pool->total_bytes_allocated() - before, 16'000'000);
  EXPECT_NE(status.message().find("t/_deletions/3-0-7.arrow: "), std::string::npos) << status;
  // All columns of another schema are not looked at.
  const auto other = Read(DeletionFile::kArrow, ArrowFile(arrow::MakeArrayOfNull(arrow::utf8(), 2).ValueOrDie()), 6, 2);
  EXPECT_NE(other.status().message().find("expected one column of uint32"), std::string::npos) << other.status();
  arrow::UInt32Builder many;
  for (uint32_t row = 0; row < 100'000; ++row) ASSERT_TRUE(many.Append(row).ok());
  const auto all = ArrowFile(many.Finish().ValueOrDie(), true);
  EXPECT_EQ(Read(DeletionFile::kArrow, all, 100'001, 100'000).ValueOrDie().Left({0, 100'001}), (Ranges{{100'000, 1}}));
}

}  // namespace
}  // namespace pennon::lance_format
