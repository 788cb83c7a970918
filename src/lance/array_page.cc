// Pages of version 2.0, whose buffers an ArrayEncoding tells: array_encoding.h writes it.
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include <arrow/array/builder_primitive.h>
#include <arrow/buffer_builder.h>

#include "lance/array_encoding.h"
#include "lance/dictionary.h"
#include "lance/fsst.h"
#include "lance/message.h"
#include "lance/page_decoder.h"
#include "lance/value_decoder.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using Node = ArrayNode;
using BufferPtr = std::shared_ptr<arrow::Buffer>;

Status Unexpected(const char* what, const Node& got) {
  return Status::NotImplemented("encoding ", Name(got.kind), " of ", what);
}

Result<io::ByteRange> BufferOf(const PageInfo& page, const Node& flat) {
  if (flat.buffer >= page.buffers.size()) {
    return Status::Invalid("expected one of ", std::to_string(page.buffers.size()), " buffers, got number ",
                           std::to_string(flat.buffer));
  }
  return page.buffers[flat.buffer];
}

// With what says of nulls taken off.
struct Values {
  std::optional<FixedWidth> validity;
  bool all_null = false;
  const Node* node = nullptr;
};

Result<Values> TakeNullable(const PageInfo& page, const Node& node, uint64_t count) {
  Values values;
  switch (node.kind) {
    case Node::Kind::kNoNulls: values.node = &node.inner[0]; break;
    case Node::Kind::kAllNulls: values.all_null = true; break;
    case Node::Kind::kSomeNulls: {
      const Node& validity = node.inner[0];
      if (validity.kind != Node::Kind::kFlat || validity.bits != 1) return Unexpected("validity", validity);
      ARROW_ASSIGN_OR_RAISE(const auto place, BufferOf(page, validity));
      ARROW_ASSIGN_OR_RAISE(values.validity, FixedWidth::Make(place, 1, count));
      values.node = &node.inner[1];
      break;
    }
    default: values.node = &node;
  }
  return values;
}

Result<FixedWidth> MakeFlat(const PageInfo& page, const Node& node, uint64_t bits, uint64_t count) {
  if (node.kind != Node::Kind::kFlat) return Unexpected("values", node);
  if (!node.compression.empty()) return Status::NotImplemented("compression ", node.compression, " of values");
  if (node.bits != bits) {
    return Status::Invalid("expected values of ", std::to_string(bits), " bits, got ", std::to_string(node.bits));
  }
  ARROW_ASSIGN_OR_RAISE(const auto place, BufferOf(page, node));
  return FixedWidth::Make(place, bits, count);
}

class NullPage : public PageDecoder {
 public:
  NullPage(const PageSource& source, std::shared_ptr<arrow::DataType> type) : source_(source), type_(std::move(type)) {}
  Result<Step> Request(Ranges rows, Reads&) override {
    return Step{[this, count = CountOf(rows)](BuffersRead) { return Nulls(type_, count, source_.pool); }};
  }

 private:
  const PageSource source_;
  const std::shared_ptr<arrow::DataType> type_;
};

// Numbers, or lists of a fixed size of them, or of such lists. Validity: of rows, of items, of items of those and so
// on.
class FixedWidthPage : public PageDecoder {
 public:
  FixedWidthPage(const PageSource& source, std::shared_ptr<arrow::DataType> type,
                 std::vector<std::optional<FixedWidth>> validity, std::optional<FixedWidth> values)
      : source_(source), type_(std::move(type)), validity_(std::move(validity)), values_(values) {
    const auto dimensions = DimensionsOf(*type_);
    items_.insert(items_.end(), dimensions.begin(), dimensions.end());
  }

  Result<Step> Request(Ranges rows, Reads& reads) override {
    for (size_t i = 0; i < validity_.size(); ++i) {
      if (validity_[i]) validity_[i]->Request(Times(rows, items_[i]), reads);
    }
    if (values_) values_->Request(Times(rows, items_.back()), reads);
    return Step{[this, rows = std::move(rows)](BuffersRead read) { return Finish(rows, read); }};
  }

 private:
  Result<std::shared_ptr<arrow::Array>> Finish(const Ranges& rows, BuffersRead read) const {
    const auto* next = read.data();
    const auto take = [&](const FixedWidth& of, uint64_t items) {
      return of.Take(Times(rows, items), std::exchange(next, next + rows.size()), source_.pool);
    };
    std::vector<BufferPtr> validity(validity_.size());
    for (size_t i = 0; i < validity_.size(); ++i) {
      if (!validity_[i]) continue;
      ARROW_ASSIGN_OR_RAISE(validity[i], take(*validity_[i], items_[i]));
    }
    const uint64_t count = CountOf(rows);
    BufferPtr values;
    if (values_) {
      ARROW_ASSIGN_OR_RAISE(values, take(*values_, items_.back()));
    } else {
      ARROW_ASSIGN_OR_RAISE(validity.back(), Zeros(count, items_[validity.size() - 1], source_.pool));
      ARROW_ASSIGN_OR_RAISE(values, Zeros(count, WidthOf(*type_), source_.pool));
    }
    return MakeFixed(type_, static_cast<int64_t>(count), validity, values);
  }

  const PageSource source_;
  const std::shared_ptr<arrow::DataType> type_;
  const std::vector<std::optional<FixedWidth>> validity_;
  const std::optional<FixedWidth> values_;  // none: the innermost items that have a validity are all null
  std::vector<uint64_t> items_ = {1};       // of a row, at each depth
};

// Where rows of variable size end, counted from the page's start. A null row's end is `adjustment` too large.
class EndsReader {
 public:
  static Result<EndsReader> Make(const PageSource& source, const PageInfo& page, const Node& ends, uint64_t adjustment,
                                 uint64_t total) {
    ARROW_ASSIGN_OR_RAISE(const Values values, TakeNullable(page, ends, page.rows));
    if (values.validity || values.all_null) return Unexpected("ends", ends);
    ARROW_ASSIGN_OR_RAISE(const FixedWidth flat, MakeFlat(page, *values.node, 64, page.rows));
    if (adjustment != 0 && adjustment <= total) {
      return Status::Invalid("expected a null adjustment of more than ", std::to_string(total), ", got ",
                             std::to_string(adjustment));
    }
    return EndsReader(source, flat, adjustment, total);
  }

  void Request(const Ranges& rows, Reads& reads) const {
    for (const Range& range : rows) {
      const Range wanted = WithBegin(range);
      ends_.Request({&wanted, 1}, reads);
    }
  }

  Result<Lists> Take(const Ranges& rows, BuffersRead read) const {
    Lists lists;
    lists.offsets.reserve(CountOf(rows) + 1);
    lists.offsets.push_back(0);
    arrow::TypedBufferBuilder<bool> validity(source_.pool);
    ARROW_RETURN_NOT_OK(validity.Reserve(static_cast<int64_t>(CountOf(rows))));
    uint64_t before = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const Range wanted = WithBegin(rows[i]);
      ARROW_ASSIGN_OR_RAISE(const auto ends, ends_.Take({&wanted, 1}, &read[i], source_.pool));
      const auto* end = reinterpret_cast<const uint64_t*>(ends->data());
      const uint64_t begin = rows[i].first > 0 ? Plain(*end++) : 0;
      if (begin < before) {
        return Status::Invalid("expected row ", std::to_string(rows[i].first), " to begin at ", std::to_string(before),
                               " or later, got ", std::to_string(begin));
      }
      before = begin;
      for (uint64_t row = 0; row < rows[i].count; ++row, ++end) {
        const uint64_t at = Plain(*end);
        if (at < before || at > total_) {
          return Status::Invalid("expected an end of ", std::to_string(before), " to ", std::to_string(total_),
                                 ", got ", std::to_string(at), " for row ", std::to_string(rows[i].first + row));
        }
        lists.offsets.push_back(lists.offsets.back() + static_cast<int64_t>(at - before));
        validity.UnsafeAppend(adjustment_ == 0 || *end < adjustment_);
        before = at;
      }
      if (before > begin) lists.items.push_back({begin, before - begin});
    }
    lists.null_count = validity.false_count();
    if (lists.null_count > 0) {
      ARROW_ASSIGN_OR_RAISE(lists.validity, validity.Finish());
    }
    return lists;
  }

 private:
  EndsReader(const PageSource& source, const FixedWidth& ends, uint64_t adjustment, uint64_t total)
      : source_(source), ends_(ends), adjustment_(adjustment), total_(total) {}
  // The end before a range is where that begins.
  static Range WithBegin(const Range& range) {
    return range.first > 0 ? Range{range.first - 1, range.count + 1} : range;
  }
  uint64_t Plain(uint64_t end) const { return adjustment_ == 0 ? end : end % adjustment_; }

  PageSource source_;
  FixedWidth ends_;
  uint64_t adjustment_;
  uint64_t total_;  // bytes or items of the page
};

// Rows and null ones of variable size, as a page has them.
struct BinaryValues {
  Lists rows;
  BufferPtr bytes = nullptr;
};

class BinaryPage : public PageDecoder {
 public:
  static Result<BinaryPage> Make(const PageSource& source, const PageInfo& page, const Node& node,
                                 const std::shared_ptr<arrow::DataType>& type) {
    const bool compressed = node.kind == Node::Kind::kFsst;
    const Node& binary = compressed ? node.inner[0] : node;
    if (binary.kind != Node::Kind::kBinary) return Unexpected("strings", binary);
    std::optional<FsstTable> fsst;
    if (compressed) {
      ARROW_ASSIGN_OR_RAISE(fsst, FsstTable::Make(node.symbols));
    }
    const Node& bytes = binary.inner[1];
    ARROW_ASSIGN_OR_RAISE(const Values inner, TakeNullable(page, bytes, 0));
    if (inner.validity || inner.all_null || inner.node->kind != Node::Kind::kFlat) return Unexpected("bytes", bytes);
    ARROW_ASSIGN_OR_RAISE(const auto place, BufferOf(page, *inner.node));
    Node plain = *inner.node;
    std::optional<ValueEncoding::Scheme> scheme;
    uint64_t total = place.length;
    if (const std::string name = std::exchange(plain.compression, {}); !name.empty()) {
      if (name != "lz4" && name != "zstd") return Status::NotImplemented("compression ", name);
      scheme = name == "lz4" ? ValueEncoding::Scheme::kLz4 : ValueEncoding::Scheme::kZstd;
      total = std::min<uint64_t>(binary.null_adjustment - 1, INT64_MAX);  // until it is decompressed
    }
    ARROW_ASSIGN_OR_RAISE(const FixedWidth flat, MakeFlat(page, plain, 8, place.length));
    ARROW_ASSIGN_OR_RAISE(const auto ends,
                          EndsReader::Make(source, page, binary.inner[0], binary.null_adjustment, total));
    return BinaryPage(source, type, ends, flat, fsst, place, scheme);
  }

  Result<Step> Request(Ranges rows, Reads& reads) override {
    RequestEnds(rows, reads);
    return Step{.next = [this, rows = std::move(rows)](BuffersRead ends, Reads& more) -> Result<Step> {
      ARROW_ASSIGN_OR_RAISE(auto wanted, RequestBytes(rows, ends, more));
      return Step{
          [this, wanted = std::move(wanted)](BuffersRead read) mutable -> Result<std::shared_ptr<arrow::Array>> {
            ARROW_ASSIGN_OR_RAISE(auto values, Take(std::move(wanted), read));
            return MakeBinary(type_, values.rows.offsets, std::move(values.bytes), values.rows.validity,
                              values.rows.null_count, source_.pool);
          }};
    }};
  }

 private:
  void RequestEnds(const Ranges& rows, Reads& reads) const { ends_.Request(rows, reads); }
  Result<Lists> RequestBytes(const Ranges& rows, BuffersRead ends, Reads& reads) const {
    ARROW_ASSIGN_OR_RAISE(auto wanted, ends_.Take(rows, ends));
    if (scheme_) {
      reads.push_back(place_);
    } else {
      bytes_.Request(wanted.items, reads);
    }
    return wanted;
  }
  Result<BinaryValues> Take(Lists wanted, BuffersRead read) const {
    BinaryValues values{.rows = std::move(wanted)};
    if (scheme_) {
      const std::string_view whole(reinterpret_cast<const char*>(read[0]->data()),
                                   static_cast<size_t>(read[0]->size()));
      ARROW_ASSIGN_OR_RAISE(const auto bytes, Decompress(*scheme_, whole, kMostBytes, source_.pool));
      // A copy, as the page may be much more.
      std::vector<BufferPtr> ranges;
      for (const Range& range : values.rows.items) {
        if (range.end() > static_cast<uint64_t>(bytes->size())) {
          return Status::Invalid("expected rows in ", std::to_string(bytes->size()), " decompressed bytes, got ",
                                 std::to_string(range.end()));
        }
        ranges.push_back(
            arrow::SliceBuffer(bytes, static_cast<int64_t>(range.first), static_cast<int64_t>(range.count)));
      }
      ARROW_ASSIGN_OR_RAISE(values.bytes, arrow::ConcatenateBuffers(ranges, source_.pool));
    } else {
      ARROW_ASSIGN_OR_RAISE(values.bytes, bytes_.Take(values.rows.items, read.data(), source_.pool));
    }
    if (!fsst_) return values;
    std::string decoded;
    auto& offsets = values.rows.offsets;
    const std::string_view bytes(reinterpret_cast<const char*>(values.bytes->data()),
                                 static_cast<size_t>(values.bytes->size()));
    int64_t first = 0;
    for (size_t i = 1; i < offsets.size(); ++i) {
      const int64_t end = offsets[i];
      const auto size = static_cast<size_t>(end - first);
      ARROW_RETURN_NOT_OK(fsst_->Decode(bytes.substr(static_cast<size_t>(first), size), decoded));
      offsets[i] = static_cast<int64_t>(decoded.size());
      first = end;
    }
    values.bytes = arrow::Buffer::FromString(std::move(decoded));
    return values;
  }

  BinaryPage(const PageSource& source, std::shared_ptr<arrow::DataType> type, const EndsReader& ends,
             const FixedWidth& bytes, const std::optional<FsstTable>& fsst, const io::ByteRange& place,
             std::optional<ValueEncoding::Scheme> scheme)
      : source_(source),
        type_(std::move(type)),
        ends_(ends),
        bytes_(bytes),
        fsst_(fsst),
        place_(place),
        scheme_(scheme) {}

  static constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // that a page may be decompressed to

  const PageSource source_;
  const std::shared_ptr<arrow::DataType> type_;
  const EndsReader ends_;
  const FixedWidth bytes_;
  const std::optional<FsstTable> fsst_;
  // Of a page that is compressed as a whole, and is read so.
  const io::ByteRange place_;
  const std::optional<ValueEncoding::Scheme> scheme_;
};

// A place in the items for each row: from 1 where the writer made the dictionary, and 0 is null; from 0 where the
// column is one, and items may be null.
class DictionaryPage : public PageDecoder {
 public:
  DictionaryPage(const PageSource& source, std::shared_ptr<arrow::DataType> type, std::unique_ptr<PageDecoder> items,
                 uint64_t count, uint64_t width, const FixedWidth& places, uint64_t first)
      : source_(source),
        type_(std::move(type)),
        items_(std::move(items)),
        count_(count),
        width_(width),
        places_(places),
        first_(first) {}

  Result<Step> Request(Ranges rows, Reads& reads) override {
    if (!dictionary_) {
      ARROW_ASSIGN_OR_RAISE(auto items, items_->Request({{0, count_}}, reads));
      return AfterItems(std::move(items), std::move(rows));
    }
    places_.Request(rows, reads);
    return Step{[this, rows = std::move(rows)](BuffersRead read) { return Finish(rows, read); }};
  }

 private:
  // And then the rows.
  Step AfterItems(Step items, Ranges rows) {
    return {.next = [this, items = std::move(items), rows = std::move(rows)](BuffersRead read,
                                                                             Reads& more) mutable -> Result<Step> {
      if (!items.decode) {
        ARROW_ASSIGN_OR_RAISE(auto next, items.next(read, more));
        return AfterItems(std::move(next), std::move(rows));
      }
      if (!dictionary_) {
        ARROW_ASSIGN_OR_RAISE(const auto array, items.decode(read));
        ARROW_ASSIGN_OR_RAISE(dictionary_, Dictionary::Make(type_, ValuesOf(*array), source_.pool));
        item_validity_ = array->null_bitmap();
      }
      return Request(std::move(rows), more);
    }};
  }
  static DecodedValues ValuesOf(const arrow::Array& array) {
    const arrow::ArrayData& data = *array.data();
    DecodedValues values{.count = static_cast<uint64_t>(array.length()), .bytes = data.buffers.back()};
    if (data.buffers.size() < 3) return values;
    const bool large = arrow::is_large_binary_like(data.type->id());
    for (int64_t i = 0; i <= array.length(); ++i) {
      values.offsets.push_back(large ? data.GetValues<int64_t>(1)[i] : data.GetValues<int32_t>(1)[i]);
    }
    return values;
  }
  Result<std::shared_ptr<arrow::Array>> Finish(const Ranges& rows, BuffersRead read) const {
    ARROW_ASSIGN_OR_RAISE(const auto bytes, places_.Take(rows, read.data(), source_.pool));
    arrow::UInt64Builder places(source_.pool);
    arrow::TypedBufferBuilder<bool> validity(source_.pool);
    const uint64_t count = CountOf(rows);
    ARROW_RETURN_NOT_OK(places.Reserve(static_cast<int64_t>(count)));
    ARROW_RETURN_NOT_OK(validity.Reserve(static_cast<int64_t>(count)));
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t place = 0;
      std::memcpy(&place, bytes->data() + i * width_, width_);
      const uint64_t item = place - first_;
      places.UnsafeAppend(item);
      const bool null =
          place < first_ || (item_validity_ && item < count_ &&
                             !arrow::bit_util::GetBit(item_validity_->data(), static_cast<int64_t>(item)));
      validity.UnsafeAppend(!null);
    }
    std::shared_ptr<arrow::Buffer> bits;
    if (validity.false_count() > 0) {
      ARROW_ASSIGN_OR_RAISE(bits, validity.Finish());
    }
    ARROW_ASSIGN_OR_RAISE(const auto numbers, places.Finish());
    ARROW_ASSIGN_OR_RAISE(const auto values, dictionary_->Take(*numbers, bits, source_.pool));
    return WithValidity(values, std::move(bits));
  }

  const PageSource source_;
  const std::shared_ptr<arrow::DataType> type_;
  const std::unique_ptr<PageDecoder> items_;
  const uint64_t count_;  // of them
  const uint64_t width_;  // bytes of a place
  const FixedWidth places_;
  const uint64_t first_;  // place of an item
  // Once they were needed.
  std::optional<Dictionary> dictionary_;
  BufferPtr item_validity_;
};

class ListEndsPage : public ListPage {
 public:
  ListEndsPage(const EndsReader& ends, uint64_t items) : ends_(ends), items_(items) {}
  uint64_t items() const override { return items_; }
  void Request(const Ranges& rows, Reads& reads) const override { ends_.Request(rows, reads); }
  Result<Lists> Take(const Ranges& rows, BuffersRead read) const override { return ends_.Take(rows, read); }

 private:
  const EndsReader ends_;
  const uint64_t items_;
};

Result<std::unique_ptr<PageDecoder>> MakeDictionaryPage(const PageSource& source, const PageInfo& page,
                                                        const Values& rows,
                                                        const std::shared_ptr<arrow::DataType>& type,
                                                        bool of_dictionary) {
  ARROW_ASSIGN_OR_RAISE(const Values places, TakeNullable(page, rows.node->inner[0], page.rows));
  if (rows.validity || places.validity || places.all_null) return Unexpected("places", rows.node->inner[0]);
  const uint64_t bits = places.node->bits;
  if (bits != 8 && bits != 16 && bits != 32 && bits != 64) {
    return Status::NotImplemented("places of ", std::to_string(bits), " bits in a dictionary");
  }
  ARROW_ASSIGN_OR_RAISE(const FixedWidth flat, MakeFlat(page, *places.node, bits, page.rows));
  const uint64_t count = rows.node->items;
  ARROW_ASSIGN_OR_RAISE(const Values items, TakeNullable(page, rows.node->inner[1], count));
  if (items.all_null && of_dictionary) return std::make_unique<NullPage>(source, type);
  const bool strings = arrow::is_base_binary_like(type->id());  // whose validity is theirs
  if (items.all_null || count == 0 || (items.validity && (!of_dictionary || strings))) {
    return Unexpected("a dictionary", *rows.node);
  }
  std::unique_ptr<PageDecoder> decoder;
  if (strings) {
    PageInfo of_items = page;
    of_items.rows = count;
    ARROW_ASSIGN_OR_RAISE(auto binary, BinaryPage::Make(source, of_items, *items.node, type));
    decoder = std::make_unique<BinaryPage>(std::move(binary));
  } else {
    const uint64_t width = WidthOf(*type);
    if (type->num_fields() > 0 || width == 0 || width % 8 != 0) {
      return Status::NotImplemented("a dictionary of ", type->ToString());
    }
    ARROW_ASSIGN_OR_RAISE(const FixedWidth values, MakeFlat(page, *items.node, width, count));
    decoder = std::make_unique<FixedWidthPage>(source, type, std::vector{items.validity}, values);
  }
  return std::make_unique<DictionaryPage>(source, type, std::move(decoder), count, bits / 8, flat,
                                          of_dictionary ? 0 : 1);
}

Result<Node> Parse(const PageInfo& page) {
  if (page.type_url != kArrayEncoding) return Status::NotImplemented("encoding ", page.type_url);
  return ParseArrayEncoding(page.encoding);
}

}  // namespace

Result<std::unique_ptr<PageDecoder>> MakeArrayPage(const PageSource& source, const PageInfo& page,
                                                   const std::shared_ptr<arrow::DataType>& type, bool of_dictionary) {
  using arrow::Type;
  ARROW_ASSIGN_OR_RAISE(const Node node, Parse(page));
  ARROW_ASSIGN_OR_RAISE(const Values rows, TakeNullable(page, node, page.rows));
  if (rows.all_null) return std::make_unique<NullPage>(source, type);
  if (rows.node->kind == Node::Kind::kDictionary) {
    return MakeDictionaryPage(source, page, rows, type, of_dictionary);
  }
  if (arrow::is_base_binary_like(type->id())) {
    if (rows.validity) return Unexpected("strings", node);
    ARROW_ASSIGN_OR_RAISE(auto binary, BinaryPage::Make(source, page, *rows.node, type));
    return std::make_unique<BinaryPage>(std::move(binary));
  }
  const uint64_t width = WidthOf(*type);
  if (width == 0) return Status::NotImplemented("type ", type->ToString(), " in a page of version 2.0");
  if (page.rows > UINT64_MAX / 2 / width) return Status::Invalid("got ", std::to_string(page.rows), " rows");
  Values values = rows;
  std::vector<std::optional<FixedWidth>> validity = {rows.validity};
  uint64_t items = 1;
  for (const auto* at = type.get(); at->id() == Type::FIXED_SIZE_LIST; at = at->field(0)->type().get()) {
    const auto size = static_cast<uint64_t>(static_cast<const arrow::FixedSizeListType*>(at)->list_size());
    if (values.node->kind != Node::Kind::kFixedSizeList) return Unexpected("lists of a fixed size", *values.node);
    if (values.node->dimension != size) {
      return Status::Invalid("expected lists of ", std::to_string(size), ", got ",
                             std::to_string(values.node->dimension));
    }
    items *= size;
    ARROW_ASSIGN_OR_RAISE(values, TakeNullable(page, values.node->inner[0], page.rows * items));
    validity.push_back(values.validity);
    if (values.all_null) return std::make_unique<FixedWidthPage>(source, type, std::move(validity), std::nullopt);
  }
  ARROW_ASSIGN_OR_RAISE(const FixedWidth flat, MakeFlat(page, *values.node, width / items, page.rows * items));
  return std::make_unique<FixedWidthPage>(source, type, std::move(validity), flat);
}

Result<std::unique_ptr<ListPage>> MakeListPage(const PageSource& source, const PageInfo& page) {
  ARROW_ASSIGN_OR_RAISE(const Node node, Parse(page));
  if (node.kind != Node::Kind::kList) return Unexpected("lists", node);
  ARROW_ASSIGN_OR_RAISE(const auto ends,
                        EndsReader::Make(source, page, node.inner[0], node.null_adjustment, node.items));
  return std::make_unique<ListEndsPage>(ends, node.items);
}

Status CheckStructPage(const PageInfo& page) {
  ARROW_ASSIGN_OR_RAISE(const Node node, Parse(page));
  return node.kind == Node::Kind::kStruct ? Status::OK() : Unexpected("structs", node);
}

}  // namespace pennon::lance_format
