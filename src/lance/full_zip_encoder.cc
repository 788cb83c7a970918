#include "lance/full_zip_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include <arrow/buffer_builder.h>
#include <arrow/stl_allocator.h>
#include <arrow/util/bit_util.h>

#include "lance/fixed_bytes.h"
#include "lance/page_layout.h"

namespace pennon::lance_format {
namespace {

using arrow::Status;

// A list or struct around a leaf. Levels of definition count from the leaf's 1 outwards: every null there may be, and
// every empty list, has its own.
struct Layer {
  arrow::Type::type type;
  int child;        // of a struct: the field that the leaf is in
  bool holds_list;  // a struct: in this field or another
  uint16_t null_level;
  uint16_t empty_level;  // a list's
  uint16_t repetition;   // a list's: of items after its first
};

constexpr uint16_t kNullLeaf = 1;

// What is known of a value: where it is, or that it is not, because a list around it is null or empty.
struct Slot {
  int64_t place;  // in the array; negative: none
  uint16_t definition;
  uint16_t repetition;
};
constexpr int64_t kNoPlace = -1;

template <typename Number>
void PutNumber(uint8_t*& to, Number number) {
  std::memcpy(to, &number, sizeof(number));
  to += sizeof(number);
}

// Values of one width, of which nulls have a place too: numbers, or lists of so many.
class FixedValues {
 public:
  FixedValues(const arrow::DataType& type, arrow::MemoryPool* pool) : values_(pool), validity_(pool) {
    const arrow::DataType* value = &type;
    if (type.id() == arrow::Type::FIXED_SIZE_LIST) {
      const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
      dimension_ = list.list_size();
      value = list.value_type().get();
    }
    bools_ = value->id() == arrow::Type::BOOL;
    bits_ = bools_ ? 8 : value->bit_width();
  }

  static constexpr bool kNullsHaveValues = true;
  static constexpr bool kHasIndex = false;

  int64_t held() const { return values_.length() + validity_.length(); }
  int64_t count() const { return values_.length() / width(); }
  int64_t WeightOf(const arrow::Array&, int64_t, int64_t count) const {
    return count * (width() + (dimension_ > 0 ? validity_width() : 0));
  }

  // The bytes of values that a page can hold as they are, or nothing.
  std::string_view Raw(const arrow::Array& array, int64_t first, int64_t count) const {
    if (bools_) return {};
    if (dimension_ > 0) {
      const auto& lists = static_cast<const arrow::FixedSizeListArray&>(array);
      if (AnyNull(*lists.values(), lists.value_offset(first), count * dimension_)) return {};
    }
    return FixedBytes(array, bits_, dimension_, first, count);
  }

  Status Append(const arrow::Array& array, int64_t first, int64_t count) {
    if (bools_) {
      const auto& bools = static_cast<const arrow::BooleanArray&>(array);
      ARROW_RETURN_NOT_OK(values_.Reserve(count));
      for (int64_t i = first; i < first + count; ++i) {
        const bool set = bools.Value(i);
        values_.UnsafeAppend(&set, 1);
      }
      return Status::OK();
    }
    if (dimension_ > 0) ARROW_RETURN_NOT_OK(AppendValidity(array, first, count));
    const std::string_view bytes = FixedBytes(array, bits_, dimension_, first, count);
    return values_.Append(bytes.data(), static_cast<int64_t>(bytes.size()));
  }

  void Describe(FullZip& page) const {
    page.values = FlatValues(static_cast<uint64_t>(bits_));
    if (dimension_ > 0) page.values = ListValues(static_cast<uint64_t>(dimension_), has_validity(), page.values);
    page.bits = static_cast<uint32_t>(8 * (width() + (has_validity() ? validity_width() : 0)));
  }

  // If pages of nothing but values need no more.
  bool raw() const { return !has_validity(); }
  std::string_view raw_bytes() const {
    return {reinterpret_cast<const char*>(values_.data()), static_cast<size_t>(values_.length())};
  }

  // Puts one value after the other. Held by a local variable, as bytes that are put may be anything else's.
  class Reader {
   public:
    explicit Reader(const FixedValues& values)
        : value_(values.values_.data()),
          validity_(values.validity_.data()),
          width_(static_cast<size_t>(values.width())),
          validity_width_(values.has_validity() ? static_cast<size_t>(values.validity_width()) : 0) {}

    [[gnu::always_inline]] void Put(uint8_t*& to) {
      if (validity_width_ > 0) {
        std::memcpy(to, validity_, validity_width_);
        validity_ += validity_width_;
        to += validity_width_;
      }
      // Of widths that are known copies are a move each.
      switch (width_) {
        case 1: *to = *value_; break;
        case 2: std::memcpy(to, value_, 2); break;
        case 4: std::memcpy(to, value_, 4); break;
        case 8: std::memcpy(to, value_, 8); break;
        default: std::memcpy(to, value_, width_);
      }
      value_ += width_;
      to += width_;
    }

   private:
    const uint8_t* value_;
    const uint8_t* validity_;
    size_t width_;
    size_t validity_width_;
  };

  void Clear() {
    values_.Rewind(0);
    validity_.Rewind(0);
  }

 private:
  int64_t width() const { return std::max(1, dimension_) * bits_ / 8; }
  int64_t validity_width() const { return arrow::bit_util::BytesForBits(dimension_); }
  bool has_validity() const { return validity_.length() > 0; }

  static bool AnyNull(const arrow::Array& array, int64_t first, int64_t count) {
    if (array.null_count() == 0) return false;
    for (int64_t i = first; i < first + count; ++i) {
      if (array.IsNull(i)) return true;
    }
    return false;
  }

  // From the page's first null item on there are bits of every list.
  Status AppendValidity(const arrow::Array& array, int64_t first, int64_t count) {
    const auto& lists = static_cast<const arrow::FixedSizeListArray&>(array);
    const arrow::Array& items = *lists.values();
    if (!has_validity()) {
      if (!AnyNull(items, lists.value_offset(first), count * dimension_)) return Status::OK();
      ARROW_RETURN_NOT_OK(validity_.Append(this->count() * validity_width(), 0xFF));
    }
    const int64_t begin = validity_.length();
    ARROW_RETURN_NOT_OK(validity_.Append(count * validity_width(), 0));
    uint8_t* bits = validity_.mutable_data() + begin;
    for (int64_t row = 0; row < count; ++row, bits += validity_width()) {
      const int64_t offset = lists.value_offset(first + row);
      for (int64_t i = 0; i < dimension_; ++i) {
        if (items.IsValid(offset + i)) arrow::bit_util::SetBit(bits, i);
      }
    }
    return Status::OK();
  }

  int32_t dimension_ = 0;  // 0: no lists
  int64_t bits_ = 0;
  bool bools_ = false;  // a byte each
  arrow::BufferBuilder values_;
  arrow::BufferBuilder validity_;  // of items
};

// Strings and their like; nulls have no place.
template <typename ArrayType>
class VariableValuesOf {
 public:
  using Length = std::make_unsigned_t<typename ArrayType::offset_type>;

  VariableValuesOf(const arrow::DataType&, arrow::MemoryPool* pool) : lengths_(pool), bytes_(pool) {}

  static constexpr bool kNullsHaveValues = false;
  static constexpr bool kHasIndex = true;

  int64_t held() const { return static_cast<int64_t>(sizeof(Length)) * lengths_.length() + bytes_.length(); }
  int64_t count() const { return lengths_.length(); }
  int64_t WeightOf(const arrow::Array& array, int64_t first, int64_t count) const {
    const auto& strings = static_cast<const ArrayType&>(array);
    return count * static_cast<int64_t>(sizeof(Length)) + strings.value_offset(first + count) -
           strings.value_offset(first);
  }
  std::string_view Raw(const arrow::Array&, int64_t, int64_t) const { return {}; }

  Status Append(const arrow::Array& array, int64_t first, int64_t count) {
    const auto& strings = static_cast<const ArrayType&>(array);
    ARROW_RETURN_NOT_OK(lengths_.Reserve(count));
    for (int64_t i = first; i < first + count; ++i) {
      lengths_.UnsafeAppend(static_cast<Length>(strings.value_length(i)));
    }
    const int64_t size = strings.value_offset(first + count) - strings.value_offset(first);
    return size == 0 ? Status::OK() : bytes_.Append(strings.raw_data() + strings.value_offset(first), size);
  }

  void Describe(FullZip& page) const {
    page.variable = true;
    page.bits = 8 * sizeof(Length);
    page.values = VariableValues(page.bits);
  }
  bool raw() const { return false; }
  std::string_view raw_bytes() const { return {}; }

  class Reader {
   public:
    explicit Reader(const VariableValuesOf& values) : length_(values.lengths_.data()), bytes_(values.bytes_.data()) {}

    [[gnu::always_inline]] void Put(uint8_t*& to) {
      const Length length = *length_++;
      PutNumber(to, length);
      if (length > 0) std::memcpy(to, bytes_, length);
      to += length;
      bytes_ += length;
    }

   private:
    const Length* length_;
    const uint8_t* bytes_;
  };

  void Clear() {
    lengths_.bytes_builder()->Rewind(0);
    bytes_.Rewind(0);
  }

 private:
  arrow::TypedBufferBuilder<Length> lengths_;
  arrow::BufferBuilder bytes_;
};

// One column. A page gathers values and levels, as if everything in it could be null; what is so is known when it
// ends, and only then are they zipped.
template <typename Values>
class LeafEncoder : public Encoder {
 public:
  LeafEncoder(const arrow::DataType& leaf, std::vector<Layer> layers, int32_t column, const PageSink& sink,
              const PageOptions& options)
      : options_(options),
        sink_(sink),
        column_(column),
        layers_(std::move(layers)),
        values_(leaf, options.pool),
        words_(options.pool),
        zipped_(options.pool),
        index_(options.pool),
        slots_(arrow::stl::allocator<Slot>(options.pool)),
        next_slots_(arrow::stl::allocator<Slot>(options.pool)) {
    uint16_t level = kNullLeaf;
    max_visible_ = std::numeric_limits<uint16_t>::max();
    const auto outermost_struct =
        std::find_if(layers_.begin(), layers_.end(), [](Layer layer) { return layer.type == arrow::Type::STRUCT; });
    // From the leaf outwards.
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      const bool list = layer->type != arrow::Type::STRUCT;
      const bool in_struct = layer + 1 != layers_.rend() && (layer + 1)->type == arrow::Type::STRUCT;
      if (list && lists_ == 0) max_visible_ = level;
      layer->null_level = ++level;
      // Lance 14 counts structs around a list wrongly in pages that say that one of the two has no nulls, and takes
      // nulls of a struct in another from its first field.
      if (list ? outermost_struct < layer.base() - 1 : lists_ > 0 || (layer->holds_list && in_struct)) {
        always_used_.push_back(level);
      }
      if (!list) continue;
      layer->empty_level = ++level;
      layer->repetition = lists_++;
    }
    used_.resize(size_t{level} + 1);
    ForgetUsed();
  }

  Status Append(const arrow::Array& array) override {
    for (int64_t from = 0; from < array.length();) {
      int64_t count = array.length() - from;
      const int64_t room = options_.budget - held();
      const auto fits = [&] {
        const Weight weight = WeightOf(array, from, count);
        return weight.held <= room && (count == 1 || weight.slots * kSlotsOfAPage <= options_.budget);
      };
      bool fit = fits();
      for (; !fit && count > 1; fit = fits()) count = (count + 1) / 2;
      if (!fit && rows_ > 0) {
        ARROW_RETURN_NOT_OK(Flush());
        continue;
      }
      ARROW_RETURN_NOT_OK(AppendRows(array, from, count));
      from += count;
    }
    return Status::OK();
  }

  Status Flush() override {
    if (rows_ == 0) return Status::OK();
    const int64_t items = words_.length() > 0 ? words_.length() : rows_;
    if (items > std::numeric_limits<uint32_t>::max()) {
      return Status::CapacityError("expected at most 2^32 - 1 items in a row, got ", std::to_string(items));
    }
    FullZip page;
    values_.Describe(page);
    page.items = static_cast<uint32_t>(items);
    page.visible_items = static_cast<uint32_t>(visible_);
    const std::vector<uint16_t> levels = UsedLevels(page);
    page.repetition_bits = std::bit_width(lists_);
    if (page.repetition_bits + page.definition_bits == 0 && values_.raw()) {
      ARROW_RETURN_NOT_OK(Emit({values_.raw_bytes()}, page));
    } else {
      const uint32_t bits = page.repetition_bits + page.definition_bits;
      ARROW_RETURN_NOT_OK(bits == 0    ? Zip<NoWord>(page, levels)
                          : bits <= 8  ? Zip<uint8_t>(page, levels)
                          : bits <= 16 ? Zip<uint16_t>(page, levels)
                                       : Zip<uint32_t>(page, levels));
    }
    values_.Clear();
    words_.bytes_builder()->Rewind(0);
    ForgetUsed();
    visible_ = 0;
    return Status::OK();
  }

 private:
  static constexpr int64_t kOfWord = sizeof(uint32_t);
  static constexpr int64_t kOfIndex = sizeof(uint64_t);
  struct NoWord {};
  struct Weight {
    int64_t held;  // bytes that a page gathers
    int64_t slots;
  };

  bool indexed() const { return Values::kHasIndex || lists_ > 0; }
  int64_t held() const { return values_.held() + words_.length() * kOfWord + (indexed() ? rows_ * kOfIndex : 0); }

  void ForgetUsed() {
    std::fill(used_.begin(), used_.end(), false);
    for (const uint16_t level : always_used_) used_[level] = true;
  }

  // Of rows, at least what they will take.
  Weight WeightOf(const arrow::Array& top, int64_t first, int64_t count) const {
    std::shared_ptr<arrow::Array> child;
    const arrow::Array* array = &top;
    const int64_t rows = count;
    int64_t slots = count;
    bool nulls = false;
    for (const Layer& layer : layers_) {
      nulls = nulls || array->null_count() > 0;
      if (layer.type == arrow::Type::STRUCT) {
        child = static_cast<const arrow::StructArray&>(*array).field(layer.child);
      } else {
        const auto below = [&](const auto& lists) {
          const int64_t end = lists.value_offset(first + count);
          first = lists.value_offset(first);
          count = end - first;
          child = lists.values();
        };
        layer.type == arrow::Type::LIST ? below(static_cast<const arrow::ListArray&>(*array))
                                        : below(static_cast<const arrow::LargeListArray&>(*array));
        slots += count;
      }
      array = child.get();
    }
    nulls = nulls || array->null_count() > 0;
    int64_t words = 0;
    if (lists_ > 0 || words_.length() > 0) {
      words = slots;
    } else if (nulls) {
      words = rows_ + slots;  // the first ones: of all rows of the page
    }
    return {values_.WeightOf(*array, first, count) + words * kOfWord + (indexed() ? rows * kOfIndex : 0), slots};
  }

  Status AppendRows(const arrow::Array& top, int64_t first, int64_t count) {
    rows_ += count;
    if (layers_.size() == 1 && lists_ == 1 && top.data()->child_data[0]->GetNullCount() == 0) {
      return layers_[0].type == arrow::Type::LIST
                 ? AppendLists(static_cast<const arrow::ListArray&>(top), first, count)
                 : AppendLists(static_cast<const arrow::LargeListArray&>(top), first, count);
    }
    slots_.clear();
    bool spread = false;
    const auto spread_out = [&] {
      if (spread) return;
      spread = true;
      slots_.reserve(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) slots_.push_back({first + i, 0, lists_});
    };
    std::shared_ptr<arrow::Array> child;
    const arrow::Array* array = &top;
    for (const Layer& layer : layers_) {
      if (layer.type == arrow::Type::STRUCT) {
        if (array->null_count() > 0) {
          spread_out();
          MarkNulls(*array, layer.null_level);
        }
        child = static_cast<const arrow::StructArray&>(*array).field(layer.child);
      } else {
        spread_out();
        child = layer.type == arrow::Type::LIST ? Descend(static_cast<const arrow::ListArray&>(*array), layer)
                                                : Descend(static_cast<const arrow::LargeListArray&>(*array), layer);
      }
      array = child.get();
    }
    if (array->null_count() > 0) {
      spread_out();
      MarkNulls(*array, kNullLeaf);
    }
    return spread ? AppendSlots(*array) : AppendRange(*array, first, count);
  }

  void MarkNulls(const arrow::Array& array, uint16_t level) {
    for (Slot& slot : slots_) {
      if (slot.place != kNoPlace && slot.definition == 0 && array.IsNull(slot.place)) slot.definition = level;
    }
  }

  template <typename ListArray>
  std::shared_ptr<arrow::Array> Descend(const ListArray& lists, const Layer& layer) {
    next_slots_.clear();
    for (const Slot& slot : slots_) {
      if (slot.place == kNoPlace) {
        next_slots_.push_back(slot);
      } else if (slot.definition != 0 || lists.IsNull(slot.place)) {
        const uint16_t level = slot.definition != 0 ? slot.definition : layer.null_level;
        next_slots_.push_back({kNoPlace, level, slot.repetition});
      } else if (lists.value_length(slot.place) == 0) {
        next_slots_.push_back({kNoPlace, layer.empty_level, slot.repetition});
      } else {
        const int64_t begin = lists.value_offset(slot.place);
        const int64_t end = begin + lists.value_length(slot.place);
        next_slots_.push_back({begin, 0, slot.repetition});
        for (int64_t i = begin + 1; i < end; ++i) next_slots_.push_back({i, 0, layer.repetition});
      }
    }
    slots_.swap(next_slots_);
    return lists.values();
  }

  // Lists of values without nulls, for which there need be no slots.
  template <typename ListArray>
  Status AppendLists(const ListArray& lists, int64_t first, int64_t count) {
    constexpr uint32_t kNewRow = 1 << 16;
    const auto special = [&](uint16_t level) {
      used_[level] = true;
      return words_.Append(kNewRow | level);
    };
    int64_t begin = 0;  // values so far that follow each other
    int64_t end = 0;
    for (int64_t row = first; row < first + count; ++row) {
      const int64_t size = lists.value_length(row);
      if (lists.IsNull(row)) {
        ARROW_RETURN_NOT_OK(special(layers_[0].null_level));
      } else if (size == 0) {
        ARROW_RETURN_NOT_OK(special(layers_[0].empty_level));
      } else {
        ARROW_RETURN_NOT_OK(words_.Append(kNewRow));
        ARROW_RETURN_NOT_OK(words_.Append(size - 1, 0));
        visible_ += size;
        if (lists.value_offset(row) != end) {
          if (end > begin) ARROW_RETURN_NOT_OK(values_.Append(*lists.values(), begin, end - begin));
          begin = lists.value_offset(row);
        }
        end = lists.value_offset(row) + size;
      }
    }
    return end > begin ? values_.Append(*lists.values(), begin, end - begin) : Status::OK();
  }

  // Rows without lists or nulls.
  Status AppendRange(const arrow::Array& array, int64_t first, int64_t count) {
    const std::string_view raw = values_.Raw(array, first, count);
    if (always_used_.empty() && rows_ == count &&
        static_cast<int64_t>(raw.size()) >= std::min(options_.budget, kWorthAPage)) {
      FullZip page;
      values_.Describe(page);
      page.items = static_cast<uint32_t>(count);
      page.visible_items = static_cast<uint32_t>(count);
      UsedLevels(page);
      return Emit({raw}, page);
    }
    if (words_.length() > 0) ARROW_RETURN_NOT_OK(words_.Append(count, 0));
    visible_ += count;
    return values_.Append(array, first, count);
  }

  Status AppendSlots(const arrow::Array& array) {
    const auto size = static_cast<int64_t>(slots_.size());
    // The rows before had neither lists nor nulls.
    if (words_.length() == 0 && lists_ == 0) {
      const bool all_valid = std::all_of(slots_.begin(), slots_.end(), [](Slot slot) { return slot.definition == 0; });
      if (all_valid) return AppendRange(array, slots_.front().place, size);
      ARROW_RETURN_NOT_OK(words_.Append(rows_ - size, 0));
    }
    ARROW_RETURN_NOT_OK(words_.Reserve(size));
    int64_t begin = 0;  // values so far that follow each other
    int64_t end = 0;
    for (const Slot& slot : slots_) {
      words_.UnsafeAppend(uint32_t{slot.repetition} << 16 | slot.definition);
      used_[slot.definition] = true;
      if (slot.definition <= max_visible_) ++visible_;
      if (slot.place == kNoPlace || (!Values::kNullsHaveValues && slot.definition != 0)) continue;
      if (slot.place != end) {
        if (end > begin) ARROW_RETURN_NOT_OK(values_.Append(array, begin, end - begin));
        begin = slot.place;
      }
      end = slot.place + 1;
    }
    return end > begin ? values_.Append(array, begin, end - begin) : Status::OK();
  }

  // Says what the page's layers have, and gives the number of each level that is used.
  std::vector<uint16_t> UsedLevels(FullZip& page) const {
    std::vector<uint16_t> levels(used_.size());
    uint16_t next = 0;
    const auto number = [&](uint16_t level) {
      if (used_[level]) levels[level] = ++next;
      return used_[level];
    };
    page.layers.push_back(number(kNullLeaf) ? RepDefLayer::kNullableItem : RepDefLayer::kAllValidItem);
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      const bool nulls = number(layer->null_level);
      if (layer->type == arrow::Type::STRUCT) {
        page.layers.push_back(nulls ? RepDefLayer::kNullableItem : RepDefLayer::kAllValidItem);
        continue;
      }
      const bool empties = number(layer->empty_level);
      page.layers.push_back(nulls && empties ? RepDefLayer::kNullAndEmptyList
                            : nulls          ? RepDefLayer::kNullableList
                            : empties        ? RepDefLayer::kEmptyableList
                                             : RepDefLayer::kAllValidList);
    }
    page.definition_bits = std::bit_width(next);
    return levels;
  }

  template <typename Word>
  Status Zip(const FullZip& page, const std::vector<uint16_t>& levels) {
    constexpr bool kWords = !std::is_same_v<Word, NoWord>;
    const int64_t items = page.items;
    zipped_.Rewind(0);
    ARROW_RETURN_NOT_OK(zipped_.Reserve(values_.held() + (kWords ? items * static_cast<int64_t>(sizeof(Word)) : 0)));
    index_.bytes_builder()->Rewind(0);
    const bool indexed = this->indexed();
    if (indexed) ARROW_RETURN_NOT_OK(index_.Reserve(rows_ + 1));
    uint8_t* const start = zipped_.mutable_data();
    uint8_t* to = start;
    uint64_t* place = index_.mutable_data();
    typename Values::Reader values(values_);
    const uint32_t* const words = words_.length() > 0 ? words_.data() : nullptr;
    const uint16_t new_row = lists_;
    const uint16_t max_visible = Values::kNullsHaveValues ? max_visible_ : 0;
    const uint32_t definition_bits = page.definition_bits;
    for (int64_t i = 0; i < items; ++i) {
      const uint32_t word = words != nullptr ? words[i] : 0;
      const auto repetition = static_cast<uint16_t>(word >> 16);
      const auto definition = static_cast<uint16_t>(word);
      if (indexed && repetition == new_row) *place++ = static_cast<uint64_t>(to - start);
      if constexpr (kWords) {
        PutNumber(to, static_cast<Word>(uint32_t{repetition} << definition_bits | levels[definition]));
      }
      if (definition <= max_visible) values.Put(to);
    }
    const std::string_view zipped(reinterpret_cast<const char*>(start), static_cast<size_t>(to - start));
    if (!indexed) return Emit({zipped}, page);
    *place++ = zipped.size();
    return Emit({zipped, Narrow(place - index_.data(), zipped.size())}, page);
  }

  // The index with as many bytes a number as the largest needs.
  std::string_view Narrow(int64_t count, uint64_t largest) {
    const size_t width = largest <= 0xFF ? 1 : largest <= 0xFFFF ? 2 : largest <= 0xFFFFFFFF ? 4 : 8;
    const uint64_t* numbers = index_.data();
    uint8_t* const start = index_.bytes_builder()->mutable_data();
    uint8_t* to = start;
    for (int64_t i = 0; i < count; ++i, to += width) {
      const uint64_t number = numbers[i];
      std::memcpy(to, &number, width);
    }
    return {reinterpret_cast<const char*>(start), static_cast<size_t>(to - start)};
  }

  Status Emit(std::vector<std::string_view> buffers, const FullZip& page) {
    return sink_({column_, std::move(buffers), FullZipLayout(page), static_cast<uint64_t>(std::exchange(rows_, 0))});
  }

  // Rows are taken a few at a time, so that what is known of their slots is a part of a page.
  static constexpr int64_t kSlotsOfAPage = 4 * sizeof(Slot);

  const PageOptions options_;
  const PageSink& sink_;
  const int32_t column_;
  std::vector<Layer> layers_;  // outermost first
  uint16_t lists_ = 0;         // of the layers; what begins a row has it as its repetition
  uint16_t max_visible_ = 0;   // definitions above it have no value
  Values values_;
  arrow::TypedBufferBuilder<uint32_t> words_;  // repetition << 16 | definition; none while nothing needs them
  std::vector<bool> used_;                     // definitions
  std::vector<uint16_t> always_used_;
  int64_t rows_ = 0;
  int64_t visible_ = 0;
  arrow::BufferBuilder zipped_;
  arrow::TypedBufferBuilder<uint64_t> index_;
  std::vector<Slot, arrow::stl::allocator<Slot>> slots_;
  std::vector<Slot, arrow::stl::allocator<Slot>> next_slots_;
};

// The leaves of a field, side by side.
class LeavesEncoder : public Encoder {
 public:
  explicit LeavesEncoder(std::vector<std::unique_ptr<Encoder>> leaves) : leaves_(std::move(leaves)) {}
  Status Append(const arrow::Array& array) override {
    for (const auto& leaf : leaves_) ARROW_RETURN_NOT_OK(leaf->Append(array));
    return Status::OK();
  }
  Status Flush() override {
    for (const auto& leaf : leaves_) ARROW_RETURN_NOT_OK(leaf->Flush());
    return Status::OK();
  }

 private:
  std::vector<std::unique_ptr<Encoder>> leaves_;
};

bool HoldsList(const arrow::DataType& type) {
  if (type.id() == arrow::Type::LIST || type.id() == arrow::Type::LARGE_LIST) return true;
  return type.id() == arrow::Type::STRUCT && std::any_of(type.fields().begin(), type.fields().end(),
                                                         [](const auto& field) { return HoldsList(*field->type()); });
}

void AddLeaves(const arrow::DataType& type, std::vector<Layer>& layers, int32_t& column, const PageSink& sink,
               const PageOptions& options, std::vector<std::unique_ptr<Encoder>>& leaves) {
  using arrow::Type;
  const auto add = [&]<typename Values>() {
    leaves.push_back(std::make_unique<LeafEncoder<Values>>(type, layers, column++, sink, options));
  };
  switch (type.id()) {
    case Type::STRUCT:
    case Type::LIST:
    case Type::LARGE_LIST:
      for (int i = 0; i < type.num_fields(); ++i) {
        layers.push_back({type.id(), i, HoldsList(type), 0, 0, 0});
        AddLeaves(*type.field(i)->type(), layers, column, sink, options, leaves);
        layers.pop_back();
      }
      return;
    case Type::STRING:
    case Type::BINARY: return add.template operator()<VariableValuesOf<arrow::BinaryArray>>();
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY: return add.template operator()<VariableValuesOf<arrow::LargeBinaryArray>>();
    default: return add.template operator()<FixedValues>();
  }
}

}  // namespace

std::unique_ptr<Encoder> MakeFullZipEncoder(const arrow::DataType& type, int32_t& column, const PageSink& sink,
                                            const PageOptions& options) {
  std::vector<Layer> layers;
  std::vector<std::unique_ptr<Encoder>> leaves;
  AddLeaves(type, layers, column, sink, options, leaves);
  return std::make_unique<LeavesEncoder>(std::move(leaves));
}

}  // namespace pennon::lance_format
