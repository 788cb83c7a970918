// Pages of a file back to Arrow arrays: those rows alone that are asked for, in few reads of just their bytes.
//
// A page is of one column and comes from anywhere: what does not fit its buffers is Invalid, what is not known here
// NotImplemented, with its name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/array.h>
#include <arrow/memory_pool.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "io/file_system.h"
#include "io/read_ranges.h"

namespace pennon::lance_format {

// Of rows, or of what else follows each other.
struct Range {
  uint64_t first = 0;
  uint64_t count = 0;

  uint64_t end() const { return first + count; }
  bool operator==(const Range&) const = default;
};
// Ascending, apart and not empty.
using Ranges = std::vector<Range>;

uint64_t CountOf(const Ranges& ranges);

// Where pages are read from.
struct PageSource {
  io::InputFile* file = nullptr;
  arrow::MemoryPool* pool = nullptr;
};

// What the file says of a page. Buffers are within the file.
struct PageInfo {
  std::vector<io::ByteRange> buffers;
  uint64_t rows = 0;
  std::string type_url;  // of its encoding
  std::string encoding;  // the message
};

// Makes the array of what was read, once.
using BuffersRead = std::span<const std::shared_ptr<arrow::Buffer>>;
using Decode = std::function<arrow::Result<std::shared_ptr<arrow::Array>>(BuffersRead read)>;

// What is read at a time may come to a GiB of values, or to sixteen times what the file has of it; else a
// CapacityError.
arrow::Status CheckExpansion(uint64_t read_bytes, uint64_t value_bytes);

// From one thread at a time: it may keep what it needs again.
class PageDecoder {
 public:
  virtual ~PageDecoder() = default;
  // Adds what is to be read for the rows, once it is known where that is, for which it may read. What comes back is for
  // those reads, and needs this.
  virtual arrow::Result<Decode> Request(Ranges rows, std::vector<io::ByteRange>& reads) = 0;
};

// Of version 2.0, of a type without fields, which are other columns'. of_dictionary: the column's type is an Arrow
// dictionary of this one.
arrow::Result<std::unique_ptr<PageDecoder>> MakeArrayPage(const PageSource& source, const PageInfo& page,
                                                          const std::shared_ptr<arrow::DataType>& type,
                                                          bool of_dictionary);

// A page of lists of version 2.0: what follows what, where items are those of the page.
struct Lists {
  std::vector<int64_t> offsets;  // one more than lists
  std::shared_ptr<arrow::Buffer> validity;
  int64_t null_count = 0;
  Ranges items;
};
class ListPage {
 public:
  virtual ~ListPage() = default;
  virtual uint64_t items() const = 0;
  virtual arrow::Result<Lists> Read(const Ranges& rows) = 0;
};
arrow::Result<std::unique_ptr<ListPage>> MakeListPage(const PageSource& source, const PageInfo& page);

// A page of structs of version 2.0 tells nothing: an error if it does.
arrow::Status CheckStructPage(const PageInfo& page);

// Of version 2.1 on. The type is that of the column of the table, but with one field in each struct: the one that leads
// to the page's values.
arrow::Result<std::unique_ptr<PageDecoder>> MakeLayoutPage(const PageSource& source, const PageInfo& page,
                                                           const std::shared_ptr<arrow::DataType>& type);

// The rest is for decoders.

// Values of so many bits, each 1 or whole bytes: those of the ranges, one after the other.
class FixedWidth {
 public:
  // Invalid unless the buffer has so many.
  static arrow::Result<FixedWidth> Make(const io::ByteRange& place, uint64_t bits, uint64_t values);

  // Asks for the bytes; Take is given what was read of them.
  void Request(const Ranges& values, std::vector<io::ByteRange>& reads) const;
  arrow::Result<std::shared_ptr<arrow::Buffer>> Take(const Ranges& values, const std::shared_ptr<arrow::Buffer>* reads,
                                                     arrow::MemoryPool* pool) const;

 private:
  FixedWidth(const io::ByteRange& place, uint64_t bits) : place_(place), bits_(bits) {}

  io::ByteRange place_;
  uint64_t bits_;
};

// Ranges of rows as ranges of the `dimension` values of each.
Ranges Times(const Ranges& rows, uint64_t dimension);
// How many bits a value takes; 0: not the same for all.
uint64_t WidthOf(const arrow::DataType& type);
// How many items there are in a list of a fixed size, those of such lists in it and so on, from the outermost. None for
// another type.
std::vector<uint64_t> DimensionsOf(const arrow::DataType& type);
// CapacityError, unless so much may be allocated for what takes no place in a file.
arrow::Status CheckSize(uint64_t rows, uint64_t bits_a_row);
// So many bits of 0, likewise.
arrow::Result<std::shared_ptr<arrow::Buffer>> Zeros(uint64_t rows, uint64_t bits_a_row, arrow::MemoryPool* pool);
arrow::Result<std::shared_ptr<arrow::Array>> Nulls(const std::shared_ptr<arrow::DataType>& type, uint64_t rows,
                                                   arrow::MemoryPool* pool);
// The array, of offset 0, with that validity; null: as it was.
std::shared_ptr<arrow::Array> WithValidity(const std::shared_ptr<arrow::Array>& array,
                                           std::shared_ptr<arrow::Buffer> validity);
// An array of values of one width, or of lists of a size of such. Validity: of rows, of their items, of items of those,
// and so on; none: no nulls.
std::shared_ptr<arrow::Array> MakeFixed(const std::shared_ptr<arrow::DataType>& type, int64_t count,
                                        std::span<const std::shared_ptr<arrow::Buffer>> validity,
                                        std::shared_ptr<arrow::Buffer> values);
// An array of strings or bytes, which are looked at.
arrow::Result<std::shared_ptr<arrow::Array>> MakeBinary(const std::shared_ptr<arrow::DataType>& type,
                                                        const std::vector<int64_t>& offsets,
                                                        std::shared_ptr<arrow::Buffer> bytes,
                                                        std::shared_ptr<arrow::Buffer> validity, int64_t null_count,
                                                        arrow::MemoryPool* pool);
// Offsets of int32 or, for large types, of int64.
arrow::Result<std::shared_ptr<arrow::Buffer>> MakeOffsets(const std::vector<int64_t>& offsets, bool large,
                                                          arrow::MemoryPool* pool);

}  // namespace pennon::lance_format
