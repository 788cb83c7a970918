// Goes on with a Lance table, as others left it. Each of TIMES it appends all rows of an Arrow IPC file and, if told
// to, makes an index of them, of column `v`, named after the version. It says `at VERSION ROWS` when it has opened the
// table and after each commit; with `wait` it goes on after each when it reads a line. append_table TABLE.lance
// IN.arrow TIMES rows|index|only-index [wait]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>

#include "pennon/lance.h"
#include "pennon/live_index.h"

namespace {

using arrow::Status;
using pennon::lance::Dataset;

// Of all rows of the file, which are at these positions of the table.
Status AddIndex(Dataset& dataset, const arrow::Table& rows, uint64_t position) {
  const auto type = std::static_pointer_cast<arrow::FixedSizeListType>(rows.GetColumnByName("v")->type());
  ARROW_ASSIGN_OR_RAISE(auto index, pennon::LiveIndex::Make({.dim = type->list_size(), .vector_column = "v"}));
  for (const auto& chunk : rows.GetColumnByName("v")->chunks()) ARROW_RETURN_NOT_OK(index.Append(chunk).status());
  std::vector<uint64_t> positions(static_cast<size_t>(rows.num_rows()));
  std::iota(positions.begin(), positions.end(), position);
  ARROW_ASSIGN_OR_RAISE(auto snapshot, index.GetSnapshot());
  return snapshot
      .ToLance(dataset, {.column = "v", .name = "of_" + std::to_string(dataset.version()), .positions = positions})
      .status();
}

Status Run(char** argv, int argc) {
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(argv[2]));
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchFileReader::Open(file));
  ARROW_ASSIGN_OR_RAISE(auto table, reader->ToTable());
  const std::string what = argv[4];
  const auto say = [&](const Dataset& dataset) {
    std::printf("at %llu %llu\n", static_cast<unsigned long long>(dataset.version()),
                static_cast<unsigned long long>(dataset.rows()));
    std::fflush(stdout);
    std::string line;
    if (argc > 5) std::getline(std::cin, line);
  };
  auto opened = Dataset::Open(argv[1], {.write = {.rows_a_fragment = 1000}});
  if (opened.status().IsIOError()) opened = Dataset::Create(argv[1], table->schema(), {.rows_a_fragment = 1000});
  ARROW_ASSIGN_OR_RAISE(auto dataset, std::move(opened));
  say(dataset);
  for (int i = 0; i < std::atoi(argv[3]); ++i) {
    uint64_t position = 0;
    if (what != "only-index") {
      arrow::TableBatchReader rows(*table);
      ARROW_ASSIGN_OR_RAISE(position, dataset.Append(rows));
    }
    if (what != "rows") ARROW_RETURN_NOT_OK(AddIndex(dataset, *table, position));
    say(dataset);
  }
  return Status::OK();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const Status status = Run(argv, argc);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
