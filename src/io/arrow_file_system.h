// Where a path or a URI leads: to the machine's files, or to what one of Arrow's file systems opens, to be read alone.
#pragma once

#include <memory>
#include <string>

#include <arrow/filesystem/type_fwd.h>
#include <arrow/result.h>

#include "io/file_system.h"

namespace pennon::io {

struct Location {
  std::shared_ptr<FileSystem> files;
  std::string path;  // there
};

// A path of the machine, or a URI: what has "://" in it. Invalid for one that Arrow does not open.
arrow::Result<Location> Locate(const std::string& path);

// Its files to read; what writes is NotImplemented. Reads go out together on Arrow's threads for that.
std::shared_ptr<FileSystem> MakeArrowFileSystem(std::shared_ptr<arrow::fs::FileSystem> files);

}  // namespace pennon::io
