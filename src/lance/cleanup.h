// Files in a table's directory that no version names: of writers that failed, were killed or lost a race, and of
// versions that others have removed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "io/file_system.h"

namespace pennon::lance_format {

// Those last written before a time, in nanoseconds since the epoch, by path from the directory: the files of a commit
// that is under way are such, too. Files of kinds that are not known here are not among them. IOError if there is no
// table, NotImplemented if it has branches, whose versions are elsewhere, or a version that cannot be read here.
arrow::Result<std::vector<io::FileInfo>> FindOrphans(io::FileSystem& files, const std::string& directory,
                                                     int64_t before_ns);
// And directories that are empty then.
arrow::Status RemoveFiles(io::FileSystem& files, const std::string& directory, const std::vector<io::FileInfo>& found);

}  // namespace pennon::lance_format
