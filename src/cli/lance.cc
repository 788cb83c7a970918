// Looks into Lance tables, and after them.
#include <chrono>
#include <map>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "pennon/lance.h"

namespace pennon::cli {
namespace {

using arrow::Status;

struct Options {
  std::string path;
  uint64_t older_than = uint64_t{7} * 24 * 60 * 60;
  bool dry_run = false;
};

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
    added->add_option("PATH", options->path, "the table's directory")->required();
    added->callback([=] { *run = [=] { return command(*options); }; });
    return added;
  };

  CLI::App* cleanup =
      add("cleanup", "Remove files that no version names: of writers that failed, were killed or lost a race", Cleanup);
  cleanup
      ->add_option("--older-than", options->older_than,
                   "since they were written last, as in 12h: younger ones may be of a writer at work")
      ->default_str("7d")
      ->transform(CLI::AsNumberWithUnit(
          std::map<std::string, uint64_t>{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}},
          CLI::AsNumberWithUnit::CASE_SENSITIVE, "DURATION"));
  cleanup->add_flag("--dry-run", options->dry_run, "only say which");
  return [run] { return (*run)(); };
}

}  // namespace pennon::cli
