// ctest: labels=contract-10,asan timeout=240
// Tables written here and read again: all types, nulls, versions, in pieces of all sizes; what is read for it; and
// files that are damaged.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "lance/array_encoding.h"
#include "lance/file_reader.h"
#include "lance/little_endian.h"
#include "lance/message.h"
#include "lance/page_layout.h"
#include "lance/table.h"
#include "lance/table_reader.h"
#include "pennon/lance.h"
#include "support/arrays.h"
#include "support/counting_file_system.h"
#include "support/memory_file_system.h"
#include "support/read_file.h"

namespace pennon::lance_format {
namespace {

// Of some rows, in an order that a seed tells.
std::shared_ptr<arrow::Array> Repeat(const std::shared_ptr<arrow::Array>& values, int64_t rows, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto builder = arrow::MakeBuilder(values->type()).ValueOrDie();
  const arrow::ArraySpan span(*values->data());
  for (int64_t i = 0; i < rows; ++i) {
    const auto place = static_cast<int64_t>(random() % static_cast<uint64_t>(values->length()));
    EXPECT_TRUE(builder->AppendArraySlice(span, place, 1).ok());
  }
  return builder->Finish().ValueOrDie();
}

struct Sample {
  std::shared_ptr<arrow::DataType> type;
  std::string json;  // of values without nulls at the top
  bool only_22 = false;
};

std::vector<Sample> Samples() {
  using namespace arrow;
  const auto point = struct_({field("x", int32()), field("s", utf8())});
  return {
      {boolean(), "[true, false]"},
      {int8(), "[1, -2, 3]"},
      {int16(), "[1, -2, 3]"},
      {int32(), "[1, -2, 3]"},
      {int64(), "[1, -2, 3]"},
      {uint8(), "[1, 2, 3]"},
      {uint16(), "[1, 2, 3]"},
      {uint32(), "[1, 2, 3]"},
      {uint64(), "[1, 2, 3]"},
      {float16(), "[1, -2, 0.5]"},
      {float32(), "[1.5, -2, 3]"},
      {float64(), "[1.5, -2, 3]"},
      {utf8(), R"(["", "ab", "a longer one", "é"])"},
      {large_utf8(), R"(["", "ab", "a longer one"])"},
      {binary(), R"(["", "ab", "a longer one"])"},
      {large_binary(), R"(["", "ab", "a longer one"])"},
      {fixed_size_binary(3), R"(["abc", "def"])"},
      {date32(), "[1, 20000]"},
      {date64(), "[0, 86400000]"},
      {time32(TimeUnit::SECOND), "[1, 2]"},
      {time64(TimeUnit::NANO), "[1, 2]"},
      {timestamp(TimeUnit::MICRO), "[1, 2]"},
      {timestamp(TimeUnit::NANO, "Europe/Paris"), "[1, 2]"},
      {duration(TimeUnit::MILLI), "[1, 2]"},
      {decimal128(10, 2), R"(["1.25", "-3.00"])"},
      {fixed_size_list(float32(), 3), "[[1, 2, 3], [4, 5, 6]]"},
      {fixed_size_list(uint8(), 9), "[[1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 8, null, 6, 5, 4, 3, null, 1]]"},
      {list(int32()), "[[1, 2, 3], [], [4], [null, 5]]"},
      {large_list(float64()), "[[1, 2, 3], [], [4]]"},
      {list(utf8()), R"([["a", null, "bc"], [], [""]])"},
      {list(boolean()), "[[true, null], [], [false]]"},
      {list(fixed_size_list(float16(), 2)), "[[[1, 2], null], [], [[3, 4]]]"},
      {list(list(int16())), "[[[1], [], null, [2, null]], [], [[3, 4]], [null]]"},
      {point, R"([{"x": 1, "s": "a"}, {"x": null, "s": null}, {"x": 3, "s": ""}])"},
      {struct_({field("p", point), field("l", list(int8())), field("v", fixed_size_list(float32(), 2))}),
       R"([{"p": {"x": 1, "s": "b"}, "l": [1, 2], "v": [1, 2]}, {"p": {"x": null, "s": "c"}, "l": null, "v": null}])"},
      {struct_({field("p", point), field("l", list(utf8()))}),
       R"([{"p": null, "l": ["q", null]}, {"p": {"x": 2, "s": null}, "l": []}])", true},
      {list(point), R"([[{"x": 1, "s": "a"}, {"x": null, "s": "b"}], [], [{"x": 3, "s": null}]])"},
      {list(struct_({field("l", list(point)), field("i", int64())})),
       R"([[{"l": [{"x": 1, "s": "a"}, null], "i": 1}, null, {"l": [], "i": 2}], [], [{"l": null, "i": null}]])", true},
  };
}

// A column of each sample without nulls, with some and of them alone.
std::shared_ptr<arrow::RecordBatch> AllTypes(FileVersion version, int64_t rows) {
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  uint64_t seed = 0;
  const auto add = [&](const std::shared_ptr<arrow::Array>& values) {
    columns.push_back(Repeat(values, rows, ++seed));
    fields.push_back(arrow::field(std::string("c").append(std::to_string(seed)), values->type()));
  };
  for (const Sample& sample : Samples()) {
    if (sample.only_22 && version == FileVersion::k2_0) continue;
    const auto values = FromJson(sample.type, sample.json);
    add(values);
    // 2.0 has no null structs.
    if (version == FileVersion::k2_0 && sample.type->id() == arrow::Type::STRUCT) continue;
    const auto nulls = arrow::MakeArrayOfNull(sample.type, 1).ValueOrDie();
    add(arrow::Concatenate({values, nulls}).ValueOrDie());
    add(nulls);
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), rows, columns);
}

struct Written {
  io::MemoryFileSystem files;
  std::unique_ptr<Table> table;

  TableReader Read(arrow::MemoryPool* pool = arrow::default_memory_pool()) {
    return TableReader(files, "t", table->manifest(), MakeSchema(table->manifest().fields).ValueOrDie(), pool);
  }
};

std::unique_ptr<Written> Write(const std::shared_ptr<arrow::RecordBatch>& batch, FileVersion version,
                               uint64_t rows_a_fragment = 1 << 20, int64_t page_bytes = 8 << 20) {
  auto written = std::make_unique<Written>();
  auto table = Table::Create(written->files, "t", batch->schema(),
                             {.rows_a_fragment = rows_a_fragment, .pages = {.version = version, .budget = page_bytes}});
  written->table = std::make_unique<Table>(std::move(table).ValueOrDie());
  const auto status =
      written->table->Append(*arrow::RecordBatchReader::Make({batch}, batch->schema()).ValueOrDie()).status();
  EXPECT_TRUE(status.ok()) << status;
  return written;
}

std::shared_ptr<arrow::Table> ReadAll(arrow::RecordBatchReader& reader) {
  const auto table = reader.ToTable();
  EXPECT_TRUE(table.ok()) << table.status();
  return table.ok() ? (*table)->CombineChunks().ValueOrDie() : nullptr;
}

void ExpectSame(const arrow::Array& got, const arrow::Array& wanted, const std::string& what) {
  const auto sound = got.ValidateFull();
  EXPECT_TRUE(sound.ok()) << what << ": " << sound;
  EXPECT_TRUE(got.Equals(wanted)) << what << " " << wanted.type()->ToString() << "\ngot " << got.ToString()
                                  << "\nwanted " << wanted.ToString();
}

class Versions : public testing::TestWithParam<FileVersion> {};
INSTANTIATE_TEST_SUITE_P(Read, Versions, testing::Values(FileVersion::k2_0, FileVersion::k2_2),
                         [](const auto& info) { return info.param == FileVersion::k2_0 ? "v20" : "v22"; });

TEST_P(Versions, AllTypesComeBack) {
  constexpr int64_t kRows = 500;
  const auto batch = AllTypes(GetParam(), kRows);
  struct Sizes {
    uint64_t fragment;
    int64_t page;
    int64_t batch;
  };
  for (const Sizes& sizes :
       {Sizes{1 << 20, 8 << 20, 8192}, Sizes{170, 200, 8192}, Sizes{1 << 20, 300, 13}, Sizes{499, 1, 1}}) {
    const auto written = Write(batch, GetParam(), sizes.fragment, sizes.page);
    auto reader = written->Read();
    const auto scan = reader.Scan({.batch_rows = sizes.batch, .row_ids = true}).ValueOrDie();
    const auto read = ReadAll(*scan);
    ASSERT_TRUE(read);
    ASSERT_EQ(read->num_rows(), kRows);
    std::vector<uint64_t> positions = {7, 7, 499, 0, 1, 2, 170, 169, 340, 3};
    std::mt19937_64 random(1);
    for (int i = 0; i < 50; ++i) positions.push_back(random() % kRows);
    const auto taken = reader.TakePositions(positions, {});
    ASSERT_TRUE(taken.ok()) << taken.status();
    ASSERT_TRUE((*taken)->ValidateFull().ok());
    std::sort(positions.begin(), positions.end());
    positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
    const auto sorted = reader.TakePositions(positions, {}).ValueOrDie();
    for (int i = 0; i < batch->num_columns(); ++i) {
      const std::string name = batch->column_name(i);
      ExpectSame(*read->column(i)->chunk(0), *batch->column(i), name);
      for (size_t j = 0; j < positions.size(); ++j) {
        EXPECT_TRUE(sorted->column(i)->RangeEquals(*batch->column(i), static_cast<int64_t>(j),
                                                   static_cast<int64_t>(j) + 1, static_cast<int64_t>(positions[j])))
            << name << " at " << positions[j];
      }
      EXPECT_TRUE((*taken)->column(i)->RangeEquals(*batch->column(i), 1, 2, 7)) << name;
      EXPECT_TRUE((*taken)->column(i)->RangeEquals(*batch->column(i), 2, 3, 499)) << name;
      EXPECT_TRUE((*taken)->column(i)->RangeEquals(*batch->column(i), 3, 6, 0)) << name;
    }
    const auto& row_ids = static_cast<const arrow::UInt64Array&>(*read->GetColumnByName("_rowid")->chunk(0));
    EXPECT_EQ(row_ids.Value(499), (499 / sizes.fragment) << 32 | 499 % sizes.fragment);
  }
}

// A table of ids, texts and vectors of 1536 bytes.
std::shared_ptr<arrow::RecordBatch> Documents(int64_t rows) {
  arrow::Int64Builder ids;
  arrow::StringBuilder texts;
  arrow::FloatBuilder values;
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE(ids.Append(i).ok());
    EXPECT_TRUE(texts.Append(std::string(static_cast<size_t>(50 + i % 40), 'x')).ok());
    for (int d = 0; d < 384; ++d) EXPECT_TRUE(values.Append(static_cast<float>(i + d)).ok());
  }
  arrow::ArrayVector columns = {ids.Finish().ValueOrDie(), texts.Finish().ValueOrDie(),
                                arrow::FixedSizeListArray::FromArrays(values.Finish().ValueOrDie(), 384).ValueOrDie()};
  const auto schema = arrow::schema({arrow::field("id", arrow::int64()), arrow::field("text", arrow::utf8()),
                                     arrow::field("vector", columns[2]->type())});
  return arrow::RecordBatch::Make(schema, rows, columns);
}

// A column's reads for these rows, with what is known of the file at hand.
std::vector<io::CountingFileSystem::Read> ReadsOf(io::CountingFileSystem& files, TableReader& reader,
                                                  const char* column, const std::vector<uint64_t>& rows) {
  EXPECT_TRUE(reader.Take(rows, {column}).ok());
  files.TakeReads();
  EXPECT_TRUE(reader.Take(rows, {column}).ok());
  return files.TakeReads();
}

TEST(Reads, ATakeReadsTheBytesOfItsRows) {
  constexpr uint64_t kRow = 1234;
  constexpr uint64_t kText = 50 + kRow % 40;
  for (const FileVersion version : {FileVersion::k2_0, FileVersion::k2_2}) {
    const auto written = Write(Documents(2000), version);
    io::CountingFileSystem files(written->files);
    TableReader reader(files, "t", written->table->manifest(),
                       MakeSchema(written->table->manifest().fields).ValueOrDie(), arrow::default_memory_pool());
    auto reads = ReadsOf(files, reader, "id", {kRow});
    ASSERT_EQ(reads.size(), 1);
    EXPECT_EQ(reads[0].length, 8);
    EXPECT_EQ(reads[0].offset % 64, 8 * kRow % 64);
    reads = ReadsOf(files, reader, "vector", {kRow});
    ASSERT_EQ(reads.size(), 1);
    EXPECT_EQ(reads[0].length, 1536);
    reads = ReadsOf(files, reader, "text", {kRow});
    if (version == FileVersion::k2_0) {
      ASSERT_EQ(reads.size(), 2);
      EXPECT_EQ(reads[0].length, 16);  // where it begins and ends
      EXPECT_EQ(reads[1].length, kText);
    } else {
      ASSERT_EQ(reads.size(), 1);
      EXPECT_EQ(reads[0].length, 4 + kText);
    }
    // What is close is read together: vectors with two others between them, not with three.
    EXPECT_EQ(ReadsOf(files, reader, "vector", {5, 8, 11}).size(), 1);
    reads = ReadsOf(files, reader, "vector", {5, 9, 10, 20});
    ASSERT_EQ(reads.size(), 3);
    EXPECT_EQ(reads[1].length, 2 * 1536);
    EXPECT_EQ(ReadsOf(files, reader, "id", {0, 100, 300, 500, 1999}).size(), 2);
  }
}

TEST(Reads, ThoseOfATakeGoOutTogether) {
  const auto written = Write(Documents(2000), FileVersion::k2_2, 500);
  io::CountingFileSystem files(written->files);
  TableReader reader(files, "t", written->table->manifest(), MakeSchema(written->table->manifest().fields).ValueOrDie(),
                     arrow::default_memory_pool());
  const std::vector<uint64_t> rows = {10, 400, uint64_t{2} << 32 | 100};
  ASSERT_TRUE(reader.Take(rows, {}).ok());
  files.TakeStarts();
  ASSERT_TRUE(reader.Take(rows, {}).ok());
  // Of two rows of a fragment the ids and the first text, which are close, the other text and two vectors; of one of
  // another fragment its three values.
  EXPECT_EQ(files.TakeStarts(), (std::vector<size_t>{4, 3}));
}

TEST(Reads, ATakeReadsTheChunksOfItsRows) {
  io::CountingFileSystem files(io::LocalFileSystem());
  const auto file = FileReader::Open(files.Open(PENNON_TEST_DATA "/pylance14-chunks-2.2.lance").ValueOrDie(),
                                     arrow::default_memory_pool())
                        .ValueOrDie();
  const auto schema = MakeSchema(file->fields()).ValueOrDie();
  const auto columns = ColumnsInOrder(*file);
  for (int column = 0; column < schema->num_fields(); ++column) {
    const auto& name = schema->field(column)->name();
    const auto reader = MakeColumnReader(file, file->fields(), columns, *schema, column).ValueOrDie();
    uint64_t page_bytes = 0;
    for (const auto& buffer : file->columns()[static_cast<size_t>(column)][0].buffers) page_bytes += buffer.length;
    const auto reads_of = [&](const Ranges& rows) {
      files.TakeReads();
      EXPECT_TRUE(reader->Read(rows).ok()) << name;
      return files.TakeReads();
    };
    const size_t index = name == "list" ? 2 : 1;  // of chunks, and where lists begin
    EXPECT_EQ(reads_of({{3, 1}}).size(), index + 1) << name;
    for (const uint64_t row : {3, 1000, 1999}) {
      const auto reads = reads_of({{row, 1}});
      ASSERT_LE(reads.size(), 1) << name;
      EXPECT_LE(reads[0].length, std::max<uint64_t>(page_bytes / 2, 8300)) << name;
    }
    // Chunks follow each other.
    EXPECT_EQ(reads_of({{0, 2000}}).size(), 1) << name;
  }
}

TEST(Hostile, TablesAreErrors) {
  const auto open = [](const char* name) {
    return lance::Dataset::Open(std::string(PENNON_TEST_DATA) + "/hostile-" + name + ".lance").ValueOrDie();
  };
  const std::vector<uint64_t> rows = {1, 3};
  const auto items = open("list-items").TakePositions(rows).status();
  EXPECT_TRUE(items.IsInvalid()) << items;
  EXPECT_NE(items.message().find("fewer than 2^63 items"), std::string::npos) << items;
  const auto map = open("map-in-2.0").Scan().ValueOrDie()->ToTable().status();
  EXPECT_TRUE(map.IsNotImplemented()) << map;
}

// Widths that come to 2^64 together are not none.
TEST(Hostile, WidthsAddUp) {
  const auto wide = arrow::fixed_size_list(arrow::fixed_size_list(arrow::int64(), 1 << 25), INT32_MAX);
  arrow::FieldVector fields;
  for (int i = 0; i < 5; ++i) fields.push_back(arrow::field(std::to_string(i), wide));
  EXPECT_EQ(LeastWidthOf(*arrow::struct_(fields)), UINT64_MAX);
  EXPECT_TRUE(Nulls(arrow::struct_(fields), 1, arrow::default_memory_pool()).status().IsCapacityError());
}

TEST(Reads, FewFilesAreOpenAtATime) {
  constexpr int64_t kRows = 700;
  const auto written = Write(Documents(kRows), FileVersion::k2_2, 1);
  io::CountingFileSystem files(written->files);
  TableReader reader(files, "t", written->table->manifest(), written->table->shared_schema(),
                     arrow::default_memory_pool());
  std::vector<uint64_t> rows;
  for (uint64_t row = kRows; row-- > 0;) rows.push_back(row << 32);
  for (int i = 0; i < 2; ++i) {
    const auto taken = reader.Take(rows, {"id", "text"}).ValueOrDie();
    const auto& ids = static_cast<const arrow::Int64Array&>(*taken->column(0));
    for (int64_t row = 0; row < kRows; ++row) ASSERT_EQ(ids.Value(row), kRows - 1 - row);
  }
  EXPECT_TRUE(reader.Scan({}).ValueOrDie()->ToTable().ok());
  EXPECT_LE(files.most_open(), 257);
  // By their places.
  std::vector<uint64_t> positions;
  for (uint64_t i = 0; i < kRows; ++i) positions.push_back(i * 263 % kRows);
  TableReader by_place(files, "t", written->table->manifest(), written->table->shared_schema(),
                       arrow::default_memory_pool());
  const auto taken = by_place.TakePositions(positions, {"id"}).ValueOrDie();
  const auto& ids = static_cast<const arrow::Int64Array&>(*taken->column(0));
  for (uint64_t i = 0; i < kRows; ++i) {
    ASSERT_EQ(ids.Value(static_cast<int64_t>(i)), static_cast<int64_t>(positions[i]));
  }
  EXPECT_LE(files.most_open(), 2 * 257);
}

TEST(Reads, FewFilesAreOpenOfFragmentsOfMany) {
  constexpr uint64_t kRows = 100;
  constexpr int kFiles = 6;
  const auto written = Write(Documents(kRows), FileVersion::k2_2, 1);
  Manifest manifest = written->table->manifest();
  // The same file six times, each for a column of its own.
  const std::vector<Field> fields = {manifest.fields[0]};
  manifest.fields.clear();
  for (int i = 0; i < kFiles; ++i) {
    manifest.fields.push_back(fields[0]);
    manifest.fields.back().id = i;
    manifest.fields.back().name.append(std::to_string(i));
  }
  for (Fragment& fragment : manifest.fragments) {
    const DataFile file = fragment.files[0];
    fragment.files.clear();
    for (int i = 0; i < kFiles; ++i) {
      fragment.files.push_back(file);
      fragment.files.back().field_ids = {i};
      fragment.files.back().columns = {0};
    }
  }
  io::CountingFileSystem files(written->files);
  TableReader reader(files, "t", manifest, MakeSchema(manifest.fields).ValueOrDie(), arrow::default_memory_pool());
  std::vector<uint64_t> rows;
  for (uint64_t row = 0; row < kRows; ++row) rows.push_back(row << 32);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(reader.Take(rows, {}).ValueOrDie()->num_rows(), kRows);
  EXPECT_LE(files.most_open(), 257);
}

TEST(Reads, AFileIsOpenedInOneRead) {
  const auto written = Write(Documents(100), FileVersion::k2_2);
  io::CountingFileSystem files(written->files);
  const std::string path = "t/data/" + files.List("t/data").ValueOrDie()[0];
  ASSERT_TRUE(FileReader::Open(files.Open(path).ValueOrDie(), arrow::default_memory_pool()).ok());
  const auto reads = files.TakeReads();
  ASSERT_EQ(reads.size(), 1);
  EXPECT_EQ(reads[0].length, 4096);
}

TEST(Reads, AScanTakesMemoryForItsBatches) {
  for (const FileVersion version : {FileVersion::k2_0, FileVersion::k2_2}) {
    const auto written = Write(Documents(20000), version);
    arrow::ProxyMemoryPool pool(arrow::default_memory_pool());
    {
      auto reader = written->Read(&pool);
      const auto scan = reader.Scan({.batch_rows = 500}).ValueOrDie();
      int64_t rows = 0;
      for (auto batch = scan->Next().ValueOrDie(); batch; batch = scan->Next().ValueOrDie()) {
        EXPECT_LE(batch->num_rows(), 500);
        rows += batch->num_rows();
      }
      EXPECT_EQ(rows, 20000);
      EXPECT_LT(pool.max_memory(), 6 * 500 * 1700);
      // A batch is of at most 16 MiB or so, whatever is asked for.
      const auto large = reader.Scan({.batch_rows = 1 << 30}).ValueOrDie()->Next().ValueOrDie();
      EXPECT_LT(large->num_rows(), 11000);
      EXPECT_GT(large->num_rows(), 5000);
    }
    EXPECT_EQ(pool.bytes_allocated(), 0);
  }
}

TEST(Reads, AScanTakesMemoryForTheRowsThatAreLarge) {
  constexpr int kLarge = 24;
  constexpr int64_t kBytes = 4 << 20;
  arrow::StringBuilder texts;
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(texts.Append("short").ok());
  for (int i = 0; i < kLarge; ++i) ASSERT_TRUE(texts.Append(std::string(kBytes, 'x')).ok());
  const auto column = texts.Finish().ValueOrDie();
  const auto batch =
      arrow::RecordBatch::Make(arrow::schema({arrow::field("text", arrow::utf8())}), column->length(), {column});
  for (const FileVersion version : {FileVersion::k2_0, FileVersion::k2_2}) {
    const auto written = Write(batch, version);
    arrow::ProxyMemoryPool pool(arrow::default_memory_pool());
    auto reader = written->Read(&pool);
    const auto scan = reader.Scan({}).ValueOrDie();
    int64_t rows = 0;
    for (auto part = scan->Next().ValueOrDie(); part; part = scan->Next().ValueOrDie()) rows += part->num_rows();
    EXPECT_EQ(rows, 5000 + kLarge);
    EXPECT_LT(pool.max_memory(), 16 * kBytes);
  }
}

// A file made by hand.
struct MadePage {
  std::vector<std::string> buffers;  // hex
  uint64_t rows;
  std::string encoding;  // hex, an ArrayEncoding or a PageLayout
};

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string MakeFile(const std::shared_ptr<arrow::DataType>& type, const std::vector<MadePage>& pages, uint64_t rows,
                     bool v20 = false) {
  enum class AnyTag : Tag { kOne = 1, kTwo = 2, kThree = 3, kFour = 4 };
  using enum AnyTag;
  std::string file;
  std::string column;
  for (const MadePage& page : pages) {
    std::vector<uint64_t> offsets;
    std::vector<uint64_t> sizes;
    for (const std::string& buffer : page.buffers) {
      offsets.push_back(file.size());
      file += FromHex(buffer);
      sizes.push_back(file.size() - offsets.back());
    }
    const std::string any = Any(v20 ? kArrayEncoding : kPageLayout, FromHex(page.encoding));
    const std::string direct = Message<AnyTag>([&](auto& message) { message.add_bytes(kOne, any); });
    const std::string encoding = Message<AnyTag>([&](auto& message) { message.add_message(kTwo, direct); });
    column += Message<AnyTag>([&](auto& columns) {
      columns.add_message(kTwo, Message<AnyTag>([&](auto& message) {
                            message.add_packed_uint64(kOne, offsets.begin(), offsets.end());
                            message.add_packed_uint64(kTwo, sizes.begin(), sizes.end());
                            message.add_uint64(kThree, page.rows);
                            message.add_message(kFour, encoding);
                          }));
    });
  }
  const std::string schema = Message<AnyTag>([&](auto& message) {
    for (const Field& field : MakeFields(*arrow::schema({arrow::field("c", type)})).ValueOrDie()) {
      message.add_message(kOne, ToMessage(field));
    }
  });
  const std::string descriptor = Message<AnyTag>([&](auto& message) {
    message.add_message(kOne, schema);
    message.add_uint64(kTwo, rows);
  });
  const uint64_t schema_at = file.size();
  file += descriptor;
  const uint64_t column_at = file.size();
  file += column;
  const uint64_t places_at = file.size();
  Put(file, column_at);
  Put(file, uint64_t{column.size()});
  Put(file, schema_at);
  Put(file, uint64_t{descriptor.size()});
  Put(file, column_at);
  Put(file, places_at);
  Put(file, places_at + 16);
  Put(file, uint32_t{1});
  Put(file, uint32_t{1});
  Put(file, static_cast<uint16_t>(v20 ? 0 : 2));
  Put(file, static_cast<uint16_t>(v20 ? 3 : 2));
  return file + "LANC";
}

arrow::Result<std::shared_ptr<arrow::Array>> ReadMade(const std::shared_ptr<arrow::DataType>& type,
                                                      const std::vector<MadePage>& pages, uint64_t rows,
                                                      bool v20 = false, uint64_t most = 100) {
  std::shared_ptr<arrow::Array> read;
  ARROW_RETURN_NOT_OK(ReadFile(std::make_unique<io::MemoryFile>("made", MakeFile(type, pages, rows, v20)), most, 1,
                               [&](const arrow::Array& array, const Range&) { read = array.Slice(0); }));
  return read;
}

void ExpectMade(const std::shared_ptr<arrow::DataType>& type, const std::vector<MadePage>& pages,
                const std::string& json, bool v20 = false) {
  const auto wanted = FromJson(type, json);
  const auto read = ReadMade(type, pages, static_cast<uint64_t>(wanted->length()), v20);
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSame(**read, *wanted, json);
}

// Bytes that pylance 14 accepts, or writes.
TEST(Pages, OfLance) {
  using namespace arrow;
  ExpectMade(int64(), {{{"010000000000000002000000000000000300000000000000"}, 3, "1a0f1840280330033a040a020840420101"}},
             "[1, 2, 3]");
  ExpectMade(utf8(), {{{"0200000061620100000063", "00060b"}, 2, "1a132020280230023a0812060a040a020820420101"}},
             R"(["ab", "c"])");
  ExpectMade(list(uint32()),
             {{{"020500000000060000000302"
                "07000000",
                "000a0b10"},
               3,
               "1a14080110011820280430033a040a02082042020105"}},
             "[[5, 6], [], [7]]");
  ExpectMade(int64(), {{{"01000000000000000200000000000000"}, 2, "120a0a080a060a0408401200"}}, "[1, 2]", true);
  ExpectMade(
      utf8(),
      {{{"02000000000000000300000000000000", "616263"}, 2, "321a0a0c120a0a080a060a040840120012080a060808120208011804"}},
      R"(["ab", "c"])", true);
  // Constants: nulls, with levels in 16 bits each; and a number.
  ExpectMade(int32(), {{{}, 3, "12032a0103"}}, "[null, null, null]");
  ExpectMade(list(float32()), {{{"010001000100", "020001000200"}, 3, "12042a020106"}}, "[[], null, []]");
  ExpectMade(list(float32()), {{{"0100010001000000", "0100020001000100"}, 3, "12042a020304"}},
             "[[null], null, [null, null]]");
  ExpectMade(int32(),
             {{{},
               3,
               "12092a010132"
               "0407000000"}},
             "[7, 7, 7]");
}

// A page of many, in which no list is null: there are no definition levels, though lists may be null.
TEST(Pages, LevelsThatAreAllZeroAreLeftOut) {
  ExpectMade(arrow::list(arrow::uint32()),
             {{{"0105000000"
                "0006000000"
                "0107000000",
                "000a0f"},
               2,
               "1a1208011820280330033a040a02082042020104"}},
             "[[5, 6], [7]]");
  ExpectMade(arrow::int64(), {{{"0100000000000000"}, 1, "0a0c084012001a060a046e6f6e65"}}, "[1]",
             true);  // compression none
}

TEST(Pages, ItemsThatAreAllNullHaveTheirValidityAlone) {
  const auto type = arrow::fixed_size_list(arrow::float32(), 2);
  ExpectMade(type,
             {{{"000000"},
               3,
               "1a15180828033003"
               "3a0a5a08080212021a001801"
               "420101"}},
             "[[null, null], [null, null], [null, null]]");
  EXPECT_TRUE(ReadMade(type,
                       {{{"000000"},
                         3,
                         "1a13180028033003"
                         "3a085a06080212021a00"
                         "420101"}},
                       3)
                  .status()
                  .IsInvalid());
}

TEST(Pages, MapsWithoutKeysAreErrors) {
  const auto pair = arrow::struct_({arrow::field("key", arrow::utf8()), arrow::field("value", arrow::int32())});
  const auto valid = FromJson(arrow::list(pair), R"([[{"key": "a", "value": null}], null, []])");
  const auto null_key = FromJson(arrow::list(pair), R"([[{"key": null, "value": 1}]])");
  const auto null_pair = FromJson(arrow::list(pair), "[[null]]");
  for (const auto& column : {valid, null_key, null_pair}) {
    const auto schema = arrow::schema({arrow::field("c", column->type())});
    const auto written = Write(arrow::RecordBatch::Make(schema, column->length(), {column}), FileVersion::k2_2);
    const auto names = written->files.List("t/data").ValueOrDie();
    const std::shared_ptr<const FileReader> file =
        FileReader::Open(written->files.Open("t/data/" + names[0]).ValueOrDie(), arrow::default_memory_pool())
            .ValueOrDie();
    auto fields = file->fields();
    fields[0].logical_type = "map";
    fields[1].nullable = fields[2].nullable = false;
    const auto as_map = MakeSchema(fields).ValueOrDie();
    const auto reader = MakeColumnReader(file, fields, ColumnsInOrder(*file), *as_map, 0).ValueOrDie();
    const auto read = reader->Read({{0, file->rows()}});
    EXPECT_EQ(read.ok(), column == valid) << read.status();
    EXPECT_TRUE(!read.ok() || (*read)->ValidateFull().ok());
  }
}

// make_pylance_files.py has them.
TEST(Pages, TypesThatAreOnlyRead) {
  using namespace arrow;
  const std::vector<std::pair<std::shared_ptr<DataType>, std::string>> columns = {
      {fixed_size_list(boolean(), 3), "[[true, null, false], null, [false, false, true], [null, null, null]]"},
      {fixed_size_list(float32(), 2), "[[null, null], null, [null, null], [null, null]]"},
      {fixed_size_list(fixed_size_list(int16(), 2), 2),
       "[[[1, 2], [3, null]], [null, [5, 6]], null, [[7, 8], [9, 10]]]"},
      {utf8(), R"(["a", null, "bc", "a"])"},
      {int64(), "[5, null, 7, 5]"},
      {uint8(), "[5, 6, 7, 5]"},
      {fixed_size_list(date32(), 2), "[[1, null], [2, 3], null, [4, 5]]"},
      {decimal256(40, 0), R"(["1", null, "-2", "3"])"},
      {null(), "[null, null, null, null]"},
      {map(utf8(), int32()), R"([[["a", 1], ["b", null]], null, [], [["", 2]]])"}};
  for (const char* version : {"2.0", "2.2"}) {
    const std::string path = std::string(PENNON_TEST_DATA) + "/pylance14-types-" + version + ".lance";
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    size_t column = 0;
    ASSERT_TRUE(
        ReadFile(std::make_unique<io::MemoryFile>("types", bytes), 100, 1, [&](const Array& array, const Range&) {
          const auto& [type, json] = columns[column++];
          ExpectSame(array, *FromJson(type, json), version + json);
        }).ok());
    EXPECT_EQ(column, std::string(version) == "2.0" ? 9 : 10);
  }
}

TEST(Pages, WhatIsNotKnownIsNamed) {
  const auto expect = [](const std::shared_ptr<arrow::DataType>& type, const MadePage& page, const char* what,
                         bool v20 = false) {
    const auto status = ReadMade(type, {page}, page.rows, v20).status();
    EXPECT_TRUE(status.IsNotImplemented()) << status;
    EXPECT_NE(status.message().find(std::string("made: column c: ") + what), std::string::npos) << status;
  };
  expect(arrow::int64(), {{"00"}, 1, "2200"}, "layout blob");
  expect(arrow::int64(), {{"00"}, 1, "9a0600"}, "layout number 99 of PageLayout");
  // Full-zip of a constant, a packed struct.
  expect(arrow::utf8(), {{"00", "0000"}, 1, "1a0920203a021a00420101"}, "encoding constant");
  expect(arrow::int64(), {{"00"}, 1, "1a0918403a026200420101"}, "encoding packed struct");
  expect(arrow::int64(), {{"00"}, 1, "3a00"}, "places of 0 bits in a dictionary", true);
  expect(arrow::int64(), {{"00"}, 1, "5200"}, "encoding bitpacked", true);
  // Flat, compressed with zstd.
  expect(arrow::int64(), {{"00"}, 1, "0a0c084012001a060a047a737464"}, "compression zstd", true);
}

TEST(Pages, RowsEndInTheirBuffers) {
  // The file has more bytes than the buffer.
  const char* encoding_20 = "321a0a0c120a0a080a060a040840120012080a060808120208011804";
  const char* encoding_22 = "1a132020280230023a0812060a040a020820420101";
  for (const char* end : {"03", "02"}) {
    const std::string ends = std::string(end) + "00000000000000";
    EXPECT_TRUE(ReadMade(arrow::utf8(), {{{ends, "61"}, 1, encoding_20}}, 1, true).status().IsInvalid()) << end;
  }
  EXPECT_TRUE(ReadMade(arrow::utf8(), {{{"0100000000000000", "61"}, 1, encoding_20}}, 1, true).ok());
  EXPECT_TRUE(ReadMade(arrow::utf8(), {{{"0100000061", "0006"}, 1, encoding_22}}, 1).status().IsInvalid());
  EXPECT_TRUE(ReadMade(arrow::utf8(), {{{"0200000061", "0005"}, 1, encoding_22}}, 1).status().IsInvalid());
  EXPECT_TRUE(ReadMade(arrow::utf8(), {{{"0100000061", "0005"}, 1, encoding_22}}, 1).ok());
}

TEST(Pages, RowsThatAreNotThereTakeNoMemory) {
  constexpr uint64_t kMany = uint64_t{1} << 60;
  arrow::ProxyMemoryPool pool(arrow::default_memory_pool());
  const auto expect = [&](const std::shared_ptr<arrow::DataType>& type, const MadePage& page, bool v20) {
    const auto status = ReadMade(type, {page}, kMany, v20).status();
    EXPECT_TRUE(status.IsInvalid()) << status;
  };
  for (const bool v20 : {false, true}) {
    expect(arrow::int64(),
           {{"0100000000000000"}, kMany, v20 ? "120a0a080a060a0408401200" : "1a0f1840280330033a040a020840420101"}, v20);
    expect(arrow::utf8(),
           {{"0000000000000000", "00"},
            kMany,
            v20 ? "321a0a0c120a0a080a060a040840120012080a060808120208011804"
                : "1a132020280230023a0812060a040a020820420101"},
           v20);
  }
  // Nulls take no place in a file: a batch of them is what a batch is.
  EXPECT_EQ((*ReadMade(arrow::int64(), {{{}, kMany, "12032a0103"}}, kMany))->length(), 100);
  const auto wide = arrow::fixed_size_list(arrow::int64(), 1 << 30);
  EXPECT_TRUE(ReadMade(wide, {{{}, kMany, "12032a0103"}}, kMany).status().IsCapacityError());
  EXPECT_TRUE(ReadMade(wide, {{{}, kMany, "12021a00"}}, kMany, true).status().IsCapacityError());
  EXPECT_EQ(pool.bytes_allocated(), 0);
}

TEST(Pages, ShareNoBytes) {
  const MadePage page{{"01000000000000000200000000000000"}, 2, "1a0f1840280330033a040a020840420101"};
  std::string file = MakeFile(arrow::int64(), std::vector<MadePage>(10, page), 20);
  const auto read = [&] { return ReadFile(std::make_unique<io::MemoryFile>("made", file), 100, 1, [](auto&&...) {}); };
  ASSERT_TRUE(read().ok());
  // Each has a buffer of 16 bytes: now of more, but all in the file.
  const std::string size = "\x12\x01\x10";
  for (size_t at = file.find(size); at != std::string::npos; at = file.find(size, at)) file[at + 2] = 127;
  ASSERT_LT(file.size(), 10 * 127u);
  EXPECT_TRUE(read().IsInvalid());
}

TEST(Pages, LevelsThatAreNotThereTakeNoMemory) {
  // Null lists, whose levels are runs of 16 bits each and lengths of 64 bits: 2^28 of them.
  const char* runs =
      "02000000000000000100"
      "0000001000000000";
  const char* message =
      "12302a020104"
      "3a0e420c0a040a02081012040a020840"
      "420e420c0a040a02081012040a020840"
      "488080808001508080808001";
  constexpr uint64_t kMany = uint64_t{1} << 28;
  const auto status = ReadMade(arrow::list(arrow::int32()), {{{runs, runs}, kMany, message}}, kMany).status();
  EXPECT_TRUE(status.IsCapacityError()) << status;
}

// Of the rows of fragments without files.
std::shared_ptr<arrow::Schema> SchemaOf(const std::shared_ptr<arrow::DataType>& type, int columns) {
  arrow::FieldVector fields;
  for (int i = 0; i < columns; ++i) fields.push_back(arrow::field(std::string("c").append(std::to_string(i)), type));
  return arrow::schema(fields);
}

TEST(Reads, ColumnsThatAreNotThereTakeMemoryForFewRows) {
  io::MemoryFileSystem files;
  const auto wide = arrow::fixed_size_list(arrow::float64(), 1 << 17);
  for (const auto& type : {wide, arrow::struct_({arrow::field("v", wide)})}) {
    const auto schema = SchemaOf(type, 2);
    Manifest manifest{.fields = MakeFields(*schema).ValueOrDie(), .fragments = {{.id = 0, .rows = 400}}};
    arrow::ProxyMemoryPool pool(arrow::default_memory_pool());
    TableReader reader(files, "t", manifest, schema, &pool);
    const auto scan = reader.Scan({}).ValueOrDie();
    for (int i = 0; i < 3; ++i) {
      const auto batch = scan->Next().ValueOrDie();
      ASSERT_TRUE(batch);
      EXPECT_EQ(batch->num_rows(), 7);
    }
    EXPECT_LT(pool.max_memory(), 40 << 20) << type->ToString();
  }
  // A row of many columns.
  const auto schema = SchemaOf(arrow::fixed_size_list(arrow::uint8(), 1 << 28), 30);
  Manifest manifest{.fields = MakeFields(*schema).ValueOrDie(), .fragments = {{.id = 0, .rows = 5}}};
  TableReader reader(files, "t", manifest, schema, arrow::default_memory_pool());
  EXPECT_TRUE(reader.Scan({}).ValueOrDie()->Next().status().IsCapacityError());
  EXPECT_TRUE(reader.Take(std::vector<uint64_t>{3}, {}).status().IsCapacityError());
  EXPECT_TRUE(reader.Take(std::vector<uint64_t>{3}, {"c1"}).ok());
}

// Files of a few rows with all that a file may have.
std::string SmallFile(FileVersion version) {
  const auto point = arrow::struct_({arrow::field("x", arrow::int32()), arrow::field("s", arrow::utf8())});
  const arrow::ArrayVector columns = {
      FromJson(arrow::int64(), "[1, null, 3]"),
      FromJson(arrow::boolean(), "[true, false, null]"),
      FromJson(arrow::utf8(), R"(["ab", null, "c"])"),
      FromJson(arrow::list(arrow::utf8()), R"([["a", null], [], ["bc"]])"),
      FromJson(arrow::fixed_size_list(arrow::uint8(), 2), "[[1, null], [2, 3], null]"),
      FromJson(arrow::list(point), R"([[{"x": 1, "s": "y"}], null, []])"),
  };
  arrow::FieldVector fields;
  for (const auto& column : columns) {
    fields.push_back(arrow::field(std::string(1, static_cast<char>('a' + fields.size())), column->type()));
  }
  const auto written = Write(arrow::RecordBatch::Make(arrow::schema(fields), 3, columns), version);
  const auto names = written->files.List("t/data").ValueOrDie();
  return written->files.Read("t/data/" + names[0]).ValueOrDie();
}

// Errors name the file; what is read in spite of them is sound.
bool Survives(const std::string& bytes, uint64_t batch_rows = 5, int batches = 2) {
  const auto status = ReadFile(std::make_unique<io::MemoryFile>("damaged", bytes), batch_rows, batches,
                               [](const arrow::Array& array, const Range& rows) {
                                 EXPECT_EQ(array.length(), static_cast<int64_t>(rows.count));
                                 // Of how many digits a decimal is, is the writer's word.
                                 const bool decimal = arrow::is_decimal(array.type_id());
                                 const auto sound = decimal ? array.Validate() : array.ValidateFull();
                                 EXPECT_TRUE(sound.ok()) << sound;
                               });
  return status.ok();
}

TEST_P(Versions, TruncatedFilesAreErrors) {
  const std::string file = SmallFile(GetParam());
  ASSERT_TRUE(Survives(file));
  for (size_t size = 0; size < file.size(); ++size) EXPECT_FALSE(Survives(file.substr(0, size))) << size;
}

TEST_P(Versions, FlippedBitsAreErrorsOrOtherValues) {
  std::string file = SmallFile(GetParam());
  size_t survived = 0;
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    char& byte = file[bit / 8];
    const char was = byte;
    byte = static_cast<char>(byte ^ 1 << bit % 8);
    survived += Survives(file) ? 1 : 0;
    byte = was;
  }
  // Values and padding may change unseen, places may not.
  EXPECT_GT(survived, file.size());
  EXPECT_LT(survived, 7 * file.size());
}

// tests/data/make_pylance_files.py made them.
class PylanceFiles : public testing::TestWithParam<const char*> {
 protected:
  static std::string Bytes() {
    const std::string path = std::string(PENNON_TEST_DATA) + "/pylance14-" + GetParam() + ".lance";
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};
INSTANTIATE_TEST_SUITE_P(All, PylanceFiles,
                         testing::Values("flat-2.1", "flat-2.2", "nested-2.2", "fsst-2.2", "zstd-2.2", "lz4-2.1",
                                         "dictionary-2.0", "zstd-2.0", "lz4-2.0", "types-2.0", "types-2.2"));

TEST_P(PylanceFiles, TruncatedOnesAreErrors) {
  const std::string file = Bytes();
  ASSERT_TRUE(Survives(file, 130, 3));
  for (size_t size = 0; size < file.size(); size += 7) EXPECT_FALSE(Survives(file.substr(0, size))) << size;
}

TEST_P(PylanceFiles, FlippedBitsAreErrorsOrOtherValues) {
  std::string file = Bytes();
  size_t survived = 0;
  size_t tried = 0;
  for (size_t bit = 0; bit < 8 * file.size(); bit += 3) {
    char& byte = file[bit / 8];
    const char was = byte;
    byte = static_cast<char>(byte ^ 1 << bit % 8);
    survived += Survives(file, 130, 3) ? 1 : 0;
    ++tried;
    byte = was;
  }
  EXPECT_GT(survived, tried / 10);
  EXPECT_LT(survived, tried);
}

}  // namespace
}  // namespace pennon::lance_format
