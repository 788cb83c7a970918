#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "io/file_system.h"

namespace pennon::io {
namespace {

using arrow::Result;
using arrow::Status;

Status Failed(const char* what, const std::string& path, int error = errno) {
  const std::string message =
      std::string("cannot ") + what + " " + path + ": " + std::generic_category().message(error);
  return error == EEXIST ? Status::AlreadyExists(message) : Status::IOError(message);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool Close() { return close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

std::string ParentOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// A name is durable once its directory is.
class Directory {
 public:
  explicit Directory(std::string path)
      : path_(std::move(path)), directory_(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}
  Status Check() const { return directory_.get() < 0 ? Failed("open the directory", path_) : Status::OK(); }
  Status Sync() const { return fsync(directory_.get()) != 0 ? Failed("sync the directory", path_) : Status::OK(); }

 private:
  const std::string path_;
  const Descriptor directory_;
};

Status SyncDirectory(const std::string& path) {
  const Directory directory(path);
  ARROW_RETURN_NOT_OK(directory.Check());
  return directory.Sync();
}

class LocalFile : public OutputFile {
 public:
  LocalFile(std::string path, Descriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  Status Write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Failed("write", path_);
      bytes.remove_prefix(static_cast<size_t>(written));
      written_ += written;
    }
    if (written_ - begun_ >= kPiece) {
      // A hint: the disk works while the next piece is made.
      sync_file_range(file_.get(), begun_, written_ - begun_, SYNC_FILE_RANGE_WRITE);
      begun_ = written_;
    }
    return Status::OK();
  }

  // The bytes alone.
  Status Sync() {
    if (fsync(file_.get()) != 0) return Failed("sync", path_);
    return file_.Close() ? Status::OK() : Failed("close", path_);
  }

  Status Close() override {
    ARROW_RETURN_NOT_OK(Sync());
    return SyncDirectory(ParentOf(path_));
  }

 private:
  static constexpr off_t kPiece = 4 << 20;

  const std::string path_;
  Descriptor file_;
  off_t written_ = 0;
  off_t begun_ = 0;  // what the disk was told to write
};

class LocalInput : public InputFile {
 public:
  LocalInput(std::string path, Descriptor file, uint64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}

  const std::string& path() const override { return path_; }
  uint64_t size() const override { return size_; }
  Status ReadAt(uint64_t offset, uint64_t length, void* to) override {
    ARROW_RETURN_NOT_OK(CheckRange(*this, offset, length));
    for (uint64_t done = 0; done < length;) {
      const ssize_t got =
          pread(file_.get(), static_cast<char*>(to) + done, length - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0)
        return Failed(("read " + std::to_string(length) + " bytes at " + std::to_string(offset) + " of").c_str(),
                      path_);
      if (got == 0)
        return Status::IOError("cannot read ", std::to_string(length), " bytes at ", std::to_string(offset), " of ",
                               path_, ": it has become shorter");
      done += static_cast<uint64_t>(got);
    }
    return Status::OK();
  }
  // What the page cache has is read at once. The disk is told of all the rest before any of that is waited for.
  Finish StartReads(std::vector<ReadInto> reads) override {
    std::vector<ReadInto> left;
    for (ReadInto read : reads) {
      const iovec to{read.to, read.length};
      const auto got = static_cast<uint64_t>(
          std::max<ssize_t>(preadv2(file_.get(), &to, 1, static_cast<off_t>(read.offset), RWF_NOWAIT), 0));
      if (got == read.length) continue;
      read = {read.offset + got, read.length - got, static_cast<char*>(read.to) + got};
      posix_fadvise(file_.get(), static_cast<off_t>(read.offset), static_cast<off_t>(read.length), POSIX_FADV_WILLNEED);
      left.push_back(read);
    }
    return InputFile::StartReads(std::move(left));
  }

 private:
  const std::string path_;
  const Descriptor file_;
  const uint64_t size_;
};

class Local : public FileSystem {
 public:
  Result<std::unique_ptr<OutputFile>> Create(const std::string& path) override {
    ARROW_ASSIGN_OR_RAISE(auto file, Make(path));
    return std::unique_ptr<OutputFile>(std::move(file));
  }

  // link(2) alone makes a complete file appear under a name that must not exist.
  Status PutIfAbsent(const std::string& path, std::string_view bytes) override {
    // Opened before, so that little can fail once the name is there.
    const Directory parent(ParentOf(path));
    ARROW_RETURN_NOT_OK(parent.Check());
    std::random_device random;  // processes of other machines may write here
    const std::string temporary = path + "." + std::to_string(uint64_t{random()} << 32 | random()) + ".tmp";
    ARROW_ASSIGN_OR_RAISE(auto file, Make(temporary));
    Status status = file->Write(bytes);
    if (status.ok()) status = file->Sync();
    if (status.ok() && link(temporary.c_str(), path.c_str()) != 0) status = Failed("create", path);
    unlink(temporary.c_str());
    ARROW_RETURN_NOT_OK(status);
    return parent.Sync();
  }

  Status MakeDirectory(const std::string& path) override {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) return Status::OK();
    const std::string parent = ParentOf(path);
    if (parent != path) ARROW_RETURN_NOT_OK(MakeDirectory(parent));
    std::filesystem::create_directory(path, error);
    if (error) return Failed("make the directory", path, error.value());
    return SyncDirectory(parent);
  }

  Result<std::vector<std::string>> List(const std::string& path) override {
    std::vector<std::string> names;
    std::error_code error;
    std::filesystem::directory_iterator entry(path, error);
    if (error == std::errc::no_such_file_or_directory) return names;
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) return Failed("list", path, error.value());
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<std::vector<FileInfo>> ListFiles(const std::string& path) override {
    std::vector<FileInfo> files;
    std::error_code error;
    std::filesystem::recursive_directory_iterator entry(path, error);
    if (error == std::errc::no_such_file_or_directory) return files;
    for (; !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
      struct stat found;
      if (lstat(entry->path().c_str(), &found) != 0) {
        if (errno == ENOENT) continue;  // others work here
        return Failed("look at", entry->path().string());
      }
      if (!S_ISREG(found.st_mode)) continue;
      files.push_back({entry->path().lexically_relative(path).string(), static_cast<uint64_t>(found.st_size),
                       int64_t{found.st_mtim.tv_sec} * 1000000000 + found.st_mtim.tv_nsec});
    }
    if (error) return Failed("list", path, error.value());
    std::sort(files.begin(), files.end(), [](const FileInfo& a, const FileInfo& b) { return a.path < b.path; });
    return files;
  }

  Status Remove(const std::string& path) override {
    std::error_code error;
    std::filesystem::remove(path, error);
    return error ? Failed("remove", path, error.value()) : Status::OK();
  }

  Result<std::unique_ptr<InputFile>> Open(const std::string& path) override {
    // A pipe that nobody writes would be waited for.
    Descriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (file.get() < 0) return Failed("open", path);
    struct stat found;
    if (fstat(file.get(), &found) != 0) return Failed("open", path);
    if (!S_ISREG(found.st_mode)) return Failed("open", path, S_ISDIR(found.st_mode) ? EISDIR : EINVAL);
    return std::make_unique<LocalInput>(path, std::move(file), static_cast<uint64_t>(found.st_size));
  }

 private:
  static Result<std::unique_ptr<LocalFile>> Make(const std::string& path) {
    Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file.get() < 0) return Failed("create", path);
    return std::make_unique<LocalFile>(path, std::move(file));
  }
};

}  // namespace

FileSystem& LocalFileSystem() {
  static Local local;
  return local;
}

}  // namespace pennon::io
