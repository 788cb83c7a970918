// Several places of files at a time, in few reads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/memory_pool.h>
#include <arrow/result.h>

#include "io/file_system.h"

namespace pennon::io {

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

using Buffers = std::vector<std::shared_ptr<arrow::Buffer>>;

// The bytes of each range of a file, which may overlap and come in any order. Those that are no farther than this from
// each other share a read.
constexpr uint64_t kCloseBytes = 4096;
class RangesRead {
 public:
  // Reads go out here, so that those of several files can be under way together. The file must outlive this.
  static arrow::Result<RangesRead> Start(InputFile& file, std::span<const ByteRange> ranges, arrow::MemoryPool* pool);
  // Once.
  arrow::Result<Buffers> Finish();

 private:
  Buffers buffers_;
  InputFile::Finish finish_;
};

arrow::Result<Buffers> ReadRanges(InputFile& file, std::span<const ByteRange> ranges, arrow::MemoryPool* pool);

}  // namespace pennon::io
