// Arrow schemas as Lance writes them: the fields of a tree in preorder, each with the number of its place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

namespace pennon::lance_format {

struct Field {
  std::string name = {};
  int32_t id = 0;
  int32_t parent = -1;  // none
  std::string logical_type = {};
  bool nullable = true;
  std::string others = {};  // the message's other fields, as they were
};

// Whether it is an Arrow dictionary, which MakeSchema has as its values.
bool IsDictionary(const Field& field);

// Schemas must be of the types in docs/lance.md; NotImplemented, with the field and its type, else.
arrow::Result<std::vector<Field>> MakeFields(const arrow::Schema& schema);

// The other way: fields of any ids, each after its parent. NotImplemented for a type that is not in docs/lance.md.
arrow::Result<std::shared_ptr<arrow::Schema>> MakeSchema(const std::vector<Field>& fields);

// The message Field of file.proto. Throws protozero::exception at what is no message.
std::string ToMessage(const Field& field);
Field ReadField(std::string_view bytes);

}  // namespace pennon::lance_format
