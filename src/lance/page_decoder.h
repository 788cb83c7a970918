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

uint64_t CountOf(std::span<const Range> ranges);

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

using Reads = std::vector<io::ByteRange>;
using BuffersRead = std::span<const std::shared_ptr<arrow::Buffer>>;

// What is to be done once that was read which was asked for: to make the array of it, or to ask for more. Once.
struct Step {
  std::function<arrow::Result<std::shared_ptr<arrow::Array>>(BuffersRead read)> decode = {};
  std::function<arrow::Result<Step>(BuffersRead read, Reads& more)> next = {};  // where there is no decode
};

// What is read at a time may come to a GiB of values, or to sixteen times what the file has of it; else a
// CapacityError.
arrow::Status CheckExpansion(uint64_t read_bytes, uint64_t value_bytes);
// That an array's buffers take, its parts' too.
uint64_t BytesOf(const arrow::ArrayData& array);

// What was read at a time, and what became of it, so far.
struct Expansion {
  uint64_t read_bytes = 0;
  uint64_t value_bytes = 0;

  // As CheckExpansion.
  arrow::Status Add(BuffersRead read, const arrow::Array& array);
};

// Steps at the same time, whose reads go out together. Each is given its own of what was read.
class Steps {
 public:
  // request(reads) gives the next step, and adds its reads.
  template <typename Request>
  arrow::Status Add(Reads& reads, Request&& request) {
    const size_t before = reads.size();
    ARROW_ASSIGN_OR_RAISE(auto step, request(reads));
    parts_.push_back({std::move(step), reads.size() - before, {}});
    return arrow::Status::OK();
  }
  size_t size() const { return parts_.size(); }
  void Reserve(size_t size) { parts_.reserve(size); }
  // Nothing more is to be read.
  bool last() const;
  // Else: what was asked for has been read.
  arrow::Status Next(BuffersRead read, Reads& more);
  // If this is the last: an array each, added to the expansion if there is one.
  arrow::Result<arrow::ArrayVector> Decode(BuffersRead read, Expansion* expansion = nullptr) const;
  // The step that was added, if that is one.
  Step Only() && { return std::move(parts_[0].step); }
  // As one step, whose array is join(arrays).
  template <typename Join>
  Step Joined(Join join) && {
    if (last()) {
      return {[steps = std::move(*this),
               join = std::move(join)](BuffersRead read) mutable -> arrow::Result<std::shared_ptr<arrow::Array>> {
        Expansion expansion;
        ARROW_ASSIGN_OR_RAISE(auto arrays, steps.Decode(read, steps.size() > 1 ? &expansion : nullptr));
        return join(std::move(arrays));
      }};
    }
    return {.next = [steps = std::move(*this), join = std::move(join)](BuffersRead read,
                                                                       Reads& more) mutable -> arrow::Result<Step> {
      ARROW_RETURN_NOT_OK(steps.Next(read, more));
      return std::move(steps).Joined(std::move(join));
    }};
  }

 private:
  struct Part {
    Step step;
    size_t reads;      // that it has asked for last
    io::Buffers kept;  // until the others have come so far
  };
  std::vector<Part> parts_;
};

// From one thread at a time: it may keep what it needs again.
class PageDecoder {
 public:
  virtual ~PageDecoder() = default;
  // Adds what is to be read for the rows, or before it is known where they are. What comes back is for those reads, and
  // needs this.
  virtual arrow::Result<Step> Request(Ranges rows, Reads& reads) = 0;
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
  // Asks for what says it; Take is given what was read of that.
  virtual void Request(const Ranges& rows, Reads& reads) const = 0;
  virtual arrow::Result<Lists> Take(const Ranges& rows, BuffersRead read) const = 0;
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
  void Request(std::span<const Range> values, Reads& reads) const;
  arrow::Result<std::shared_ptr<arrow::Buffer>> Take(std::span<const Range> values,
                                                     const std::shared_ptr<arrow::Buffer>* reads,
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
// That a row takes at least, whatever the file has of it; the lists in it may be empty.
uint64_t LeastWidthOf(const arrow::DataType& type);
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
