#include "cli/replay.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <mutex>
#include <thread>

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/api.h>
#include <arrow/util/float16.h>
#include <nlohmann/json.hpp>
#include <parquet/arrow/reader.h>

#include "pennon/live_index.h"
#include "pennon/version.h"

namespace pennon::cli {
namespace {

using arrow::Result;
using arrow::Status;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

Result<std::shared_ptr<arrow::Table>> ReadTable(const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(path));
  ARROW_ASSIGN_OR_RAISE(auto head, file->ReadAt(0, 6));
  std::shared_ptr<arrow::Table> table;
  if (head->ToString().starts_with("PAR1")) {
    ARROW_ASSIGN_OR_RAISE(auto reader, parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
    ARROW_ASSIGN_OR_RAISE(table, reader->ReadTable());
  } else if (head->ToString() == "ARROW1") {
    ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchFileReader::Open(file));
    ARROW_ASSIGN_OR_RAISE(table, reader->ToTable());
  } else {
    return Status::Invalid(path, ": neither a Parquet nor an Arrow IPC file");
  }
  return table->CombineChunks();
}

std::string Columns(const arrow::Table& table) {
  std::string names;
  for (const auto& field : table.schema()->fields()) {
    names += (names.empty() ? "" : ", ") + field->name() + " (" + field->type()->ToString() + ")";
  }
  return names;
}

Result<std::shared_ptr<arrow::Array>> Column(const arrow::Table& table, const std::string& path,
                                             const std::string& name) {
  const auto column = table.GetColumnByName(name);
  if (!column) return Status::Invalid(path, ": no column '", name, "'; there are: ", Columns(table));
  if (column->num_chunks() == 0) return arrow::MakeEmptyArray(column->type());
  return column->chunk(0);
}

Result<std::shared_ptr<arrow::Array>> VectorColumn(const arrow::Table& table, const std::string& path,
                                                   std::string name) {
  for (const auto& field : table.schema()->fields()) {
    if (name.empty() && field->type()->id() == arrow::Type::FIXED_SIZE_LIST) name = field->name();
  }
  if (name.empty()) return Status::Invalid(path, ": no FixedSizeList column; there are: ", Columns(table));
  ARROW_ASSIGN_OR_RAISE(auto column, Column(table, path, name));
  if (column->type_id() != arrow::Type::FIXED_SIZE_LIST) {
    return Status::Invalid(path, ": column '", name, "' is ", column->type()->ToString(),
                           ", expected FixedSizeList<float or halffloat>; there are: ", Columns(table));
  }
  return column;
}

Metric ParseMetric(const std::string& name) {
  return name == "cosine" ? Metric::kCosine : name == "dot" ? Metric::kDot : Metric::kL2;
}

// Queries one by one as floats, so that timing them leaves decoding out.
Result<std::vector<std::vector<float>>> ToFloats(const arrow::Array& array) {
  const auto& list = static_cast<const arrow::FixedSizeListArray&>(array);
  std::vector<std::vector<float>> vectors;
  for (int64_t i = 0; i < list.length(); ++i) {
    if (list.IsNull(i)) continue;
    auto& vector = vectors.emplace_back();
    for (int64_t j = list.value_offset(i); j < list.value_offset(i + 1); ++j) {
      if (list.value_type()->id() == arrow::Type::FLOAT) {
        vector.push_back(static_cast<const arrow::FloatArray&>(*list.values()).Value(j));
      } else if (list.value_type()->id() == arrow::Type::HALF_FLOAT) {
        const auto bits = static_cast<const arrow::HalfFloatArray&>(*list.values()).Value(j);
        vector.push_back(arrow::util::Float16::FromBits(bits).ToFloat());
      } else {
        return Status::Invalid("queries: expected float or halffloat, got ", list.value_type()->ToString());
      }
    }
  }
  return vectors;
}

struct Ingest {
  int64_t rows = 0;
  double seconds = 0;  // inside Append
  std::vector<double> batch_us_per_row;
  std::vector<double> publish_us;
  uint64_t searches = 0;
  double wall = 0;
  std::vector<double> during_us;  // over the last tenth of the rows
  double last_tenth_wall = 0;
};

struct Search {
  double qps = 0;
  double p50_us = 0;
  double p99_us = 0;
  std::vector<Answer> answers;
};

void Progress(int64_t done, int64_t total, double rate, uint64_t searches) {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  if (!terminal && done != total) return;
  const int width = 30;
  const int filled = static_cast<int>(width * done / std::max<int64_t>(total, 1));
  std::cerr << (terminal ? "\r" : "") << "[" << std::string(static_cast<size_t>(filled), '#')
            << std::string(static_cast<size_t>(width - filled), '.') << "] " << done << "/" << total << " rows  "
            << static_cast<int64_t>(rate) << " rows/s  " << searches << " searches" << (done == total ? "\n" : "   ")
            << std::flush;
}

Result<Ingest> Run(LiveIndex& index, const std::shared_ptr<arrow::Array>& vectors,
                   const std::shared_ptr<arrow::Array>& row_ids, const std::vector<std::vector<float>>& queries,
                   const ReplayOptions& options) {
  Ingest ingest;
  std::atomic<bool> done{false};
  std::atomic<bool> measuring{false};
  std::atomic<uint64_t> searches{0};
  std::mutex mutex;
  auto read = [&](size_t first) {
    std::vector<double> during;
    for (size_t q = first; !done.load(std::memory_order_relaxed); ++q) {
      const bool measured = measuring.load(std::memory_order_relaxed);
      const auto start = Clock::now();
      if (!index.Search(queries[q % queries.size()], {.k = options.k, .ef = options.ef[0]}).ok()) break;
      if (measured) during.push_back(1e6 * Seconds(Clock::now() - start));
      searches.fetch_add(1, std::memory_order_relaxed);
    }
    std::lock_guard lock(mutex);
    ingest.during_us.insert(ingest.during_us.end(), during.begin(), during.end());
  };
  std::vector<std::jthread> readers;
  if (!queries.empty()) {
    for (int i = 0; i < options.readers; ++i) readers.emplace_back(read, static_cast<size_t>(i) * 97);
  }
  const int64_t total = vectors->length();
  const auto start = Clock::now();
  auto last_tenth = start;
  Status status;
  for (int64_t first = 0; first < total && interrupted == 0 && status.ok();) {
    const int64_t rows = std::min(options.batch, total - first);
    if (!measuring && first + rows > total - total / 10) {
      measuring = true;
      last_tenth = Clock::now();
    }
    AppendOptions append{.threads = options.threads};
    if (row_ids) append.row_ids = row_ids->Slice(first, rows);
    const auto before = Clock::now();
    status = index.Append(vectors->Slice(first, rows), append).status();
    const double seconds = Seconds(Clock::now() - before);
    if (!status.ok()) break;
    ingest.seconds += seconds;
    ingest.batch_us_per_row.push_back(1e6 * seconds / static_cast<double>(rows));
    ingest.publish_us.push_back(static_cast<double>(index.GetStats().last_publish_nanos) / 1000);
    first += rows;
    ingest.rows = first;
    Progress(first, total, static_cast<double>(first) / Seconds(Clock::now() - start), searches.load());
    if (options.rate > 0) {
      std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(
                                                std::chrono::duration<double>(static_cast<double>(first) / options.rate)));
    }
  }
  done = true;
  readers.clear();
  ARROW_RETURN_NOT_OK(status);
  ingest.wall = Seconds(Clock::now() - start);
  ingest.last_tenth_wall = Seconds(Clock::now() - last_tenth);
  ingest.searches = searches.load();
  return ingest;
}

Result<Search> Ask(const LiveIndex& index, const std::vector<std::vector<float>>& queries, const SearchOptions& options) {
  Search search;
  std::vector<double> times;
  const auto start = Clock::now();
  for (const auto& query : queries) {
    const auto before = Clock::now();
    ARROW_ASSIGN_OR_RAISE(search.answers.emplace_back(), index.Search(query, options));
    times.push_back(1e6 * Seconds(Clock::now() - before));
  }
  search.qps = static_cast<double>(queries.size()) / Seconds(Clock::now() - start);
  search.p50_us = Percentile(times, 0.5);
  search.p99_us = Percentile(times, 0.99);
  return search;
}

double Recall(const std::vector<Answer>& answers, const std::vector<Answer>& exact) {
  size_t found = 0;
  size_t wanted = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    wanted += exact[i].rows.size();
    for (const SearchResult& row : answers[i].rows) found += row.distance <= exact[i].rows.back().distance;
  }
  return wanted == 0 ? 1 : static_cast<double>(found) / static_cast<double>(wanted);
}

int64_t ResidentBytes() {
  std::ifstream status("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident = 0;
  status >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// The report: words on stdout, JSON lines in the file if there is one.
class Report {
 public:
  static Result<std::unique_ptr<Report>> Open(const std::string& path) {
    auto report = std::make_unique<Report>();
    if (!path.empty()) {
      report->file_.open(path);
      if (!report->file_) return Status::IOError(path, ": cannot be written");
      report->path_ = path;
    }
    return report;
  }
  void Line(const Json& json) {
    if (file_.is_open()) file_ << json.dump() << "\n";
    std::cout << std::left << std::setw(13) << json["what"].get<std::string>();
    for (const auto& [name, value] : json.items()) {
      if (name == "what") continue;
      std::cout << name << " ";
      if (value.is_number_float()) {
        const double number = value.get<double>();
        std::cout << std::fixed << std::setprecision(number < 10 ? 4 : 1) << number;
      } else {
        std::cout << (value.is_string() ? value.get<std::string>() : value.dump());
      }
      std::cout << "  ";
    }
    std::cout << "\n";
  }
  Status Close() {
    if (file_.is_open()) {
      file_.close();
      if (!file_) return Status::IOError(path_, ": could not be written whole");
    }
    return Status::OK();
  }

 private:
  std::ofstream file_;
  std::string path_;
};

Status ReportInsert(const Ingest& ingest, const ReplayOptions& options, Report& report) {
  const size_t tenth = std::max<size_t>(1, ingest.batch_us_per_row.size() / 10);
  auto mean = [&](size_t first) {
    double sum = 0;
    for (size_t i = first; i < std::min(first + tenth, ingest.batch_us_per_row.size()); ++i) {
      sum += ingest.batch_us_per_row[i];
    }
    return sum / static_cast<double>(tenth);
  };
  report.Line({{"what", "insert"}, {"rows", ingest.rows}, {"seconds", ingest.seconds},
               {"rows_per_s", static_cast<double>(ingest.rows) / std::max(ingest.seconds, 1e-9)},
               {"threads", options.threads}, {"batch", options.batch},
               {"publish_p50_us", Percentile(ingest.publish_us, 0.5)},
               {"publish_p99_us", Percentile(ingest.publish_us, 0.99)}, {"first_tenth_us_per_row", mean(0)},
               {"last_tenth_us_per_row", mean(ingest.batch_us_per_row.size() - std::min(tenth, ingest.batch_us_per_row.size()))}});
  return Status::OK();
}

Status ReportMemoryAndGraph(const LiveIndex& index, bool verify, Report& report) {
  const MemoryUsage memory = index.GetMemoryUsage();
  report.Line({{"what", "memory"}, {"vectors_bytes", memory.vectors_bytes + memory.caller_bytes},
               {"codes_bytes", memory.codes_bytes}, {"graph_bytes", memory.graph_bytes},
               {"versions_bytes", memory.versions_bytes}, {"other_bytes", memory.other_bytes},
               {"peak_bytes", memory.peak_bytes}, {"rss_bytes", ResidentBytes()}});
  if (!verify) return Status::OK();
  ARROW_ASSIGN_OR_RAISE(auto found, index.Verify());
  report.Line({{"what", "verify"}, {"unreachable", found.unreachable}, {"ok", found.ok}});
  return found.ok ? Status::OK() : Status::UnknownError("verify: ", found.problem);
}

Status Export(const LiveIndex& index, const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(auto snapshot, index.GetSnapshot());
  ARROW_ASSIGN_OR_RAISE(auto batch, snapshot.ToLanceHnswBatch());
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::FileOutputStream::Open(path));
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeFileWriter(file, batch->schema()));
  ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  ARROW_RETURN_NOT_OK(writer->Close());
  return file->Close();
}

Result<LiveIndex> MakeIndex(const ReplayOptions& options, const arrow::Array& vectors) {
  return LiveIndex::Make(
      {.dim = static_cast<const arrow::FixedSizeListType&>(*vectors.type()).list_size(),
       .metric = ParseMetric(options.metric),
       .build = {.m = options.m, .ef_construction = options.ef_construction, .seed = options.seed}});
}

}  // namespace

Status Replay(const ReplayOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto report, Report::Open(options.json));
  ARROW_ASSIGN_OR_RAISE(auto table, ReadTable(options.data));
  if (options.limit > 0) table = table->Slice(0, options.limit);
  ARROW_ASSIGN_OR_RAISE(auto all, VectorColumn(*table, options.data, options.vector));
  const int64_t held = !options.queries.empty() ? 0
                       : options.holdout ? std::min(*options.holdout, all->length())
                                         : std::min<int64_t>(1000, all->length() / 10);
  const int64_t rows = all->length() - held;
  std::shared_ptr<arrow::Array> asked = all->Slice(rows);
  if (!options.queries.empty()) {
    ARROW_ASSIGN_OR_RAISE(auto query_table, ReadTable(options.queries));
    ARROW_ASSIGN_OR_RAISE(asked, VectorColumn(*query_table, options.queries, options.vector));
  }
  ARROW_ASSIGN_OR_RAISE(auto queries, ToFloats(*asked));
  std::shared_ptr<arrow::Array> row_ids;
  if (!options.row_id.empty()) {
    ARROW_ASSIGN_OR_RAISE(row_ids, Column(*table, options.data, options.row_id));
  }
  std::shared_ptr<arrow::Array> text;
  if (!options.text.empty()) {
    ARROW_ASSIGN_OR_RAISE(text, Column(*table, options.data, options.text));
  }
  ARROW_ASSIGN_OR_RAISE(auto index, MakeIndex(options, *all));
  report->Line({{"what", "run"}, {"version", PENNON_VERSION}, {"simd", "auto"}, {"codes", "none"}, {"m", options.m},
                {"ef_construction", options.ef_construction}, {"metric", options.metric}, {"seed", options.seed},
                {"dim", index.options().dim}, {"rows", rows}});
  ARROW_ASSIGN_OR_RAISE(auto ingest, Run(index, all->Slice(0, rows), row_ids, queries, options));
  ARROW_RETURN_NOT_OK(ReportInsert(ingest, options, *report));
  if (interrupted == 0 && !queries.empty()) {
    ARROW_ASSIGN_OR_RAISE(auto exact, Ask(index, queries, {.k = options.k, .exact = true}));
    for (size_t i = 0; i < options.ef.size() && interrupted == 0; ++i) {
      const SearchOptions search_options{.k = options.k, .ef = options.ef[i]};
      ARROW_ASSIGN_OR_RAISE(auto search, Ask(index, queries, search_options));
      report->Line({{"what", "search"}, {"ef", options.ef[i]}, {"k", options.k}, {"qps", search.qps},
                    {"recall", Recall(search.answers, exact.answers)}, {"p50_us", search.p50_us},
                    {"p99_us", search.p99_us}, {"threads", 1}});
      const auto start = Clock::now();
      ARROW_ASSIGN_OR_RAISE(auto answers, index.SearchBatch(*asked, search_options));
      report->Line({{"what", "search_batch"}, {"ef", options.ef[i]}, {"k", options.k},
                    {"qps", static_cast<double>(queries.size()) / Seconds(Clock::now() - start)},
                    {"recall", Recall(answers, exact.answers)}, {"threads", 1}});
      if (i == 0 && options.readers > 0) {
        report->Line({{"what", "concurrent"}, {"ef", options.ef[0]}, {"readers", options.readers},
                      {"searches", ingest.searches},
                      {"qps", static_cast<double>(ingest.searches) / std::max(ingest.wall, 1e-9)},
                      {"p50_us", Percentile(ingest.during_us, 0.5)}, {"p99_us", Percentile(ingest.during_us, 0.99)},
                      {"idle_p50_us", search.p50_us}, {"idle_p99_us", search.p99_us}});
      }
      for (size_t q = 0; text && !row_ids && i == 0 && q < std::min<size_t>(3, queries.size()); ++q) {
        std::cout << "query " << q << "\n";
        for (const SearchResult& row : search.answers[q].rows) {
          ARROW_ASSIGN_OR_RAISE(auto value, text->GetScalar(row.id));
          std::cout << "  " << row.distance << "  " << value->ToString() << "\n";
        }
      }
    }
  }
  ARROW_RETURN_NOT_OK(ReportMemoryAndGraph(index, options.verify, *report));
  if (!options.export_graph.empty()) ARROW_RETURN_NOT_OK(Export(index, options.export_graph));
  ARROW_RETURN_NOT_OK(report->Close());
  return interrupted != 0 ? Status::Cancelled("interrupted") : Status::OK();
}

Status Demo(const std::string& data, const std::string& questions) {
  ARROW_ASSIGN_OR_RAISE(auto report, Report::Open(""));
  ARROW_ASSIGN_OR_RAISE(auto table, ReadTable(data));
  ARROW_ASSIGN_OR_RAISE(auto vectors, VectorColumn(*table, data, ""));
  ARROW_ASSIGN_OR_RAISE(auto names, Column(*table, data, "name"));
  ARROW_ASSIGN_OR_RAISE(auto summaries, Column(*table, data, "summary"));
  ARROW_ASSIGN_OR_RAISE(auto question_table, ReadTable(questions));
  ARROW_ASSIGN_OR_RAISE(auto asked, VectorColumn(*question_table, questions, ""));
  ARROW_ASSIGN_OR_RAISE(auto words, Column(*question_table, questions, "question"));
  ARROW_ASSIGN_OR_RAISE(auto queries, ToFloats(*asked));
  ReplayOptions options;
  options.ef = {64};
  std::optional<LiveIndex> index;
  for (const double rate : {2000.0, 0.0}) {
    options.rate = rate;
    options.batch = rate > 0 ? 200 : 1000;
    std::cout << (rate > 0 ? "\nAt 2000 rows a second, searched meanwhile:\n" : "\nAt full speed, searched meanwhile:\n")
              << std::flush;
    ARROW_ASSIGN_OR_RAISE(index, MakeIndex(options, *vectors));
    ARROW_ASSIGN_OR_RAISE(auto ingest, Run(*index, vectors, nullptr, queries, options));
    ARROW_RETURN_NOT_OK(ReportInsert(ingest, options, *report));
    if (interrupted != 0) return Status::Cancelled("interrupted");
    ARROW_ASSIGN_OR_RAISE(auto idle, Ask(*index, queries, {.k = 10, .ef = 64}));
    ARROW_ASSIGN_OR_RAISE(auto exact, Ask(*index, queries, {.k = 10, .exact = true}));
    report->Line({{"what", "search"}, {"during ingest", ingest.searches},
                  {"p50_us", Percentile(ingest.during_us, 0.5)}, {"p99_us", Percentile(ingest.during_us, 0.99)},
                  {"idle_p50_us", idle.p50_us}, {"idle_p99_us", idle.p99_us},
                  {"recall@10", Recall(idle.answers, exact.answers)}});
  }
  for (size_t q = 0; q < queries.size(); q += 10) {
    ARROW_ASSIGN_OR_RAISE(auto answer, index->Search(queries[q], {.k = 3, .ef = 64}));
    ARROW_ASSIGN_OR_RAISE(auto question, words->GetScalar(static_cast<int64_t>(q)));
    std::cout << "\n" << question->ToString() << "\n";
    for (const SearchResult& row : answer.rows) {
      ARROW_ASSIGN_OR_RAISE(auto name, names->GetScalar(row.id));
      ARROW_ASSIGN_OR_RAISE(auto summary, summaries->GetScalar(row.id));
      std::cout << "  " << std::fixed << std::setprecision(3) << row.distance << "  " << name->ToString() << ": "
                << summary->ToString() << "\n";
    }
  }
  std::cout << "\n";
  return ReportMemoryAndGraph(*index, true, *report);
}

}  // namespace pennon::cli
