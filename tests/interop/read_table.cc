// Reads Lance tables as it is told, a line at a time, and answers each with `ok` and a word or two, or with `error` and
// what is wrong. A table stays open until another is.
//   open TABLE [VERSION]                       ok VERSION ROWS
//   scan OUT.arrow BATCH_ROWS [COLUMN...]      ok; a batch that is read is one that is written
//   take OUT.arrow POSITION,... [COLUMN...]    ok
//   search OUT.arrow POSITION COLUMN K         ok; rows whose vectors are nearest to that of one of them
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>

#include "pennon/lance.h"

namespace {

using arrow::Result;
using arrow::Status;
using pennon::lance::Dataset;

Status Write(const std::string& path, arrow::RecordBatchReader& rows) {
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::FileOutputStream::Open(path));
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeFileWriter(file, rows.schema()));
  std::shared_ptr<arrow::RecordBatch> batch;
  while (true) {
    ARROW_RETURN_NOT_OK(rows.ReadNext(&batch));
    if (!batch) break;
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  }
  ARROW_RETURN_NOT_OK(writer->Close());
  return file->Close();
}

Result<std::shared_ptr<arrow::RecordBatch>> Search(const Dataset& dataset, uint64_t position, const std::string& column,
                                                   int64_t k) {
  ARROW_ASSIGN_OR_RAISE(const auto batch, dataset.TakePositions({&position, 1}, {column}));
  const auto& list = static_cast<const arrow::FixedSizeListArray&>(*batch->column(0));
  const auto values = std::static_pointer_cast<arrow::FloatArray>(list.value_slice(0));
  ARROW_ASSIGN_OR_RAISE(const auto searcher, dataset.OpenSearcher());
  const std::span query(values->raw_values(), static_cast<size_t>(values->length()));
  ARROW_ASSIGN_OR_RAISE(const auto answer, searcher.Search(query, {.k = k}));
  std::vector<uint64_t> ids;
  for (const auto& found : answer.rows) ids.push_back(found.row_id);
  return dataset.Take(ids);
}

Result<std::string> Answer(std::optional<Dataset>& dataset, std::istringstream& words) {
  std::string what;
  std::string path;
  std::string number;
  words >> what >> path >> number;
  std::vector<std::string> more;
  for (std::string word; words >> word;) more.push_back(word);
  if (what == "open") {
    std::optional<uint64_t> version;
    if (!number.empty()) version = std::stoull(number);
    ARROW_ASSIGN_OR_RAISE(dataset, Dataset::Open(path, {.version = version}));
    std::string at = " ";
    return at.append(std::to_string(dataset->version())).append(" ").append(std::to_string(dataset->rows()));
  }
  if (!dataset) return Status::Invalid("expected open, got ", what);
  if (what == "scan") {
    ARROW_ASSIGN_OR_RAISE(const auto rows, dataset->Scan({.columns = more, .batch_rows = std::stoll(number)}));
    ARROW_RETURN_NOT_OK(Write(path, *rows));
    return "";
  }
  std::shared_ptr<arrow::RecordBatch> batch;
  if (what == "search") {
    ARROW_ASSIGN_OR_RAISE(batch, Search(*dataset, std::stoull(number), more.at(0), std::stoll(more.at(1))));
  } else {
    std::vector<uint64_t> positions;
    std::istringstream numbers(number);
    for (std::string position; std::getline(numbers, position, ',');) positions.push_back(std::stoull(position));
    ARROW_ASSIGN_OR_RAISE(batch, dataset->TakePositions(positions, more));
  }
  ARROW_ASSIGN_OR_RAISE(const auto rows, arrow::RecordBatchReader::Make({batch}));
  ARROW_RETURN_NOT_OK(Write(path, *rows));
  return "";
}

}  // namespace

int main() {
  std::optional<Dataset> dataset;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    const auto answer = Answer(dataset, words);
    std::string said = answer.ok() ? "ok" + *answer : "error " + answer.status().ToString();
    for (char& c : said) c = c == '\n' ? ' ' : c;
    std::printf("%s\n", said.c_str());
    std::fflush(stdout);
  }
  return 0;
}
