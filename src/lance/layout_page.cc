// Pages of version 2.1 on, which a PageLayout tells: full-zip, where each value lies with its levels, and constant; see
// mini_block_page.h for the others.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <arrow/buffer_builder.h>

#include "lance/levels.h"
#include "lance/little_endian.h"
#include "lance/mini_block_page.h"
#include "lance/page_decoder.h"
#include "lance/page_layout.h"
#include "lance/value_decoder.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// How a value lies in a page, and the arrays of several.
class ValueFormat {
 public:
  static Result<ValueFormat> Make(const ValueEncoding& encoding, const std::shared_ptr<arrow::DataType>& type,
                                  arrow::MemoryPool* pool);

  bool variable() const { return length_bytes_ > 0; }
  uint64_t bytes() const { return validity_bytes_ + value_bytes_; }  // of one that is not variable
  uint64_t length_bytes() const { return length_bytes_; }            // that the length of a variable one takes
  uint64_t validity_bytes() const { return validity_bytes_; }        // of items, before them
  // Of a list of a fixed size, of each list in it and so on: items whose validity is there, 0 if it is not.
  const std::vector<uint64_t>& items() const { return items_; }
  bool bools() const { return bools_; }
  bool no_values() const { return no_values_; }  // of lists whose items are all null
  // Of variable values that are compressed, else null.
  const ValueDecoder* decoder() const { return decoder_ ? &*decoder_ : nullptr; }

 private:
  bool bools_ = false;
  bool no_values_ = false;
  uint64_t length_bytes_ = 0;
  uint64_t validity_bytes_ = 0;
  uint64_t value_bytes_ = 0;
  std::vector<uint64_t> items_;
  std::optional<ValueDecoder> decoder_;
};

Result<ValueFormat> ValueFormat::Make(const ValueEncoding& encoding, const std::shared_ptr<arrow::DataType>& type,
                                      arrow::MemoryPool* pool) {
  ValueFormat format;
  const arrow::Type::type id = type->id();
  const bool variable = arrow::is_base_binary_like(id);
  const bool list = id == arrow::Type::FIXED_SIZE_LIST;
  using Kind = ValueEncoding::Kind;
  const bool compressed = variable && (encoding.kind == Kind::kFsst || encoding.kind == Kind::kGeneral);
  const ValueEncoding& plain = compressed ? encoding.inner[0] : encoding;
  if (plain.kind != (variable ? Kind::kVariable : list ? Kind::kFixedSizeList : Kind::kFlat)) {
    return Status::NotImplemented("another encoding of ", type->ToString(), " than plain values");
  }
  if (variable) {
    format.length_bytes_ = plain.bits / 8;
    if (compressed) {
      ARROW_ASSIGN_OR_RAISE(format.decoder_, ValueDecoder::Make(encoding, pool));
    }
    return format;
  }
  format.bools_ = id == arrow::Type::BOOL;
  const uint64_t width = format.bools_ ? 8 : WidthOf(*type);  // a byte each
  format.items_ = DimensionsOf(encoding);
  auto dimensions = DimensionsOf(*type);
  const ValueEncoding* innermost = &encoding;
  while (innermost->kind == Kind::kFixedSizeList) innermost = innermost->inner.data();
  format.no_values_ = innermost->kind == Kind::kNull;
  if (format.no_values_) {
    dimensions.resize(std::min(dimensions.size(), format.items_.size()));
  } else if (width == 0 || width % 8 != 0) {
    return Status::NotImplemented("type ", type->ToString(), " in a full-zip page");
  }
  if (format.items_ != dimensions || (WidthOf(encoding) != width && !format.no_values_)) {
    return Status::Invalid("expected values of ", type->ToString(), ", got ", std::to_string(encoding.dimension),
                           " of ", std::to_string(WidthOf(encoding)), " bits together");
  }
  format.value_bytes_ = format.no_values_ ? 0 : width / 8;
  const ValueEncoding* at = &encoding;
  for (uint64_t& items : format.items_) {
    if (!at->item_validity) items = 0;
    format.validity_bytes_ += (items + 7) / 8;
    at = at->inner.data();
  }
  if (format.no_values_ && format.items_.back() == 0) {
    return Status::Invalid("expected the validity of items that are null, got none");
  }
  return format;
}

// The visible values of some rows.
class Values {
 public:
  Values(const ValueFormat& format, arrow::MemoryPool* pool)
      : format_(format), pool_(pool), bytes_(pool), validity_(pool), bools_(pool) {
    for (size_t i = 0; i < format.items().size(); ++i) item_validity_.emplace_back(pool);
  }

  Status Reserve(uint64_t bytes) { return bytes_.Reserve(static_cast<int64_t>(bytes)); }
  // A null that is not variable has bytes, too.
  Status Add(const char* value, uint64_t size, bool valid) {
    ARROW_RETURN_NOT_OK(validity_.Append(valid));
    if (format_.bools()) return bools_.Append(*value != 0);
    if (valid && format_.decoder() != nullptr) {
      ARROW_RETURN_NOT_OK(format_.decoder()->DecodeOne(
          {value, size}, static_cast<uint64_t>(std::max(kMostBytes - bytes_.length(), int64_t{0})), decoded_));
      value = decoded_.data();
      size = decoded_.size();
    }
    if (format_.variable()) {
      offsets_.push_back(offsets_.back() + static_cast<int64_t>(size));
    } else if (format_.validity_bytes() > 0) {
      for (size_t list = 0; list < item_validity_.size(); ++list) {
        const uint64_t items = format_.items()[list];
        for (uint64_t i = 0; i < items; ++i) {
          ARROW_RETURN_NOT_OK(item_validity_[list].Append(
              arrow::bit_util::GetBit(reinterpret_cast<const uint8_t*>(value), static_cast<int64_t>(i))));
        }
        value += (items + 7) / 8;
      }
      size -= format_.validity_bytes();
    }
    return bytes_.Append(value, static_cast<int64_t>(size));
  }
  Result<std::shared_ptr<arrow::Array>> Finish(const std::shared_ptr<arrow::DataType>& type) {
    const int64_t count = validity_.length();
    const int64_t null_count = validity_.false_count();
    std::vector<std::shared_ptr<arrow::Buffer>> validity(1);
    if (null_count > 0) {
      ARROW_ASSIGN_OR_RAISE(validity[0], validity_.Finish());
    }
    ARROW_ASSIGN_OR_RAISE(auto bytes, format_.no_values() ? Zeros(static_cast<uint64_t>(count), WidthOf(*type), pool_)
                                      : format_.bools()   ? bools_.Finish()
                                                          : bytes_.Finish());
    if (format_.variable()) return MakeBinary(type, offsets_, bytes, validity[0], null_count, pool_);
    for (size_t list = 0; list < item_validity_.size(); ++list) {
      validity.emplace_back();
      if (format_.items()[list] == 0) continue;
      ARROW_ASSIGN_OR_RAISE(validity.back(), item_validity_[list].Finish());
    }
    return MakeFixed(type, count, validity, bytes);
  }

 private:
  static constexpr int64_t kMostBytes = int64_t{1} << 31;  // that a value may be decompressed to, with all before

  const ValueFormat format_;
  arrow::MemoryPool* const pool_;
  arrow::BufferBuilder bytes_;
  std::vector<arrow::TypedBufferBuilder<bool>> item_validity_;
  arrow::TypedBufferBuilder<bool> validity_;
  arrow::TypedBufferBuilder<bool> bools_;
  std::vector<int64_t> offsets_ = {0};
  std::string decoded_;  // one value
};

// Before each value lie its levels, in as few bytes as hold them, and before a variable one its length, too. Where rows
// are not all of one size a second buffer says where each begins.
class FullZipPage : public PageDecoder {
 public:
  static Result<std::unique_ptr<PageDecoder>> Make(const PageSource& source, const PageInfo& page,
                                                   const LayoutInfo& layout,
                                                   const std::shared_ptr<arrow::DataType>& type);
  Result<Step> Request(Ranges rows, Reads& reads) override;

 private:
  FullZipPage(const PageSource& source, const PageInfo& page, Levels levels, const ValueFormat& format)
      : source_(source), page_(page), levels_(std::move(levels)), format_(format) {}

  bool indexed() const { return levels_.has_lists() || format_.variable(); }
  uint64_t row_bytes() const { return level_bytes_ + format_.bytes(); }  // where all are of one size
  Result<std::shared_ptr<arrow::Array>> Finish(const Ranges& rows, BuffersRead read) const;
  uint64_t Start(uint64_t row) const {
    uint64_t start = 0;
    std::memcpy(&start, index_->data() + row * index_bytes_, index_bytes_);
    return start;
  }
  // Of one size, without levels: as an array has them.
  bool plain() const { return !indexed() && level_bytes_ == 0 && format_.validity_bytes() == 0 && !format_.bools(); }
  // The entries of so many rows.
  Status Split(std::string_view bytes, uint64_t rows, Entries& entries, Values& values) const;

  const PageSource source_;
  const PageInfo page_;
  const Levels levels_;
  const ValueFormat format_;
  uint32_t repetition_bits_ = 0;
  uint32_t definition_bits_ = 0;
  uint64_t level_bytes_ = 0;              // of an entry
  std::shared_ptr<arrow::Buffer> index_;  // once it was needed
  uint64_t index_bytes_ = 0;              // a number
};

Result<std::unique_ptr<PageDecoder>> FullZipPage::Make(const PageSource& source, const PageInfo& page,
                                                       const LayoutInfo& layout,
                                                       const std::shared_ptr<arrow::DataType>& type) {
  const auto& [repetition_bits, definition_bits, bits_per_value, bits_per_offset, encoding] = *layout.full_zip;
  ARROW_ASSIGN_OR_RAISE(auto levels, Levels::Make(layout.layers, type));
  ARROW_ASSIGN_OR_RAISE(const auto format, ValueFormat::Make(encoding, levels.leaf(), source.pool));
  if (repetition_bits > 16 || definition_bits > 16) {
    return Status::Invalid("expected levels of at most 16 bits, got ", std::to_string(repetition_bits), " and ",
                           std::to_string(definition_bits));
  }
  // Without bits for them all definition levels are 0, whatever the layers may have.
  if ((repetition_bits > 0) != levels.has_lists()) {
    return Status::Invalid("expected ", levels.has_lists() ? "" : "no ", "repetition levels, got ",
                           std::to_string(repetition_bits), " bits");
  }
  if (format.variable() ? bits_per_offset != 8 * format.length_bytes() : bits_per_value != 8 * format.bytes()) {
    return Status::Invalid("expected a value's bits, got ", std::to_string(bits_per_value), " or ",
                           std::to_string(bits_per_offset));
  }
  auto made = std::unique_ptr<FullZipPage>(new FullZipPage(source, page, std::move(levels), format));
  made->repetition_bits_ = static_cast<uint32_t>(repetition_bits);
  made->definition_bits_ = static_cast<uint32_t>(definition_bits);
  const uint64_t level_bits = repetition_bits + definition_bits;
  made->level_bytes_ = level_bits == 0 ? 0 : level_bits <= 8 ? 1 : level_bits <= 16 ? 2 : 4;
  if (page.buffers.size() < (made->indexed() ? 2 : 1)) {
    return Status::Invalid("expected 1 or 2 buffers, got ", std::to_string(page.buffers.size()));
  }
  if (!made->indexed() && page.rows > page.buffers[0].length / made->row_bytes()) {
    return Status::Invalid("expected ", std::to_string(page.rows), " rows of ", std::to_string(made->row_bytes()),
                           " bytes, got ", std::to_string(page.buffers[0].length), " bytes");
  }
  if (made->indexed()) {
    const uint64_t bytes = page.buffers[1].length;
    made->index_bytes_ = page.rows < bytes ? bytes / (page.rows + 1) : 0;
    const uint64_t width = made->index_bytes_;
    if ((width != 1 && width != 2 && width != 4 && width != 8) || width * (page.rows + 1) != bytes) {
      return Status::Invalid("expected an index of ", std::to_string(page.rows), " rows and their end, got ",
                             std::to_string(bytes), " bytes");
    }
  }
  return made;
}

Result<Step> FullZipPage::Request(Ranges rows, Reads& reads) {
  if (indexed() && !index_) {
    reads.push_back(page_.buffers[1]);
    return Step{.next = [this, rows = std::move(rows)](BuffersRead read, Reads& more) mutable {
      index_ = read[0];
      return Request(std::move(rows), more);
    }};
  }
  const uint64_t first = page_.buffers[0].offset;
  uint64_t before = first;
  for (const Range& range : rows) {
    const uint64_t start = indexed() ? Start(range.first) : range.first * row_bytes();
    const uint64_t end = indexed() ? Start(range.end()) : range.end() * row_bytes();
    if (first + start < before || start > end || end > page_.buffers[0].length) {
      return Status::Invalid("expected rows in ", std::to_string(page_.buffers[0].length), " bytes, got ",
                             std::to_string(start), " to ", std::to_string(end));
    }
    reads.push_back({first + start, end - start});
    before = first + end;
  }
  return Step{[this, rows = std::move(rows)](BuffersRead read) { return Finish(rows, read); }};
}

Result<std::shared_ptr<arrow::Array>> FullZipPage::Finish(const Ranges& rows, BuffersRead read) const {
  if (plain()) {
    ARROW_ASSIGN_OR_RAISE(const auto flat, FixedWidth::Make(page_.buffers[0], 8 * format_.bytes(), page_.rows));
    ARROW_ASSIGN_OR_RAISE(auto values, flat.Take(rows, read.data(), source_.pool));
    const auto count = static_cast<int64_t>(CountOf(rows));
    return levels_.Assemble({}, MakeFixed(levels_.leaf(), count, {}, values), static_cast<uint64_t>(count),
                            source_.pool);
  }
  Entries entries;
  Values values(format_, source_.pool);
  uint64_t bytes = 0;
  for (const auto& buffer : read) bytes += static_cast<uint64_t>(buffer->size());
  ARROW_RETURN_NOT_OK(values.Reserve(bytes));
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string_view piece(reinterpret_cast<const char*>(read[i]->data()), static_cast<size_t>(read[i]->size()));
    ARROW_RETURN_NOT_OK(Split(piece, rows[i].count, entries, values));
  }
  ARROW_ASSIGN_OR_RAISE(auto leaf, values.Finish(levels_.leaf()));
  return levels_.Assemble(std::move(entries), std::move(leaf), CountOf(rows), source_.pool);
}

Status FullZipPage::Split(std::string_view bytes, uint64_t rows, Entries& entries, Values& values) const {
  const auto short_of = [&](uint64_t size) {
    return Status::Invalid("expected ", std::to_string(size), " bytes of an entry, got ", std::to_string(bytes.size()));
  };
  uint64_t begun = 0;
  while (!bytes.empty()) {
    if (bytes.size() < level_bytes_) return short_of(level_bytes_);
    uint32_t word = 0;
    std::memcpy(&word, bytes.data(), level_bytes_);
    bytes.remove_prefix(level_bytes_);
    const auto definition = word & ((1u << definition_bits_) - 1);
    const uint32_t repetition = word >> definition_bits_;
    if (definition > levels_.most_definition() || repetition > levels_.most_repetition()) {
      return Status::Invalid("expected levels of at most ", std::to_string(levels_.most_repetition()), " and ",
                             std::to_string(levels_.most_definition()), ", got ", std::to_string(repetition), " and ",
                             std::to_string(definition));
    }
    begun += repetition == levels_.most_repetition() ? 1 : 0;
    if (begun == 0) return Status::Invalid("expected a row to begin");
    if (levels_.has_lists()) entries.repetition.push_back(static_cast<uint16_t>(repetition));
    if (definition_bits_ > 0) entries.definition.push_back(static_cast<uint16_t>(definition));
    if (!levels_.visible(static_cast<uint16_t>(definition))) continue;
    uint64_t size = format_.bytes();
    if (format_.variable() && definition == 0) {
      if (bytes.size() < format_.length_bytes()) return short_of(format_.length_bytes());
      std::memcpy(&size, bytes.data(), format_.length_bytes());
      bytes.remove_prefix(format_.length_bytes());
    }
    if (bytes.size() < size) return short_of(size);
    ARROW_RETURN_NOT_OK(values.Add(bytes.data(), size, definition == 0));
    bytes.remove_prefix(size);
  }
  if (begun == rows) return Status::OK();
  return Status::Invalid("expected ", std::to_string(rows), " rows, got ", std::to_string(begun));
}

// All values are the same, or null.
class ConstantPage : public PageDecoder {
 public:
  static Result<std::unique_ptr<PageDecoder>> Make(const PageSource& source, const PageInfo& page,
                                                   const LayoutInfo& layout,
                                                   const std::shared_ptr<arrow::DataType>& type);
  Result<Step> Request(Ranges rows, Reads& reads) override {
    if (!read_) {
      reads.insert(reads.end(), page_.buffers.begin(), page_.buffers.end());
      return Step{.next = [this, rows = std::move(rows)](BuffersRead read, Reads& more) mutable -> Result<Step> {
        if (!read_) ARROW_RETURN_NOT_OK(TakeLevels(read));
        return Request(std::move(rows), more);
      }};
    }
    return Step{[this, rows = std::move(rows)](BuffersRead) { return Finish(rows); }};
  }

 private:
  ConstantPage(const PageSource& source, const PageInfo& page, Levels levels)
      : source_(source), page_(page), levels_(std::move(levels)) {}

  Status TakeLevels(BuffersRead read);
  Status ReadValue(std::string_view bytes);
  Result<std::shared_ptr<arrow::Array>> Finish(const Ranges& rows) const;
  Result<std::shared_ptr<arrow::Array>> Leaf(const std::vector<uint16_t>& definition, uint64_t visible) const;

  const PageSource source_;
  const PageInfo page_;
  const Levels levels_;
  ConstantInfo info_;
  std::optional<std::string> value_;  // of one width, or variable
  // Of all rows, once they were needed.
  bool read_ = false;
  Entries entries_;
  std::vector<size_t> starts_;  // of each row among the entries, and the end; empty: one a row
};

Result<std::unique_ptr<PageDecoder>> ConstantPage::Make(const PageSource& source, const PageInfo& page,
                                                        const LayoutInfo& layout,
                                                        const std::shared_ptr<arrow::DataType>& type) {
  const auto& value = layout.constant.value;
  ARROW_ASSIGN_OR_RAISE(auto levels, Levels::Make(layout.layers, type));
  auto made = std::unique_ptr<ConstantPage>(new ConstantPage(source, page, std::move(levels)));
  const size_t buffers = page.buffers.size();
  if (buffers > 3 || (buffers % 2 == 1 && value)) {
    return Status::Invalid("expected at most a value and levels, got ", std::to_string(buffers), " buffers",
                           value ? " and a value" : "");
  }
  const auto& leaf = *made->levels_.leaf();
  if (value && (leaf.num_fields() > 0 || WidthOf(leaf) == 0 || (WidthOf(leaf) + 7) / 8 != value->size())) {
    return Status::Invalid("expected a value of ", leaf.ToString(), ", got ", std::to_string(value->size()), " bytes");
  }
  made->info_ = layout.constant;
  made->value_ = value;
  return made;
}

// The buffers of an Arrow array of one value: how many, the sizes of each, and they.
Status ConstantPage::ReadValue(std::string_view bytes) {
  const auto& leaf = *levels_.leaf();
  const uint64_t width = WidthOf(leaf);
  const size_t wanted = width > 0 ? 1 : 2;
  if (leaf.num_fields() > 0 || (width == 0 && !arrow::is_base_binary_like(leaf.id()))) {
    return Status::NotImplemented("a constant of ", leaf.ToString());
  }
  const size_t head = (wanted + 1) * sizeof(uint32_t);
  const auto number = [&](size_t i) { return uint64_t{Get<uint32_t>(bytes.data() + i * sizeof(uint32_t))}; };
  if (bytes.size() < head || number(0) != wanted || number(1) + (wanted == 2 ? number(2) : 0) != bytes.size() - head) {
    return Status::Invalid("expected a value of ", leaf.ToString(), ", got ", std::to_string(bytes.size()), " bytes");
  }
  value_ = bytes.substr(head + (wanted == 2 ? number(1) : 0));
  if (width == 0 || value_->size() == (width + 7) / 8) return Status::OK();
  return Status::Invalid("expected a value of ", leaf.ToString(), ", got ", std::to_string(value_->size()), " bytes");
}

Status ConstantPage::TakeLevels(BuffersRead read) {
  // What an earlier try has left is not to be trusted.
  entries_ = {};
  starts_.clear();
  // What one takes decoded, and where its row begins.
  constexpr uint64_t kBitsALevel = 128;
  ARROW_RETURN_NOT_OK(CheckSize(std::max(info_.repetition_values, info_.definition_values), kBitsALevel));
  if (!read.empty()) {
    if (read.size() % 2 == 1) {
      ARROW_RETURN_NOT_OK(
          ReadValue({reinterpret_cast<const char*>(read[0]->data()), static_cast<size_t>(read[0]->size())}));
    }
    const auto take = [&](const std::shared_ptr<arrow::Buffer>& buffer, const std::optional<ValueEncoding>& encoding,
                          uint64_t count, uint16_t most, std::vector<uint16_t>& to) -> Status {
      if (!encoding) {
        return Levels::Check(*buffer, static_cast<uint64_t>(buffer->size()) / sizeof(uint16_t), most).Value(&to);
      }
      if (WidthOf(*encoding) != 16) return Status::Invalid("expected levels of 16 bits");
      ARROW_ASSIGN_OR_RAISE(const auto decoder, ValueDecoder::Make(*encoding, source_.pool));
      ARROW_ASSIGN_OR_RAISE(const auto levels, decoder.DecodeWhole(buffer, count));
      return Levels::Check(*levels.bytes, count, most).Value(&to);
    };
    if (read.size() >= 2) {
      ARROW_RETURN_NOT_OK(take(read[read.size() - 2], info_.repetition, info_.repetition_values,
                               levels_.most_repetition(), entries_.repetition));
      ARROW_RETURN_NOT_OK(
          take(read.back(), info_.definition, info_.definition_values, levels_.most_definition(), entries_.definition));
    }
  }
  uint64_t begun = page_.rows;
  const size_t count = entries_.definition.size();
  if (levels_.has_lists()) {
    for (size_t i = 0; i < entries_.repetition.size(); ++i) {
      if (entries_.repetition[i] == levels_.most_repetition()) starts_.push_back(i);
    }
    begun = starts_.size();
    starts_.push_back(entries_.repetition.size());
  }
  const size_t entries = levels_.has_lists() ? entries_.repetition.size() : page_.rows;
  if (begun == page_.rows && (count == 0 || count == entries) && (starts_.empty() || starts_[0] == 0) &&
      levels_.has_lists() == !entries_.repetition.empty()) {
    read_ = true;
    return Status::OK();
  }
  return Status::Invalid("expected levels of ", std::to_string(page_.rows), " rows, got those of ",
                         std::to_string(begun));
}

Result<std::shared_ptr<arrow::Array>> ConstantPage::Leaf(const std::vector<uint16_t>& definition,
                                                         uint64_t visible) const {
  const auto& type = levels_.leaf();
  if (!value_) return Nulls(type, visible, source_.pool);
  const uint64_t width = WidthOf(*type);
  ARROW_ASSIGN_OR_RAISE(auto bits, levels_.LeafValidity(definition, source_.pool));
  const int64_t null_count = bits ? arrow::kUnknownNullCount : 0;
  ARROW_RETURN_NOT_OK(CheckSize(visible, std::max<uint64_t>(width, 8 * value_->size())));
  ARROW_ASSIGN_OR_RAISE(
      std::shared_ptr<arrow::Buffer> values,
      arrow::AllocateBuffer(static_cast<int64_t>(width == 1 ? (visible + 7) / 8 : visible * value_->size()),
                            source_.pool));
  if (width == 1) {
    std::memset(values->mutable_data(), ((*value_)[0] & 1) != 0 ? 0xFF : 0, static_cast<size_t>(values->size()));
  } else {
    for (uint64_t i = 0; i < visible; ++i) {
      std::memcpy(values->mutable_data() + i * value_->size(), value_->data(), value_->size());
    }
  }
  if (width == 0) {
    std::vector<int64_t> offsets(visible + 1);
    for (uint64_t i = 0; i <= visible; ++i) offsets[i] = static_cast<int64_t>(i * value_->size());
    return MakeBinary(type, offsets, std::move(values), std::move(bits), null_count, source_.pool);
  }
  return arrow::MakeArray(
      arrow::ArrayData::Make(type, static_cast<int64_t>(visible), {std::move(bits), std::move(values)}, null_count));
}

Result<std::shared_ptr<arrow::Array>> ConstantPage::Finish(const Ranges& rows) const {
  Entries entries;
  uint64_t count = 0;
  for (const Range& range : rows) {
    const size_t first = starts_.empty() ? range.first : starts_[range.first];
    const size_t last = starts_.empty() ? range.end() : starts_[range.end()];
    const auto copy = [&](const std::vector<uint16_t>& from, std::vector<uint16_t>& to) {
      if (!from.empty())
        to.insert(to.end(), from.begin() + static_cast<ptrdiff_t>(first), from.begin() + static_cast<ptrdiff_t>(last));
    };
    copy(entries_.repetition, entries.repetition);
    copy(entries_.definition, entries.definition);
    count += last - first;
  }
  uint64_t visible = count;
  if (!entries.definition.empty()) {
    visible = levels_.CountVisible(entries.definition);
  }
  ARROW_ASSIGN_OR_RAISE(auto leaf, Leaf(entries.definition, visible));
  return levels_.Assemble(std::move(entries), std::move(leaf), CountOf(rows), source_.pool);
}

}  // namespace

Result<std::unique_ptr<PageDecoder>> MakeLayoutPage(const PageSource& source, const PageInfo& page,
                                                    const std::shared_ptr<arrow::DataType>& type) {
  if (page.type_url != kPageLayout) return Status::NotImplemented("encoding ", page.type_url);
  ARROW_ASSIGN_OR_RAISE(const LayoutInfo layout, ParsePageLayout(page.encoding));
  return layout.full_zip     ? FullZipPage::Make(source, page, layout, type)
         : layout.mini_block ? MakeMiniBlockPage(source, page, layout, type)
                             : ConstantPage::Make(source, page, layout, type);
}

}  // namespace pennon::lance_format
