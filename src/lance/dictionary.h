// Values by their places in a dictionary.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/memory_pool.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "lance/value_decoder.h"

namespace pennon::lance_format {

class Dictionary {
 public:
  // Invalid if the values are not the type's.
  static arrow::Result<Dictionary> Make(const std::shared_ptr<arrow::DataType>& type, const DecodedValues& values,
                                        arrow::MemoryPool* pool);

  // Values without validity, which is null if all are there. Places, unsigned, of those that are null are not looked
  // at.
  arrow::Result<std::shared_ptr<arrow::Array>> Take(const arrow::Array& places,
                                                    const std::shared_ptr<arrow::Buffer>& validity,
                                                    arrow::MemoryPool* pool) const;

 private:
  Dictionary(std::shared_ptr<arrow::DataType> type, DecodedValues values)
      : type_(std::move(type)), values_(std::move(values)) {}
  template <typename Place>
  arrow::Result<std::shared_ptr<arrow::Array>> TakeAs(const Place* places, uint64_t count,
                                                      const std::shared_ptr<arrow::Buffer>& validity,
                                                      arrow::MemoryPool* pool) const;

  std::shared_ptr<arrow::DataType> type_;
  DecodedValues values_;
};

}  // namespace pennon::lance_format
