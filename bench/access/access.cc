// Makes the tables of bench/access, or takes rows of them and scans them; prints JSON lines. run.py drives it.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "systems.h"
#include "tables.h"

namespace pennon::access {
namespace {

using arrow::Result;
using arrow::Status;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

struct Options {
  std::string directory;
  std::string sample = "data/packages-10k.parquet";
  int64_t rows = 1000000;
  double seconds = 1;
  int round = 0;
  std::string only;
  bool scans = true;
};

const std::vector<ParquetFormat> kParquet = {
    {.name = "default row groups"},
    {.name = "row groups of 1000", .rows_a_group = 1000},
    {.name = "pages", .pages = true},
    {.name = "pages of 32 rows", .pages = true, .rows_a_page = 32},
    {.name = "pages of 32 rows, binary", .pages = true, .rows_a_page = 32, .binary = true}};

std::string FileOf(const Options& options, const ParquetFormat& format) {
  std::string name = format.name;
  std::erase(name, ',');
  std::replace(name.begin(), name.end(), ' ', '-');
  return fmt::format("{}/{}.parquet", options.directory, name);
}

Status Make(const Options& options) {
  fs::create_directories(options.directory);
  ARROW_ASSIGN_OR_RAISE(const auto rows, MakeRows(options.sample, options.rows));
  ARROW_RETURN_NOT_OK(WriteLance(options.directory, *rows));
  for (const ParquetFormat& format : kParquet) {
    ParquetFormat written = format;
    if (format.pages) written.rows_a_group = options.rows;
    ARROW_ASSIGN_OR_RAISE(const auto again, MakeRows(options.sample, options.rows));
    ARROW_RETURN_NOT_OK(WriteParquet(FileOf(options, format), written, *again));
  }
  return Status::OK();
}

std::vector<fs::path> FilesOf(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

// Out of the page cache, or all of it into that. They were synced when they were written.
void SetCache(const fs::path& path, bool warm) {
  for (const fs::path& file : FilesOf(path)) {
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    if (warm) {
      std::vector<char> bytes(1 << 20);
      while (read(fd, bytes.data(), bytes.size()) > 0) {
      }
    } else {
      fdatasync(fd);
      posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    close(fd);
  }
}

// What this process has read, by calls of read and its like.
struct Reads {
  uint64_t bytes = 0;
  uint64_t calls = 0;

  static Reads Now() {
    std::ifstream file("/proc/self/io");
    Reads reads;
    for (std::string name; file >> name;) {
      uint64_t number = 0;
      file >> number;
      if (name == "rchar:") reads.bytes = number;
      if (name == "syscr:") reads.calls = number;
    }
    return reads;
  }
};

struct Samples {
  std::vector<double> us;
  double bytes = 0;  // of a call, and reads
  double reads = 0;
};

// Calls until the time is over, three times if that takes no more than three times as long.
template <typename Call>
Result<Samples> Measure(const fs::path& path, bool warm, double seconds, size_t most, Call&& call) {
  SetCache(path, warm);
  Samples samples;
  double taken = 0;
  const Reads first = Reads::Now();
  const Reads before = Reads::Now();
  while (samples.us.size() < most && taken < 1e6 * seconds * (samples.us.size() < 3 ? 3 : 1)) {
    if (!warm) SetCache(path, false);
    const auto start = Clock::now();
    ARROW_RETURN_NOT_OK(call());
    samples.us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    taken += samples.us.back();
  }
  const Reads after = Reads::Now();
  const auto count = static_cast<double>(samples.us.size());
  samples.bytes = static_cast<double>(after.bytes - before.bytes - (before.bytes - first.bytes)) / count;
  samples.reads = static_cast<double>(after.calls - before.calls - (before.calls - first.calls)) / count;
  std::sort(samples.us.begin(), samples.us.end());
  return samples;
}

double Quantile(const Samples& samples, double q) {
  const auto place = static_cast<size_t>(std::ceil(q * static_cast<double>(samples.us.size())));
  return samples.us[std::max<size_t>(place, 1) - 1];
}

void Print(const Json& head, const Options& options, const char* cache, const Samples& samples) {
  Json line = head;
  line["cache"] = cache;
  line["p50_us"] = Quantile(samples, 0.5);
  line["p99_us"] = Quantile(samples, 0.99);
  line["bytes"] = std::llround(samples.bytes);
  line["reads"] = samples.reads;
  line["calls"] = samples.us.size();
  line["round"] = options.round;
  fmt::print("{}\n", line.dump());
  std::fflush(stdout);
}

Status MeasureSystem(System& system, const fs::path& path, const std::string& name, const std::string& format,
                     const std::vector<bool>& vectors_alone, const Options& options) {
  std::mt19937_64 random(static_cast<uint64_t>(options.round) + 1);
  std::vector<uint64_t> rows;
  const auto draw = [&](size_t count) {
    std::uniform_int_distribution<uint64_t> any(0, static_cast<uint64_t>(options.rows) - 1);
    rows.clear();
    while (rows.size() < count) {
      while (rows.size() < count) rows.push_back(any(random));
      std::sort(rows.begin(), rows.end());
      rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    }
  };
  const auto take = [&](size_t count, bool vectors) -> Status {
    draw(count);
    ARROW_ASSIGN_OR_RAISE(const auto batch, system.Take(rows, vectors));
    if (batch->num_rows() == static_cast<int64_t>(count)) return Status::OK();
    return Status::Invalid(name, ": expected ", count, " rows, got ", batch->num_rows());
  };
  // What is known of a file's end, and of pages, is known by then.
  ARROW_RETURN_NOT_OK(take(std::min<size_t>(1000, static_cast<size_t>(options.rows)), false));
  for (const bool vectors : vectors_alone) {
    for (const size_t count : {1, 10, 100, 1000}) {
      for (const bool warm : {true, false}) {
        ARROW_ASSIGN_OR_RAISE(const auto samples, Measure(path, warm, options.seconds, warm ? 5000 : 200,
                                                          [&] { return take(count, vectors); }));
        const Json head = {{"what", "take"},
                           {"system", name},
                           {"format", format},
                           {"columns", vectors ? "vector" : "all"},
                           {"rows", count}};
        Print(head, options, warm ? "warm" : "cold", samples);
      }
    }
  }
  for (const bool warm : {true, false}) {
    if (!options.scans) break;
    ARROW_ASSIGN_OR_RAISE(const auto samples, Measure(path, warm, options.seconds, 5, [&]() -> Status {
                            ARROW_ASSIGN_OR_RAISE(const int64_t got, system.Scan());
                            if (got == options.rows) return Status::OK();
                            return Status::Invalid(name, ": expected ", options.rows, " rows, got ", got);
                          }));
    const Json head = {
        {"what", "scan"}, {"system", name}, {"format", format}, {"columns", "all"}, {"rows", options.rows}};
    Print(head, options, warm ? "warm" : "cold", samples);
  }
  return Status::OK();
}

Status Run(const Options& options) {
  const auto wanted = [&](const std::string& name) { return name.find(options.only) != std::string::npos; };
  for (const char* writer : {"pennon", "pylance"}) {
    const std::string path = fmt::format("{}/{}.lance", options.directory, writer);
    const std::string format = fmt::format("lance by {}", writer);
    if (!wanted("pennon, " + format) || !fs::exists(path)) continue;
    ARROW_ASSIGN_OR_RAISE(const auto system, OpenLance(path));
    ARROW_RETURN_NOT_OK(MeasureSystem(*system, path, "pennon", format, {false, true}, options));
  }
  for (const ParquetFormat& format : kParquet) {
    // Seconds a call: once is enough.
    const bool slow = !format.pages && format.rows_a_group > options.rows / 2;
    if (!wanted("parquet, " + format.name) || (slow && options.round > 0)) continue;
    const std::string path = FileOf(options, format);
    ARROW_ASSIGN_OR_RAISE(const auto system, format.pages ? OpenPages(path, format) : OpenRowGroups(path));
    const std::vector<bool> vectors_alone = format.pages ? std::vector<bool>{false, true} : std::vector<bool>{false};
    ARROW_RETURN_NOT_OK(MeasureSystem(*system, path, "parquet", format.name, vectors_alone, options));
  }
  return Status::OK();
}

}  // namespace
}  // namespace pennon::access

int main(int argc, char** argv) {
  pennon::access::Options options;
  CLI::App app{"Random access to rows, and scans"};
  app.require_subcommand(1);
  CLI::App* make = app.add_subcommand("make", "Write the tables");
  CLI::App* run = app.add_subcommand("run", "Take rows and scan");
  for (CLI::App* command : {make, run}) {
    command->add_option("--dir", options.directory, "of the tables")->required();
    command->add_option("--rows", options.rows, "of each");
  }
  make->add_option("--sample", options.sample, "file of columns summary and embedding");
  run->add_option("--seconds", options.seconds, "for each figure, about");
  run->add_option("--round", options.round, "a number for the lines, and the seed");
  run->add_option("--only", options.only, "a part of a system and format, as in 'pennon, lance by pylance'");
  run->add_flag("!--no-scans", options.scans, "takes alone");
  CLI11_PARSE(app, argc, argv);
  try {
    const arrow::Status status = *make ? pennon::access::Make(options) : pennon::access::Run(options);
    if (status.ok()) return 0;
    fmt::print(stderr, "{}\n", status.ToString());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  return 1;
}
