// Which kind of index a Lance table gets where the caller leaves it open.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "lance/hnsw_index.h"

namespace pennon {

struct LanceChoice {
  lance_format::Storage storage = lance_format::Storage::kFlat;
  std::string reason;
};

// Asks for the neighbours of some of the rows and ranks them by codes, as Lance would. nearest: ids of about the
// nearest rows, itself among them or not, by distance.
arrow::Result<LanceChoice> ChooseLanceIndex(
    const lance_format::HnswIndex& index,
    const std::function<arrow::Result<std::vector<uint32_t>>(uint32_t row, int64_t k)>& nearest);

}  // namespace pennon
