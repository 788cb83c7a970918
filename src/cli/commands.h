// The program's commands. Cancelled if interrupted, after the report.
#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <arrow/status.h>
#include <CLI/App.hpp>
#include <CLI/Validators.hpp>

#include "cli/ingest.h"
#include "pennon/params.h"

namespace pennon::cli {

// Of options that count.
inline const CLI::Validator kAtLeastOne(
    [](const std::string& text) {
      int64_t value = 0;
      return CLI::detail::lexical_cast(text, value) && value >= 1 ? std::string() : "expected 1 or more, got " + text;
    },
    "AT LEAST 1");

inline const CLI::IsMember kMetrics({"l2", "cosine", "dot"});
inline Metric ParseMetric(const std::string& name) {
  return name == "cosine" ? Metric::kCosine : name == "dot" ? Metric::kDot : Metric::kL2;
}

// Of files to be written: an empty name is a variable that is not set.
inline const CLI::Validator kNamed(
    [](const std::string& text) { return text.empty() ? std::string("expected a name, got an empty one") : ""; },
    "NAME");

// Of places and versions. The library's own takes what is too large for the largest.
inline const CLI::Validator kNotNegative(
    [](const std::string& text) {
      uint64_t value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      const bool fits = error == std::errc() && end == text.data() + text.size() && !text.empty();
      return fits ? std::string() : "expected a whole number from 0 to 2^64 - 1, got " + text;
    },
    "FROM 0");

struct ReplayOptions {
  std::string data;
  std::string vector;
  std::string row_id;
  std::string text;
  std::string queries;
  std::optional<int64_t> holdout;
  std::vector<int64_t> ef = {16, 32, 64, 128};
  int passes = 1;
  double deadline_ms = 0;
  double filter_share = 1;
  bool exact = true;
  int64_t limit = 0;
  uint64_t memory_limit = 0;
  int64_t chunk = 0;
  IngestOptions ingest = {.threads = 0};
  std::string metric = "l2";
  std::string codes = "8";
  int32_t m = 16;
  int32_t ef_construction = 100;
  uint64_t seed = 100;
  std::string export_graph;
  std::string export_lance;
  std::string lance_index = "flat";
  std::string lance_version = "2.2";
  int64_t export_at = 0;
  bool verify = false;
  std::string json;
  std::string answers;
};

// Adds `pennon lance` and the commands below it. What it returns runs the one that was given.
std::function<arrow::Status()> AddLance(CLI::App& app);

arrow::Status Replay(const ReplayOptions& options);
arrow::Status Demo(const std::string& data, const std::string& questions);

}  // namespace pennon::cli
