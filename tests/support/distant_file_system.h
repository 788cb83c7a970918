// Files of a server that is far away: each answer takes one round, and what is asked for together comes together.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/file_system.h"

namespace pennon::io {

// For one thread. The other one must outlive it.
class DistantFileSystem : public FileSystem {
 public:
  explicit DistantFileSystem(FileSystem& files) : files_(files) {}

  // That were waited for since it was asked last.
  int TakeRounds() { return std::exchange(now_, 0); }

  arrow::Result<std::unique_ptr<OutputFile>> Create(const std::string& path) override { return files_.Create(path); }
  arrow::Status PutIfAbsent(const std::string& path, std::string_view bytes) override {
    return files_.PutIfAbsent(path, bytes);
  }
  arrow::Status MakeDirectory(const std::string& path) override { return files_.MakeDirectory(path); }
  arrow::Result<std::vector<std::string>> List(const std::string& path) override {
    ++now_;
    return files_.List(path);
  }
  arrow::Result<std::vector<FileInfo>> ListFiles(const std::string& path) override {
    ++now_;
    return files_.ListFiles(path);
  }
  arrow::Status Remove(const std::string& path) override { return files_.Remove(path); }
  arrow::Result<std::unique_ptr<InputFile>> Open(const std::string& path) override {
    ++now_;
    ARROW_ASSIGN_OR_RAISE(auto file, files_.Open(path));
    return std::make_unique<File>(std::move(file), now_);
  }
  arrow::Result<std::unique_ptr<InputFile>> OpenKnown(const std::string& path, uint64_t size) override {
    if (size == 0) return Open(path);
    ARROW_ASSIGN_OR_RAISE(auto file, files_.Open(path));
    return std::make_unique<File>(std::move(file), now_);
  }
  // Its size, then its bytes.
  std::function<arrow::Result<std::string>()> StartRead(const std::string& path) override {
    return [this, there = now_ + 2, path] {
      now_ = std::max(now_, there);
      return files_.Read(path);
    };
  }

 private:
  class File : public InputFile {
   public:
    File(std::unique_ptr<InputFile> file, int& now) : file_(std::move(file)), now_(now) {}
    const std::string& path() const override { return file_->path(); }
    uint64_t size() const override { return file_->size(); }
    arrow::Status ReadAt(uint64_t offset, uint64_t length, void* to) override {
      return StartReads({{offset, length, to}})();
    }
    Finish StartReads(std::vector<ReadInto> reads) override {
      return [this, there = now_ + 1, finish = file_->StartReads(std::move(reads))] {
        now_ = std::max(now_, there);
        return finish();
      };
    }

   private:
    const std::unique_ptr<InputFile> file_;
    int& now_;
  };

  FileSystem& files_;
  int now_ = 0;
};

}  // namespace pennon::io
