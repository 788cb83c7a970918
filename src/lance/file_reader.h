// A Lance file of version 2.0 to 2.2, data or index: what its end says of it. Nothing in it is trusted: places are
// within the file, and what does not hold together is Invalid, with the file's path.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/memory_pool.h>
#include <arrow/result.h>

#include "io/file_system.h"
#include "io/read_ranges.h"
#include "lance/file_writer.h"
#include "lance/page_decoder.h"
#include "lance/schema.h"

namespace pennon::lance_format {

// Immutable; from any thread.
class FileReader {
 public:
  static arrow::Result<std::shared_ptr<const FileReader>> Open(std::unique_ptr<io::InputFile> file,
                                                               arrow::MemoryPool* pool);
  // The same in two steps, so that several are opened at the same time: the file's end is on its way then.
  using Opening = std::function<arrow::Result<std::shared_ptr<const FileReader>>()>;
  static Opening Start(std::unique_ptr<io::InputFile> file, arrow::MemoryPool* pool);

  const std::string& path() const { return file_->path(); }
  // 2.0: a column for each field; later: for each that has no fields.
  bool field_has_column() const { return minor_version_ == 0; }
  uint64_t rows() const { return rows_; }
  const std::vector<Field>& fields() const { return fields_; }
  const Metadata& metadata() const { return metadata_; }
  const std::string* FindMetadata(const std::string& key) const;
  // Of each column its pages.
  const std::vector<std::vector<PageInfo>>& columns() const { return columns_; }
  // Buffer 0 is the schema.
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadGlobalBuffer(size_t buffer) const;
  arrow::Result<io::RangesRead> StartGlobalBuffer(size_t buffer) const;

  PageSource source() const { return {file_.get(), pool_}; }

 private:
  FileReader(std::unique_ptr<io::InputFile> file, arrow::MemoryPool* pool) : file_(std::move(file)), pool_(pool) {}
  class Tail;
  arrow::Status Read(Tail& tail);
  arrow::Status ReadDescriptor(std::string_view descriptor);

  const std::unique_ptr<io::InputFile> file_;
  arrow::MemoryPool* const pool_;
  uint16_t minor_version_ = 0;
  uint64_t rows_ = 0;
  std::vector<Field> fields_;
  Metadata metadata_;
  std::vector<std::vector<PageInfo>> columns_;
  std::vector<io::ByteRange> global_buffers_;
};

}  // namespace pennon::lance_format
