// An index in a table: the bytes of index.idx, after their number in four bytes, and those of auxiliary.idx.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include <arrow/api.h>

#include "index/lance_dataset.h"
#include "index/lance_segment.h"
#include "lance/roaring.h"
#include "lance/table.h"
#include "lance/table_reader.h"
#include "require.h"
#include "support/arrays.h"
#include "support/memory_file_system.h"

namespace {

using namespace pennon;

constexpr int kDim = 3;

// Two fragments of 20 rows, of the first of which the index is; a row of that is deleted.
struct Fixture {
  Fixture() {
    const auto type = arrow::fixed_size_list(arrow::float32(), kDim);
    std::string json;
    for (int i = 0; i < 20; ++i) {
      json += (i == 0 ? "[[" : ", [") + std::to_string(i) + ", " + std::to_string(i % 7) + ", " +
              std::to_string(i % 3) + "]";
    }
    const auto schema = arrow::schema({arrow::field("v", type)});
    const auto batch = arrow::RecordBatch::Make(schema, 20, {FromJson(type, json + "]")});
    auto made = lance_format::Table::Create(files, "t", schema).ValueOrDie();
    for (int i = 0; i < 2; ++i) made.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).ValueOrDie();
    lance_format::Manifest manifest = made.manifest();
    manifest.fragments[0].deletions = {.type = lance_format::DeletionFile::kBitmap, .rows = 1};
    const std::string deletions = "t/_deletions/" + manifest.fragments[0].deletions->Name(0);
    fuzz::Require(files.PutIfAbsent(deletions, lance_format::RoaringBitmap({5})).ok(), "a file");
    ++manifest.version;
    manifest.reader_flags = manifest.writer_flags = lance_format::kDeletionFiles;
    manifest.indices = {{.field_ids = {0}, .name = "i", .fragments = lance_format::RoaringBitmap({0}), .version = 1}};
    const std::string name = "t/_versions/" + std::to_string(UINT64_MAX - manifest.version) + ".manifest";
    fuzz::Require(files.PutIfAbsent(name, lance_format::ManifestFile(manifest)).ok(), "a file");
    table = std::make_unique<lance_format::Table>(lance_format::Table::Open(files, "t").ValueOrDie());
    row_ids = std::make_shared<lance_format::RowIds>(lance_format::RowIds::Read(files, "t", manifest).ValueOrDie());
  }

  void Put(const std::string& path, std::string_view bytes) {
    fuzz::Require(files.Remove(path).ok() && files.PutIfAbsent(path, bytes).ok(), "a file");
  }

  io::MemoryFileSystem files;
  std::unique_ptr<lance_format::Table> table;
  std::shared_ptr<const lance_format::RowIds> row_ids;
};

void CheckError(const arrow::Status& status) {
  fuzz::Require(status.IsInvalid() || status.IsNotImplemented() || status.IsIOError() || status.IsCapacityError() ||
                    status.IsOutOfMemory(),
                status.ToString().c_str());
  fuzz::Require(!status.message().empty(), "an error without words");
}

void CheckPartition(const IndexSegment& segment, const lance_format::IndexPartition& partition,
                    lance_format::TableReader& reader) {
  const auto index = lance::Dataset::Impl::LoadPartition(segment, partition, reader, {.threads = 1});
  if (!index.ok()) return CheckError(index.status());
  fuzz::Require(index->Verify().ValueOrDie().ok, "every row is reachable");
  const float query[kDim] = {1, 2, 3};
  for (const bool exact : {false, true}) {
    const Answer answer = index->Search(query, {.k = 30, .exact = exact}).ValueOrDie();
    fuzz::Require(std::all_of(answer.rows.begin(), answer.rows.end(),
                              [&](const SearchResult& row) { return segment.Position(row.row_id).has_value(); }),
                  "a row that the table does not have");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Fixture fixture;
  uint32_t first = 0;
  if (size < sizeof(first)) return 0;
  std::memcpy(&first, data, sizeof(first));
  const std::string_view bytes(reinterpret_cast<const char*>(data) + sizeof(first), size - sizeof(first));
  const lance_format::Table& table = *fixture.table;
  const lance_format::Index& index = table.manifest().indices[0];
  const std::string directory = DirectoryOf(table, index);
  fixture.Put(directory + "/index.idx", bytes.substr(0, first));
  fixture.Put(directory + "/auxiliary.idx", bytes.substr(std::min<size_t>(first, bytes.size())));
  const lance_format::Index* const indices[] = {&index};
  const auto segments = IndexSegment::Open(table, indices, fixture.row_ids, arrow::default_memory_pool());
  if (!segments.ok()) {
    CheckError(segments.status());
    return 0;
  }
  const IndexSegment& segment = segments->front();
  lance_format::TableReader reader(fixture.files, "t", table.manifest(), table.shared_schema(),
                                   arrow::default_memory_pool());
  for (const auto& partition : segment.partitions().partitions) CheckPartition(segment, partition, reader);
  const auto all = segment.AllThere();
  if (!all.ok()) CheckError(all.status());
  return 0;
}
