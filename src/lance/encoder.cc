#include "lance/encoder.h"

#include <algorithm>
#include <utility>

#include <arrow/buffer_builder.h>
#include <arrow/util/bit_util.h>

#include "lance/array_encoding.h"
#include "lance/fixed_bytes.h"
#include "lance/full_zip_encoder.h"

namespace pennon::lance_format {
namespace {

using arrow::Status;

// Bits of which mostly all are set.
class Validity {
 public:
  explicit Validity(arrow::MemoryPool* pool) : bits_(pool) {}

  bool any_null() const { return bits_.false_count() > 0; }
  std::string_view bytes() const {
    return {reinterpret_cast<const char*>(bits_.data()),
            static_cast<size_t>(arrow::bit_util::BytesForBits(bits_.length()))};
  }
  Status Append(const arrow::Array& array, int64_t from, int64_t count) {
    if (array.null_count() == 0) return bits_.Append(count, true);
    ARROW_RETURN_NOT_OK(bits_.Reserve(count));
    for (int64_t i = from; i < from + count; ++i) bits_.UnsafeAppend(array.IsValid(i));
    return Status::OK();
  }
  void Clear() { bits_.Reset(); }

 private:
  arrow::TypedBufferBuilder<bool> bits_;
};

std::string_view Bytes(const arrow::BufferBuilder& builder) {
  return {reinterpret_cast<const char*>(builder.data()), static_cast<size_t>(builder.length())};
}

// What pages of every kind have.
class ColumnEncoder : public Encoder {
 protected:
  ColumnEncoder(int32_t column, const PageSink& sink, const PageOptions& options)
      : options_(options), sink_(sink), column_(column) {}

  uint64_t rows() const { return rows_; }
  // Items of lists that are all empty have a page of no rows: Lance 14 looks for one.
  bool nothing_to_flush() const { return rows_ == 0 && any_page_; }
  void AddRows(uint64_t count) { rows_ += count; }
  Status Emit(std::vector<std::string_view> buffers, std::string encoding) {
    any_page_ = true;
    return sink_({column_, std::move(buffers), std::move(encoding), std::exchange(rows_, 0)});
  }

  const PageOptions options_;

 private:
  const PageSink& sink_;
  const int32_t column_;
  uint64_t rows_ = 0;
  bool any_page_ = false;
};

// Values of so many bits, or lists of `dimension` of them.
class FixedWidthEncoder : public ColumnEncoder {
 public:
  FixedWidthEncoder(int64_t bits, int32_t dimension, int32_t column, const PageSink& sink, const PageOptions& options)
      : ColumnEncoder(column, sink, options),
        bits_(bits),
        dimension_(dimension),
        rows_a_page_(std::max<int64_t>(1, options.budget * 8 / (bits * std::max(1, dimension)))),
        validity_(options.pool),
        item_validity_(options.pool),
        values_(options.pool),
        bools_(options.pool) {}

  Status Append(const arrow::Array& array) override {
    for (int64_t from = 0; from < array.length();) {
      const int64_t count = std::min(array.length() - from, rows_a_page_ - static_cast<int64_t>(rows()));
      const std::string_view raw = Raw(array, from, count);
      if (rows() == 0 && static_cast<int64_t>(raw.size()) >= std::min(options_.budget, kWorthAPage)) {
        AddRows(static_cast<uint64_t>(count));
        const std::string values = NoNulls(Flat(static_cast<uint64_t>(bits_), 0));
        ARROW_RETURN_NOT_OK(
            Emit({raw}, dimension_ == 0 ? values : NoNulls(FixedSizeList(static_cast<uint32_t>(dimension_), values))));
        from += count;
        continue;
      }
      ARROW_RETURN_NOT_OK(validity_.Append(array, from, count));
      if (dimension_ > 0) {
        const auto& lists = static_cast<const arrow::FixedSizeListArray&>(array);
        ARROW_RETURN_NOT_OK(item_validity_.Append(*lists.values(), lists.value_offset(from), count * dimension_));
      }
      ARROW_RETURN_NOT_OK(AppendValues(array, from, count));
      AddRows(static_cast<uint64_t>(count));
      from += count;
      if (static_cast<int64_t>(rows()) == rows_a_page_) ARROW_RETURN_NOT_OK(Flush());
    }
    return Status::OK();
  }

  Status Flush() override {
    if (nothing_to_flush()) return Status::OK();
    std::vector<std::string_view> buffers;
    const auto add = [&](std::string_view buffer) {
      buffers.push_back(buffer);
      return static_cast<uint32_t>(buffers.size() - 1);
    };
    const auto flat = [&](const Validity& validity) {
      const std::string valid = validity.any_null() ? Flat(1, add(validity.bytes())) : "";
      const std::string values = Flat(static_cast<uint64_t>(bits_), add(values_bytes()));
      return valid.empty() ? NoNulls(values) : SomeNulls(valid, values);
    };
    std::string encoding;
    if (dimension_ == 0) {
      encoding = flat(validity_);
    } else {
      const std::string valid = validity_.any_null() ? Flat(1, add(validity_.bytes())) : "";
      const std::string lists = FixedSizeList(static_cast<uint32_t>(dimension_), flat(item_validity_));
      encoding = valid.empty() ? NoNulls(lists) : SomeNulls(valid, lists);
    }
    ARROW_RETURN_NOT_OK(Emit(std::move(buffers), std::move(encoding)));
    validity_.Clear();
    item_validity_.Clear();
    values_.Rewind(0);
    bools_.Reset();
    return Status::OK();
  }

 private:
  std::string_view values_bytes() const {
    if (bits_ > 1) return Bytes(values_);
    return {reinterpret_cast<const char*>(bools_.data()),
            static_cast<size_t>(arrow::bit_util::BytesForBits(bools_.length()))};
  }
  // The bytes of rows without nulls, or nothing.
  std::string_view Raw(const arrow::Array& array, int64_t from, int64_t count) const {
    if (bits_ == 1 || array.null_count() > 0) return {};
    if (dimension_ > 0 && static_cast<const arrow::FixedSizeListArray&>(array).values()->null_count() > 0) return {};
    return FixedBytes(array, bits_, dimension_, from, count);
  }
  Status AppendValues(const arrow::Array& array, int64_t from, int64_t count) {
    if (bits_ == 1) {
      const auto& bools = static_cast<const arrow::BooleanArray&>(array);
      ARROW_RETURN_NOT_OK(bools_.Reserve(count));
      for (int64_t i = from; i < from + count; ++i) bools_.UnsafeAppend(bools.Value(i));
      return Status::OK();
    }
    const std::string_view bytes = FixedBytes(array, bits_, dimension_, from, count);
    return values_.Append(bytes.data(), static_cast<int64_t>(bytes.size()));
  }

  const int64_t bits_;
  const int32_t dimension_;  // 0: no lists
  const int64_t rows_a_page_;
  Validity validity_;
  Validity item_validity_;
  arrow::BufferBuilder values_;
  arrow::TypedBufferBuilder<bool> bools_;
};

// The ends of variable-size rows of a page; a null row's is told by what is added to it.
class Ends {
 public:
  explicit Ends(arrow::MemoryPool* pool) : ends_(pool) {}

  int64_t bytes() const { return ends_.length(); }
  uint64_t last() const { return last_; }
  Status Append(uint64_t size) {
    last_ += size;
    return ends_.Append(&last_, sizeof(last_));
  }
  Status AppendNull() {
    nulls_.push_back(ends_.length() / static_cast<int64_t>(sizeof(last_)));
    return ends_.Append(&last_, sizeof(last_));
  }
  // Of all rows; none is added after that.
  std::string_view Finish() {
    auto* ends = reinterpret_cast<uint64_t*>(ends_.mutable_data());
    for (int64_t row : nulls_) ends[row] += adjustment();
    return Bytes(ends_);
  }
  uint64_t adjustment() const { return last_ + 1; }
  void Clear() {
    ends_.Rewind(0);
    nulls_.clear();
    last_ = 0;
  }

 private:
  arrow::BufferBuilder ends_;  // uint64_t
  std::vector<int64_t> nulls_;
  uint64_t last_ = 0;
};

template <typename ArrayType>
class BinaryEncoder : public ColumnEncoder {
 public:
  BinaryEncoder(int32_t column, const PageSink& sink, const PageOptions& options)
      : ColumnEncoder(column, sink, options), ends_(options.pool), bytes_(options.pool) {}

  Status Append(const arrow::Array& array) override {
    const auto& strings = static_cast<const ArrayType&>(array);
    for (int64_t i = 0; i < strings.length(); ++i) {
      const std::string_view value = strings.IsValid(i) ? strings.GetView(i) : std::string_view();
      const int64_t size = static_cast<int64_t>(value.size()) + 8;
      if (rows() > 0 && bytes_.length() + ends_.bytes() + size > options_.budget) ARROW_RETURN_NOT_OK(Flush());
      if (!value.empty()) {
        ARROW_RETURN_NOT_OK(bytes_.Append(value.data(), static_cast<int64_t>(value.size())));
      }
      ARROW_RETURN_NOT_OK(strings.IsValid(i) ? ends_.Append(value.size()) : ends_.AppendNull());
      AddRows(1);
    }
    return Status::OK();
  }

  Status Flush() override {
    if (nothing_to_flush()) return Status::OK();
    const uint64_t adjustment = ends_.adjustment();
    ARROW_RETURN_NOT_OK(Emit({ends_.Finish(), Bytes(bytes_)}, Binary(NoNulls(Flat(64, 0)), Flat(8, 1), adjustment)));
    ends_.Clear();
    bytes_.Rewind(0);
    return Status::OK();
  }

 private:
  Ends ends_;
  arrow::BufferBuilder bytes_;
};

// A column of ends, and the items' columns, whose pages end where they will.
template <typename ArrayType>
class ListEncoder : public ColumnEncoder {
 public:
  ListEncoder(std::unique_ptr<Encoder> items, int32_t column, const PageSink& sink, const PageOptions& options)
      : ColumnEncoder(column, sink, options), items_(std::move(items)), ends_(options.pool) {}

  Status Append(const arrow::Array& array) override {
    const auto& lists = static_cast<const ArrayType&>(array);
    int64_t begin = 0;  // the items of the rows so far that follow each other
    int64_t end = 0;
    const auto take = [&] {
      return end == begin ? Status::OK() : items_->Append(*lists.values()->Slice(begin, end - begin));
    };
    for (int64_t i = 0; i < lists.length(); ++i) {
      if (rows() > 0 && ends_.bytes() + 8 > options_.budget) ARROW_RETURN_NOT_OK(FlushEnds());
      if (lists.IsNull(i)) {
        ARROW_RETURN_NOT_OK(ends_.AppendNull());
      } else {
        if (lists.value_offset(i) != end) {
          ARROW_RETURN_NOT_OK(take());
          begin = lists.value_offset(i);
        }
        end = lists.value_offset(i) + lists.value_length(i);
        ARROW_RETURN_NOT_OK(ends_.Append(static_cast<uint64_t>(lists.value_length(i))));
      }
      AddRows(1);
    }
    return take();
  }

  Status Flush() override {
    ARROW_RETURN_NOT_OK(FlushEnds());
    return items_->Flush();
  }

 private:
  Status FlushEnds() {
    if (nothing_to_flush()) return Status::OK();
    const uint64_t adjustment = ends_.adjustment();
    const uint64_t items = ends_.last();
    ARROW_RETURN_NOT_OK(Emit({ends_.Finish()}, List(NoNulls(Flat(64, 0)), adjustment, items)));
    ends_.Clear();
    return Status::OK();
  }

  std::unique_ptr<Encoder> items_;
  Ends ends_;
};

// A column of pages without buffers, and the fields' columns. Version 2.0 has no place for a struct's own nulls.
class StructEncoder : public ColumnEncoder {
 public:
  StructEncoder(std::vector<std::unique_ptr<Encoder>> fields, int32_t column, const PageSink& sink,
                const PageOptions& options)
      : ColumnEncoder(column, sink, options), fields_(std::move(fields)) {}

  Status Append(const arrow::Array& array) override {
    if (array.null_count() > 0) {
      return Status::NotImplemented("expected no null structs, which file version 2.0 cannot hold (2.2 can), got ",
                                    std::to_string(array.null_count()), " of type ", array.type()->ToString());
    }
    const auto& structs = static_cast<const arrow::StructArray&>(array);
    for (size_t i = 0; i < fields_.size(); ++i) {
      ARROW_RETURN_NOT_OK(fields_[i]->Append(*structs.field(static_cast<int>(i))));
    }
    AddRows(static_cast<uint64_t>(array.length()));
    return Status::OK();
  }

  Status Flush() override {
    if (!nothing_to_flush()) ARROW_RETURN_NOT_OK(Emit({}, Struct()));
    for (const auto& field : fields_) ARROW_RETURN_NOT_OK(field->Flush());
    return Status::OK();
  }

 private:
  std::vector<std::unique_ptr<Encoder>> fields_;
};

}  // namespace

std::unique_ptr<Encoder> MakeEncoder(const arrow::DataType& type, int32_t& column, const PageSink& sink,
                                     const PageOptions& options) {
  using arrow::Type;
  if (options.version == FileVersion::k2_2) return MakeFullZipEncoder(type, column, sink, options);
  const int32_t own = column++;
  const auto child = [&] { return MakeEncoder(*type.field(0)->type(), column, sink, options); };
  switch (type.id()) {
    case Type::STRING:
    case Type::BINARY: return std::make_unique<BinaryEncoder<arrow::BinaryArray>>(own, sink, options);
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY: return std::make_unique<BinaryEncoder<arrow::LargeBinaryArray>>(own, sink, options);
    case Type::LIST: return std::make_unique<ListEncoder<arrow::ListArray>>(child(), own, sink, options);
    case Type::LARGE_LIST: return std::make_unique<ListEncoder<arrow::LargeListArray>>(child(), own, sink, options);
    case Type::STRUCT: {
      std::vector<std::unique_ptr<Encoder>> fields;
      for (const auto& field : type.fields()) fields.push_back(MakeEncoder(*field->type(), column, sink, options));
      return std::make_unique<StructEncoder>(std::move(fields), own, sink, options);
    }
    case Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
      return std::make_unique<FixedWidthEncoder>(list.value_type()->bit_width(), list.list_size(), own, sink, options);
    }
    default: return std::make_unique<FixedWidthEncoder>(type.bit_width(), 0, own, sink, options);
  }
}

}  // namespace pennon::lance_format
