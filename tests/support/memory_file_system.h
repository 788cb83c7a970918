// Files in memory.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/file_system.h"

namespace pennon::io {

// Bytes as a file.
class MemoryFile : public InputFile {
 public:
  MemoryFile(std::string path, std::string bytes) : path_(std::move(path)), bytes_(std::move(bytes)) {}

  const std::string& path() const override { return path_; }
  uint64_t size() const override { return bytes_.size(); }
  arrow::Status ReadAt(uint64_t offset, uint64_t length, void* to) override {
    ARROW_RETURN_NOT_OK(CheckRange(*this, offset, length));
    if (length > 0) std::memcpy(to, bytes_.data() + offset, length);
    return arrow::Status::OK();
  }

 private:
  const std::string path_;
  const std::string bytes_;
};

// Outlives its files. One that is not closed has no name.
class MemoryFileSystem : public FileSystem {
 public:
  arrow::Result<std::unique_ptr<OutputFile>> Create(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (files_.contains(path)) return arrow::Status::AlreadyExists("cannot create ", path, ": it exists");
    return std::make_unique<File>(*this, path);
  }
  arrow::Status PutIfAbsent(const std::string& path, std::string_view bytes) override {
    const std::lock_guard lock(mutex_);
    if (files_.emplace(path, bytes).second) return arrow::Status::OK();
    return arrow::Status::AlreadyExists("cannot create ", path, ": it exists");
  }
  arrow::Status MakeDirectory(const std::string&) override { return arrow::Status::OK(); }
  arrow::Result<std::vector<std::string>> List(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    std::set<std::string> names;
    for (const auto& [file, bytes] : files_) {
      if (!file.starts_with(path + "/")) continue;
      const std::string below = file.substr(path.size() + 1);
      names.insert(below.substr(0, below.find('/')));
    }
    return std::vector<std::string>(names.begin(), names.end());
  }
  arrow::Result<std::vector<FileInfo>> ListFiles(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    std::vector<FileInfo> found;
    for (const auto& [file, bytes] : files_) {
      if (file.starts_with(path + "/")) found.push_back({file.substr(path.size() + 1), bytes.size(), 0});
    }
    return found;
  }
  arrow::Status Remove(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    files_.erase(path);
    return arrow::Status::OK();
  }
  arrow::Result<std::unique_ptr<InputFile>> Open(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    const auto file = files_.find(path);
    if (file == files_.end()) return arrow::Status::IOError("cannot open ", path, ": no such file");
    return std::make_unique<MemoryFile>(path, file->second);
  }

 private:
  class File : public OutputFile {
   public:
    File(MemoryFileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}
    arrow::Status Write(std::string_view bytes) override {
      bytes_ += bytes;
      return arrow::Status::OK();
    }
    arrow::Status Close() override { return files_.PutIfAbsent(path_, bytes_); }

   private:
    MemoryFileSystem& files_;
    const std::string path_;
    std::string bytes_;
  };

  std::mutex mutex_;
  std::map<std::string, std::string> files_;
};

}  // namespace pennon::io
