// What Lance's sub-index does not tell of a graph and walks over it go by, as JSON beside it: so that an index that is
// loaded again answers as it did when it was written.
#pragma once

#include <cstdint>
#include <string>

#include <arrow/result.h>

#include "graph/graph.h"

namespace pennon {

inline constexpr char kSurveyKey[] = "pennon:survey";  // of a schema's metadata

struct StoredSurvey {
  graph::Survey survey;
  float largest_norm = 0;  // of the rows
  bool codes = false;      // whether there were some
  uint64_t seed = 0;       // of the levels

  std::string ToJson() const;
  // Invalid for what no graph of so many rows can have.
  static arrow::Result<StoredSurvey> FromJson(const std::string& json, uint32_t rows);
};

}  // namespace pennon
