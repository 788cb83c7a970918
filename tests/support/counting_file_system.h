// A file system that tells what is read of its files.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/file_system.h"

namespace pennon::io {

// For one thread. The other one must outlive it.
class CountingFileSystem : public FileSystem {
 public:
  struct Read {
    std::string path;
    uint64_t offset;
    uint64_t length;
  };

  explicit CountingFileSystem(FileSystem& files) : files_(files) {}

  // Since it was asked last.
  std::vector<Read> TakeReads() { return std::exchange(counts_.reads, {}); }
  // How many reads went out together, each time, since it was asked last.
  std::vector<size_t> TakeStarts() { return std::exchange(counts_.starts, {}); }
  int most_open() const { return open_.most; }  // files at a time, to read

  arrow::Result<std::unique_ptr<OutputFile>> Create(const std::string& path) override { return files_.Create(path); }
  arrow::Status PutIfAbsent(const std::string& path, std::string_view bytes) override {
    return files_.PutIfAbsent(path, bytes);
  }
  arrow::Status MakeDirectory(const std::string& path) override { return files_.MakeDirectory(path); }
  arrow::Result<std::vector<std::string>> List(const std::string& path) override { return files_.List(path); }
  arrow::Result<std::vector<FileInfo>> ListFiles(const std::string& path) override { return files_.ListFiles(path); }
  arrow::Status Remove(const std::string& path) override { return files_.Remove(path); }
  arrow::Result<std::unique_ptr<InputFile>> Open(const std::string& path) override {
    ARROW_ASSIGN_OR_RAISE(auto file, files_.Open(path));
    return std::make_unique<File>(std::move(file), counts_, open_);
  }

 private:
  struct Counts {
    std::vector<Read> reads;
    std::vector<size_t> starts;
  };
  struct OpenFiles {
    int now = 0;
    int most = 0;
  };
  class File : public InputFile {
   public:
    File(std::unique_ptr<InputFile> file, Counts& counts, OpenFiles& open)
        : file_(std::move(file)), counts_(counts), open_(open) {
      open_.most = std::max(open_.most, ++open_.now);
    }
    ~File() override { --open_.now; }
    const std::string& path() const override { return file_->path(); }
    uint64_t size() const override { return file_->size(); }
    arrow::Status ReadAt(uint64_t offset, uint64_t length, void* to) override {
      counts_.reads.push_back({path(), offset, length});
      return file_->ReadAt(offset, length, to);
    }
    Finish StartReads(std::vector<ReadInto> reads) override {
      counts_.starts.push_back(reads.size());
      return InputFile::StartReads(std::move(reads));
    }

   private:
    const std::unique_ptr<InputFile> file_;
    Counts& counts_;
    OpenFiles& open_;
  };

  FileSystem& files_;
  Counts counts_;
  OpenFiles open_;
};

}  // namespace pennon::io
