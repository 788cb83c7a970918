// Nulls where a field says that there are none, at any depth.
#pragma once

#include <arrow/array.h>
#include <arrow/status.h>
#include <arrow/type.h>

namespace pennon::lance_format {

// Invalid, with the field's path. A null that lies in a null, or that no list has, does not count.
arrow::Status CheckRequired(const arrow::Field& field, const arrow::Array& array);

}  // namespace pennon::lance_format
