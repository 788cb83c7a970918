// One thread appends batches while another searches. A batch becomes visible whole, once it is linked, and no search
// waits.
#include <chrono>
#include <cstdlib>
#include <future>
#include <iostream>

#include <arrow/status.h>
#include <pennon/live_index.h>

#include "vectors.h"

namespace {

constexpr int32_t kDim = 32;
constexpr int64_t kBatches = 40;
constexpr int64_t kRowsPerBatch = 250;

arrow::Status AppendAll(pennon::LiveIndex& index) {
  for (uint32_t batch = 0; batch < kBatches; ++batch) {
    ARROW_ASSIGN_OR_RAISE(const auto vectors, ToVectors(RandomFloats(kRowsPerBatch * kDim, batch), kDim));
    ARROW_RETURN_NOT_OK(index.Append(vectors));
  }
  return arrow::Status::OK();
}

arrow::Status Run() {
  ARROW_ASSIGN_OR_RAISE(auto index, pennon::LiveIndex::Make({.dim = kDim, .metric = pennon::Metric::kCosine}));
  const std::vector<float> query = RandomFloats(kDim, 0);  // the first vector of the first batch

  std::future<arrow::Status> writer = std::async(std::launch::async, [&] { return AppendAll(index); });
  int searches = 0;
  while (writer.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (index.size() % kRowsPerBatch != 0) return arrow::Status::UnknownError("a part of a batch is visible");
    ARROW_ASSIGN_OR_RAISE(const auto answer, index.Search(query, {.k = 10}));
    if (!answer.rows.empty() && answer.rows[0].row_id != 0) return arrow::Status::UnknownError("row 0 was not found");
    ++searches;
  }
  ARROW_RETURN_NOT_OK(writer.get());

  std::cout << searches << " searches while " << index.size() << " rows came in\n";
  return arrow::Status::OK();
}

}  // namespace

int main() {
  const arrow::Status status = Run();
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
