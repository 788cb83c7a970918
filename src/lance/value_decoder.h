// Bytes of a page of version 2.1 on back to values, as a ValueEncoding tells.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/memory_pool.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "lance/fsst.h"
#include "lance/value_encoding.h"

namespace pennon::lance_format {

// Of one width, or bytes between offsets.
struct DecodedValues {
  uint64_t count = 0;
  std::shared_ptr<arrow::Buffer> bytes = {};
  std::vector<int64_t> offsets = {};  // one more than values, within bytes; empty: of one width
  // Of lists of a fixed size, items' of lists in those, and so on; null: all are valid.
  std::vector<std::shared_ptr<arrow::Buffer>> item_validity = {};
};

// What a buffer of the scheme was. Invalid if that is more than `most` bytes.
arrow::Result<std::shared_ptr<arrow::Buffer>> Decompress(ValueEncoding::Scheme scheme, std::string_view bytes,
                                                         uint64_t most, arrow::MemoryPool* pool);

class ValueDecoder {
 public:
  static arrow::Result<ValueDecoder> Make(const ValueEncoding& encoding, arrow::MemoryPool* pool);

  const ValueEncoding& encoding() const { return encoding_; }
  // From the buffers of a chunk, of which as many are taken as the encoding has.
  arrow::Result<DecodedValues> DecodeChunk(std::vector<std::shared_ptr<arrow::Buffer>> buffers, uint64_t count) const;
  // From one buffer that is all: of levels, or a dictionary.
  arrow::Result<DecodedValues> DecodeWhole(const std::shared_ptr<arrow::Buffer>& buffer, uint64_t count) const;
  // A variable value that lies alone; Invalid if it was compressed from more than `most` bytes.
  arrow::Status DecodeOne(std::string_view bytes, uint64_t most, std::string& to) const;

 private:
  using BufferPtr = std::shared_ptr<arrow::Buffer>;

  ValueDecoder(ValueEncoding encoding, const FsstTable& fsst, arrow::MemoryPool* pool)
      : encoding_(std::move(encoding)), fsst_(fsst), pool_(pool) {}

  arrow::Result<DecodedValues> Chunk(const ValueEncoding& encoding, const BufferPtr* buffers, size_t left,
                                     uint64_t count) const;
  arrow::Result<DecodedValues> Whole(const ValueEncoding& encoding, const BufferPtr& buffer, uint64_t count) const;
  arrow::Result<DecodedValues> Runs(const ValueEncoding& encoding, const BufferPtr& values, const BufferPtr& lengths,
                                    uint64_t count) const;

  ValueEncoding encoding_;
  FsstTable fsst_;  // if there is one, wherever it is
  arrow::MemoryPool* pool_;
};

// NotImplemented or Invalid unless values of the encoding are those of the type, whose bools take a bit each.
arrow::Status CheckType(const ValueEncoding& encoding, const arrow::DataType& type);
// They may lie anywhere: the array is to be looked at only after it was copied.
arrow::Result<std::shared_ptr<arrow::Array>> MakeValues(const std::shared_ptr<arrow::DataType>& type,
                                                        const DecodedValues& values, arrow::MemoryPool* pool);

}  // namespace pennon::lance_format
