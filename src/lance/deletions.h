// Which rows of a fragment are deleted: a file in _deletions/ says it, as a bitmap or as an Arrow file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "io/file_system.h"
#include "lance/manifest.h"
#include "lance/page_decoder.h"

namespace pennon::lance_format {

class Deletions {
 public:
  // None. Of a fragment without such a file it is all there is.
  Deletions() = default;
  // Invalid, naming the file, if that is not of as many rows of the fragment as the manifest says.
  static arrow::Result<Deletions> Read(io::FileSystem& files, const std::string& directory, const Fragment& fragment);
  // The same in two steps, so that several are read at the same time. The fragment lives as long.
  using Reading = std::function<arrow::Result<Deletions>()>;
  static Reading Start(io::FileSystem& files, const std::string& directory, const Fragment& fragment);

  bool Contains(uint64_t row) const;
  // Those of the rows that are left.
  Ranges Left(const Range& rows) const;
  // A row by its place among all that are left.
  uint64_t RowAt(uint64_t place) const;
  // And its place, if it is one of them.
  uint64_t PlaceOf(uint64_t row) const;

 private:
  arrow::Status Parse(std::string_view bytes, const Fragment& fragment);
  void Add(uint64_t first, uint64_t count);

  Ranges ranges_;
  std::vector<uint64_t> left_before_;  // how many rows are left before each
};

}  // namespace pennon::lance_format
