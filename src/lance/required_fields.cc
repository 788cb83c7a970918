#include "lance/required_fields.h"

#include <algorithm>
#include <string>
#include <vector>

namespace pennon::lance_format {
namespace {

using arrow::Status;

// The elements of an array that are seen; empty: all.
using Seen = std::vector<bool>;

bool HasRequired(const arrow::DataType& type) {
  return std::any_of(type.fields().begin(), type.fields().end(),
                     [](const auto& field) { return !field->nullable() || HasRequired(*field->type()); });
}

Status Check(const arrow::Field& field, const arrow::Array& array, const std::string& path, const Seen& seen) {
  const auto valid = [&](int64_t i) { return (seen.empty() || seen[static_cast<size_t>(i)]) && array.IsValid(i); };
  if (!field.nullable() && array.null_count() > 0) {
    for (int64_t i = 0; i < array.length(); ++i) {
      if (array.IsNull(i) && (seen.empty() || seen[static_cast<size_t>(i)])) {
        return Status::Invalid("column ", path, ": expected no nulls, as its field says, got one at ",
                               std::to_string(i));
      }
    }
  }
  if (array.length() == 0 || !HasRequired(*array.type())) return Status::OK();
  const auto items = [&](const auto& lists) {
    const int64_t begin = lists.value_offset(0);
    const int64_t size = lists.value_offset(lists.length()) - begin;
    Seen below(static_cast<size_t>(size));
    for (int64_t i = 0; i < lists.length(); ++i) {
      if (!valid(i)) continue;
      const auto first = below.begin() + (lists.value_offset(i) - begin);
      std::fill(first, first + lists.value_length(i), true);
    }
    return Check(*array.type()->field(0), *lists.values()->Slice(begin, size), path + ".item", below);
  };
  switch (array.type_id()) {
    case arrow::Type::LIST: return items(static_cast<const arrow::ListArray&>(array));
    case arrow::Type::LARGE_LIST: return items(static_cast<const arrow::LargeListArray&>(array));
    case arrow::Type::FIXED_SIZE_LIST: return items(static_cast<const arrow::FixedSizeListArray&>(array));
    case arrow::Type::STRUCT: {
      Seen below = seen;
      if (array.null_count() > 0) {
        below.resize(static_cast<size_t>(array.length()));
        for (int64_t i = 0; i < array.length(); ++i) below[static_cast<size_t>(i)] = valid(i);
      }
      const auto& structs = static_cast<const arrow::StructArray&>(array);
      for (int i = 0; i < structs.num_fields(); ++i) {
        const arrow::Field& child = *array.type()->field(i);
        ARROW_RETURN_NOT_OK(Check(child, *structs.field(i), path + "." + child.name(), below));
      }
      return Status::OK();
    }
    default: return Status::OK();
  }
}

}  // namespace

Status CheckRequired(const arrow::Field& field, const arrow::Array& array) {
  return Check(field, array, field.name(), {});
}

}  // namespace pennon::lance_format
