// Bytes of a manifest, a transaction, a bitmap and a sequence of row ids.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lance/manifest.h"
#include "lance/roaring.h"
#include "lance/row_ids.h"
#include "lance/schema.h"
#include "lance/transaction.h"
#include "require.h"
#include "support/memory_file_system.h"

namespace {

using pennon::fuzz::Require;
using namespace pennon::lance_format;

// Of a table without other files.
void CheckRowIds(const Manifest& manifest) {
  pennon::io::MemoryFileSystem files;
  const auto ids = RowIds::Read(files, "t", manifest);
  Require(ids.ok() || ids.status().IsInvalid() || ids.status().IsIOError(), "an unclear error");
  for (const Fragment& fragment : manifest.fragments) {
    const auto runs = ReadRowIds(files, "t", manifest, fragment);
    uint64_t rows = 0;
    for (size_t i = 0; runs.ok() && i < runs->size(); ++i) {
      const IdRun& run = (*runs)[i];
      Require(run.address == (fragment.id << 32 | rows) && run.rows > 0, "runs of rows that follow each other");
      rows += run.rows;
      if (!ids.ok() || fragment.deletions) continue;
      Require(ids->AddressOf(run.id) == run.address, "a row of another id");
      Require(ids->AddressOf(run.id + run.rows - 1) == run.address + run.rows - 1, "a row of another id");
    }
    Require(!runs.ok() || rows == fragment.rows, "an id a row");
  }
}

// It reads back what it writes of it, and writes that as it was.
void CheckManifest(std::string_view bytes) {
  auto manifest = ReadManifest(bytes);
  Require(manifest.ok() || manifest.status().IsInvalid() || manifest.status().IsNotImplemented(), "an unclear error");
  if (!manifest.ok()) return;
  manifest->inline_transaction.clear();
  const std::string written = ManifestFile(*manifest);
  const auto again = ReadManifest(written);
  Require(again.ok(), "a manifest that is not read again");
  Require(ManifestFile(*again) == written, "a manifest that changes");
  CheckRowIds(*manifest);
  const auto schema = MakeSchema(manifest->fields);
  if (schema.ok()) Require((*schema)->num_fields() <= static_cast<int>(manifest->fields.size()), "too many columns");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckManifest(bytes);
  const auto transaction = ReadTransaction(bytes);
  if (transaction.ok()) {
    const Index index{.field_ids = {1}, .name = "i", .fragments = RoaringBitmap({0, 1})};
    for (const auto& status : {CheckAppendFits(*transaction), CheckIndexFits(*transaction, index)}) {
      Require(status.ok() || status.IsAlreadyExists(), "an unclear error");
    }
  }
  CheckRowIds({.fragments = {{.id = 1, .rows = 20, .row_ids = std::string(bytes)}}, .reader_flags = kStableRowIds});
  const auto bitmap = RoaringView::Make(bytes);
  if (bitmap.ok()) {
    for (const uint32_t value : {0u, 1u, 65535u, 65536u, 0xFFFFFFFFu}) bitmap->Contains(value);
  }
  return 0;
}
