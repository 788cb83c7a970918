#include "lance/versions.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>
#include <system_error>

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

constexpr std::string_view kManifest = ".manifest";
constexpr size_t kDigits = 20;  // of 2^64 - 1

std::string NameOf(const VersionName& name) {
  if (name.naming == ManifestNaming::kAscending) return std::to_string(name.version) + std::string(kManifest);
  const std::string digits = std::to_string(std::numeric_limits<uint64_t>::max() - name.version);
  return std::string(kDigits - digits.size(), '0') + digits + std::string(kManifest);
}

}  // namespace

std::string VersionName::Path(const std::string& directory) const { return directory + "/_versions/" + NameOf(*this); }

Result<std::vector<VersionName>> ListVersions(io::FileSystem& files, const std::string& directory) {
  const auto names = files.List(directory + "/_versions");
  if (!names.ok()) {
    // A file has none below it.
    if (!files.Open(directory).ok()) return names.status();
    return Status::IOError(directory, ": expected a Lance table, which is a directory, got a file");
  }
  std::vector<VersionName> versions;
  for (const std::string& name : *names) {
    uint64_t number = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), number).ec != std::errc()) continue;
    // No table has as many versions that it takes 20 digits to count up.
    const VersionName version = name.size() == kDigits + kManifest.size()
                                    ? VersionName{std::numeric_limits<uint64_t>::max() - number}
                                    : VersionName{number, ManifestNaming::kAscending};
    if (version.version != 0 && name == NameOf(version)) versions.push_back(version);
  }
  std::sort(versions.begin(), versions.end(),
            [](const VersionName& a, const VersionName& b) { return a.version < b.version; });
  return versions;
}

Result<Manifest> ReadVersion(io::FileSystem& files, const std::string& directory, const VersionName& name) {
  const std::string path = name.Path(directory);
  ARROW_ASSIGN_OR_RAISE(const std::string file, files.Read(path));
  auto manifest = ReadManifest(file);
  if (!manifest.ok()) return manifest.status().WithMessage(path, ": ", manifest.status().message());
  if (manifest->version != name.version) {
    return Status::Invalid(path, ": expected version ", std::to_string(name.version), ", got ",
                           std::to_string(manifest->version));
  }
  return manifest;
}

}  // namespace pennon::lance_format
