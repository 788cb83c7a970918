// How the rows of an index file lie in partitions: the message IVF of index.proto, a global buffer of each of the two.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "lance/page_decoder.h"

namespace pennon::lance_format {

struct Ivf {
  std::vector<Range> partitions = {};  // rows of the file
  uint64_t dim = 0;                    // of the centroids
  std::vector<float> centroids = {};   // one a partition, each of dim values; none in auxiliary.idx
};

// half: centroids as float16.
std::string ToMessage(const Ivf& ivf, bool half);
// Invalid if it does not hold together, or has rows beyond these.
arrow::Result<Ivf> ReadIvf(std::string_view message, uint64_t rows);

}  // namespace pennon::lance_format
