// `pennon replay`: anybody's file through a live index.
#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include <arrow/builder.h>
#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <arrow/scalar.h>
#include <fmt/format.h>

#include "cli/answers_file.h"
#include "cli/commands.h"
#include "cli/data_file.h"
#include "cli/report.h"
#include "cli/resident_set.h"
#include "pennon/lance.h"
#include "pennon/version.h"

namespace pennon::cli {
namespace {

using arrow::Result;
using arrow::Status;

Status Export(const LiveIndex& index, const std::shared_ptr<arrow::io::OutputStream>& file) {
  ARROW_ASSIGN_OR_RAISE(auto snapshot, index.GetSnapshot());
  ARROW_ASSIGN_OR_RAISE(auto batch, snapshot.ToLanceHnswBatch());
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeFileWriter(file, batch->schema()));
  ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  ARROW_RETURN_NOT_OK(writer->Close());
  return file->Close();
}

// A Lance table of the rows of a version, and of those that were skipped among them.
class LanceExport {
 public:
  // Before the ingest: a place that cannot be written to, or a type that Lance has not, should not cost it. Null: none
  // is wanted.
  static Result<std::unique_ptr<LanceExport>> Open(const ReplayOptions& options, const arrow::Array& vectors);

  // Called after each batch: begins with the first version that is wanted, on a thread of its own.
  Status AfterBatch(const LiveIndex& index, int64_t rows);
  // After the ingest of so many rows of the file: of the last version, if none was wanted before.
  Status Finish(const LiveIndex& index, int64_t rows, JsonLines& json);

 private:
  LanceExport(const ReplayOptions& options, lance::Dataset dataset) : options_(options), dataset_(std::move(dataset)) {}

  struct Written {
    int64_t rows = 0;
    uint32_t indexed = 0;
    double rows_seconds = 0;
    double index_seconds = 0;
    lance::IndexSummary index;
  };
  Result<Written> Write(const Snapshot& snapshot, int64_t rows);

  const ReplayOptions& options_;
  lance::Dataset dataset_;
  std::future<Result<Written>> writing_;  // its end is waited for before the others go
};

// What to insert, what to ask, and what to print of both.
struct Input {
  std::shared_ptr<arrow::FixedSizeListArray> vectors;
  std::shared_ptr<arrow::Array> row_ids;  // null: positions
  std::shared_ptr<arrow::Array> text;     // null: none
  Queries queries;
  std::shared_ptr<arrow::Array> query_text;

  static Result<Input> Read(const ReplayOptions& options);
};

Result<Input> Input::Read(const ReplayOptions& options) {
  Input input;
  ARROW_ASSIGN_OR_RAISE(auto data, DataFile::Read(options.data));
  if (options.limit > 0) data.Limit(options.limit);
  ARROW_ASSIGN_OR_RAISE(auto all, data.Vectors(options.vector));
  if (!options.row_id.empty()) {
    ARROW_ASSIGN_OR_RAISE(input.row_ids, data.RowIds(options.row_id));
  }
  if (!options.text.empty()) {
    ARROW_ASSIGN_OR_RAISE(input.text, data.Column(options.text));
  }
  auto asked = all;
  if (options.queries.empty()) {
    // A table is to have all rows, if nothing else is said.
    const int64_t some = options.export_lance.empty() ? std::min<int64_t>(1000, all->length() / 10) : 0;
    const int64_t held = std::min(options.holdout.value_or(some), all->length());
    const int64_t rows = all->length() - held;
    input.vectors = std::static_pointer_cast<arrow::FixedSizeListArray>(all->Slice(0, rows));
    asked = std::static_pointer_cast<arrow::FixedSizeListArray>(all->Slice(rows));
    if (input.text) input.query_text = input.text->Slice(rows);
  } else {
    input.vectors = all;
    ARROW_ASSIGN_OR_RAISE(auto queries, DataFile::Read(options.queries));
    ARROW_ASSIGN_OR_RAISE(asked, queries.Vectors(options.vector));
    if (asked->value_length() != all->value_length()) {
      return Status::Invalid(options.queries, ": expected dimension ", all->value_length(), " as in ", options.data,
                             ", got ", asked->value_length());
    }
    if (!options.text.empty()) input.query_text = queries.Column(options.text).ValueOr(nullptr);
  }
  ARROW_ASSIGN_OR_RAISE(input.queries, Queries::Decode(*asked));
  return input;
}

// Passes that share of the index's rows, the same ones every time.
Result<RowFilter> RandomFilter(const LiveIndex& index, double share) {
  if (share == 1) return RowFilter();
  std::mt19937 random(1);
  arrow::BooleanBuilder bits;
  for (uint32_t row = 0; row < index.size(); ++row) {
    ARROW_RETURN_NOT_OK(bits.Append(static_cast<double>(random()) < share * 0x1p32));
  }
  ARROW_ASSIGN_OR_RAISE(auto array, bits.Finish());
  return RowFilter::IdBitmap(std::static_pointer_cast<arrow::BooleanArray>(array));
}

// Where each id's row is in the file: null vectors have none.
std::vector<uint64_t> PositionsOf(const arrow::Array& vectors) {
  std::vector<uint64_t> positions;
  for (int64_t i = 0; i < vectors.length(); ++i) {
    if (vectors.IsValid(i)) positions.push_back(static_cast<uint64_t>(i));
  }
  return positions;
}

Result<std::unique_ptr<LanceExport>> LanceExport::Open(const ReplayOptions& options, const arrow::Array& vectors) {
  if (options.export_lance.empty()) return nullptr;
  if (options.export_at > vectors.length() - vectors.null_count()) {
    return Status::Invalid("--export-at: expected at most the ", vectors.length() - vectors.null_count(),
                           " vectors that are inserted, got ", options.export_at);
  }
  ARROW_ASSIGN_OR_RAISE(const auto rows, ReadBatches(options.data, 0));
  auto dataset = lance::Dataset::Create(
      options.export_lance, rows->schema(),
      {.file_version = options.lance_version == "2.0" ? lance::FileVersion::k2_0 : lance::FileVersion::k2_2});
  if (!dataset.ok()) return NameFile(options.export_lance, dataset.status());
  return std::unique_ptr<LanceExport>(new LanceExport(options, *std::move(dataset)));
}

Status LanceExport::AfterBatch(const LiveIndex& index, int64_t rows) {
  if (options_.export_at == 0 || writing_.valid()) return Status::OK();
  ARROW_ASSIGN_OR_RAISE(auto snapshot, index.GetSnapshot());
  if (snapshot.size() < options_.export_at) return Status::OK();
  writing_ =
      std::async(std::launch::async, [this, snapshot = std::move(snapshot), rows] { return Write(snapshot, rows); });
  return Status::OK();
}

Result<LanceExport::Written> LanceExport::Write(const Snapshot& snapshot, int64_t rows) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto start = Clock::now();
  ARROW_ASSIGN_OR_RAISE(const auto batches, ReadBatches(options_.data, rows));
  ARROW_RETURN_NOT_OK(dataset_.Append(*batches));
  Written written = {.rows = rows, .indexed = snapshot.size(), .rows_seconds = seconds_since(start), .index = {}};
  if (written.indexed == 0) return written;
  const auto type = options_.lance_index == "sq"     ? lance::IndexType::kHnswSq
                    : options_.lance_index == "auto" ? lance::IndexType::kAuto
                                                     : lance::IndexType::kHnswFlat;
  ARROW_ASSIGN_OR_RAISE(written.index, snapshot.ToLance(dataset_, {.column = options_.vector, .type = type}));
  written.index_seconds = seconds_since(start) - written.rows_seconds;
  return written;
}

Status LanceExport::Finish(const LiveIndex& index, int64_t rows, JsonLines& json) {
  Written written;
  if (writing_.valid()) {
    ARROW_ASSIGN_OR_RAISE(written, writing_.get());
  } else if (options_.export_at > 0) {
    return Status::Invalid("--export-at: no version had ", options_.export_at, " vectors, the last one has ",
                           index.size());
  } else {
    ARROW_ASSIGN_OR_RAISE(const auto snapshot, index.GetSnapshot());
    ARROW_ASSIGN_OR_RAISE(written, Write(snapshot, rows));
  }
  const std::string type = written.index.type == lance::IndexType::kHnswSq ? "sq" : "flat";
  fmt::print("{}: version {}, {} rows in {:.2f} s, ", options_.export_lance, dataset_.version(),
             Grouped(static_cast<double>(dataset_.rows())), written.rows_seconds);
  if (written.indexed == 0) {
    fmt::print("and no index, as none has a vector\n");
  } else {
    fmt::print("{} of them in its index ({}) in {:.2f} s\n", Grouped(static_cast<double>(written.indexed)), type,
               written.index_seconds);
  }
  if (!written.index.reason.empty()) fmt::print("{}\n", written.index.reason);
  return json.Write({{"what", "export_lance"},
                     {"version", dataset_.version()},
                     {"rows", dataset_.rows()},
                     {"begun_at", written.rows},
                     {"indexed", written.indexed},
                     {"index", written.indexed == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(type)},
                     {"reason", written.index.reason},
                     {"file_version", options_.lance_version},
                     {"rows_seconds", written.rows_seconds},
                     {"index_seconds", written.index_seconds}});
}

// The first queries' results in words.
Status PrintTexts(const Input& input, const std::vector<Answer>& answers) {
  const std::vector<uint64_t> positions = PositionsOf(*input.vectors);
  for (size_t q = 0; q < std::min<size_t>(3, answers.size()); ++q) {
    std::string query = fmt::format("query {}", q);
    if (input.query_text) {
      ARROW_ASSIGN_OR_RAISE(auto words, input.query_text->GetScalar(input.queries.offsets[q]));
      query += ": " + words->ToString();
    }
    fmt::print("\n{}\n", Cut(query, 110));
    for (const SearchResult& row : answers[q].rows) {
      ARROW_ASSIGN_OR_RAISE(auto words, input.text->GetScalar(static_cast<int64_t>(positions[row.id])));
      fmt::print("  {:8.4f}  {}  {}\n", row.distance, row.row_id, Cut(words->ToString(), 90));
    }
  }
  return Status::OK();
}

Status ReportConcurrent(const Ingest& ingest, const IngestOptions& options, const std::vector<double>& idle,
                        JsonLines& json) {
  const std::vector<double> during = ingest.LastTenthSearchTimes();
  const double p50 = Percentile(during, 0.5);
  const double p99 = Percentile(during, 0.99);
  const double qps = PerSecond(ingest.searches.size(), ingest.wall_seconds);
  fmt::print(
      "during the ingest: {} searches at ef {} by {} readers, {} a second; p50 {:.0f} us, p99 {:.0f} us over the last "
      "tenth of the rows\n",
      Grouped(static_cast<double>(ingest.searches.size())), options.ef, options.readers, Grouped(qps), p50, p99);
  return json.Write({{"what", "concurrent"},
                     {"ef", options.ef},
                     {"readers", options.readers},
                     {"searches", ingest.searches.size()},
                     {"qps", qps},
                     {"p50_us", p50},
                     {"p99_us", p99},
                     {"idle_p50_us", Percentile(idle, 0.5)},
                     {"idle_p99_us", Percentile(idle, 0.99)}});
}

Status Sweep(const LiveIndex& index, const Input& input, const Ingest& ingest, const ReplayOptions& options,
             JsonLines& json, AnswersFile& answers_file) {
  const int64_t k = options.ingest.k;
  const size_t count = input.queries.vectors.size();
  ARROW_ASSIGN_OR_RAISE(const RowFilter filter, RandomFilter(index, options.filter_share));
  std::optional<Asked> exact;
  if (options.exact) {
    fmt::print("\nexact answers to {} queries ...\n", Grouped(static_cast<double>(count)));
    ARROW_ASSIGN_OR_RAISE(exact, AskAll(index, input.queries, {.k = k, .filter = filter, .exact = true}));
  }
  // Not counted: the first pass finds caches cold and scratch missing.
  ARROW_RETURN_NOT_OK(AskAll(index, input.queries, {.k = k, .ef = options.ef.front(), .filter = filter}).status());
  fmt::print("{:>6} {:>10} {:>10} {:>10} {:>10} {:>12}\n", "ef", fmt::format("recall@{}", k), "QPS", "p50 us", "p99 us",
             "batch QPS");
  std::optional<Asked> first;
  for (const int64_t ef : options.ef) {
    const SearchOptions search{.k = k, .ef = ef, .filter = filter};
    ARROW_ASSIGN_OR_RAISE(auto one, AskAll(index, input.queries, search, options.passes, options.deadline_ms));
    ARROW_ASSIGN_OR_RAISE(auto batch, AskBatch(index, input.queries, search, options.passes, options.deadline_ms));
    if (interrupted != 0) break;
    ARROW_RETURN_NOT_OK(answers_file.Write("search", ef, one.answers));
    ARROW_RETURN_NOT_OK(answers_file.Write("search_batch", ef, batch.answers));
    const double qps = PerSecond(count, one.seconds);
    const double batch_qps = PerSecond(count, batch.seconds);
    const double p50 = Percentile(one.us, 0.5);
    const double p99 = Percentile(one.us, 0.99);
    nlohmann::ordered_json recall;
    nlohmann::ordered_json batch_recall;
    if (exact) {
      recall = Recall(one.answers, exact->answers);
      batch_recall = Recall(batch.answers, exact->answers);
    }
    ARROW_RETURN_NOT_OK(json.Write({{"what", "search"},
                                    {"ef", ef},
                                    {"k", k},
                                    {"filter_share", options.filter_share},
                                    {"qps", qps},
                                    {"recall", recall},
                                    {"incomplete", one.incomplete()},
                                    {"p50_us", p50},
                                    {"p99_us", p99},
                                    {"threads", 1}}));
    ARROW_RETURN_NOT_OK(json.Write({{"what", "search_batch"},
                                    {"ef", ef},
                                    {"k", k},
                                    {"filter_share", options.filter_share},
                                    {"qps", batch_qps},
                                    {"recall", batch_recall},
                                    {"incomplete", batch.incomplete()},
                                    {"threads", 1}}));
    fmt::print("{:>6} {:>10} {:>10} {:>10.0f} {:>10.0f} {:>12}\n", ef,
               exact ? fmt::format("{:.4f}", recall.get<double>()) : "-", Grouped(qps), p50, p99, Grouped(batch_qps));
    if (options.deadline_ms > 0) {
      fmt::print("       incomplete: {} answers, {} of the batch\n", one.incomplete(), batch.incomplete());
    }
    if (!first) first = std::move(one);
  }
  if (!first) return Status::OK();
  if (options.ingest.readers > 0) ARROW_RETURN_NOT_OK(ReportConcurrent(ingest, options.ingest, first->us, json));
  return input.text ? PrintTexts(input, first->answers) : Status::OK();
}

}  // namespace

Status Replay(const ReplayOptions& given) {
  ReplayOptions options = given;
  if (options.ingest.threads == 0) options.ingest.threads = DefaultThreads();
  options.ingest.ef = options.ef.front();
  ARROW_ASSIGN_OR_RAISE(const Input input, Input::Read(options));
  ARROW_ASSIGN_OR_RAISE(
      auto index,
      LiveIndex::Make({.dim = input.vectors->value_length(),
                       .metric = ParseMetric(options.metric),
                       .codes = options.codes == "none" ? Codes::kNone : Codes::kQuantized,
                       .build = {.m = options.m, .ef_construction = options.ef_construction, .seed = options.seed},
                       .memory_limit = static_cast<int64_t>(options.memory_limit)}));
  // Before the ingest: a place that cannot be written to should not cost it.
  ARROW_ASSIGN_OR_RAISE(auto json, JsonLines::Open(options.json));
  ARROW_ASSIGN_OR_RAISE(auto answers_file, AnswersFile::Open(options.answers));
  std::shared_ptr<arrow::io::OutputStream> graph_file;
  if (!options.export_graph.empty()) {
    ARROW_ASSIGN_OR_RAISE(graph_file, arrow::io::FileOutputStream::Open(options.export_graph));
  }
  ARROW_ASSIGN_OR_RAISE(const auto lance_export, LanceExport::Open(options, *input.vectors));

  fmt::print("{}: {} vectors of dimension {}, metric {}, codes {}, m {}, ef_construction {}, kernels {}\n",
             options.data, Grouped(static_cast<double>(input.vectors->length())), index.options().dim, options.metric,
             options.codes, options.m, options.ef_construction, SimdName());
  std::fflush(stdout);
  ARROW_RETURN_NOT_OK(json.Write({{"what", "run"},
                                  {"version", PENNON_VERSION},
                                  {"simd", SimdName()},
                                  {"codes", options.codes},
                                  {"m", options.m},
                                  {"ef_construction", options.ef_construction},
                                  {"metric", options.metric},
                                  {"seed", options.seed},
                                  {"dim", index.options().dim},
                                  {"type", input.vectors->value_type()->ToString()},
                                  {"rows", input.vectors->length()}}));
  const ResidentSet before = ResidentSet::Restart();
  ARROW_ASSIGN_OR_RAISE(
      auto ingest,
      RunIngest(index, *input.vectors, input.row_ids.get(), input.queries, options.ingest,
                [&](int64_t rows) { return lance_export ? lance_export->AfterBatch(index, rows) : Status::OK(); }));
  ARROW_RETURN_NOT_OK(ReportInsert(ingest, options.ingest, json));
  ARROW_RETURN_NOT_OK(ReportMemory(index, before, json));
  const int64_t chunk = options.chunk > 0 ? options.chunk : (ingest.rows + 19) / 20;
  ARROW_RETURN_NOT_OK(ReportSeries(ingest, chunk, json));
  if (interrupted == 0 && !input.queries.vectors.empty()) {
    ARROW_RETURN_NOT_OK(Sweep(index, input, ingest, options, json, answers_file));
  }
  ARROW_RETURN_NOT_OK(answers_file.Close());
  if (options.verify && interrupted == 0) ARROW_RETURN_NOT_OK(ReportGraph(index, json));
  if (graph_file && interrupted == 0) ARROW_RETURN_NOT_OK(NameFile(options.export_graph, Export(index, graph_file)));
  if (lance_export && interrupted == 0) {
    ARROW_RETURN_NOT_OK(NameFile(options.export_lance, lance_export->Finish(index, ingest.rows, json)));
  }
  ARROW_RETURN_NOT_OK(json.Close());
  return interrupted != 0 ? Status::Cancelled("interrupted") : ingest.refused;
}

}  // namespace pennon::cli
