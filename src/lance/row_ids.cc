#include "lance/row_ids.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "lance/deletions.h"
#include "lance/little_endian.h"
#include "lance/read_fields.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

// rowids.proto.
enum class SequenceTag : Tag { kSegments = 1 };
enum class SegmentTag : Tag { kRange = 1, kRangeWithHoles = 2, kRangeWithBitmap = 3, kSortedArray = 4, kArray = 5 };
// Of all three ranges. The end is past the last; holes ascend. Of the bitmap's bytes the lowest bit comes first, as
// Lance's code has it, and not the highest, as the .proto file says.
enum class RangeTag : Tag { kStart = 1, kEnd = 2, kHoles = 3, kBitmap = 3 };
enum class ArrayTag : Tag { kU16 = 1, kU32 = 2, kU64 = 3 };
enum class OffsetsTag : Tag { kBase = 1, kBytes = 2 };
// RowDatasetVersionSequence and its runs: which versions rows are of. Spans are of offsets.
enum class VersionsTag : Tag { kRuns = 1 };
enum class VersionRunTag : Tag { kSpan = 1, kVersion = 2 };
// table.proto.
enum class FragmentTag : Tag { kLastUpdatedAt = 7, kCreatedAt = 9 };

// U64Segment.
std::string RangeSegment(uint64_t start, uint64_t end) {
  return Message<SegmentTag>([&](auto& segment) {
    segment.add_message(SegmentTag::kRange, Message<RangeTag>([&](auto& range) {
                          range.add_uint64(RangeTag::kStart, start);
                          range.add_uint64(RangeTag::kEnd, end);
                        }));
  });
}

// EncodedU64Array.
class Numbers {
 public:
  static Result<Numbers> Make(std::string_view message) {
    const OneOf array = TakeOneOf(message);
    Numbers numbers;
    switch (static_cast<ArrayTag>(array.tag)) {
      case ArrayTag::kU16: numbers.width_ = 2; break;
      case ArrayTag::kU32: numbers.width_ = 4; break;
      case ArrayTag::kU64: numbers.width_ = 8; break;
      default: return Status::Invalid("expected an array of u16, u32 or u64, got ", std::to_string(array.tag));
    }
    ARROW_RETURN_NOT_OK(ReadFields(
        array.message,
        [&](Tag tag, std::string_view bytes) {
          if (tag == static_cast<Tag>(OffsetsTag::kBytes)) numbers.bytes_ = bytes;
          return Status::OK();
        },
        [&](Tag tag, uint64_t number) {
          if (tag == static_cast<Tag>(OffsetsTag::kBase) && numbers.width_ < 8) numbers.base_ = number;
        }));
    if (numbers.bytes_.size() % numbers.width_ != 0) {
      return Status::Invalid("expected numbers of ", std::to_string(numbers.width_), " bytes, got ",
                             std::to_string(numbers.bytes_.size()), " bytes");
    }
    const uint64_t widest = numbers.width_ == 2 ? 0xFFFF : 0xFFFFFFFF;
    if (numbers.width_ < 8 && numbers.base_ > kMost - widest) {
      return Status::Invalid("expected a base that offsets can be added to, got ", std::to_string(numbers.base_));
    }
    return numbers;
  }

  size_t size() const { return bytes_.size() / width_; }
  uint64_t operator[](size_t i) const {
    const char* const at = bytes_.data() + i * width_;
    return base_ + (width_ == 2 ? Get<uint16_t>(at) : width_ == 4 ? Get<uint32_t>(at) : Get<uint64_t>(at));
  }

 private:
  size_t width_ = 8;
  uint64_t base_ = 0;
  std::string_view bytes_;
};

class Decoder {
 public:
  explicit Decoder(const Fragment& fragment) : fragment_(fragment) {}

  Status Add(uint64_t first, uint64_t count) {
    if (count > fragment_.rows - rows_) {
      return Status::Invalid("expected ", std::to_string(fragment_.rows), ", one a row, got more");
    }
    if (count == 0) return Status::OK();
    if (!runs_.empty() && first > runs_.back().id && first - runs_.back().id == runs_.back().rows) {
      runs_.back().rows += count;
    } else {
      runs_.push_back({first, fragment_.id << 32 | rows_, count});
    }
    rows_ += count;
    return Status::OK();
  }

  Status AddSequence(std::string_view bytes) {
    return ReadFields(
        bytes,
        [&](Tag tag, std::string_view segment) {
          return tag == static_cast<Tag>(SequenceTag::kSegments) ? AddSegment(segment) : Status::OK();
        },
        kNoNumbers);
  }

  Result<IdRuns> Finish() {
    if (rows_ == fragment_.rows) return std::move(runs_);
    return Status::Invalid("expected ", std::to_string(fragment_.rows), ", one a row, got ", std::to_string(rows_));
  }

 private:
  Status AddSegment(std::string_view bytes) {
    const OneOf segment = TakeOneOf(bytes);
    const auto kind = static_cast<SegmentTag>(segment.tag);
    switch (kind) {
      case SegmentTag::kRange:
      case SegmentTag::kRangeWithHoles:
      case SegmentTag::kRangeWithBitmap: return AddRange(kind, segment.message);
      case SegmentTag::kSortedArray:
      case SegmentTag::kArray: break;
      default: return Status::Invalid("expected a range or an array, got ", std::to_string(segment.tag));
    }
    ARROW_ASSIGN_OR_RAISE(const auto ids, Numbers::Make(segment.message));
    for (size_t i = 0; i < ids.size(); ++i) ARROW_RETURN_NOT_OK(Add(ids[i], 1));
    return Status::OK();
  }

  Status AddRange(SegmentTag kind, std::string_view bytes) {
    uint64_t start = 0;
    uint64_t end = 0;
    std::string_view rest;
    ARROW_RETURN_NOT_OK(ReadFields(
        bytes,
        [&](Tag tag, std::string_view message) {
          if (tag == static_cast<Tag>(RangeTag::kHoles)) rest = message;
          return Status::OK();
        },
        [&](Tag tag, uint64_t number) {
          if (tag == static_cast<Tag>(RangeTag::kStart)) start = number;
          if (tag == static_cast<Tag>(RangeTag::kEnd)) end = number;
        }));
    if (end < start) {
      return Status::Invalid("expected a range, got one from ", std::to_string(start), " to ", std::to_string(end));
    }
    switch (kind) {
      case SegmentTag::kRangeWithHoles: return AddRangeWithHoles(start, end, rest);
      case SegmentTag::kRangeWithBitmap: return AddRangeWithBitmap(start, end, rest);
      default: return Add(start, end - start);
    }
  }

  Status AddRangeWithHoles(uint64_t start, uint64_t end, std::string_view message) {
    ARROW_ASSIGN_OR_RAISE(const auto holes, Numbers::Make(message));
    for (size_t i = 0; i < holes.size(); ++i) {
      const uint64_t hole = holes[i];
      if (hole < start || hole >= end) {
        return Status::Invalid("expected holes that ascend from ", std::to_string(start), " to below ",
                               std::to_string(end), ", got ", std::to_string(hole));
      }
      ARROW_RETURN_NOT_OK(Add(start, hole - start));
      start = hole + 1;
    }
    return Add(start, end - start);
  }

  Status AddRangeWithBitmap(uint64_t start, uint64_t end, std::string_view bitmap) {
    const uint64_t bits = end - start;
    if (bits / 8 + (bits % 8 == 0 ? 0 : 1) > bitmap.size()) {
      return Status::Invalid("expected a bitmap of ", std::to_string(bits), " bits, got ",
                             std::to_string(bitmap.size()), " bytes");
    }
    for (uint64_t bit = 0; bit < bits; ++bit) {
      const bool is_set = (static_cast<uint8_t>(bitmap[bit / 8]) >> bit % 8 & 1) != 0;
      ARROW_RETURN_NOT_OK(Add(start + bit, is_set ? 1 : 0));
    }
    return Status::OK();
  }

  const Fragment& fragment_;
  uint64_t rows_ = 0;
  IdRuns runs_;
};

// The message that says them.
Result<std::string> ReadSequence(io::FileSystem& files, const std::string& directory, const FileSlice& at) {
  ARROW_ASSIGN_OR_RAISE(const auto file, files.Open(directory + "/" + at.path));
  ARROW_RETURN_NOT_OK(io::CheckRange(*file, at.offset, at.size));
  std::string bytes(at.size, '\0');
  ARROW_RETURN_NOT_OK(file->ReadAt(at.offset, at.size, bytes.data()));
  return bytes;
}

}  // namespace

Result<IdRuns> ReadRowIds(io::FileSystem& files, const std::string& directory, const Manifest& manifest,
                          const Fragment& fragment) {
  const std::string what = "fragment " + std::to_string(fragment.id) + ", row ids";
  return Parsed(what, [&]() -> Result<IdRuns> {
    Decoder decoder(fragment);
    Status status;
    if (!manifest.has_stable_row_ids()) {
      status = decoder.Add(fragment.id << 32, fragment.rows);
    } else if (fragment.row_ids_file) {
      ARROW_ASSIGN_OR_RAISE(const std::string bytes, ReadSequence(files, directory, *fragment.row_ids_file));
      status = decoder.AddSequence(bytes);
    } else {
      status = decoder.AddSequence(fragment.row_ids);
    }
    auto runs = status.ok() ? decoder.Finish() : Result<IdRuns>(status);
    return runs.ok() ? runs : runs.status().WithMessage(what, ": ", runs.status().message());
  });
}

Status GiveRowIds(Manifest& next, Fragment& fragment) {
  if (!next.has_stable_row_ids()) return Status::OK();
  const uint64_t first = next.next_row_id;
  if (fragment.rows > kMost - first) return Status::CapacityError("expected row ids left for rows, got none");
  next.next_row_id += fragment.rows;
  fragment.row_ids = Message<SequenceTag>([&](auto& sequence) {
    sequence.add_message(SequenceTag::kSegments, RangeSegment(first, first + fragment.rows));
  });
  const std::string versions = Message<VersionsTag>([&](auto& sequence) {
    sequence.add_message(VersionsTag::kRuns, Message<VersionRunTag>([&](auto& run) {
                           run.add_message(VersionRunTag::kSpan, RangeSegment(0, fragment.rows));
                           run.add_uint64(VersionRunTag::kVersion, next.version);
                         }));
  });
  fragment.others += Message<FragmentTag>([&](auto& message) {
    message.add_bytes(FragmentTag::kLastUpdatedAt, versions);
    message.add_bytes(FragmentTag::kCreatedAt, versions);
  });
  return Status::OK();
}

Result<RowIds> RowIds::Read(io::FileSystem& files, const std::string& directory, const Manifest& manifest) {
  RowIds ids;
  for (const Fragment& fragment : manifest.fragments) {
    ARROW_ASSIGN_OR_RAISE(auto runs, ReadRowIds(files, directory, manifest, fragment));
    Deletions deletions;
    if (manifest.has_stable_row_ids()) {
      ARROW_ASSIGN_OR_RAISE(deletions, Deletions::Read(files, directory, fragment));
    }
    for (const IdRun& run : runs) {
      const uint64_t first = run.address & 0xFFFFFFFFu;
      for (const Range& rows : deletions.Left({first, run.rows})) {
        ids.runs_.push_back({run.id + (rows.first - first), run.address + (rows.first - first), rows.count});
      }
    }
  }
  std::sort(ids.runs_.begin(), ids.runs_.end(), [](const IdRun& a, const IdRun& b) { return a.id < b.id; });
  const auto twice = std::adjacent_find(ids.runs_.begin(), ids.runs_.end(),
                                        [](const IdRun& a, const IdRun& b) { return b.id - a.id < a.rows; });
  if (twice != ids.runs_.end()) {
    return Status::Invalid(directory, ": expected row ids of one row each, got ", std::to_string((twice + 1)->id),
                           " twice");
  }
  return ids;
}

std::optional<uint64_t> RowIds::AddressOf(uint64_t row_id) const {
  const auto after =
      std::upper_bound(runs_.begin(), runs_.end(), row_id, [](uint64_t id, const IdRun& run) { return id < run.id; });
  if (after == runs_.begin()) return std::nullopt;
  const IdRun& run = *(after - 1);
  return row_id - run.id < run.rows ? std::optional(run.address + (row_id - run.id)) : std::nullopt;
}

Result<RowsInOrder> RowsInOrder::Read(io::FileSystem& files, const std::string& directory, const Manifest& manifest) {
  RowsInOrder rows;
  for (const Fragment& fragment : manifest.fragments) {
    ARROW_ASSIGN_OR_RAISE(const auto runs, ReadRowIds(files, directory, manifest, fragment));
    for (const IdRun& run : runs) {
      rows.runs_.push_back(run);
      rows.ends_.push_back((rows.ends_.empty() ? 0 : rows.ends_.back()) + run.rows);
    }
  }
  return rows;
}

IdRun RowsInOrder::At(uint64_t position) const {
  const auto run = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), position) - ends_.begin());
  const uint64_t row = runs_[run].rows - (ends_[run] - position);
  return {runs_[run].id + row, runs_[run].address + row, 1};
}

}  // namespace pennon::lance_format
