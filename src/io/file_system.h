// Files as Lance tables need them: written once, from start to end, and put in place whole; read anywhere. Paths are
// joined by '/'. Errors are IOError with the path, what was tried and why it failed; AlreadyExists where said.
//
// Threads: a FileSystem and an InputFile may be used from any thread, an OutputFile from one at a time.
#pragma once

#include <cstdint>
#include <functional>
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

struct ReadInto {
  uint64_t offset = 0;
  uint64_t length = 0;
  void* to = nullptr;
};

// One that nobody writes to any more.
class InputFile {
 public:
  virtual ~InputFile() = default;
  virtual const std::string& path() const = 0;
  virtual uint64_t size() const = 0;
  // Bytes that take about as long to be read as one.
  virtual uint64_t quick_bytes() const { return 4096; }
  // All of the bytes from there, or an error that names both.
  virtual arrow::Status ReadAt(uint64_t offset, uint64_t length, void* to) = 0;
  // Several reads at the same time: begun here, done once what comes back was called, which it may be once. The file
  // and where they go to live as long.
  using Finish = std::function<arrow::Status()>;
  virtual Finish StartReads(std::vector<ReadInto> reads);
};

// An IOError unless the file has these bytes.
arrow::Status CheckRange(const InputFile& file, uint64_t offset, uint64_t length);

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
  virtual arrow::Result<std::unique_ptr<InputFile>> Open(const std::string& path) = 0;
  // One that somebody says is there, with so many bytes, so that it need not be asked for; 0: not known. If that is not
  // so, reads of it fail.
  virtual arrow::Result<std::unique_ptr<InputFile>> OpenKnown(const std::string& path, uint64_t size);
  // A whole small file.
  arrow::Result<std::string> Read(const std::string& path);
  // The same in two steps, as InputFile::StartReads. Within the file system's life.
  virtual std::function<arrow::Result<std::string>()> StartRead(const std::string& path);
};

// The machine's. Lives for ever.
FileSystem& LocalFileSystem();

}  // namespace pennon::io
