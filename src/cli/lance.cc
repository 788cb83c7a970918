// Looks into Lance tables, and after them.
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/data_file.h"
#include "cli/rows_writer.h"
#include "pennon/lance.h"

namespace pennon::cli {
namespace {

using arrow::Result;
using arrow::Status;
using Json = nlohmann::ordered_json;

struct Options {
  std::string path;
  std::optional<uint64_t> at;
  bool json = false;
  std::vector<std::string> columns;
  std::string out;
  std::vector<uint64_t> rows;
  std::string column;
  std::string index;
  std::string metric;
  std::string query_file;
  std::optional<uint64_t> like_row;
  int64_t k = 10;
  int64_t ef = 64;
  int64_t nprobes = 20;
  bool exact = false;
  uint64_t older_than = uint64_t{7} * 24 * 60 * 60;
  bool dry_run = false;
};

Result<lance::Dataset> Open(const Options& options) {
  return lance::Dataset::Open(options.path, {.version = options.at});
}

Status Info(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, Open(options));
  ARROW_ASSIGN_OR_RAISE(const auto indices, dataset.Indices());
  if (options.json) {
    Json info = {{"version", dataset.version()},
                 {"rows", dataset.rows()},
                 {"fragments", dataset.fragments()},
                 {"file_version", dataset.file_version()},
                 {"indices", Json::array()}};
    for (const lance::IndexInfo& index : indices) {
      info["indices"].push_back({{"name", index.name},
                                 {"type", index.type},
                                 {"column", index.column},
                                 {"metric", index.metric ? Json(ToString(*index.metric)) : Json()},
                                 {"rows", index.rows ? Json(*index.rows) : Json()},
                                 {"partitions", index.partitions ? Json(*index.partitions) : Json()}});
    }
    fmt::print("{}\n", info.dump());
    return Status::OK();
  }
  fmt::print("{}: version {}, {} rows in {} fragments, files of version {}\n", options.path, dataset.version(),
             dataset.rows(), dataset.fragments(), dataset.file_version());
  for (const lance::IndexInfo& index : indices) {
    fmt::print("index {}: {} of {}", index.name, index.type, index.column.empty() ? "several columns" : index.column);
    if (index.metric) fmt::print(", {}, {} rows", ToString(*index.metric), index.rows.value_or(0));
    if (index.partitions) fmt::print(" in {} partition{}", *index.partitions, *index.partitions == 1 ? "" : "s");
    fmt::print("\n");
  }
  return Status::OK();
}

Status Schema(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, Open(options));
  fmt::print("{}\n", dataset.schema()->ToString());
  return Status::OK();
}

Status Count(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, Open(options));
  fmt::print("{}\n", dataset.rows());
  return Status::OK();
}

Status Scan(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, Open(options));
  ARROW_ASSIGN_OR_RAISE(const auto rows, dataset.Scan({.columns = options.columns}));
  return options.out.empty() ? PrintRows(*rows) : WriteRowsTo(options.out, *rows);
}

Status Take(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, Open(options));
  ARROW_ASSIGN_OR_RAISE(const auto batch, dataset.TakePositions(options.rows, options.columns));
  ARROW_ASSIGN_OR_RAISE(const auto rows, arrow::RecordBatchReader::Make({batch}));
  return PrintRows(*rows);
}

// The index that is searched: of a name, of a column, or the only one of vectors; if there is none, what it would be,
// without a name.
Result<lance::IndexInfo> ChooseIndex(const lance::Dataset& dataset, const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto indices, dataset.Indices());
  const lance::IndexInfo* found = nullptr;
  const lance::IndexInfo* unknown = nullptr;  // of vectors, but damaged or of a kind whose metric is not known
  std::string others;
  for (const lance::IndexInfo& index : indices) {
    if (!index.metric) {
      const auto column = dataset.schema()->GetFieldByName(index.column);
      const bool asked = options.column.empty() || index.column == options.column;
      if (asked && column && column->type()->id() == arrow::Type::FIXED_SIZE_LIST) unknown = &index;
      continue;
    }
    others += (others.empty() ? "" : ", ") + index.name + " of column " + index.column;
    if ((!options.index.empty() && index.name != options.index) ||
        (!options.column.empty() && index.column != options.column)) {
      continue;
    }
    if (found != nullptr && found->name != index.name) {  // else they are parts of one
      return Status::Invalid(options.path, ": more than one index of vectors, choose with ",
                             found->column == index.column ? "--index" : "--column or --index", ": ", found->name, ", ",
                             index.name);
    }
    found = &index;
  }
  if (found != nullptr) {
    if (!options.metric.empty() && ParseMetric(options.metric) != *found->metric) {
      return Status::Invalid("--metric: the index ", found->name, " is of ", ToString(*found->metric));
    }
    return *found;
  }
  if (unknown != nullptr && (options.column.empty() || options.metric.empty())) {
    return Status::Invalid(options.path, ": the index ", unknown->name, " of column ", unknown->column,
                           " cannot be read; --column and --metric scan the rows");
  }
  if (!options.index.empty()) {
    return Status::Invalid(options.path, ": no index of vectors of name '", options.index,
                           "'; there are: ", others.empty() ? "none" : others);
  }
  std::string column = options.column;
  for (const auto& field : dataset.schema()->fields()) {
    if (!options.column.empty() || field->type()->id() != arrow::Type::FIXED_SIZE_LIST) continue;
    if (!column.empty()) {
      return Status::Invalid(options.path, ": no index, and more than one column of vectors, choose with --column");
    }
    column = field->name();
  }
  if (column.empty()) return Status::Invalid(options.path, ": no column of vectors");
  return lance::IndexInfo{.column = column, .metric = ParseMetric(options.metric)};
}

// Of rows that are scanned.
std::string WhyScanned(const lance::IndexInfo& index) {
  if (index.name.empty()) return "column " + index.column + " has no index";
  if (!index.partitions) {
    return "the index " + index.name + " is of type " + index.type + ", which is not read";
  }
  return "they are in fragments that the index " + index.name + " is not of";
}

Status Search(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, Open(options));
  ARROW_ASSIGN_OR_RAISE(const auto info, ChooseIndex(dataset, options));
  ARROW_ASSIGN_OR_RAISE(
      const auto searcher,
      dataset.OpenSearcher(info.name.empty() ? lance::SearcherOptions{.column = info.column, .metric = *info.metric}
                                             : lance::SearcherOptions{.name = info.name}));
  std::shared_ptr<arrow::Array> asked;
  if (options.like_row) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, dataset.TakePositions({&*options.like_row, 1}, {info.column}));
    asked = batch->column(0);
    if (asked->null_count() > 0) return Status::Invalid("--like-row: row ", *options.like_row, " has no vector");
  } else {
    ARROW_ASSIGN_OR_RAISE(const auto file, DataFile::Read(options.query_file));
    ARROW_ASSIGN_OR_RAISE(asked, file.Vectors(""));
  }
  ARROW_ASSIGN_OR_RAISE(const auto queries, Queries::Decode(static_cast<const arrow::FixedSizeListArray&>(*asked)));
  if (const uint64_t scanned = searcher.GetStats().scanned_rows; scanned > 0 && !options.exact) {
    fmt::print(stderr, "note: {} of the table's {} rows are scanned: {}\n", scanned, dataset.rows(), WhyScanned(info));
  }
  for (size_t query = 0; query < queries.vectors.size(); ++query) {
    ARROW_ASSIGN_OR_RAISE(const auto answer,
                          searcher.Search(queries.vectors[query],
                                          {.k = options.k, .ef = options.ef, .exact = options.exact}, options.nprobes));
    std::shared_ptr<arrow::RecordBatch> rows;
    if (!options.columns.empty()) {
      std::vector<uint64_t> ids;
      ids.reserve(answer.rows.size());
      for (const SearchResult& row : answer.rows) ids.push_back(row.row_id);
      ARROW_ASSIGN_OR_RAISE(rows, dataset.Take(ids, options.columns));
    }
    if (!options.json) fmt::print("query {}\n", query);
    for (size_t i = 0; i < answer.rows.size(); ++i) {
      const SearchResult& row = answer.rows[i];
      Json line = {{"query", query}, {"row_id", row.row_id}, {"distance", row.distance}};
      if (rows) {
        ARROW_ASSIGN_OR_RAISE(line["row"], RowToJson(*rows, static_cast<int64_t>(i)));
      }
      if (options.json) {
        fmt::print("{}\n", line.dump());
      } else {
        fmt::print("  {:10.6f}  {}{}\n", row.distance, row.row_id, rows ? "  " + line["row"].dump() : "");
      }
    }
  }
  return Status::OK();
}

Status Cleanup(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto found,
                        lance::Dataset::Cleanup(options.path, {.older_than = std::chrono::seconds(options.older_than),
                                                               .dry_run = options.dry_run}));
  for (const std::string& file : found.files) fmt::print("{}\n", file);
  fmt::print("{} {} files, {} bytes\n", options.dry_run ? "would remove" : "removed", found.files.size(), found.bytes);
  return Status::OK();
}

}  // namespace

std::function<Status()> AddLance(CLI::App& app) {
  CLI::App* lance = app.add_subcommand("lance", "Look into a Lance table, and after it");
  lance->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  const auto run = std::make_shared<std::function<Status()>>();
  const auto add = [&](const char* name, const char* help, Status (*command)(const Options&)) {
    CLI::App* added = lance->add_subcommand(name, help);
    added->add_option("PATH", options->path, "the table's directory, or a URI, as s3://bucket/NAME.lance")->required();
    added->callback([=] { *run = [=] { return command(*options); }; });
    return added;
  };

  const auto add_reader = [&](const char* name, const char* help, Status (*command)(const Options&)) {
    CLI::App* added = add(name, help, command);
    added->add_option("--at", options->at, "a version; default: the newest")->check(kNotNegative);
    return added;
  };
  const auto add_columns = [&](CLI::App* command, const char* unless_given = "all") {
    const std::string help = fmt::format("names, separated by commas; default: {}", unless_given);
    command->add_option("--columns", options->columns, help)->delimiter(',');
  };

  add_reader("info", "Version, rows and indices", Info)->add_flag("--json", options->json, "as a JSON object");
  add_reader("schema", "Columns and their types", Schema);
  add_reader("count", "Number of rows", Count);
  CLI::App* scan = add_reader("scan", "All rows, a JSON object a line, with binary in base64", Scan);
  add_columns(scan);
  scan->add_option("--out", options->out, "write them to this .parquet, .arrow (.ipc, .feather) or .csv file instead");
  CLI::App* take = add_reader("take", "Some rows, as scan prints them", Take);
  add_columns(take);
  take->add_option("--rows", options->rows, "positions from 0, separated by commas")
      ->delimiter(',')
      ->required()
      ->check(kNotNegative);
  CLI::App* search = add_reader("search", "The nearest rows, by the table's index", Search);
  search->add_option("--column", options->column, "of the vectors; default: the only one with an index, or of vectors");
  search->add_option("--index", options->index, "its name, where a column has several");
  search->add_option("--metric", options->metric, "of a column without an index; default: l2")->check(kMetrics);
  CLI::App* question = search->add_option_group("question");
  question->add_option("--query-file", options->query_file, "file of queries, as replay reads DATA");
  question->add_option("--like-row", options->like_row, "a position: rows like that one")->check(kNotNegative);
  question->require_option(1);
  search->add_option("--k,-k", options->k, "results wanted")->capture_default_str()->check(kAtLeastOne);
  search->add_option("--ef", options->ef, "beam width")->capture_default_str()->check(kAtLeastOne);
  add_columns(search, "none, of rows found their ids alone");
  search->add_option("--nprobes", options->nprobes, "partitions of the index to look into")
      ->capture_default_str()
      ->check(kAtLeastOne);
  search->add_flag("--exact", options->exact, "scan all rows instead");
  search->add_flag("--json", options->json, "as JSON objects of query, row_id, distance and, with --columns, row");

  CLI::App* cleanup =
      add("cleanup", "Remove files that no version names: of writers that failed, were killed or lost a race", Cleanup);
  cleanup
      ->add_option("--older-than", options->older_than,
                   "since they were written last, as in 12h: younger ones may be of a writer at work")
      ->default_str("7d")
      ->transform(CLI::AsNumberWithUnit(
          std::map<std::string, uint64_t>{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}},
          CLI::AsNumberWithUnit::Options(CLI::AsNumberWithUnit::CASE_SENSITIVE | CLI::AsNumberWithUnit::UNIT_REQUIRED),
          "DURATION"));
  cleanup->add_flag("--dry-run", options->dry_run, "only say which");
  return [run] { return (*run)(); };
}

}  // namespace pennon::cli
