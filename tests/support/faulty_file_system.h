// Files in memory of a machine that fails: an operation gives an error, or it stops and comes back with what was
// durable. Each place where that may be is a step: before an operation, after it, and in its middle where it is of two.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "io/file_system.h"
#include "support/memory_file_system.h"

namespace pennon::io {

// Used by one thread at a time; outlives its files.
class FaultyFileSystem : public FileSystem {
 public:
  enum class Fault { kNone, kError, kStop };
  // What comes back of that which is not durable: files, and files that were removed.
  enum class Kept { kNothing, kHalf, kAll };

  // At the step of that number from here.
  void Arm(Fault fault, int step) {
    fault_ = fault;
    at_ = step;
    steps_ = 0;
    stopped_ = false;
  }
  int steps() const { return steps_; }

  void Restart(Kept kept) {
    for (auto& [path, bytes] : unsynced_) {
      EXPECT_TRUE(files_.Remove(path).ok());
      if (kept == Kept::kNothing) continue;
      EXPECT_TRUE(
          files_.PutIfAbsent(path, bytes.substr(0, kept == Kept::kHalf ? bytes.size() / 2 : bytes.size())).ok());
    }
    if (kept == Kept::kNothing) {
      EXPECT_TRUE(files_.Remove(put_).ok());
    }
    if (kept == Kept::kAll) {
      for (const auto& [path, bytes] : removed_) EXPECT_TRUE(files_.PutIfAbsent(path, bytes).ok());
    }
    unsynced_.clear();
    removed_.clear();
    put_.clear();
    Arm(Fault::kNone, 0);
  }

  arrow::Result<std::unique_ptr<OutputFile>> Create(const std::string& path) override {
    ARROW_RETURN_NOT_OK(Step(path));
    ARROW_RETURN_NOT_OK(files_.PutIfAbsent(path, ""));
    unsynced_[path] = "";
    ARROW_RETURN_NOT_OK(Step(path));
    return std::make_unique<File>(*this, path);
  }
  arrow::Status PutIfAbsent(const std::string& path, std::string_view bytes) override {
    ARROW_RETURN_NOT_OK(Step(path));
    ARROW_RETURN_NOT_OK(files_.PutIfAbsent(path, bytes));
    put_ = path;
    ARROW_RETURN_NOT_OK(Step(path));
    put_.clear();
    return Step(path);
  }
  arrow::Status MakeDirectory(const std::string& path) override { return Step(path); }
  arrow::Result<std::vector<std::string>> List(const std::string& path) override {
    ARROW_RETURN_NOT_OK(Step(path));
    return files_.List(path);
  }
  arrow::Result<std::vector<FileInfo>> ListFiles(const std::string& path) override {
    ARROW_RETURN_NOT_OK(Step(path));
    return files_.ListFiles(path);
  }
  arrow::Status Remove(const std::string& path) override {
    ARROW_RETURN_NOT_OK(Step(path));
    const auto bytes = files_.Read(path);
    if (bytes.ok()) removed_[path] = *bytes;
    ARROW_RETURN_NOT_OK(files_.Remove(path));
    return Step(path);
  }
  arrow::Result<std::unique_ptr<InputFile>> Open(const std::string& path) override {
    ARROW_RETURN_NOT_OK(Step(path));
    ARROW_ASSIGN_OR_RAISE(auto file, files_.Open(path));
    return std::make_unique<Input>(*this, std::move(file));
  }

 private:
  class File : public OutputFile {
   public:
    File(FaultyFileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}
    arrow::Status Write(std::string_view bytes) override {
      ARROW_RETURN_NOT_OK(files_.Step(path_));
      std::string& written = files_.unsynced_[path_];
      written += bytes;
      ARROW_RETURN_NOT_OK(files_.files_.Remove(path_));
      ARROW_RETURN_NOT_OK(files_.files_.PutIfAbsent(path_, written));
      return files_.Step(path_);
    }
    arrow::Status Close() override {
      ARROW_RETURN_NOT_OK(files_.Step(path_));
      files_.unsynced_.erase(path_);
      return files_.Step(path_);
    }

   private:
    FaultyFileSystem& files_;
    const std::string path_;
  };

  class Input : public InputFile {
   public:
    Input(FaultyFileSystem& files, std::unique_ptr<InputFile> file) : files_(files), file_(std::move(file)) {}
    const std::string& path() const override { return file_->path(); }
    uint64_t size() const override { return file_->size(); }
    arrow::Status ReadAt(uint64_t offset, uint64_t length, void* to) override {
      ARROW_RETURN_NOT_OK(files_.Step(path()));
      return file_->ReadAt(offset, length, to);
    }

   private:
    FaultyFileSystem& files_;
    const std::unique_ptr<InputFile> file_;
  };

  arrow::Status Step(const std::string& path) {
    const bool here = fault_ != Fault::kNone && steps_ == at_;
    ++steps_;
    stopped_ = stopped_ || (here && fault_ == Fault::kStop);
    if (!here && !stopped_) return arrow::Status::OK();
    return arrow::Status::IOError("cannot go on with ", path, ": a fault");
  }

  MemoryFileSystem files_;                       // as a running machine sees them
  std::map<std::string, std::string> unsynced_;  // of these, what is not durable
  std::map<std::string, std::string> removed_;   // not durably
  std::string put_;                              // whole, and its name not durable
  Fault fault_ = Fault::kNone;
  int at_ = 0;
  int steps_ = 0;
  bool stopped_ = false;
};

}  // namespace pennon::io
