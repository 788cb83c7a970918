// The graph alone, over vectors that lie elsewhere: here bytes in the host's memory, with a distance of its own.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <span>
#include <vector>

#include <arrow/status.h>
#include <pennon/hnsw_graph.h>

namespace {

// Rows of `dim` bytes, one after the other. Searching threads call it at the same time: it only reads.
class ByteVectors {
 public:
  ByteVectors(std::span<const int8_t> bytes, size_t dim) : bytes_(bytes), dim_(dim) {}

  size_t size() const { return bytes_.size() / dim_; }
  size_t dim() const { return dim_; }
  uint64_t row_id(uint32_t id) const { return 1'000'000 + uint64_t{id}; }  // the host's names for its rows
  float DistanceTo(std::span<const float> query, uint32_t id) const { return SquaredL2(query, Row(id)); }
  float DistanceBetween(uint32_t a, uint32_t b) const { return SquaredL2(Row(a), Row(b)); }

 private:
  std::span<const int8_t> Row(uint32_t id) const { return bytes_.subspan(id * dim_, dim_); }

  template <typename A>
  static float SquaredL2(std::span<const A> a, std::span<const int8_t> b) {
    float sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const float difference = static_cast<float>(a[i]) - static_cast<float>(b[i]);
      sum += difference * difference;
    }
    return sum;
  }

  std::span<const int8_t> bytes_;
  size_t dim_;
};
static_assert(pennon::VectorSource<ByteVectors>);

arrow::Status Run() {
  constexpr size_t kDim = 16;
  constexpr uint32_t kRows = 2000;
  std::mt19937 random(1);
  std::vector<int8_t> table(kRows * kDim);
  for (int8_t& byte : table) byte = static_cast<int8_t>(random());

  ARROW_ASSIGN_OR_RAISE(auto graph, pennon::HnswGraph::Make(pennon::BuildParams{}));
  // The table grows, and with it the graph. A source is a view: made for the call, over what is there by then.
  const std::span<const int8_t> bytes = table;
  ARROW_RETURN_NOT_OK(graph.InsertBatch(0, kRows / 2, ByteVectors(bytes.first(kRows / 2 * kDim), kDim)));
  const ByteVectors all(bytes, kDim);
  ARROW_RETURN_NOT_OK(graph.InsertBatch(kRows / 2, kRows, all));

  constexpr uint32_t kWanted = 1234;
  const std::vector<float> query(table.begin() + kWanted * kDim, table.begin() + (kWanted + 1) * kDim);
  ARROW_ASSIGN_OR_RAISE(const auto rows, graph.Search(query, {.k = 5, .ef = 100}, all));
  for (const pennon::SearchResult& row : rows) std::cout << row.row_id << " " << row.distance << "\n";
  if (rows.size() != 5 || rows[0].row_id != all.row_id(kWanted) || rows[0].distance != 0) {
    return arrow::Status::UnknownError("row ", kWanted, " is not nearest to itself");
  }
  return arrow::Status::OK();
}

}  // namespace

int main() {
  const arrow::Status status = Run();
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
