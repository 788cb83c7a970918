// Arrow arrays for tests.
#pragma once

#include <memory>
#include <string>

#include <arrow/array.h>
#include <arrow/json/from_string.h>
#include <arrow/type.h>

namespace pennon {

inline std::shared_ptr<arrow::Array> FromJson(const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
  return arrow::json::ArrayFromJSONString(type, json).ValueOrDie();
}

}  // namespace pennon
