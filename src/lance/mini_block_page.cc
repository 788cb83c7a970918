#include "lance/mini_block_page.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>

#include "lance/dictionary.h"
#include "lance/levels.h"
#include "lance/little_endian.h"
#include "lance/value_decoder.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using ArrayPtr = std::shared_ptr<arrow::Array>;
using BufferPtr = std::shared_ptr<arrow::Buffer>;

constexpr uint64_t kAlignment = 8;  // of parts of a chunk, and chunks

const char* Bytes(const arrow::Buffer& buffer) { return reinterpret_cast<const char*>(buffer.data()); }

Result<std::optional<ValueDecoder>> MakeLevelDecoder(const std::optional<ValueEncoding>& encoding,
                                                     arrow::MemoryPool* pool) {
  if (!encoding) return std::nullopt;
  if (WidthOf(*encoding) != 16) {
    return Status::Invalid("expected levels of 16 bits, got ", std::to_string(WidthOf(*encoding)));
  }
  return ValueDecoder::Make(*encoding, pool);
}

class MiniBlockPage : public PageDecoder {
 public:
  static Result<std::unique_ptr<PageDecoder>> Make(const PageSource& source, const PageInfo& page,
                                                   const LayoutInfo& layout,
                                                   const std::shared_ptr<arrow::DataType>& type);
  Result<Step> Request(Ranges rows, Reads& reads) override;

 private:
  struct Chunk {
    io::ByteRange place;
    uint64_t first_value = 0;
    uint64_t values = 0;
    uint64_t first_row = 0;  // that begins here, or later
    bool goes_on = false;    // its last row, in the next chunk
  };
  struct Decoded {
    Entries entries;
    ArrayPtr values;
    uint64_t bytes = 0;  // that the values take
  };

  MiniBlockPage(const PageSource& source, const PageInfo& page, MiniBlockInfo info, Levels levels, ValueDecoder values)
      : source_(source), page_(page), info_(std::move(info)), levels_(std::move(levels)), values_(std::move(values)) {}

  Status Load(BuffersRead read);
  Status AddChunks(const arrow::Buffer& words);
  Status AddRows(const arrow::Buffer& index);
  uint64_t RowsEnd(size_t chunk) const {
    return chunk + 1 < chunks_.size() ? chunks_[chunk + 1].first_row : page_.rows;
  }
  Result<ArrayPtr> Finish(const Ranges& rows, const std::vector<size_t>& numbers, BuffersRead read) const;
  // The chunks that have them, ascending.
  std::vector<size_t> ChunksOf(const Ranges& rows) const;
  Result<Decoded> DecodeChunk(const Chunk& chunk, const BufferPtr& bytes) const;
  // Of a chunk of lists, those entries of the rows that are left, and the ranges of their values.
  Result<Ranges> Select(const Chunk& chunk, const Decoded& decoded, const Ranges& rows, Entries& entries) const;

  const PageSource source_;
  const PageInfo page_;
  const MiniBlockInfo info_;
  const Levels levels_;
  const ValueDecoder values_;
  std::optional<ValueDecoder> repetition_;
  std::optional<ValueDecoder> definition_;
  std::shared_ptr<arrow::DataType> stored_;  // type of the chunks' values: the leaf's, or places in the dictionary
  // Once they were needed.
  bool loaded_ = false;
  std::vector<Chunk> chunks_;
  std::optional<Dictionary> dictionary_;
};

Result<std::unique_ptr<PageDecoder>> MiniBlockPage::Make(const PageSource& source, const PageInfo& page,
                                                         const LayoutInfo& layout,
                                                         const std::shared_ptr<arrow::DataType>& type) {
  const MiniBlockInfo& info = *layout.mini_block;
  ARROW_ASSIGN_OR_RAISE(auto levels, Levels::Make(layout.layers, type));
  ARROW_ASSIGN_OR_RAISE(auto values, ValueDecoder::Make(info.values, source.pool));
  auto made =
      std::unique_ptr<MiniBlockPage>(new MiniBlockPage(source, page, info, std::move(levels), std::move(values)));
  made->stored_ = made->levels_.leaf();
  ARROW_ASSIGN_OR_RAISE(made->repetition_, MakeLevelDecoder(info.repetition, source.pool));
  ARROW_ASSIGN_OR_RAISE(made->definition_, MakeLevelDecoder(info.definition, source.pool));
  const bool lists = made->levels_.has_lists();
  if (info.dictionary) {
    const uint64_t bits = WidthOf(info.values);
    if (made->stored_->num_fields() > 0 || WidthOf(*made->stored_) % 8 != 0) {
      return Status::NotImplemented("a dictionary of ", made->stored_->ToString());
    }
    ARROW_RETURN_NOT_OK(CheckType(*info.dictionary, *made->stored_));
    made->stored_ = bits == 8    ? arrow::uint8()
                    : bits == 16 ? arrow::uint16()
                    : bits == 32 ? arrow::uint32()
                                 : arrow::uint64();
  }
  ARROW_RETURN_NOT_OK(CheckType(info.values, *made->stored_));
  const size_t buffers = 2 + (info.dictionary ? 1 : 0) + (lists ? 1 : 0);
  if (page.buffers.size() < buffers) {
    return Status::Invalid("expected ", std::to_string(buffers), " buffers, got ", std::to_string(page.buffers.size()));
  }
  if (lists != info.repetition.has_value() || lists != (info.index_depth > 0) || (!lists && info.items != page.rows) ||
      info.buffers > 8 || info.index_depth > 64) {
    return Status::Invalid("expected ", lists ? "" : "no ", "levels and an index of lists for ",
                           std::to_string(page.rows), " rows, got ", std::to_string(info.items), " values");
  }
  return made;
}

Status MiniBlockPage::Load(BuffersRead read) {
  chunks_.clear();
  ARROW_RETURN_NOT_OK(AddChunks(*read[0]));
  if (levels_.has_lists()) ARROW_RETURN_NOT_OK(AddRows(*read.back()));
  if (info_.dictionary) {
    ARROW_ASSIGN_OR_RAISE(const auto decoder, ValueDecoder::Make(*info_.dictionary, source_.pool));
    ARROW_ASSIGN_OR_RAISE(const auto values, decoder.DecodeWhole(read[1], info_.dictionary_values));
    ARROW_ASSIGN_OR_RAISE(dictionary_, Dictionary::Make(levels_.leaf(), values, source_.pool));
  }
  loaded_ = true;
  return Status::OK();
}

// A word a chunk: its size, in eights and less one, and above the lowest 4 bits; there the logarithm of how many values
// it has.
Status MiniBlockPage::AddChunks(const arrow::Buffer& words) {
  const size_t width = info_.large_chunks ? sizeof(uint32_t) : sizeof(uint16_t);
  const size_t count = static_cast<size_t>(words.size()) / width;
  uint64_t offset = 0;
  uint64_t value = 0;
  chunks_.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const char* at = Bytes(words) + i * width;
    const uint64_t word = info_.large_chunks ? Get<uint32_t>(at) : Get<uint16_t>(at);
    const uint64_t size = ((word >> 4) + 1) * kAlignment;
    const uint64_t values = i + 1 < count ? uint64_t{1} << (word & 0xF) : info_.items - value;
    if (size > page_.buffers[1].length - offset || values > info_.items - value) {
      return Status::Invalid("expected chunks of ", std::to_string(info_.items), " values in ",
                             std::to_string(page_.buffers[1].length), " bytes");
    }
    chunks_.push_back({{page_.buffers[1].offset + offset, size}, value, values, value});
    offset += size;
    value += values;
  }
  if (value == info_.items) return Status::OK();
  return Status::Invalid("expected chunks of ", std::to_string(info_.items), " values, got ", std::to_string(value));
}

// Of each chunk how many rows end in it, and how many items are left of one that does not.
Status MiniBlockPage::AddRows(const arrow::Buffer& index) {
  const size_t width = (info_.index_depth + 1) * sizeof(uint64_t);
  if (static_cast<size_t>(index.size()) / width < chunks_.size()) {
    return Status::Invalid("expected an index of ", std::to_string(chunks_.size()), " chunks, got ",
                           std::to_string(index.size()), " bytes");
  }
  uint64_t row = 0;
  bool before = false;  // goes on here
  for (size_t i = 0; i < chunks_.size(); ++i) {
    Chunk& chunk = chunks_[i];
    const auto ended = Get<uint64_t>(Bytes(index) + i * width);
    chunk.goes_on = Get<uint64_t>(Bytes(index) + i * width + sizeof(uint64_t)) > 0;
    chunk.first_row = row;
    if (ended > page_.rows) return Status::Invalid("expected rows of the page, got ", std::to_string(ended));
    const uint64_t begun = ended + (chunk.goes_on ? 1 : 0);
    if (begun < (before ? 1 : 0) || begun - (before ? 1 : 0) > page_.rows - row) {
      return Status::Invalid("expected chunks of ", std::to_string(page_.rows), " rows, got others");
    }
    row += begun - (before ? 1 : 0);
    before = chunk.goes_on;
  }
  if (row == page_.rows && !before) return Status::OK();
  return Status::Invalid("expected chunks of ", std::to_string(page_.rows), " rows, got ", std::to_string(row));
}

std::vector<size_t> MiniBlockPage::ChunksOf(const Ranges& rows) const {
  std::vector<size_t> numbers;
  for (const Range& range : rows) {
    const auto chunk_of = [&](uint64_t row) {
      const auto after = std::upper_bound(chunks_.begin(), chunks_.end(), row,
                                          [](uint64_t r, const Chunk& chunk) { return r < chunk.first_row; });
      return static_cast<size_t>(after - chunks_.begin()) - 1;
    };
    const size_t first = chunk_of(range.first);
    size_t last = chunk_of(range.end() - 1);
    while (chunks_[last].goes_on && RowsEnd(last) == range.end()) ++last;
    for (size_t i = numbers.empty() ? first : std::max(first, numbers.back() + 1); i <= last; ++i) numbers.push_back(i);
  }
  return numbers;
}

// How many levels there are, the sizes of the parts, and those: repetition, definition, values.
Result<MiniBlockPage::Decoded> MiniBlockPage::DecodeChunk(const Chunk& chunk, const BufferPtr& bytes) const {
  const auto size = static_cast<uint64_t>(bytes->size());
  uint64_t at = 0;
  const auto next = [&](uint64_t width) -> Result<uint64_t> {
    if (size - at < width) return Status::Invalid("expected parts of a chunk, got its end");
    const char* from = Bytes(*bytes) + at;
    at += width;
    return width == sizeof(uint32_t) ? uint64_t{Get<uint32_t>(from)} : uint64_t{Get<uint16_t>(from)};
  };
  const auto align = [&] { at = std::min(size, (at + kAlignment - 1) / kAlignment * kAlignment); };
  ARROW_ASSIGN_OR_RAISE(const uint64_t level_count, next(sizeof(uint16_t)));
  std::vector<uint64_t> sizes;
  const size_t level_parts = (repetition_ ? 1 : 0) + (definition_ ? 1 : 0);
  for (uint64_t i = 0; i < level_parts + info_.buffers; ++i) {
    ARROW_ASSIGN_OR_RAISE(sizes.emplace_back(),
                          next(i >= level_parts && info_.large_chunks ? sizeof(uint32_t) : sizeof(uint16_t)));
  }
  align();
  std::vector<BufferPtr> parts;
  for (const uint64_t part : sizes) {
    if (part > size - at) {
      return Status::Invalid("expected parts of a chunk of ", std::to_string(size), " bytes, got one of ",
                             std::to_string(part), " at ", std::to_string(at));
    }
    parts.push_back(arrow::SliceBuffer(bytes, static_cast<int64_t>(at), static_cast<int64_t>(part)));
    at += part;
    align();
  }
  Decoded decoded;
  size_t part = 0;
  if (repetition_) {
    ARROW_ASSIGN_OR_RAISE(const auto levels, repetition_->DecodeWhole(parts[part++], level_count));
    ARROW_ASSIGN_OR_RAISE(decoded.entries.repetition,
                          Levels::Check(*levels.bytes, level_count, levels_.most_repetition()));
  }
  if (definition_) {
    ARROW_ASSIGN_OR_RAISE(const auto levels, definition_->DecodeWhole(parts[part++], level_count));
    ARROW_ASSIGN_OR_RAISE(decoded.entries.definition,
                          Levels::Check(*levels.bytes, level_count, levels_.most_definition()));
  }
  const uint64_t visible = definition_ ? levels_.CountVisible(decoded.entries.definition) : level_count;
  if (level_parts > 0 && visible != chunk.values) {
    return Status::Invalid("expected levels of ", std::to_string(chunk.values), " values, got those of ",
                           std::to_string(visible));
  }
  parts.erase(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(part));
  ARROW_ASSIGN_OR_RAISE(const auto values, values_.DecodeChunk(std::move(parts), chunk.values));
  decoded.bytes = static_cast<uint64_t>(values.bytes->size()) + values.offsets.size() * sizeof(int64_t);
  ARROW_ASSIGN_OR_RAISE(decoded.values, MakeValues(stored_, values, source_.pool));
  return decoded;
}

Result<Ranges> MiniBlockPage::Select(const Chunk& chunk, const Decoded& decoded, const Ranges& rows,
                                     Entries& entries) const {
  const auto& [repetition, definition] = decoded.entries;
  uint64_t next_row = chunk.first_row;
  uint64_t value = 0;
  Ranges values;
  auto range = rows.begin();
  for (size_t i = 0; i < repetition.size(); ++i) {
    if (repetition[i] == levels_.most_repetition()) ++next_row;
    const bool visible = definition.empty() || levels_.visible(definition[i]);
    const uint64_t at = value;
    value += visible ? 1 : 0;
    if (next_row == 0) return Status::Invalid("expected a row to begin");
    while (range != rows.end() && range->end() < next_row) ++range;
    if (range == rows.end()) break;
    if (range->first >= next_row) continue;
    entries.repetition.push_back(repetition[i]);
    if (definition_) entries.definition.push_back(definition[i]);
    if (!visible) continue;
    if (!values.empty() && values.back().end() == at) {
      ++values.back().count;
    } else {
      values.push_back({at, 1});
    }
  }
  return values;
}

Result<Step> MiniBlockPage::Request(Ranges rows, Reads& reads) {
  if (!loaded_) {
    reads.push_back(page_.buffers[0]);
    if (info_.dictionary) reads.push_back(page_.buffers[2]);
    if (levels_.has_lists()) reads.push_back(page_.buffers.back());
    return Step{.next = [this, rows = std::move(rows)](BuffersRead read, Reads& more) mutable -> Result<Step> {
      if (!loaded_) ARROW_RETURN_NOT_OK(Load(read));
      return Request(std::move(rows), more);
    }};
  }
  std::vector<size_t> numbers = ChunksOf(rows);
  for (const size_t number : numbers) reads.push_back(chunks_[number].place);
  return Step{[this, rows = std::move(rows), numbers = std::move(numbers)](BuffersRead read) {
    return Finish(rows, numbers, read);
  }};
}

Result<ArrayPtr> MiniBlockPage::Finish(const Ranges& rows, const std::vector<size_t>& numbers, BuffersRead read) const {
  Entries entries;
  arrow::ArrayVector pieces;
  auto range = rows.begin();
  uint64_t read_bytes = 0;
  uint64_t decoded_bytes = 0;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const Chunk& chunk = chunks_[numbers[i]];
    ARROW_ASSIGN_OR_RAISE(const Decoded decoded, DecodeChunk(chunk, read[i]));
    read_bytes += chunk.place.length;
    decoded_bytes += decoded.bytes;
    ARROW_RETURN_NOT_OK(CheckExpansion(read_bytes, decoded_bytes));
    Ranges values;
    if (levels_.has_lists()) {
      ARROW_ASSIGN_OR_RAISE(values, Select(chunk, decoded, rows, entries));
    } else {
      const uint64_t end = chunk.first_value + chunk.values;
      while (range != rows.end() && range->end() <= chunk.first_value) ++range;
      for (auto of = range; of != rows.end() && of->first < end; ++of) {
        const uint64_t first = std::max(of->first, chunk.first_value) - chunk.first_value;
        values.push_back({first, std::min(of->end(), end) - chunk.first_value - first});
        const auto& definition = decoded.entries.definition;
        if (!definition_) continue;
        const auto from = definition.begin() + static_cast<ptrdiff_t>(first);
        entries.definition.insert(entries.definition.end(), from, from + static_cast<ptrdiff_t>(values.back().count));
      }
    }
    for (const Range& piece : values) {
      pieces.push_back(decoded.values->Slice(static_cast<int64_t>(piece.first), static_cast<int64_t>(piece.count)));
    }
  }
  if (levels_.has_lists() && !entries.repetition.empty() && entries.repetition[0] != levels_.most_repetition()) {
    return Status::Invalid("expected a row to begin");
  }
  ArrayPtr leaf;
  if (pieces.empty()) {
    ARROW_ASSIGN_OR_RAISE(leaf, arrow::MakeEmptyArray(stored_, source_.pool));
  } else {
    ARROW_ASSIGN_OR_RAISE(leaf, arrow::Concatenate(pieces, source_.pool));
  }
  ARROW_ASSIGN_OR_RAISE(auto validity, levels_.LeafValidity(entries.definition, source_.pool));
  if (dictionary_) {
    ARROW_ASSIGN_OR_RAISE(leaf, dictionary_->Take(*leaf, validity, source_.pool));
  } else if (const auto id = leaf->type_id(); id == arrow::Type::STRING) {
    ARROW_RETURN_NOT_OK(static_cast<const arrow::StringArray&>(*leaf).ValidateUTF8());
  } else if (id == arrow::Type::LARGE_STRING) {
    ARROW_RETURN_NOT_OK(static_cast<const arrow::LargeStringArray&>(*leaf).ValidateUTF8());
  }
  leaf = WithValidity(leaf, std::move(validity));
  return levels_.Assemble(std::move(entries), std::move(leaf), CountOf(rows), source_.pool);
}

}  // namespace

Result<std::unique_ptr<PageDecoder>> MakeMiniBlockPage(const PageSource& source, const PageInfo& page,
                                                       const LayoutInfo& layout,
                                                       const std::shared_ptr<arrow::DataType>& type) {
  return MiniBlockPage::Make(source, page, layout, type);
}

}  // namespace pennon::lance_format
