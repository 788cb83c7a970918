#include "lance/levels.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <arrow/buffer_builder.h>

#include "lance/page_decoder.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

bool IsList(RepDefLayer layer) { return layer != RepDefLayer::kAllValidItem && layer != RepDefLayer::kNullableItem; }
bool HasNulls(RepDefLayer layer) {
  return layer == RepDefLayer::kNullableItem || layer == RepDefLayer::kNullableList ||
         layer == RepDefLayer::kNullAndEmptyList;
}
bool HasEmpty(RepDefLayer layer) {
  return layer == RepDefLayer::kEmptyableList || layer == RepDefLayer::kNullAndEmptyList;
}

bool IsList(const arrow::DataType& type) {
  return type.id() == arrow::Type::LIST || type.id() == arrow::Type::LARGE_LIST;
}

}  // namespace

Result<Levels> Levels::Make(const std::vector<uint64_t>& layers, const std::shared_ptr<arrow::DataType>& type) {
  Levels levels;
  for (auto at = type;; at = at->field(0)->type()) {
    levels.types_.insert(levels.types_.begin(), at);
    if (!IsList(*at) && at->id() != arrow::Type::STRUCT) break;
    if (at->num_fields() != 1) return Status::NotImplemented("type ", at->ToString(), " in a page");
  }
  bool fits = layers.size() == levels.types_.size();
  levels.depths_ = {0};
  for (size_t i = 0; fits && i < layers.size(); ++i) {
    fits = layers[i] >= 1 && layers[i] <= 6 && IsList(RepDefLayer(layers[i])) == IsList(*levels.types_[i]);
    const auto layer = static_cast<RepDefLayer>(layers[i]);
    levels.layers_.push_back(layer);
    if (IsList(layer)) ++levels.lists_;
    const size_t added = size_t{HasNulls(layer)} + size_t{HasEmpty(layer)};
    levels.depths_.insert(levels.depths_.end(), added, levels.lists_);
  }
  if (fits) return levels;
  std::string got;
  for (const uint64_t layer : layers) got += (got.empty() ? "" : ", ") + std::to_string(layer);
  return Status::Invalid("expected layers of ", type->ToString(), ", got ", got);
}

uint64_t Levels::CountVisible(const std::vector<uint16_t>& definition) const {
  return static_cast<uint64_t>(
      std::count_if(definition.begin(), definition.end(), [&](uint16_t level) { return visible(level); }));
}

Result<std::shared_ptr<arrow::Buffer>> Levels::LeafValidity(const std::vector<uint16_t>& definition,
                                                            arrow::MemoryPool* pool) const {
  arrow::TypedBufferBuilder<bool> validity(pool);
  for (const uint16_t level : definition) {
    if (visible(level)) ARROW_RETURN_NOT_OK(validity.Append(level == 0));
  }
  if (validity.false_count() == 0) return nullptr;
  return validity.Finish();
}

Result<std::vector<uint16_t>> Levels::Check(const arrow::Buffer& levels, uint64_t count, uint16_t most) {
  if (count > static_cast<uint64_t>(levels.size()) / sizeof(uint16_t)) {
    return Status::Invalid("expected ", std::to_string(count), " levels, got ", std::to_string(levels.size()),
                           " bytes");
  }
  std::vector<uint16_t> numbers(count);
  if (count > 0) std::memcpy(numbers.data(), levels.data(), count * sizeof(uint16_t));
  if (std::all_of(numbers.begin(), numbers.end(), [&](uint16_t level) { return level <= most; })) return numbers;
  return Status::Invalid("expected levels of at most ", std::to_string(most));
}

Result<std::shared_ptr<arrow::Array>> Levels::Assemble(Entries entries, std::shared_ptr<arrow::Array> array,
                                                       uint64_t rows, arrow::MemoryPool* pool) const {
  auto& [repetition, definition] = entries;
  const auto definition_of = [&](size_t i) { return definition.empty() ? uint16_t{0} : definition[i]; };
  uint16_t depth = 0;                             // of lists
  uint16_t level = HasNulls(layers_[0]) ? 1 : 0;  // the highest of the layers so far
  for (size_t layer = 1; layer < layers_.size(); ++layer) {
    arrow::TypedBufferBuilder<bool> validity(pool);
    const bool nulls = !definition.empty();
    if (!IsList(layers_[layer])) {
      for (size_t i = 0; nulls && i < definition.size(); ++i) {
        if (depths_[definition[i]] <= depth) ARROW_RETURN_NOT_OK(validity.Append(definition[i] <= level));
      }
      if (HasNulls(layers_[layer])) ++level;
      const int64_t null_count = validity.false_count();
      std::shared_ptr<arrow::Buffer> bits;
      if (null_count > 0) {
        ARROW_ASSIGN_OR_RAISE(bits, validity.Finish());
      }
      array =
          arrow::MakeArray(arrow::ArrayData::Make(types_[layer], array->length(), {bits}, {array->data()}, null_count));
      continue;
    }
    const bool has_empty = HasEmpty(layers_[layer]);
    const auto above = static_cast<uint16_t>(level + size_t{HasNulls(layers_[layer])} + size_t{has_empty});
    std::vector<int64_t> offsets;
    int64_t items = 0;
    size_t kept = 0;
    for (size_t i = 0; i < repetition.size(); ++i) {
      const uint16_t is = definition_of(i);
      const bool item = depths_[is] <= depth;
      if (repetition[i] > depth) {
        if (depths_[is] <= depth + 1) {
          offsets.push_back(items);
          // What is null around a list makes it null, too.
          ARROW_RETURN_NOT_OK(validity.Append(is <= level || (has_empty && is == above)));
        }
        repetition[kept] = repetition[i];
        if (nulls) definition[kept] = is;
        ++kept;
      } else if (!item) {
        return Status::Invalid("expected a list to begin where there is none");
      }
      items += item ? 1 : 0;
    }
    if (items != array->length()) return Status::Invalid("expected as many items as values");
    offsets.push_back(items);
    repetition.resize(kept);
    if (nulls) definition.resize(kept);
    ++depth;
    level = above;
    const auto count = static_cast<int64_t>(offsets.size()) - 1;
    const int64_t null_count = validity.false_count();
    std::shared_ptr<arrow::Buffer> bits;
    if (null_count > 0) {
      ARROW_ASSIGN_OR_RAISE(bits, validity.Finish());
    }
    ARROW_ASSIGN_OR_RAISE(auto ends, MakeOffsets(offsets, types_[layer]->id() == arrow::Type::LARGE_LIST, pool));
    array = arrow::MakeArray(arrow::ArrayData::Make(types_[layer], count, {bits, ends}, {array->data()}, null_count));
  }
  if (static_cast<uint64_t>(array->length()) == rows) return array;
  return Status::Invalid("expected ", std::to_string(rows), " rows, got ", std::to_string(array->length()));
}

}  // namespace pennon::lance_format
