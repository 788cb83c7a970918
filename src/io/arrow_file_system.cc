#include "io/arrow_file_system.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/config.h>
#include <arrow/filesystem/filesystem.h>
#include <arrow/io/interfaces.h>
#include <arrow/util/future.h>
#include <arrow/util/thread_pool.h>

namespace pennon::io {
namespace {

using arrow::Result;
using arrow::Status;

Status Failed(const std::string& what, const std::string& path, const Status& status) {
  return Status::IOError("cannot ", what, " ", path, ": ", status.message());
}

// Some of Arrow's file systems throw what their services' libraries do.
template <typename Function>
auto Caught(Function&& function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::exception& error) {
    return Status::IOError(error.what());
  }
}

// Does it on one of Arrow's threads for that.
template <typename Function>
auto Start(const arrow::io::IOContext& context, Function function) {
  return arrow::DeferNotOk(context.executor()->Submit([function = std::move(function)] { return Caught(function); }));
}

using FilePtr = std::shared_ptr<arrow::io::RandomAccessFile>;

class ArrowInput : public InputFile {
 public:
  // The file may be on its way.
  ArrowInput(std::string path, arrow::Future<FilePtr> file, uint64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}

  const std::string& path() const override { return path_; }
  uint64_t size() const override { return size_; }
  uint64_t quick_bytes() const override { return 64 << 10; }
  Status ReadAt(uint64_t offset, uint64_t length, void* to) override { return StartReads({{offset, length, to}})(); }

  Finish StartReads(std::vector<ReadInto> reads) override {
    std::vector<arrow::Future<std::shared_ptr<arrow::Buffer>>> begun;
    for (const ReadInto& read : reads) {
      Status status = CheckRange(*this, read.offset, read.length);
      if (!status.ok()) return [status] { return status; };
      begun.push_back(file_.Then([offset = read.offset, length = read.length](const FilePtr& file) {
        return Start(file->io_context(),
                     [=] { return file->ReadAt(static_cast<int64_t>(offset), static_cast<int64_t>(length)); });
      }));
    }
    return [this, reads = std::move(reads), begun = std::move(begun)]() mutable -> Status {
      for (size_t i = 0; i < reads.size(); ++i) {
        const auto& [offset, length, to] = reads[i];
        const auto& bytes = begun[i].result();
        const std::string what = "read " + std::to_string(length) + " bytes at " + std::to_string(offset) + " of";
        if (!bytes.ok()) return Failed(what, path_, bytes.status());
        if (static_cast<uint64_t>((*bytes)->size()) != length) {
          return Failed(what, path_, Status::IOError("got ", (*bytes)->size()));
        }
        if (length > 0) std::memcpy(to, (*bytes)->data(), length);
        begun[i] = {};
      }
      return Status::OK();
    };
  }

 private:
  const std::string path_;
  const arrow::Future<FilePtr> file_;
  const uint64_t size_;
};

class ArrowFileSystem : public FileSystem {
 public:
  explicit ArrowFileSystem(std::shared_ptr<arrow::fs::FileSystem> files) : files_(std::move(files)) {}

  Result<std::unique_ptr<OutputFile>> Create(const std::string& path) override { return ReadOnly(path); }
  Status PutIfAbsent(const std::string& path, std::string_view) override { return ReadOnly(path); }
  Status MakeDirectory(const std::string& path) override { return ReadOnly(path); }
  Status Remove(const std::string& path) override { return ReadOnly(path); }

  Result<std::vector<std::string>> List(const std::string& path) override {
    ARROW_ASSIGN_OR_RAISE(const auto found, Find(path, false));
    std::vector<std::string> names;
    for (const arrow::fs::FileInfo& info : found) names.push_back(info.base_name());
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<std::vector<FileInfo>> ListFiles(const std::string& path) override {
    ARROW_ASSIGN_OR_RAISE(const auto found, Find(path, true));
    std::vector<FileInfo> files;
    for (const arrow::fs::FileInfo& info : found) {
      if (!info.IsFile()) continue;
      const std::chrono::nanoseconds modified = info.mtime().time_since_epoch();
      files.push_back({info.path().substr(path.size() + 1), static_cast<uint64_t>(info.size()), modified.count()});
    }
    std::sort(files.begin(), files.end(), [](const FileInfo& a, const FileInfo& b) { return a.path < b.path; });
    return files;
  }

  Result<std::unique_ptr<InputFile>> Open(const std::string& path) override {
    auto file = Caught([&] { return files_->OpenInputFile(path); });
    if (!file.ok()) return Failed("open", Named(path), file.status());
    const auto size = Caught([&] { return (*file)->GetSize(); });
    if (!size.ok()) return Failed("open", Named(path), size.status());
    return std::make_unique<ArrowInput>(Named(path), arrow::Future<FilePtr>::MakeFinished(*std::move(file)),
                                        static_cast<uint64_t>(*size));
  }

  // s3:// is asked for nothing then; others are while what is read waits for it.
  Result<std::unique_ptr<InputFile>> OpenKnown(const std::string& path, uint64_t size) override {
    if (size == 0 || size > INT64_MAX) return Open(path);
    arrow::fs::FileInfo info(path, arrow::fs::FileType::File);
    info.set_size(static_cast<int64_t>(size));
    auto file = Start(files_->io_context(), [files = files_, info] { return files->OpenInputFile(info); });
    return std::make_unique<ArrowInput>(Named(path), std::move(file), size);
  }

  std::function<Result<std::string>()> StartRead(const std::string& path) override {
    auto bytes = Start(files_->io_context(), [files = files_, path]() -> Result<std::string> {
      ARROW_ASSIGN_OR_RAISE(const auto file, files->OpenInputFile(path));
      ARROW_ASSIGN_OR_RAISE(const int64_t size, file->GetSize());
      ARROW_ASSIGN_OR_RAISE(const auto buffer, file->ReadAt(0, size));
      if (buffer->size() != size) return Status::IOError("expected ", size, " bytes, got ", buffer->size());
      return buffer->ToString();
    });
    return [bytes = std::move(bytes), named = Named(path)]() -> Result<std::string> {
      return bytes.result().ok() ? bytes.result() : Failed("read", named, bytes.status());
    };
  }

 private:
  std::string Named(const std::string& path) const {
    const std::string type = files_->type_name();
    return (type == "gcs" ? "gs" : type) + "://" + path;
  }
  Status ReadOnly(const std::string& path) const {
    return Status::NotImplemented("cannot write ", Named(path), ": writing is for local file systems");
  }
  Result<std::vector<arrow::fs::FileInfo>> Find(const std::string& path, bool recursive) {
    arrow::fs::FileSelector selector;
    selector.base_dir = path;
    selector.allow_not_found = true;
    selector.recursive = recursive;
    auto found = Caught([&] { return files_->GetFileInfo(selector); });
    if (!found.ok()) return Failed("list", Named(path), found.status());
    return found;
  }

  const std::shared_ptr<arrow::fs::FileSystem> files_;
};

// Some builds of Arrow have S3 in a library beside their own, which tells of itself once it is loaded.
Status LoadS3() {
  Dl_info arrow;
  if (dladdr(&arrow::GetBuildInfo(), &arrow) == 0) return Status::IOError("Arrow's library was not found");
  constexpr std::string_view kArrow = "libarrow.so";
  std::string path = arrow.dli_fname;
  const size_t name = path.rfind(kArrow);
  if (name == std::string::npos) return Status::NotImplemented("this Arrow is not ", kArrow);
  path.replace(name, kArrow.size(), "libarrow_s3.so");
  return arrow::fs::LoadFileSystemFactories(path.c_str());
}

}  // namespace

std::shared_ptr<FileSystem> MakeArrowFileSystem(std::shared_ptr<arrow::fs::FileSystem> files) {
  return std::make_shared<ArrowFileSystem>(std::move(files));
}

Result<Location> Locate(const std::string& path) {
  if (path.find('\0') != std::string::npos) return Status::Invalid("path: expected no zero byte in it, got one");
  const std::shared_ptr<FileSystem> local(std::shared_ptr<void>(), &LocalFileSystem());
  const size_t scheme = path.starts_with("file:/") ? 4 : path.find("://");
  if (scheme == std::string::npos) return Location{local, path};
  Location location;
  const auto open = [&] { return Caught([&] { return arrow::fs::FileSystemFromUri(path, &location.path); }); };
  auto files = open();
  if (!files.ok() && path.starts_with("s3://")) {
    static const Status loaded = LoadS3();
    if (loaded.ok()) files = open();
  }
  if (!files.ok()) {
    // What Arrow says quotes it, and there may be a password in it.
    const std::string of = path.substr(0, scheme) + "://...";
    std::string message = files.status().message();
    for (size_t at = 0; (at = message.find(path, at)) != std::string::npos; at += of.size()) {
      message.replace(at, path.size(), of);
    }
    return Status::Invalid("path: expected a URI that Arrow opens, got ", of, ": ", message);
  }
  while (location.path.size() > 1 && location.path.ends_with('/')) location.path.pop_back();
  location.files = (*files)->type_name() == "local" ? local : MakeArrowFileSystem(*std::move(files));
  return location;
}

}  // namespace pennon::io
