// The versions of a table: the manifests in _versions/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "io/file_system.h"
#include "lance/manifest.h"

namespace pennon::lance_format {

// By which names a table is written: 2^64 - 1 - version in 20 digits, or the version (V2 and V1 in Lance).
enum class ManifestNaming { kDescending, kAscending };

struct VersionName {
  uint64_t version = 0;
  ManifestNaming naming = ManifestNaming::kDescending;

  std::string Path(const std::string& directory) const;
};

// Ascending. What else there is in the directory is no version; nor is latest_version_hint.json looked at, which may be
// old.
arrow::Result<std::vector<VersionName>> ListVersions(io::FileSystem& files, const std::string& directory);

// Errors name the file.
arrow::Result<Manifest> ReadVersion(io::FileSystem& files, const std::string& directory, const VersionName& name);

}  // namespace pennon::lance_format
