// Writes a file's rows and a live index of them as a Lance table, and then the same bytes with nothing but write and
// fsync, in turns. Prints JSON lines.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/util/float16.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/data_file.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

struct Options {
  std::string data;
  std::string out;
  int64_t rows = 0;
  int64_t batch = 10000;
  int rounds = 5;
  std::string type = "float32";
  std::vector<std::string> versions = {"2.2", "2.0"};
  std::vector<std::string> indices = {"flat", "sq"};
  bool keep = false;
};

// Of all threads; unlike the time, hardly changed by what else the machine does.
double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Vectors of the file as one array of float32.
Result<std::shared_ptr<arrow::Array>> Widen(const arrow::FixedSizeListArray& vectors) {
  arrow::FloatBuilder floats;
  const auto& halves = static_cast<const arrow::HalfFloatArray&>(*vectors.values());
  ARROW_RETURN_NOT_OK(floats.Reserve(vectors.length() * vectors.value_length()));
  for (int64_t i = vectors.value_offset(0); i < vectors.value_offset(vectors.length()); ++i) {
    floats.UnsafeAppend(arrow::util::Float16::FromBits(halves.Value(i)).ToFloat());
  }
  ARROW_ASSIGN_OR_RAISE(auto values, floats.Finish());
  return arrow::FixedSizeListArray::FromArrays(values, vectors.value_length());
}

Result<std::shared_ptr<arrow::RecordBatch>> Read(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(auto reader, cli::ReadBatches(options.data, options.rows > 0 ? options.rows : INT64_MAX));
  ARROW_ASSIGN_OR_RAISE(auto batches, reader->ToRecordBatches());
  ARROW_ASSIGN_OR_RAISE(auto batch, arrow::ConcatenateRecordBatches(batches));
  for (int i = 0; i < batch->num_columns(); ++i) {
    const auto list = std::dynamic_pointer_cast<arrow::FixedSizeListArray>(batch->column(i));
    if (!list || list->value_type()->id() != arrow::Type::HALF_FLOAT || options.type != "float32") continue;
    ARROW_ASSIGN_OR_RAISE(auto wide, Widen(*list));
    ARROW_ASSIGN_OR_RAISE(batch, batch->SetColumn(i, arrow::field(batch->column_name(i), wide->type()), wide));
  }
  return batch;
}

struct File {
  fs::path path;  // from the table's directory
  std::string bytes;
};

std::vector<File> Files(const fs::path& directory) {
  std::vector<File> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    files.push_back({fs::relative(entry.path(), directory),
                     std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>())});
  }
  return files;
}

void Check(bool ok, const fs::path& path) {
  if (!ok) throw std::system_error(errno, std::generic_category(), path);
}

void Sync(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  Check(file >= 0 && fsync(file) == 0 && close(file) == 0, path);
}

// The same files, in pieces of 8 MiB.
double WritePlainly(const std::vector<File>& files, const fs::path& directory) {
  constexpr size_t kPiece = 8 << 20;
  const auto start = Clock::now();
  fs::create_directories(directory);
  for (const File& file : files) {
    const fs::path path = directory / file.path;
    fs::create_directories(path.parent_path());
    const int to = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    Check(to >= 0, path);
    for (size_t at = 0; at < file.bytes.size();) {
      const ssize_t written = write(to, file.bytes.data() + at, std::min(kPiece, file.bytes.size() - at));
      Check(written > 0, path);
      at += static_cast<size_t>(written);
    }
    Check(fsync(to) == 0 && close(to) == 0, path);
    Sync(path.parent_path());
  }
  return SecondsSince(start);
}

struct Times {
  double rows;
  double index;
};

Result<Times> Export(const arrow::RecordBatch& batch, const std::string& column, const Snapshot& snapshot,
                     const fs::path& directory, const std::string& version, const std::string& index,
                     const Options& options) {
  const auto start = Clock::now();
  ARROW_ASSIGN_OR_RAISE(
      auto dataset,
      lance::Dataset::Create(directory, batch.schema(),
                             {.file_version = version == "2.0" ? lance::FileVersion::k2_0 : lance::FileVersion::k2_2}));
  arrow::RecordBatchVector batches;
  for (int64_t from = 0; from < batch.num_rows(); from += options.batch) {
    batches.push_back(batch.Slice(from, options.batch));
  }
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::RecordBatchReader::Make(batches));
  ARROW_RETURN_NOT_OK(dataset.Append(*reader));
  const double rows = SecondsSince(start);
  ARROW_RETURN_NOT_OK(snapshot.ToLance(
      dataset, {.column = column, .type = index == "sq" ? lance::IndexType::kHnswSq : lance::IndexType::kHnswFlat}));
  return Times{rows, SecondsSince(start) - rows};
}

Status Run(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(const auto batch, Read(options));
  std::string column;
  std::shared_ptr<arrow::Array> vectors;
  for (int i = 0; i < batch->num_columns(); ++i) {
    if (batch->column(i)->type_id() != arrow::Type::FIXED_SIZE_LIST) continue;
    column = batch->column_name(i);
    vectors = batch->column(i);
  }
  if (!vectors) return Status::Invalid(options.data, ": expected a column of vectors");
  const int32_t dim = static_cast<const arrow::FixedSizeListType&>(*vectors->type()).list_size();
  ARROW_ASSIGN_OR_RAISE(auto index, LiveIndex::Make({.dim = dim, .metric = Metric::kL2}));
  for (int64_t from = 0; from < batch->num_rows(); from += options.batch) {
    ARROW_RETURN_NOT_OK(index.Append(vectors->Slice(from, options.batch)).status());
  }
  ARROW_ASSIGN_OR_RAISE(const auto snapshot, index.GetSnapshot());
  const fs::path out(options.out);
  fs::create_directories(out);
  for (int round = 0; round < options.rounds; ++round) {
    for (const std::string& version : options.versions) {
      for (const std::string& type : options.indices) {
        const fs::path table = out / fmt::format("{}-{}.lance", version, type);
        const fs::path plain = out / "plain";
        fs::remove_all(table);
        sync();
        const double cpu_before = CpuSeconds();
        ARROW_ASSIGN_OR_RAISE(const Times times, Export(*batch, column, snapshot, table, version, type, options));
        const double export_cpu = CpuSeconds() - cpu_before;
        const std::vector<File> files = Files(table);
        uint64_t bytes = 0;
        for (const File& file : files) bytes += file.bytes.size();
        if (!options.keep) fs::remove_all(table);
        sync();
        const double plain_before = CpuSeconds();
        const double seconds = WritePlainly(files, plain);
        const double plain_cpu = CpuSeconds() - plain_before;
        fs::remove_all(plain);
        const nlohmann::ordered_json line = {{"what", "export"},
                                             {"version", version},
                                             {"index", type},
                                             {"type", options.type},
                                             {"rows", batch->num_rows()},
                                             {"dim", dim},
                                             {"round", round},
                                             {"bytes", bytes},
                                             {"rows_seconds", times.rows},
                                             {"index_seconds", times.index},
                                             {"plain_seconds", seconds},
                                             {"export_cpu_seconds", export_cpu},
                                             {"plain_cpu_seconds", plain_cpu},
                                             {"ratio", (times.rows + times.index) / seconds}};
        fmt::print("{}\n", line.dump());
        std::fflush(stdout);
      }
    }
  }
  return Status::OK();
}

}  // namespace
}  // namespace pennon

int main(int argc, char** argv) {
  pennon::Options options;
  CLI::App app{"Time of an export to Lance, and of writing the same bytes"};
  app.add_option("--data", options.data, "file of rows, one column of vectors")->required();
  app.add_option("--out", options.out, "directory to write in")->required();
  app.add_option("--rows", options.rows, "of the file; 0: all");
  app.add_option("--batch", options.batch, "rows a batch");
  app.add_option("--rounds", options.rounds, "of all versions and indices");
  app.add_option("--type", options.type, "of the vectors")->check(CLI::IsMember({"float16", "float32"}));
  app.add_option("--versions", options.versions, "of files")->delimiter(',');
  app.add_option("--indices", options.indices, "of the index")->delimiter(',');
  app.add_flag("--keep", options.keep, "leave the tables");
  CLI11_PARSE(app, argc, argv);
  try {
    const arrow::Status status = pennon::Run(options);
    if (status.ok()) return 0;
    fmt::print(stderr, "{}\n", status.ToString());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  return 1;
}
