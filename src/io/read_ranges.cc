#include "io/read_ranges.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace pennon::io {

using arrow::Result;
using arrow::Status;

Result<RangesRead> RangesRead::Start(InputFile& file, std::span<const ByteRange> ranges, arrow::MemoryPool* pool) {
  for (const ByteRange& range : ranges) ARROW_RETURN_NOT_OK(CheckRange(file, range.offset, range.length));
  std::vector<size_t> order;  // none: as they are
  const auto before = [](const ByteRange& a, const ByteRange& b) { return a.offset < b.offset; };
  if (!std::is_sorted(ranges.begin(), ranges.end(), before)) {
    order.resize(ranges.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return before(ranges[a], ranges[b]); });
  }
  const auto at = [&](size_t i) { return order.empty() ? i : order[i]; };
  RangesRead result;
  Buffers& buffers = result.buffers_;
  buffers.resize(ranges.size());
  std::vector<ReadInto> reads;
  for (size_t first = 0; first < ranges.size();) {
    const uint64_t begin = ranges[at(first)].offset;
    uint64_t end = begin + ranges[at(first)].length;
    size_t last = first + 1;
    for (; last < ranges.size(); ++last) {
      const ByteRange& next = ranges[at(last)];
      if (next.offset > end && next.offset - end > kCloseBytes) break;
      end = std::max(end, next.offset + next.length);
    }
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> read,
                          arrow::AllocateBuffer(static_cast<int64_t>(end - begin), pool));
    if (end > begin) reads.push_back({begin, end - begin, read->mutable_data()});
    for (; first < last; ++first) {
      const ByteRange& range = ranges[at(first)];
      buffers[at(first)] = range.offset == begin && range.length == end - begin
                               ? read
                               : arrow::SliceBuffer(read, static_cast<int64_t>(range.offset - begin),
                                                    static_cast<int64_t>(range.length));
    }
  }
  if (!reads.empty()) result.finish_ = file.StartReads(std::move(reads));
  return result;
}

Result<Buffers> RangesRead::Finish() {
  if (finish_) ARROW_RETURN_NOT_OK(finish_());
  return std::move(buffers_);
}

Result<Buffers> ReadRanges(InputFile& file, std::span<const ByteRange> ranges, arrow::MemoryPool* pool) {
  ARROW_ASSIGN_OR_RAISE(auto reads, RangesRead::Start(file, ranges, pool));
  return reads.Finish();
}

}  // namespace pennon::io
