// The pennon program: `pennon replay` and `pennon demo`, both over the public API alone.
#include <csignal>

#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/replay.h"
#include "pennon/version.h"

namespace {

void OnInterrupt(int) { pennon::cli::interrupted = 1; }

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGINT, OnInterrupt);
  CLI::App app{"Pennon, the live vector index for Arrow and Lance"};
  app.set_version_flag("--version", PENNON_VERSION);
  app.require_subcommand(1);

  pennon::cli::ReplayOptions replay;
  CLI::App* replay_command = app.add_subcommand("replay", "Stream a Parquet or Arrow IPC file into a live index while it is searched");
  replay_command->add_option("data", replay.data, "Parquet or Arrow IPC file")->required();
  replay_command->add_option("--vector", replay.vector, "column of vectors; default: the only FixedSizeList column");
  replay_command->add_option("--row-id", replay.row_id, "column of row ids; default: position");
  replay_command->add_option("--text", replay.text, "column to print with the first three queries' results");
  auto* queries = replay_command->add_option("--queries", replay.queries, "file of queries, column as in DATA");
  replay_command->add_option("--holdout", replay.holdout, "ask for the last N rows instead; default min(1000, rows / 10)")
      ->excludes(queries)->check(CLI::NonNegativeNumber);
  replay_command->add_option("--k", replay.k, "results wanted")->capture_default_str()->check(CLI::PositiveNumber);
  replay_command->add_option("--ef", replay.ef, "beam widths")->delimiter(',')->capture_default_str()->check(CLI::PositiveNumber);
  replay_command->add_option("--batch", replay.batch, "rows a batch")->capture_default_str()->check(CLI::PositiveNumber);
  replay_command->add_option("--rate", replay.rate, "rows a second; 0: as fast as it goes")->capture_default_str()->check(CLI::NonNegativeNumber);
  replay_command->add_option("--limit", replay.limit, "rows of DATA to use; 0: all")->capture_default_str()->check(CLI::NonNegativeNumber);
  replay_command->add_option("--threads", replay.threads, "insert threads; 0: all processors")->capture_default_str()->check(CLI::NonNegativeNumber);
  replay_command->add_option("--readers", replay.readers, "threads that search meanwhile")->capture_default_str()->check(CLI::NonNegativeNumber);
  replay_command->add_option("--metric", replay.metric, "distance")->capture_default_str()->check(CLI::IsMember({"l2", "cosine", "dot"}));
  replay_command->add_option("--m", replay.m, "neighbours a row keeps")->capture_default_str();
  replay_command->add_option("--ef-construction", replay.ef_construction, "beam width of an insertion")->capture_default_str();
  replay_command->add_option("--seed", replay.seed, "of the levels")->capture_default_str();
  replay_command->add_option("--export-graph", replay.export_graph, "write the Lance HNSW batch to this Arrow IPC file");
  replay_command->add_flag("--verify", replay.verify, "check the graph at the end");
  replay_command->add_option("--json", replay.json, "write one JSON object a line to this file");

  std::string data = "data/packages-10k.parquet";
  std::string questions = "data/questions-50.parquet";
  CLI::App* demo_command = app.add_subcommand("demo", "Show a live index at work on the sample of package summaries");
  demo_command->add_option("--data", data, "sample")->capture_default_str();
  demo_command->add_option("--questions", questions, "questions in plain words")->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  const arrow::Status status = *demo_command ? pennon::cli::Demo(data, questions) : pennon::cli::Replay(replay);
  if (status.IsCancelled()) return 130;
  if (!status.ok()) {
    std::cerr << "pennon: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
