// Makes a LiveIndex of a table's index, of a path or a URI, and prints the ids of the ten rows nearest to one of its
// own. load_index TABLE POSITION
#include <cstdio>
#include <cstdlib>
#include <span>

#include <arrow/api.h>
#include <arrow/filesystem/filesystem.h>

#include "pennon/lance.h"
#include "pennon/live_index.h"

namespace {

arrow::Status Run(char** argv) {
  ARROW_ASSIGN_OR_RAISE(const auto dataset, pennon::lance::Dataset::Open(argv[1]));
  ARROW_ASSIGN_OR_RAISE(const auto indices, dataset.Indices());
  ARROW_ASSIGN_OR_RAISE(const auto index, dataset.LoadIndex());
  ARROW_ASSIGN_OR_RAISE(const auto snapshot, index.GetSnapshot());
  const uint64_t position = std::strtoull(argv[2], nullptr, 10);
  ARROW_ASSIGN_OR_RAISE(const auto row, dataset.TakePositions({&position, 1}, {indices.at(0).column}));
  const auto& vectors = static_cast<const arrow::FixedSizeListArray&>(*row->column(0));
  const auto& values = static_cast<const arrow::FloatArray&>(*vectors.values());
  const std::span<const float> query(values.raw_values() + vectors.value_offset(0),
                                     static_cast<size_t>(vectors.value_length()));
  ARROW_ASSIGN_OR_RAISE(const auto answer, snapshot.Search(query, {.k = 10, .exact = true}));
  for (const auto& found : answer.rows) std::printf("%llu\n", static_cast<unsigned long long>(found.row_id));
  return arrow::Status::OK();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const arrow::Status status = Run(argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  arrow::fs::EnsureFinalized();  // as Arrow wants it of who has opened s3://
  return status.ok() ? 0 : 1;
}
