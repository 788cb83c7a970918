// `make_corpus FOLDER`: writes sound inputs, from which each fuzz target starts, to FOLDER/<target>/.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>

#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <parquet/arrow/writer.h>

#include "lance/manifest.h"
#include "lance/roaring.h"
#include "lance/schema.h"
#include "lance/table.h"
#include "lance/transaction.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "support/arrays.h"
#include "support/memory_file_system.h"
#include "support/row_ids.h"

namespace {

constexpr int kDim = 3;

std::filesystem::path folder;

void Write(const char* target, const std::string& name, std::string_view bytes) {
  std::filesystem::create_directories(folder / target);
  std::ofstream file(folder / target / name, std::ios::binary);
  if (!(file << bytes).flush()) throw std::runtime_error("cannot write " + (folder / target / name).string());
}

template <typename T>
std::string Bytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::shared_ptr<arrow::Array> Vectors(int rows, bool half) {
  std::mt19937 random(1);
  arrow::FloatBuilder floats;
  arrow::HalfFloatBuilder halves;
  for (int i = 0; i < rows * kDim; ++i) {
    const auto value = static_cast<uint16_t>(random() % 512);
    PARQUET_THROW_NOT_OK(half ? halves.Append(value) : floats.Append(value));
  }
  const auto values = half ? halves.Finish().ValueOrDie() : floats.Finish().ValueOrDie();
  return arrow::FixedSizeListArray::FromArrays(values, kDim).ValueOrDie();
}

void WriteImports() {
  for (const int m : {2, 16}) {
    for (const int rows : {0, 1, 8, 20}) {
      using namespace pennon;
      LiveIndex index =
          LiveIndex::Make({.dim = kDim, .build = {.max_level = 4, .m = m, .ef_construction = m + 4}}).ValueOrDie();
      index.Append(Vectors(rows, false)).ValueOrDie();
      const auto batch = index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
      for (const bool stream : {true, false}) {
        const auto out = arrow::io::BufferOutputStream::Create().ValueOrDie();
        const auto writer = (stream ? arrow::ipc::MakeStreamWriter(out, batch->schema())
                                    : arrow::ipc::MakeFileWriter(out, batch->schema()))
                                .ValueOrDie();
        PARQUET_THROW_NOT_OK(writer->WriteRecordBatch(*batch));
        PARQUET_THROW_NOT_OK(writer->Close());
        const std::string name = std::to_string(m) + "-" + std::to_string(rows) + (stream ? "-stream" : "-file");
        Write("import_bytes_fuzz", name, std::string_view(*out->Finish().ValueOrDie()));
      }
    }
  }
}

void WriteVectorFiles() {
  const auto npy = [](const char* name, const std::string& descr, int width, char version) {
    const std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (5, 3), }\n";
    const auto size = Bytes(static_cast<uint32_t>(header.size())).substr(0, version == 1 ? 2 : 4);
    Write(
        "npy_fuzz", name,
        std::string("\x93NUMPY") + version + '\0' + size + header + std::string(static_cast<size_t>(15 * width), '\1'));
  };
  npy("f4", "<f4", 4, 1);
  npy("f4-2", "<f4", 4, 2);
  npy("f2", "<f2", 2, 1);
  npy("f8", "<f8", 8, 3);
  std::string fvecs;
  std::string bvecs;
  for (int row = 0; row < 4; ++row) {
    fvecs += Bytes(int32_t{kDim}) + Bytes(1.5f) + Bytes(-2.0f) + Bytes(1e30f);
    bvecs += Bytes(int32_t{kDim}) + "abc";
  }
  Write("vecs_fuzz", "fvecs", fvecs);
  Write("vecs_fuzz", "bvecs", bvecs);
  Write("csv_fuzz", "header", "a,b\n1,-2\n3.5,4e1\n");
  Write("csv_fuzz", "quoted", "\xEF\xBB\xBF\"1\",2\r\n\"3\",4");
  Write("csv_fuzz", "words", "1,2\n\n,x\nnan,inf\n");
}

void WriteTables() {
  for (const bool half : {false, true}) {
    arrow::Int64Builder ids;
    arrow::StringBuilder words;
    for (int i = 0; i < 8; ++i) {
      PARQUET_THROW_NOT_OK(ids.Append(i));
      PARQUET_THROW_NOT_OK(words.Append("word " + std::to_string(i)));
    }
    arrow::ArrayVector columns = {Vectors(8, half), ids.Finish().ValueOrDie(), words.Finish().ValueOrDie()};
    const auto table =
        arrow::Table::Make(arrow::schema({arrow::field("vector", columns[0]->type()),
                                          arrow::field("row_id", arrow::int64()), arrow::field("text", arrow::utf8())}),
                           columns);
    const std::string name = half ? "half" : "float";
    const auto ipc = arrow::io::BufferOutputStream::Create().ValueOrDie();
    const auto writer = arrow::ipc::MakeFileWriter(ipc, table->schema()).ValueOrDie();
    PARQUET_THROW_NOT_OK(writer->WriteTable(*table));
    PARQUET_THROW_NOT_OK(writer->Close());
    Write("table_fuzz", name + ".arrow", std::string_view(*ipc->Finish().ValueOrDie()));
    const auto out = arrow::io::BufferOutputStream::Create().ValueOrDie();
    PARQUET_THROW_NOT_OK(parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), out));
    Write("table_fuzz", name + ".parquet", std::string_view(*out->Finish().ValueOrDie()));
  }
}

// Files of all kinds of columns, small enough for the fuzzer.
void WriteLanceFiles() {
  using arrow::field;
  const auto point = arrow::struct_({field("x", arrow::int32()), field("s", arrow::utf8())});
  const std::pair<std::shared_ptr<arrow::DataType>, const char*> columns[] = {
      {arrow::int64(), "[1, 2, null]"},
      {arrow::boolean(), "[true, null, false]"},
      {arrow::utf8(), R"(["a", null, "bc"])"},
      {arrow::large_binary(), R"(["a", "", "bc"])"},
      {arrow::decimal128(10, 2), R"(["1.25", null, "2.00"])"},
      {arrow::fixed_size_list(arrow::float16(), 2), "[[1, 2], null, [3, null]]"},
      {arrow::list(arrow::int32()), "[[1, null], null, []]"},
      {point, R"([{"x": 1, "s": "a"}, {"x": null, "s": null}, {"x": 2, "s": ""}])"},
      {arrow::list(point), R"([[{"x": 1, "s": "a"}], null, []])"},
      {arrow::list(arrow::list(arrow::utf8())), R"([[["a"], []], null, []])"},
  };
  using namespace pennon;
  for (const auto version : {lance_format::FileVersion::k2_0, lance_format::FileVersion::k2_2}) {
    int number = 0;
    for (const auto& [type, json] : columns) {
      io::MemoryFileSystem files;
      const auto schema = arrow::schema({field("c", type)});
      auto table = lance_format::Table::Create(files, "t", schema, {.pages = {.version = version}}).ValueOrDie();
      const auto batch = arrow::RecordBatch::Make(schema, 3, {FromJson(type, json)});
      table.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ValueOrDie();
      const auto name = files.List("t/data").ValueOrDie()[0];
      const bool v20 = version == lance_format::FileVersion::k2_0;
      Write("lance_file_fuzz", std::to_string(number++) + (v20 ? "-20" : "-22"),
            files.Read("t/data/" + name).ValueOrDie());
    }
  }
}

// As pylance writes them; tests/data/make_pylance_files.py made them.
void WritePylanceFiles() {
  for (const auto& entry : std::filesystem::directory_iterator(PENNON_TEST_DATA)) {
    const bool of_index = entry.path().extension() == ".index";
    if (!entry.is_regular_file() || (!of_index && entry.path().extension() != ".lance")) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    Write(of_index ? "lance_index_fuzz" : "lance_file_fuzz", entry.path().filename().string(),
          std::string(std::istreambuf_iterator<char>(file), {}));
  }
}

// As Pennon writes them.
void WriteIndices() {
  using namespace pennon;
  const auto vectors = Vectors(20, false);
  const auto schema = arrow::schema({arrow::field("v", vectors->type())});
  const auto batch = arrow::RecordBatch::Make(schema, 20, {vectors});
  LiveIndex index =
      LiveIndex::Make({.dim = kDim, .build = {.max_level = 4, .m = 2, .ef_construction = 4}}).ValueOrDie();
  index.Append(vectors).ValueOrDie();
  const std::string path = (folder / "indices.lance").string();
  for (const bool sq : {false, true}) {
    std::filesystem::remove_all(path);
    auto dataset = lance::Dataset::Create(path, schema).ValueOrDie();
    dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ValueOrDie();
    const auto type = sq ? lance::IndexType::kHnswSq : lance::IndexType::kHnswFlat;
    index.GetSnapshot().ValueOrDie().ToLance(dataset, {.type = type}).ValueOrDie();
    std::string bytes;
    for (const auto& entry : std::filesystem::directory_iterator(path + "/_indices")) {
      const std::string graph = io::LocalFileSystem().Read(entry.path().string() + "/index.idx").ValueOrDie();
      bytes = Bytes(static_cast<uint32_t>(graph.size())) + graph +
              io::LocalFileSystem().Read(entry.path().string() + "/auxiliary.idx").ValueOrDie();
    }
    Write("lance_index_fuzz", sq ? "sq" : "flat", bytes);
  }
  std::filesystem::remove_all(path);
}

void WriteManifests() {
  using namespace pennon::lance_format;
  Manifest manifest{
      .version = 3,
      .fields = MakeFields(*arrow::schema({arrow::field("a", arrow::list(arrow::int8())),
                                           arrow::field("v", arrow::fixed_size_list(arrow::float32(), 3))}))
                    .ValueOrDie(),
      .max_fragment_id = 1};
  const DataFile file{.path = "x.lance", .field_ids = {0, 1, 2}, .columns = {0, 1, 2}, .size = 9};
  manifest.fragments = {{.id = 0, .files = {file}, .rows = 5, .deletions = DeletionFile{.rows = 1}},
                        {.id = 1, .files = {file}, .rows = 6}};
  const Index index{.field_ids = {2},
                    .name = "i",
                    .fragments = RoaringBitmap({0, 1, 70000}),
                    .version = 1,
                    .created_at_ms = 7,
                    .files = {{"index.idx", 5}}};
  Write("manifest_fuzz", "plain", ManifestFile(manifest));
  manifest.indices = {index};
  Write("manifest_fuzz", "indexed", ManifestFile(manifest));
  using namespace pennon;
  const std::string sequences[] = {
      IdRange(5, 25), IdsWithHoles(0, 22, Numbers(2, 0, {3, 4})),
      IdsWithHoles(0, 9, Numbers(4, 2, {1})) + IdRange(90, 102), IdsOfBitmap(8, 33, "\xff\xf0\xff\x00") + IdRange(0, 1),
      SortedIds(Numbers(4, 7, {0, 1, 70000, 70001})) + Ids(Numbers(8, 0, {9, 2, 1})) + IdRange(100, 113)};
  int number = 0;
  for (const std::string& sequence : sequences) {
    Write("manifest_fuzz", "row-ids-" + std::to_string(number++), sequence);
    manifest.fragments[1].rows = 20;
    manifest.fragments[1].row_ids = sequence;
    manifest.fragments[0] = {.id = 0, .rows = 3, .row_ids = IdRange(uint64_t{1} << 40, (uint64_t{1} << 40) + 3)};
    manifest.reader_flags = manifest.writer_flags = kStableRowIds;
    Write("manifest_fuzz", "stable-" + std::to_string(number), ManifestFile(manifest));
  }
  Write("manifest_fuzz", "bitmap", *index.fragments);
  Write("manifest_fuzz", "overwrite", OverwriteTransaction(0, {}, manifest.fragments, manifest.fields));
  Write("manifest_fuzz", "append", AppendTransaction(1, {}, manifest.fragments));
  Write("manifest_fuzz", "index", CreateIndexTransaction(1, {}, index, {index}));
  Write("manifest_fuzz", "rewrite", "\xc2\x06\x08\x1a\x06\x0a\x04\x08\x01\x20\x01");
  Write("manifest_fuzz", "update", "\xe2\x06\x07\x12\x02\x08\x01\x22\x01\x02");
}

// What a target makes of these is its own affair.
void WriteNoise(const char* target, size_t files, size_t bytes) {
  std::mt19937 random(2);
  for (size_t i = 0; i < files; ++i) {
    std::string noise(bytes, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    Write(target, "noise-" + std::to_string(i), noise);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_corpus FOLDER\n";
    return 2;
  }
  folder = argv[1];
  WriteImports();
  WriteVectorFiles();
  WriteTables();
  WriteLanceFiles();
  WritePylanceFiles();
  WriteIndices();
  WriteManifests();
  WriteNoise("import_columns_fuzz", 40, 64);
  WriteNoise("options_fuzz", 100, 2000);
  return 0;
}
