// `pennon demo`: the project's sample through a live index, and questions in plain words.
#include <algorithm>
#include <optional>

#include <arrow/scalar.h>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/data_file.h"
#include "cli/report.h"

namespace pennon::cli {

using arrow::Status;

namespace {

struct Sample {
  DataFile file;
  std::shared_ptr<arrow::FixedSizeListArray> vectors;
  std::shared_ptr<arrow::Array> names;
  std::shared_ptr<arrow::Array> summaries;
  std::shared_ptr<arrow::Array> words;
  Queries questions;
};

arrow::Result<Sample> ReadSample(const std::string& data, const std::string& questions) {
  auto file = DataFile::Read(data);
  if (!file.ok()) {
    return Status::IOError(file.status().message(), " (run this in the project's root, or name the sample by --data)");
  }
  Sample sample;
  sample.file = *std::move(file);
  ARROW_ASSIGN_OR_RAISE(sample.vectors, sample.file.Vectors(""));
  ARROW_ASSIGN_OR_RAISE(sample.names, sample.file.Column("name"));
  ARROW_ASSIGN_OR_RAISE(sample.summaries, sample.file.Column("summary"));
  ARROW_ASSIGN_OR_RAISE(auto question_file, DataFile::Read(questions));
  ARROW_ASSIGN_OR_RAISE(auto asked, question_file.Vectors(""));
  ARROW_ASSIGN_OR_RAISE(sample.words, question_file.Column("question"));
  ARROW_ASSIGN_OR_RAISE(sample.questions, Queries::Decode(*asked));
  return sample;
}

Status AskInWords(const LiveIndex& index, const Sample& sample) {
  constexpr size_t kShown = 5;
  const size_t count = sample.questions.vectors.size();
  for (size_t q = 0; q < count; q += std::max<size_t>(1, count / kShown)) {
    ARROW_ASSIGN_OR_RAISE(auto answer, index.Search(sample.questions.vectors[q], {.k = 3}));
    ARROW_ASSIGN_OR_RAISE(auto words, sample.words->GetScalar(sample.questions.offsets[q]));
    fmt::print("\n  {}\n", words->ToString());
    for (const SearchResult& row : answer.rows) {
      ARROW_ASSIGN_OR_RAISE(auto name, sample.names->GetScalar(row.id));
      ARROW_ASSIGN_OR_RAISE(auto summary, sample.summaries->GetScalar(row.id));
      fmt::print("    {:.3f}  {}\n", row.distance, Cut(name->ToString() + ": " + summary->ToString(), 96));
    }
  }
  return Status::OK();
}

}  // namespace

Status Demo(const std::string& data, const std::string& questions) {
  ARROW_ASSIGN_OR_RAISE(const Sample sample, ReadSample(data, questions));
  ARROW_ASSIGN_OR_RAISE(auto no_json, JsonLines::Open(""));
  fmt::print(
      "{} package summaries as vectors of dimension {}, streamed into a live index while a thread searches it.\n",
      Grouped(static_cast<double>(sample.vectors->length())), sample.vectors->value_length());
  struct Run {
    IngestOptions options;
    Ingest ingest;
    Asked idle;
  };
  const int threads = DefaultThreads();
  Run runs[] = {{.options = {.batch = 200, .rate = 2000, .threads = threads}, .ingest = {}, .idle = {}},
                {.options = {.threads = threads}, .ingest = {}, .idle = {}}};
  std::optional<LiveIndex> index;
  for (Run& run : runs) {
    if (run.options.rate > 0) {
      fmt::print("\nAt {} rows a second:\n", Grouped(run.options.rate));
    } else {
      fmt::print("\nAt full speed:\n");
    }
    std::fflush(stdout);
    ARROW_ASSIGN_OR_RAISE(index, LiveIndex::Make({.dim = sample.vectors->value_length()}));
    ARROW_ASSIGN_OR_RAISE(run.ingest, RunIngest(*index, *sample.vectors, nullptr, sample.questions, run.options));
    ARROW_RETURN_NOT_OK(ReportInsert(run.ingest, run.options, no_json));
    // The questions are few: asked over and over for a steady measure.
    ARROW_ASSIGN_OR_RAISE(run.idle, AskAll(*index, sample.questions, {}, 20));
    if (interrupted != 0) return Status::Cancelled("interrupted");
  }
  fmt::print("\nQuestions and what they find (name: summary, by squared distance):\n");
  ARROW_RETURN_NOT_OK(AskInWords(*index, sample));

  ARROW_ASSIGN_OR_RAISE(auto exact, AskAll(*index, sample.questions, {.exact = true}));
  fmt::print("\n{:42} {:>12} {:>12}\n", "", "2,000 rows/s", "full speed");
  const auto line = [&](const char* name, auto&& value) {
    fmt::print("{:42} {:>12} {:>12}\n", name, value(runs[0]), value(runs[1]));
  };
  const auto us = [](const std::vector<double>& times, double share) {
    return fmt::format("{:.0f} us", Percentile(times, share));
  };
  line("rows/s while appending",
       [](const Run& run) { return Grouped(PerSecond(static_cast<size_t>(run.ingest.rows), run.ingest.seconds)); });
  line("searches answered during the ingest",
       [](const Run& run) { return Grouped(static_cast<double>(run.ingest.searches.size())); });
  line("search p50 during the ingest's last tenth",
       [&](const Run& run) { return us(run.ingest.LastTenthSearchTimes(), 0.5); });
  line("search p99 during the ingest's last tenth",
       [&](const Run& run) { return us(run.ingest.LastTenthSearchTimes(), 0.99); });
  line("search p50 idle", [&](const Run& run) { return us(run.idle.us, 0.5); });
  line("search p99 idle", [&](const Run& run) { return us(run.idle.us, 0.99); });
  line("recall@10 at ef 64 against the exact answer",
       [&](const Run& run) { return fmt::format("{:.3f}", Recall(run.idle.answers, exact.answers)); });
  fmt::print("\n");
  ARROW_RETURN_NOT_OK(ReportMemory(*index, std::nullopt, no_json));
  return ReportGraph(*index, no_json);
}

}  // namespace pennon::cli
