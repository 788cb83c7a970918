#include "cli/report.h"

#include <algorithm>
#include <cmath>
#include <locale>

#include <fmt/format.h>

namespace pennon::cli {
namespace {

using arrow::Status;

struct Thousands : std::numpunct<char> {
  char do_thousands_sep() const override { return ','; }
  std::string do_grouping() const override { return "\3"; }
};

double MeanUsPerRow(std::span<const Ingest::Batch> batches) {
  double sum = 0;
  for (const auto& batch : batches) sum += 1e6 * batch.seconds / static_cast<double>(batch.rows);
  return batches.empty() ? 0 : sum / static_cast<double>(batches.size());
}

}  // namespace

arrow::Result<JsonLines> JsonLines::Open(const std::string& path) {
  JsonLines lines;
  lines.path_ = path;
  if (!path.empty()) {
    ARROW_ASSIGN_OR_RAISE(lines.file_, arrow::io::FileOutputStream::Open(path));
  }
  return lines;
}

Status JsonLines::Write(const nlohmann::ordered_json& line) {
  return file_ ? NameFile(path_, file_->Write(line.dump() + "\n")) : Status::OK();
}

Status JsonLines::Close() { return file_ ? NameFile(path_, file_->Close()) : Status::OK(); }

Status NameFile(const std::string& path, const Status& status) {
  const bool named = status.message().find(path) != std::string::npos;
  return status.ok() || named ? status : status.WithMessage(path, ": ", status.message());
}

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double PerSecond(size_t count, double seconds) { return static_cast<double>(count) / std::max(seconds, 1e-9); }

double Recall(std::span<const Answer> answers, std::span<const Answer> exact) {
  size_t found = 0;
  size_t wanted = 0;
  for (size_t i = 0; i < std::min(answers.size(), exact.size()); ++i) {
    wanted += exact[i].rows.size();
    for (const SearchResult& row : answers[i].rows) found += row.distance <= exact[i].rows.back().distance;
  }
  return wanted == 0 ? 1 : static_cast<double>(found) / static_cast<double>(wanted);
}

std::string Grouped(double number) {
  static const std::locale locale(std::locale::classic(), new Thousands);
  return fmt::format(locale, "{:L}", std::llround(number));
}

std::string Cut(std::string_view text, size_t columns) {
  if (text.size() <= columns) return std::string(text);
  size_t end = columns - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

Status ReportInsert(const Ingest& ingest, const IngestOptions& options, JsonLines& json) {
  const std::span<const Ingest::Batch> batches = ingest.batches;
  const size_t tenth = (batches.size() + 9) / 10;
  const double rows_per_s = PerSecond(static_cast<size_t>(ingest.rows), ingest.seconds);
  std::vector<double> publish;
  for (const auto& batch : batches) publish.push_back(batch.publish_us);
  const double p50 = Percentile(publish, 0.5);
  const double p99 = Percentile(publish, 0.99);
  const double first = MeanUsPerRow(batches.first(tenth));
  const double last = MeanUsPerRow(batches.last(tenth));
  fmt::print("inserted {} rows in {:.2f} s: {} rows/s, {} threads, batches of {}\n",
             Grouped(static_cast<double>(ingest.rows)), ingest.seconds, Grouped(rows_per_s), options.threads,
             Grouped(static_cast<double>(options.batch)));
  fmt::print("         {:.1f} us a row in the first tenth, {:.1f} in the last; publish p50 {:.0f} us, p99 {:.0f} us\n",
             first, last, p50, p99);
  return json.Write({{"what", "insert"},
                     {"rows", ingest.rows},
                     {"seconds", ingest.seconds},
                     {"rows_per_s", rows_per_s},
                     {"threads", options.threads},
                     {"batch", options.batch},
                     {"publish_p50_us", p50},
                     {"publish_p99_us", p99},
                     {"first_tenth_us_per_row", first},
                     {"last_tenth_us_per_row", last}});
}

Status ReportSeries(const Ingest& ingest, int64_t chunk, JsonLines& json) {
  int64_t from = 0;
  int64_t to = 0;
  double seconds = 0;
  for (const auto& batch : ingest.batches) {
    to += batch.rows;
    seconds += batch.seconds;
    if (to - from < chunk && to < ingest.rows) continue;
    const std::vector<double> searches = ingest.SearchTimes(from, to);
    ARROW_RETURN_NOT_OK(json.Write({{"what", "chunk"},
                                    {"rows", to},
                                    {"us_per_row", 1e6 * seconds / static_cast<double>(to - from)},
                                    {"searches", searches.size()},
                                    {"p50_us", Percentile(searches, 0.5)},
                                    {"p99_us", Percentile(searches, 0.99)}}));
    from = to;
    seconds = 0;
  }
  return Status::OK();
}

Status ReportMemory(const LiveIndex& index, const std::optional<ResidentSet>& before, JsonLines& json) {
  const MemoryUsage memory = index.GetMemoryUsage();
  const ResidentSet now = ResidentSet::Get();
  const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  fmt::print(
      "memory   vectors {:.1f}, codes {:.1f}, graph {:.1f}, old versions {:.1f}, other {:.1f} MiB; peak {:.1f}, "
      "process "
      "{:.1f}\n",
      mib(memory.vectors_bytes + memory.caller_bytes), mib(memory.codes_bytes), mib(memory.graph_bytes),
      mib(memory.versions_bytes), mib(memory.other_bytes), mib(memory.peak_bytes), mib(now.bytes));
  nlohmann::ordered_json line = {{"what", "memory"},
                                 {"vectors_bytes", memory.vectors_bytes},
                                 {"caller_bytes", memory.caller_bytes},
                                 {"codes_bytes", memory.codes_bytes},
                                 {"graph_bytes", memory.graph_bytes},
                                 {"versions_bytes", memory.versions_bytes},
                                 {"other_bytes", memory.other_bytes},
                                 {"total_bytes", memory.total()},
                                 {"peak_bytes", memory.peak_bytes},
                                 {"rss_bytes", now.bytes}};
  if (before) {
    line["rss_growth_bytes"] = now.bytes - before->bytes;
    line["rss_peak_growth_bytes"] = now.peak_bytes - before->bytes;
  }
  return json.Write(line);
}

Status ReportGraph(const LiveIndex& index, JsonLines& json) {
  ARROW_ASSIGN_OR_RAISE(const VerifyReport report, index.Verify());
  fmt::print("graph    {} rows, {} unreachable, lists {}\n", Grouped(report.rows), report.unreachable,
             report.ok ? "well formed" : "broken: " + report.problem);
  ARROW_RETURN_NOT_OK(json.Write({{"what", "verify"}, {"unreachable", report.unreachable}, {"ok", report.ok}}));
  return report.ok ? Status::OK() : Status::UnknownError("verify: ", report.problem);
}

}  // namespace pennon::cli
