// Several places of a file at a time, in few reads.
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

// The bytes of each range, which may overlap and come in any order. Those that are no farther than this from each other
// share a read.
constexpr uint64_t kCloseBytes = 4096;
arrow::Result<std::vector<std::shared_ptr<arrow::Buffer>>> ReadRanges(InputFile& file,
                                                                      std::span<const ByteRange> ranges,
                                                                      arrow::MemoryPool* pool);

}  // namespace pennon::io
