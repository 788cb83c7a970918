#include "io/file_system.h"

#include <utility>

namespace pennon::io {

using arrow::Result;
using arrow::Status;

Status CheckRange(const InputFile& file, uint64_t offset, uint64_t length) {
  if (offset <= file.size() && length <= file.size() - offset) return Status::OK();
  return Status::IOError("cannot read ", std::to_string(length), " bytes at ", std::to_string(offset), " of ",
                         file.path(), ": it has ", std::to_string(file.size()));
}

InputFile::Finish InputFile::StartReads(std::vector<ReadInto> reads) {
  return [this, reads = std::move(reads)]() -> Status {
    for (const ReadInto& read : reads) ARROW_RETURN_NOT_OK(ReadAt(read.offset, read.length, read.to));
    return Status::OK();
  };
}

Result<std::string> FileSystem::Read(const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(const auto file, Open(path));
  std::string bytes(file->size(), '\0');
  ARROW_RETURN_NOT_OK(file->ReadAt(0, bytes.size(), bytes.data()));
  return bytes;
}

Result<std::unique_ptr<InputFile>> FileSystem::OpenKnown(const std::string& path, uint64_t) { return Open(path); }

std::function<Result<std::string>()> FileSystem::StartRead(const std::string& path) {
  return [this, path] { return Read(path); };
}

}  // namespace pennon::io
