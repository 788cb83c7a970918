#include "cli/ingest.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
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

std::string Time(int64_t seconds) {
  return (seconds < 3600 ? "" : fmt::format("{}:", seconds / 3600)) +
         fmt::format("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
}

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
    const double rows_per_s = static_cast<double>(done) / elapsed;
    const auto left = static_cast<int64_t>(std::ceil(static_cast<double>(total_ - done) / rows_per_s));
    fmt::print(stderr, "{}[{}{}] {} of {} rows, {:.0f} rows/s, {} searches{}{}", terminal_ ? "\r" : "",
               std::string(filled, '#'), std::string(kWidth - filled, '.'), done, total_, rows_per_s, searches,
               done < total_ ? fmt::format(", {} left", Time(left)) : "", terminal_ && done < total_ ? "  " : "\n");
    std::fflush(stderr);
  }

 private:
  const int64_t total_;
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  const Clock::time_point start_ = Clock::now();
  double next_ = 0;
  int64_t quarter_ = 0;
};

// From now on; 0: none.
Deadline After(double ms) {
  if (ms == 0) return std::nullopt;
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(std::min(1e9, ms)));
}

void SleepUntil(Clock::time_point end) {
  constexpr auto kStep = std::chrono::milliseconds(50);
  while (interrupted == 0 && Clock::now() < end) std::this_thread::sleep_until(std::min(end, Clock::now() + kStep));
}

}  // namespace

arrow::Result<Ingest> RunIngest(LiveIndex& index, const arrow::Array& vectors, const arrow::Array* row_ids,
                                const Queries& queries, const IngestOptions& options,
                                const std::function<Status(int64_t rows)>& after_batch) {
  Ingest ingest;
  std::atomic<bool> done{false};
  std::atomic<int64_t> visible{0};
  std::atomic<uint64_t> searches{0};
  std::mutex mutex;
  Status failure;
  auto read = [&](size_t first) {
    std::vector<Ingest::TimedSearch> times;
    Status status;
    // There is nothing to find yet.
    while (visible.load(std::memory_order_relaxed) == 0 && !done.load(std::memory_order_relaxed)) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    for (size_t q = first; !done.load(std::memory_order_relaxed) && status.ok(); ++q) {
      const int64_t rows = visible.load(std::memory_order_relaxed);
      const auto start = Clock::now();
      status = index.Search(queries.vectors[q % queries.vectors.size()], {.k = options.k, .ef = options.ef}).status();
      times.push_back({rows, 1e6 * SecondsSince(start)});
      searches.fetch_add(1, std::memory_order_relaxed);
    }
    const std::lock_guard lock(mutex);
    ingest.searches.insert(ingest.searches.end(), times.begin(), times.end());
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
    AppendOptions append{.threads = options.threads};
    if (row_ids != nullptr) append.row_ids = row_ids->Slice(first, rows);
    const auto batch = vectors.Slice(first, rows);
    const auto before = Clock::now();
    status = index.Append(batch, append).status();
    const double seconds = SecondsSince(before);
    if (!status.ok()) break;
    ingest.seconds += seconds;
    ingest.batches.push_back({rows, seconds, static_cast<double>(index.GetStats().last_publish_nanos) / 1000});
    first += rows;
    ingest.rows = first;
    visible.store(first, std::memory_order_relaxed);
    if (after_batch) status = after_batch(first);
    if (!status.ok()) break;
    progress.Show(first, searches.load());
    if (options.rate > 0) {
      SleepUntil(start + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(static_cast<double>(first) / options.rate)));
    }
  }
  ingest.wall_seconds = SecondsSince(start);
  done = true;
  readers.clear();
  if (status.IsCapacityError()) {
    ingest.refused = status;
  } else {
    ARROW_RETURN_NOT_OK(status);
  }
  ARROW_RETURN_NOT_OK(failure);
  return ingest;
}

std::vector<double> Ingest::SearchTimes(int64_t from, int64_t to) const {
  std::vector<double> times;
  for (const TimedSearch& search : searches) {
    if (search.rows >= from && search.rows < to) times.push_back(search.us);
  }
  return times;
}

std::vector<double> Ingest::LastTenthSearchTimes() const {
  const int64_t wanted = rows - std::max<int64_t>(1, rows / 10);
  int64_t from = rows;
  for (auto batch = batches.rbegin(); batch != batches.rend() && from > wanted; ++batch) from -= batch->rows;
  return SearchTimes(from, rows + 1);
}

int64_t Asked::incomplete() const {
  return std::count_if(answers.begin(), answers.end(), [](const Answer& answer) { return !answer.complete; });
}

arrow::Result<Asked> AskAll(const LiveIndex& index, const Queries& queries, SearchOptions options, int passes,
                            double deadline_ms) {
  Asked asked;
  for (int pass = 0; pass < passes && interrupted == 0; ++pass) {
    std::vector<Answer> answers;
    answers.reserve(queries.vectors.size());
    const auto start = Clock::now();
    for (const auto& query : queries.vectors) {
      if (interrupted != 0) break;
      const auto before = Clock::now();
      options.deadline = After(deadline_ms);
      ARROW_ASSIGN_OR_RAISE(auto answer, index.Search(query, options));
      asked.us.push_back(1e6 * SecondsSince(before));
      answers.push_back(std::move(answer));
    }
    const double seconds = SecondsSince(start);
    if (pass == 0 || seconds < asked.seconds) asked.seconds = seconds;
    asked.answers = std::move(answers);
  }
  return asked;
}

arrow::Result<Asked> AskBatch(const LiveIndex& index, const Queries& queries, SearchOptions options, int passes,
                              double deadline_ms) {
  Asked asked;
  for (int pass = 0; pass < passes && interrupted == 0; ++pass) {
    const auto start = Clock::now();
    options.deadline = After(deadline_ms * static_cast<double>(queries.vectors.size()));
    ARROW_ASSIGN_OR_RAISE(asked.answers, index.SearchBatch(*queries.array, options));
    const double seconds = SecondsSince(start);
    asked.us.push_back(1e6 * seconds);
    if (pass == 0 || seconds < asked.seconds) asked.seconds = seconds;
  }
  return asked;
}

}  // namespace pennon::cli
