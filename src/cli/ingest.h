// Streams vectors into a live index while readers search it, with a progress bar on stderr.
#pragma once

#include <csignal>
#include <cstdint>
#include <functional>
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
  struct Batch {
    int64_t rows;
    double seconds;  // inside Append
    double publish_us;
  };
  struct TimedSearch {
    int64_t rows;  // in the index when it began
    double us;
  };
  int64_t rows = 0;
  double seconds = 0;  // inside Append
  double wall_seconds = 0;
  arrow::Status refused;  // not OK: a batch passed the memory limit, and was the last
  std::vector<Batch> batches;
  std::vector<TimedSearch> searches;

  // Times of the searches that began with at least `from` and fewer than `to` rows in the index.
  std::vector<double> SearchTimes(int64_t from, int64_t to) const;
  // Those while the last tenth of the rows was appended, in whole batches.
  std::vector<double> LastTenthSearchTimes() const;
};

// row_ids: null for positions. Searches stay out if there are no queries. after_batch: called with how many rows were
// appended so far; its failure ends the ingest.
arrow::Result<Ingest> RunIngest(LiveIndex& index, const arrow::Array& vectors, const arrow::Array* row_ids,
                                const Queries& queries, const IngestOptions& options,
                                const std::function<arrow::Status(int64_t rows)>& after_batch = {});

// Queries asked on one thread, several times over.
struct Asked {
  double seconds = 0;           // of the fastest pass
  std::vector<double> us;       // of every call in every pass
  std::vector<Answer> answers;  // of the last pass; fewer than queries if interrupted

  int64_t incomplete() const;
};
// One call a query. deadline_ms: for each; 0: none.
arrow::Result<Asked> AskAll(const LiveIndex& index, const Queries& queries, SearchOptions options, int passes = 1,
                            double deadline_ms = 0);
// One call for all, which has as many deadlines' time.
arrow::Result<Asked> AskBatch(const LiveIndex& index, const Queries& queries, SearchOptions options, int passes = 1,
                              double deadline_ms = 0);

}  // namespace pennon::cli
