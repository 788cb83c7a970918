// What a run says: words on stdout and, if asked for, a JSON object a line in a file.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/io/file.h>
#include <arrow/result.h>
#include <nlohmann/json.hpp>

#include "cli/ingest.h"
#include "cli/resident_set.h"
#include "pennon/live_index.h"

namespace pennon::cli {

// The JSON lines. An empty path: nowhere.
class JsonLines {
 public:
  static arrow::Result<JsonLines> Open(const std::string& path);
  arrow::Status Write(const nlohmann::ordered_json& line);
  arrow::Status Close();

 private:
  std::string path_;
  std::shared_ptr<arrow::io::FileOutputStream> file_;
};

// A failure, with the file's name if it does not say it.
arrow::Status NameFile(const std::string& path, const arrow::Status& status);

double Percentile(std::vector<double> values, double share);
double PerSecond(size_t count, double seconds);

// The share of the exact answers' rows that were found; a row counts if it is as near as the k-th exact one. Of the
// queries that have both answers.
double Recall(std::span<const Answer> answers, std::span<const Answer> exact);

std::string Grouped(double number);                      // 12,345
std::string Cut(std::string_view text, size_t columns);  // at most so many bytes, whole UTF-8 characters

arrow::Status ReportInsert(const Ingest& ingest, const IngestOptions& options, JsonLines& json);
// A JSON line for every `chunk` rows, in whole batches: what a row cost and what searches took meanwhile.
arrow::Status ReportSeries(const Ingest& ingest, int64_t chunk, JsonLines& json);
// With what the resident set was before the ingest, its growth too.
arrow::Status ReportMemory(const LiveIndex& index, const std::optional<ResidentSet>& before, JsonLines& json);
// An error unless every row is reachable and all lists are well formed.
arrow::Status ReportGraph(const LiveIndex& index, JsonLines& json);

}  // namespace pennon::cli
