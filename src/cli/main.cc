// The pennon program, over the public API alone.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <string>

#include <arrow/filesystem/filesystem.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "pennon/version.h"

namespace {

// The second time it kills.
void OnInterrupt(int) {
  pennon::cli::interrupted = 1;
  std::signal(SIGINT, SIG_DFL);
}

// NaN passes the other checks.
const CLI::Validator kNumber(
    [](std::string& word) -> std::string {
      return word.find_first_of("nN") == std::string::npos ? "" : "expected a number, got " + word;
    },
    "");

void AddReplay(CLI::App& app, pennon::cli::ReplayOptions& options) {
  CLI::App* replay = app.add_subcommand("replay", "Stream a file of vectors into a live index while readers search it");
  replay
      ->add_option("DATA", options.data,
                   "Parquet, Arrow IPC, .npy, .fvecs, .bvecs or .csv file, or a Lance table, by path or URI")
      ->required();

  const auto add = [replay](const char* group, const char* name, auto& value, const char* help) {
    return replay->add_option(name, value, help)->group(group);
  };
  add("Columns", "--vector", options.vector, "vectors: FixedSizeList of float or halffloat; default: the only one");
  add("Columns", "--row-id", options.row_id, "row ids: int64 or uint64; default: position");
  add("Columns", "--text", options.text, "printed with the first three queries' results");

  CLI::Option* queries = add("Questions", "--queries", options.queries, "file of queries, columns as in DATA");
  add("Questions", "--holdout", options.holdout,
      "insert all but the last N rows and ask for those; default: min(1000, rows / 10), and 0 with --export-lance")
      ->excludes(queries)
      ->check(CLI::NonNegativeNumber);
  add("Questions", "--k", options.ingest.k, "results wanted")->capture_default_str()->check(pennon::cli::kAtLeastOne);
  add("Questions", "--ef", options.ef, "beam widths, separated by commas; readers use the first")
      ->delimiter(',')
      ->capture_default_str()
      ->check(pennon::cli::kAtLeastOne);

  add("Questions", "--passes", options.passes, "passes over the queries at each ef; QPS is that of the fastest")
      ->capture_default_str()
      ->check(pennon::cli::kAtLeastOne);
  add("Questions", "--deadline", options.deadline_ms,
      "milliseconds a search has, and a batch for each query; 0: no end")
      ->capture_default_str()
      ->check(kNumber)
      ->check(CLI::NonNegativeNumber);
  add("Questions", "--filter-share", options.filter_share, "share of the rows, chosen at random, that may be found")
      ->capture_default_str()
      ->check(kNumber)
      ->check(CLI::PositiveNumber & CLI::Range(0.0, 1.0));
  replay->add_flag("!--no-exact", options.exact, "no exact answers, and so no recall")->group("Questions");

  add("Ingest", "--batch", options.ingest.batch, "rows a batch")
      ->capture_default_str()
      ->check(pennon::cli::kAtLeastOne);
  add("Ingest", "--rate", options.ingest.rate, "rows a second; 0: as fast as it goes")
      ->capture_default_str()
      ->check(kNumber)
      ->check(CLI::NonNegativeNumber);
  add("Ingest", "--limit", options.limit, "rows of DATA to use; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add("Ingest", "--memory-limit", options.memory_limit,
      "bytes that the index may take, as in 512MiB; the ingest ends at the batch that would pass it; 0: no limit")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(uint64_t{0}, uint64_t{INT64_MAX}));
  add("Ingest", "--threads", options.ingest.threads, "insert threads; 0: as many as this process may use")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  add("Ingest", "--readers", options.ingest.readers, "threads that search meanwhile")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));

  add("Graph", "--metric", options.metric, "distance")->capture_default_str()->check(pennon::cli::kMetrics);
  add("Graph", "--codes", options.codes,
      "that the graph is built and walked by: 8 bits a dimension for queries, 5 for rows")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "8"}));
  add("Graph", "--m", options.m, "neighbours a row keeps; twice as many on level 0")->capture_default_str();
  add("Graph", "--ef-construction", options.ef_construction, "beam width of an insertion")->capture_default_str();
  add("Graph", "--seed", options.seed, "of the levels")->capture_default_str();

  replay->add_flag("--verify", options.verify, "check that every row is reachable")->group("Output");
  add("Output", "--export-graph", options.export_graph, "write the Lance HNSW batch to this Arrow IPC file")
      ->check(pennon::cli::kNamed);
  CLI::Option* lance =
      add("Output", "--export-lance", options.export_lance,
          "write the rows that were inserted, with all columns of DATA, and the index to this new Lance "
          "table, which LanceDB finds as NAME.lance in a folder")
          ->check(pennon::cli::kNamed);
  add("Output", "--lance-index", options.lance_index,
      "what that index keeps: flat, the vectors; sq, codes of 8 bits a dimension, which want a refine_factor; auto, "
      "sq where codes lose little")
      ->capture_default_str()
      ->needs(lance)
      ->check(CLI::IsMember({"flat", "sq", "auto"}));
  add("Output", "--export-at", options.export_at,
      "write the first version of at least so many vectors, while the ingest goes on; 0: the last one, after it")
      ->capture_default_str()
      ->needs(lance)
      ->check(CLI::NonNegativeNumber);
  add("Output", "--lance-version", options.lance_version, "of the table's files")
      ->capture_default_str()
      ->needs(lance)
      ->check(CLI::IsMember({"2.0", "2.2"}));
  add("Output", "--json", options.json, "write the figures to this file, a JSON object a line")
      ->check(pennon::cli::kNamed);
  add("Output", "--chunk", options.chunk, "rows that each JSON line of the ingest's series is for; 0: a twentieth")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add("Output", "--answers", options.answers, "write what each search found to this Arrow IPC file")
      ->check(pennon::cli::kNamed);
}

int Run(int argc, char** argv) {
  CLI::App app{"Pennon, the live vector index for Arrow and Lance"};
  app.name("pennon");
  app.set_version_flag("--version", PENNON_VERSION);
  app.require_subcommand(1);
  pennon::cli::ReplayOptions replay;
  AddReplay(app, replay);
  const auto lance = pennon::cli::AddLance(app);

  std::string data = "data/packages-10k.parquet";
  std::string questions = "data/questions-50.parquet";
  CLI::App* demo = app.add_subcommand("demo", "Show a live index at work on the sample of package summaries");
  demo->add_option("--data", data, "sample")->capture_default_str();
  demo->add_option("--questions", questions, "questions in plain words")->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const arrow::Status status = *demo                         ? pennon::cli::Demo(data, questions)
                               : app.got_subcommand("lance") ? lance()
                                                             : pennon::cli::Replay(replay);
  // That of s3:// wants it while its threads still run.
  arrow::fs::EnsureFinalized();
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "standard output");
  if (status.IsCancelled()) return 130;
  if (status.ok()) return 0;
  fmt::print(stderr, "pennon: {}{}\n", status.message(),
             status.detail() ? " (" + status.detail()->ToString() + ")" : std::string());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGINT, OnInterrupt);
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(fmt::format("pennon: {}\n", error.what()).c_str(), stderr);
    return 1;
  }
}
