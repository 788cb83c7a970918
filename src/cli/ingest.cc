#include "cli/ingest.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>

#include <fmt/format.h>

namespace pennon::cli {
namespace {

using arrow::Status;
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Redrawn in place on a terminal; a line each quarter elsewhere, so that a log shows life.
class Progress {
 public:
  explicit Progress(int64_t total) : total_(total) {}

  void Show(int64_t done, uint64_t searches) {
    const double elapsed = SecondsSince(start_);
    const int64_t quarter = 4 * done / total_;
    if (terminal_ ? done < total_ && elapsed < next_ : quarter == quarter_) return;
    next_ = elapsed + 0.05;
    quarter_ = quarter;
    constexpr int kWidth = 32;
    const auto filled = static_cast<size_t>(kWidth * done / total_);
    fmt::print(stderr, "{}[{}{}] {} of {} rows, {:.0f} rows/s, {} searches{}", terminal_ ? "\r" : "",
               std::string(filled, '#'), std::string(kWidth - filled, '.'), done, total_,
               static_cast<double>(done) / elapsed, searches, terminal_ && done < total_ ? "  " : "\n");
    std::fflush(stderr);
  }

 private:
  const int64_t total_;
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  const Clock::time_point start_ = Clock::now();
  double next_ = 0;
  int64_t quarter_ = 0;
};

void SleepUntil(Clock::time_point end) {
  constexpr auto kStep = std::chrono::milliseconds(50);
  while (interrupted == 0 && Clock::now() < end) std::this_thread::sleep_until(std::min(end, Clock::now() + kStep));
}

}  // namespace

arrow::Result<Ingest> RunIngest(LiveIndex& index, const arrow::Array& vectors, const arrow::Array* row_ids,
                                const Queries& queries, const IngestOptions& options) {
  Ingest ingest;
  std::atomic<bool> done{false};
  std::atomic<bool> measuring{false};
  std::atomic<uint64_t> searches{0};
  std::mutex mutex;
  Status failure;
  auto read = [&](size_t first) {
    std::vector<double> times;
    Status status;
    for (size_t q = first; !done.load(std::memory_order_relaxed) && status.ok(); ++q) {
      const bool measured = measuring.load(std::memory_order_relaxed);
      const auto start = Clock::now();
      status = index.Search(queries.vectors[q % queries.vectors.size()], {.k = options.k, .ef = options.ef}).status();
      if (measured) times.push_back(1e6 * SecondsSince(start));
      searches.fetch_add(1, std::memory_order_relaxed);
    }
    const std::lock_guard lock(mutex);
    ingest.search_us.insert(ingest.search_us.end(), times.begin(), times.end());
    if (!status.ok()) failure = status;
  };
  std::vector<std::jthread> readers;
  const int count = queries.vectors.empty() ? 0 : options.readers;
  readers.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) readers.emplace_back(read, static_cast<size_t>(i) * 97);

  const int64_t total = vectors.length();
  Progress progress(total);
  const auto start = Clock::now();
  Status status;
  for (int64_t first = 0; first < total && interrupted == 0;) {
    const int64_t rows = std::min(options.batch, total - first);
    if (first + rows > total - total / 10) measuring = true;
    AppendOptions append{.threads = options.threads};
    if (row_ids != nullptr) append.row_ids = row_ids->Slice(first, rows);
    const auto batch = vectors.Slice(first, rows);
    const auto before = Clock::now();
    status = index.Append(batch, append).status();
    const double seconds = SecondsSince(before);
    if (!status.ok()) break;
    ingest.seconds += seconds;
    ingest.batch_us_per_row.push_back(1e6 * seconds / static_cast<double>(rows));
    ingest.publish_us.push_back(static_cast<double>(index.GetStats().last_publish_nanos) / 1000);
    first += rows;
    ingest.rows = first;
    progress.Show(first, searches.load());
    if (options.rate > 0) {
      SleepUntil(start + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(static_cast<double>(first) / options.rate)));
    }
  }
  ingest.wall_seconds = SecondsSince(start);
  done = true;
  readers.clear();
  ARROW_RETURN_NOT_OK(status);
  ARROW_RETURN_NOT_OK(failure);
  ingest.searches = searches.load();
  return ingest;
}

arrow::Result<Asked> AskAll(const LiveIndex& index, const Queries& queries, const SearchOptions& options) {
  Asked asked;
  asked.answers.reserve(queries.vectors.size());
  asked.us.reserve(queries.vectors.size());
  const auto start = Clock::now();
  for (const auto& query : queries.vectors) {
    if (interrupted != 0) break;
    const auto before = Clock::now();
    ARROW_ASSIGN_OR_RAISE(auto answer, index.Search(query, options));
    asked.us.push_back(1e6 * SecondsSince(before));
    asked.answers.push_back(std::move(answer));
  }
  asked.seconds = SecondsSince(start);
  return asked;
}

}  // namespace pennon::cli
