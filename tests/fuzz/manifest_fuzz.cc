// Bytes of a manifest, a transaction and a bitmap.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lance/manifest.h"
#include "lance/roaring.h"
#include "lance/schema.h"
#include "lance/transaction.h"
#include "require.h"

namespace {

using pennon::fuzz::Require;
using namespace pennon::lance_format;

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
  const auto bitmap = RoaringView::Make(bytes);
  if (bitmap.ok()) {
    for (const uint32_t value : {0u, 1u, 65535u, 65536u, 0xFFFFFFFFu}) bitmap->Contains(value);
  }
  return 0;
}
