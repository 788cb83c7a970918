// A vector index as Lance stores it: one partition, whose graph is in index.idx and whose vectors, or codes of them, in
// auxiliary.idx.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "io/file_system.h"
#include "lance/encoder.h"
#include "lance/manifest.h"

namespace pennon::lance_format {

enum class Distance { kL2 = 0, kCosine = 1, kDot = 2 };  // Lance's numbers
enum class Storage { kFlat, kSq };

inline constexpr char kHnswKey[] = "lance:hnsw";  // of a schema's metadata

struct HnswIndex {
  Distance distance = Distance::kL2;
  Storage storage = Storage::kFlat;
  // Columns __vector_id, __neighbors, _distance, and metadata lance:hnsw, as Lance's sub-index has them. Other metadata
  // goes into the file as it is.
  const arrow::RecordBatch& graph;
  int32_t m = 0;
  int32_t ef_construction = 0;
  int32_t max_level = 0;
  uint32_t rows = 0;  // of level 0, at least 1
  int32_t dim = 0;
  bool half = false;  // what `flat` holds: float16, else float32
  // A row's dim values, in the scratch of as many or where they are; under cosine Lance wants them of unit length.
  std::function<const float*(uint32_t row, float* scratch)> read;
  // And its id in the table.
  std::function<uint64_t(uint32_t row)> row_id;
  // Does both, at the same time if it likes: one of them calls the two above.
  std::function<void(const std::function<void()>&, const std::function<void()>&)> both;
};

// The values that codes of 8 bits are spread over: one range for all dimensions.
struct CodeRange {
  double low = 0;
  double high = 0;
};
CodeRange RangeOf(const HnswIndex& index);
// A code a value, which is in the range: floor(255 (value - low) / (high - low)).
void ScalarCodes(std::span<const float> vector, const CodeRange& range, uint8_t* codes);

// Returns the two files.
arrow::Result<std::vector<IndexFile>> WriteHnswIndex(io::FileSystem& files, const std::string& directory,
                                                     const HnswIndex& index, const PageOptions& options);

// VectorIndexDetails in an Any, for the manifest.
std::string HnswIndexDetails(const HnswIndex& index);

}  // namespace pennon::lance_format
