// Files in memory, for tests.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "io/file_system.h"

namespace pennon::io {

// Outlives its files. One that is not closed has no name.
class MemoryFileSystem : public FileSystem {
 public:
  arrow::Result<std::unique_ptr<OutputFile>> Create(const std::string& path) override;
  arrow::Status PutIfAbsent(const std::string& path, std::string_view bytes) override;
  arrow::Status MakeDirectory(const std::string& path) override;
  arrow::Result<std::vector<std::string>> List(const std::string& path) override;
  arrow::Result<std::string> Read(const std::string& path) override;

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> files_;
};

}  // namespace pennon::io
