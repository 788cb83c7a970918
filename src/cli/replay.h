// Streaming a file into a live index while readers search it, and the report on it.
#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <arrow/status.h>

namespace pennon::cli {

struct ReplayOptions {
  std::string data;
  std::string vector;
  std::string row_id;
  std::string text;
  std::string queries;
  std::optional<int64_t> holdout;
  int64_t k = 10;
  std::vector<int64_t> ef = {16, 32, 64, 128};
  int64_t batch = 1000;
  double rate = 0;
  int64_t limit = 0;
  int threads = 0;
  int readers = 1;
  std::string metric = "l2";
  int32_t m = 16;
  int32_t ef_construction = 100;
  uint64_t seed = 100;
  std::string export_graph;
  bool verify = false;
  std::string json;
};

// Raised by SIGINT: a run stops after its batch and reports what was done.
inline volatile std::sig_atomic_t interrupted = 0;

// Cancelled if interrupted.
arrow::Status Replay(const ReplayOptions& options);
arrow::Status Demo(const std::string& data, const std::string& questions);

}  // namespace pennon::cli
