// Arrow schemas as Lance writes them: the fields of a tree in preorder, each with the number of its place.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

namespace pennon::lance_format {

struct Field {
  std::string name;
  int32_t id = 0;
  int32_t parent = -1;  // none
  std::string logical_type;
  bool nullable = true;
};

// Schemas must be of the types in docs/lance.md; NotImplemented, with the field and its type, else.
arrow::Result<std::vector<Field>> MakeFields(const arrow::Schema& schema);

// The message Field of file.proto.
std::string ToMessage(const Field& field);

}  // namespace pennon::lance_format
