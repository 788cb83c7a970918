// Arrow arrays of one field to pages of file version 2.2.
#pragma once

#include <cstdint>
#include <memory>

#include "lance/encoder.h"

namespace pennon::lance_format {

// As MakeEncoder. Only what holds values has a column: lists and structs around it are told by its control words.
std::unique_ptr<Encoder> MakeFullZipEncoder(const arrow::DataType& type, int32_t& column, const PageSink& sink,
                                            const PageOptions& options);

}  // namespace pennon::lance_format
