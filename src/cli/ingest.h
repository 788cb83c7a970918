// Streams vectors into a live index while readers search it, with a progress bar on stderr.
#pragma once

#include <csignal>
#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/array.h>
#include <arrow/result.h>

#include "cli/data_file.h"
#include "pennon/live_index.h"

namespace pennon::cli {

// Raised by SIGINT: what runs ends soon and reports what was done.
inline volatile std::sig_atomic_t interrupted = 0;

struct IngestOptions {
  int64_t k = 10;
  int64_t ef = 64;
  int64_t batch = 1000;
  double rate = 0;  // rows a second; 0: as fast as it goes
  int threads = 1;
  int readers = 1;
};

struct Ingest {
  int64_t rows = 0;
  double seconds = 0;  // inside Append
  std::vector<double> batch_us_per_row;
  std::vector<double> publish_us;
  double wall_seconds = 0;
  uint64_t searches = 0;
  std::vector<double> search_us;  // of searches over the last tenth of the rows
};

// row_ids: null for positions. Searches stay out if there are no queries.
arrow::Result<Ingest> RunIngest(LiveIndex& index, const arrow::Array& vectors, const arrow::Array* row_ids,
                                const Queries& queries, const IngestOptions& options);

// Queries asked one at a time on one thread.
struct Asked {
  double seconds = 0;
  std::vector<double> us;
  std::vector<Answer> answers;  // fewer than queries if interrupted
};
arrow::Result<Asked> AskAll(const LiveIndex& index, const Queries& queries, const SearchOptions& options);

}  // namespace pennon::cli
