// Files as a writer of Lance tables needs them: written once, from start to end, and put in place whole. Paths are
// joined by '/'. Errors are IOError with the path, what was tried and why it failed; AlreadyExists where said.
//
// Threads: a FileSystem may be used from any thread, a file from one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

namespace pennon::io {

// Destroyed without Close, it may leave a part of the file.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual arrow::Status Write(std::string_view bytes) = 0;
  // Makes the bytes and the name durable.
  virtual arrow::Status Close() = 0;
};

struct FileInfo {
  std::string path = {};    // below the directory that was listed
  uint64_t size = 0;        // bytes
  int64_t modified_ns = 0;  // since the epoch
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // AlreadyExists if the path does.
  virtual arrow::Result<std::unique_ptr<OutputFile>> Create(const std::string& path) = 0;
  // The file is there whole and durable, or not at all. AlreadyExists, and nothing has changed, if the path does: of
  // two that put a path one fails.
  virtual arrow::Status PutIfAbsent(const std::string& path, std::string_view bytes) = 0;
  // With its parents, durably; fine if it is there.
  virtual arrow::Status MakeDirectory(const std::string& path) = 0;
  // Names in a directory, sorted; none if there is no such directory.
  virtual arrow::Result<std::vector<std::string>> List(const std::string& path) = 0;
  // Files in a directory and below it, sorted by path.
  virtual arrow::Result<std::vector<FileInfo>> ListFiles(const std::string& path) = 0;
  // A file or an empty directory, which may come back if the machine fails; fine if it is not there.
  virtual arrow::Status Remove(const std::string& path) = 0;
  virtual arrow::Result<std::string> Read(const std::string& path) = 0;
};

// The machine's. Lives for ever.
FileSystem& LocalFileSystem();

}  // namespace pennon::io
