#include "io/memory_file_system.h"

#include <set>
#include <utility>

namespace pennon::io {
namespace {

using arrow::Result;
using arrow::Status;

class MemoryFile : public OutputFile {
 public:
  MemoryFile(MemoryFileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}
  Status Write(std::string_view bytes) override {
    bytes_ += bytes;
    return Status::OK();
  }
  Status Close() override { return files_.PutIfAbsent(path_, bytes_); }

 private:
  MemoryFileSystem& files_;
  const std::string path_;
  std::string bytes_;
};

}  // namespace

Result<std::unique_ptr<OutputFile>> MemoryFileSystem::Create(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (files_.contains(path)) return Status::AlreadyExists("cannot create ", path, ": it exists");
  return std::make_unique<MemoryFile>(*this, path);
}

Status MemoryFileSystem::PutIfAbsent(const std::string& path, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (!files_.emplace(path, bytes).second) return Status::AlreadyExists("cannot create ", path, ": it exists");
  return Status::OK();
}

Status MemoryFileSystem::MakeDirectory(const std::string&) { return Status::OK(); }

Result<std::vector<std::string>> MemoryFileSystem::List(const std::string& path) {
  const std::lock_guard lock(mutex_);
  std::set<std::string> names;
  for (const auto& [file, bytes] : files_) {
    if (!file.starts_with(path + "/")) continue;
    const std::string below = file.substr(path.size() + 1);
    names.insert(below.substr(0, below.find('/')));
  }
  return std::vector<std::string>(names.begin(), names.end());
}

Result<std::string> MemoryFileSystem::Read(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto file = files_.find(path);
  if (file == files_.end()) return Status::IOError("cannot open ", path, ": no such file");
  return file->second;
}

}  // namespace pennon::io
