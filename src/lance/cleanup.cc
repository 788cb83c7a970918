#include "lance/cleanup.h"

#include <set>
#include <string_view>
#include <utility>

#include "lance/versions.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// What versions name: files, and directories of indices with all that is in them.
class Named {
 public:
  void Add(const Manifest& manifest) {
    for (const Fragment& fragment : manifest.fragments) {
      for (const DataFile& file : fragment.files) paths_.insert("data/" + file.path);
      if (fragment.deletions) paths_.insert("_deletions/" + fragment.deletions->Name(fragment.id));
      if (fragment.row_ids_file) paths_.insert(fragment.row_ids_file->path);
    }
    for (const Index& index : manifest.indices) paths_.insert("_indices/" + index.uuid.ToString());
    paths_.insert("_transactions/" + manifest.transaction_file);
  }

  bool Has(const std::string& path) const {
    if (path.starts_with("_indices/")) return paths_.contains(path.substr(0, path.find('/', 9)));
    return paths_.contains(path);
  }

 private:
  std::set<std::string> paths_;
};

// Whether it is of a kind that a version would name if it were of any. What put-if-absent leaves is none's.
bool IsKnown(std::string_view path) {
  const size_t slash = path.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view folder = path.substr(0, slash);
  const std::string_view name = path.substr(slash + 1);
  if (folder == "_indices") return name.find('/') != std::string_view::npos;
  if (name.find('/') != std::string_view::npos) return false;
  return (folder == "data" && name.ends_with(".lance")) || (folder == "_transactions" && name.ends_with(".txn")) ||
         (folder == "_deletions" && (name.ends_with(".arrow") || name.ends_with(".bin"))) ||
         (folder == "_versions" && name.ends_with(".tmp") && name.find(".manifest.") != std::string_view::npos);
}

}  // namespace

Result<std::vector<io::FileInfo>> FindOrphans(io::FileSystem& files, const std::string& directory, int64_t before_ns) {
  // Before the versions, so that what is committed meanwhile is seen to be named.
  const auto all = files.ListFiles(directory);
  ARROW_ASSIGN_OR_RAISE(const auto versions, ListVersions(files, directory));
  ARROW_RETURN_NOT_OK(all);
  if (versions.empty()) return Status::IOError(directory, ": expected a Lance table, found none");
  Named named;
  for (const VersionName& version : versions) {
    ARROW_ASSIGN_OR_RAISE(const auto manifest, ReadVersion(files, directory, version));
    named.Add(manifest);
  }
  std::vector<io::FileInfo> orphans;
  for (const io::FileInfo& file : *all) {
    if (file.path.starts_with("tree/")) {
      return Status::NotImplemented(directory, ": expected a table without branches, found ", file.path);
    }
    if (file.modified_ns < before_ns && IsKnown(file.path) && !named.Has(file.path)) orphans.push_back(file);
  }
  return orphans;
}

Status RemoveFiles(io::FileSystem& files, const std::string& directory, const std::vector<io::FileInfo>& found) {
  std::set<std::string> folders;
  for (const io::FileInfo& file : found) {
    const std::string path = directory + "/" + file.path;
    ARROW_RETURN_NOT_OK(files.Remove(path));
    if (file.path.starts_with("_indices/")) folders.insert(path.substr(0, path.rfind('/')));
  }
  for (const std::string& folder : folders) {
    ARROW_ASSIGN_OR_RAISE(const auto left, files.List(folder));
    if (left.empty()) ARROW_RETURN_NOT_OK(files.Remove(folder));
  }
  return Status::OK();
}

}  // namespace pennon::lance_format
