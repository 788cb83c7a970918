// A database as the host: the index takes its memory from the database's pool, up to a limit, and a filter shows each
// transaction the rows that it may see, those committed when it began and not deleted by then (MVCC).
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <utility>

#include <arrow/memory_pool.h>
#include <arrow/status.h>
#include <pennon/live_index.h>

#include "vectors.h"

namespace {

constexpr int32_t kDim = 32;
constexpr uint64_t kMaxRows = 10'000;

struct Row {
  uint64_t created = 0;
  std::atomic<uint64_t> deleted = UINT64_MAX;
};

class Transaction {
 public:
  Transaction(pennon::Snapshot snapshot, const std::vector<Row>& rows, uint64_t time)
      : snapshot_(std::move(snapshot)), rows_(rows), time_(time) {}

  // Later deletions have later times, so that a row passes now if it ever did: the answer stays the same.
  arrow::Result<pennon::Answer> Search(std::span<const float> query) const {
    const auto visible = [this](uint64_t row_id) {
      const Row& row = rows_[row_id];
      return row.created <= time_ && time_ < row.deleted.load();
    };
    return snapshot_.Search(query, {.k = 10, .filter = pennon::RowFilter::Predicate(visible)});
  }

 private:
  pennon::Snapshot snapshot_;
  const std::vector<Row>& rows_;
  uint64_t time_;
};

// One thread writes; transactions begin and search in any thread. A change is committed when the clock shows its time.
class Table {
 public:
  explicit Table(pennon::LiveIndex index) : index_(std::move(index)) {}

  arrow::Status Insert(const std::shared_ptr<arrow::Array>& vectors) {
    const uint64_t first = index_.size();
    const uint64_t last = first + static_cast<uint64_t>(vectors->length());
    if (last > kMaxRows) return arrow::Status::CapacityError("the table has room for ", kMaxRows, " rows");
    for (uint64_t row = first; row < last; ++row) rows_[row].created = clock_ + 1;
    ARROW_RETURN_NOT_OK(index_.Append(vectors, {.first_row_id = first}));
    ++clock_;
    return arrow::Status::OK();
  }

  void Delete(uint64_t row) {
    rows_[row].deleted = clock_ + 1;
    ++clock_;
  }

  uint64_t size() const { return index_.size(); }

  // The clock is read first: all that was committed by then is in the snapshot, and the filter hides what came later.
  arrow::Result<Transaction> Begin() const {
    const uint64_t time = clock_;
    ARROW_ASSIGN_OR_RAISE(auto snapshot, index_.GetSnapshot());
    return Transaction(std::move(snapshot), rows_, time);
  }

 private:
  std::vector<Row> rows_ = std::vector<Row>(kMaxRows);
  std::atomic<uint64_t> clock_ = 0;
  pennon::LiveIndex index_;
};

bool Has(const pennon::Answer& answer, uint64_t row_id) {
  return std::ranges::any_of(answer.rows, [=](const pennon::SearchResult& row) { return row.row_id == row_id; });
}

arrow::Status Run(arrow::MemoryPool* pool) {
  pennon::LiveIndexOptions options = {.dim = kDim, .pool = pool};
  ARROW_ASSIGN_OR_RAISE(const auto estimate, pennon::EstimateMemory(options, 5000));
  options.memory_limit = estimate.total();
  ARROW_ASSIGN_OR_RAISE(auto index, pennon::LiveIndex::Make(options));
  Table table(std::move(index));
  const std::vector<float> values = RandomFloats(2000 * kDim, 1);
  const std::span<const float> query = std::span(values).first(kDim);  // the vector of row 0
  ARROW_ASSIGN_OR_RAISE(const auto vectors, ToVectors(values, kDim));
  ARROW_RETURN_NOT_OK(table.Insert(vectors));

  ARROW_ASSIGN_OR_RAISE(const auto older, table.Begin());
  ARROW_ASSIGN_OR_RAISE(const auto before, older.Search(query));
  table.Delete(0);
  ARROW_RETURN_NOT_OK(table.Insert(vectors));  // row 2000 is as row 0 was
  ARROW_ASSIGN_OR_RAISE(const auto newer, table.Begin());

  ARROW_ASSIGN_OR_RAISE(const auto after, older.Search(query));
  ARROW_ASSIGN_OR_RAISE(const auto newest, newer.Search(query));
  if (!Has(before, 0) || after.rows != before.rows) {
    return arrow::Status::UnknownError("what a transaction sees has changed");
  }
  if (Has(newest, 0) || !Has(newest, 2000)) return arrow::Status::UnknownError("a commit is not seen");

  // Until the limit refuses a batch, whole.
  arrow::Status status;
  while ((status = table.Insert(vectors)).ok()) {
  }
  if (!status.IsCapacityError()) return status;
  std::cout << status.message() << "\n";
  ARROW_ASSIGN_OR_RAISE(const auto last, table.Begin());
  ARROW_ASSIGN_OR_RAISE(const auto found, last.Search(query));
  for (const pennon::SearchResult& row : found.rows) {
    if (row.row_id >= table.size()) return arrow::Status::UnknownError("a batch that was refused is seen");
  }
  std::cout << "the index holds " << pool->bytes_allocated() << " bytes of the host's pool\n";
  return arrow::Status::OK();
}

}  // namespace

int main() {
  arrow::ProxyMemoryPool pool(arrow::default_memory_pool());  // counts
  arrow::Status status = Run(&pool);
  if (status.ok() && pool.bytes_allocated() != 0) status = arrow::Status::UnknownError("memory was not given back");
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
