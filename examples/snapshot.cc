// A snapshot answers the same query with the same bits for as long as it is held: while the index grows, and after it
// is gone.
#include <cstdlib>
#include <iostream>
#include <optional>

#include <arrow/record_batch.h>
#include <arrow/status.h>
#include <pennon/live_index.h>

#include "vectors.h"

namespace {

constexpr int32_t kDim = 32;
constexpr int64_t kRows = 2000;

arrow::Result<pennon::Snapshot> SnapshotOfGrowingIndex(std::span<const float> query) {
  ARROW_ASSIGN_OR_RAISE(auto index, pennon::LiveIndex::Make({.dim = kDim}));
  ARROW_ASSIGN_OR_RAISE(const auto first, ToVectors(RandomFloats(kRows * kDim, 1), kDim));
  ARROW_RETURN_NOT_OK(index.Append(first));
  ARROW_ASSIGN_OR_RAISE(auto snapshot, index.GetSnapshot());
  ARROW_ASSIGN_OR_RAISE(const auto before, snapshot.Search(query));

  ARROW_ASSIGN_OR_RAISE(const auto second, ToVectors(query, kDim));  // nearest to the query by far
  ARROW_RETURN_NOT_OK(index.Append(second));
  ARROW_ASSIGN_OR_RAISE(const auto newest, index.Search(query));
  ARROW_ASSIGN_OR_RAISE(const auto after, snapshot.Search(query));
  if (newest.rows[0].row_id != kRows) return arrow::Status::UnknownError("the index does not see the new row");
  if (before.rows != after.rows) return arrow::Status::UnknownError("the snapshot's answer has changed");
  return snapshot;
}

arrow::Status Run() {
  const std::vector<float> query = RandomFloats(kDim, 2);
  ARROW_ASSIGN_OR_RAISE(const auto snapshot, SnapshotOfGrowingIndex(query));

  // What is written out is one version, rows and graph.
  ARROW_ASSIGN_OR_RAISE(const auto rows, snapshot.ToRecordBatch());
  ARROW_ASSIGN_OR_RAISE(const auto graph, snapshot.ToLanceHnswBatch());
  if (rows->num_rows() != kRows) return arrow::Status::UnknownError("exported ", rows->num_rows(), " rows");
  std::cout << rows->num_rows() << " rows, graph: " << graph->schema()->ToString() << "\n";
  return arrow::Status::OK();
}

}  // namespace

int main() {
  const arrow::Status status = Run();
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
