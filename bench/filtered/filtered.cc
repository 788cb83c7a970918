// Filtered searches of Pennon or hnswlib by the filters of bench/masks.py, one thread, one call a query. Prints JSON
// lines; run_filtered.py is the same for faiss.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <fmt/format.h>
#include <hnswlib/hnswlib.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/data_file.h"
#include "pennon/live_index.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;
using Clock = std::chrono::steady_clock;
using Ids = std::vector<uint32_t>;

struct Options {
  std::string system;
  std::string data;
  std::string queries;
  std::string masks;
  size_t k = 0;
  std::vector<int64_t> ef;
  int32_t m = 0;
  int32_t ef_construction = 0;
  int threads = 0;     // to insert
  double enough = 0;   // recall after which no larger ef is tried
  double seconds = 0;  // of passes over the queries, at least
  double cap = 0;      // seconds after which a pass is cut, and is the last
};

struct Question {
  std::span<const float> query;
  std::shared_ptr<arrow::BooleanArray> mask;
  RowFilter filter;  // the same
  std::span<const uint32_t> truth;
};

// Of a share and a kind.
struct Group {
  double share;
  std::string kind;
  std::vector<Question> questions;
};

struct Measured {
  double recall;
  double qps;  // of the fastest pass
  bool cut;
};

void Print(const nlohmann::json& line) {
  fmt::print("{}\n", line.dump());
  std::fflush(stdout);
}

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The groups point into `file` and `queries`.
Result<std::vector<Group>> ReadGroups(const cli::DataFile& file, const cli::Queries& queries, int64_t rows) {
  ARROW_ASSIGN_OR_RAISE(auto share_column, file.Column("share"));
  ARROW_ASSIGN_OR_RAISE(auto kind_column, file.Column("kind"));
  ARROW_ASSIGN_OR_RAISE(auto query_column, file.Column("query"));
  ARROW_ASSIGN_OR_RAISE(auto mask_column, file.Column("mask"));
  ARROW_ASSIGN_OR_RAISE(auto truth_column, file.Column("truth"));
  const auto& share = static_cast<const arrow::DoubleArray&>(*share_column);
  const auto& kind = static_cast<const arrow::StringArray&>(*kind_column);
  const auto& query = static_cast<const arrow::UInt32Array&>(*query_column);
  const auto& mask = static_cast<const arrow::BinaryArray&>(*mask_column);
  const auto& truth = static_cast<const arrow::ListArray&>(*truth_column);
  const uint32_t* nearest = static_cast<const arrow::UInt32Array&>(*truth.values()).raw_values();
  std::vector<Group> groups;
  Question question;
  for (int64_t i = 0; i < file.rows(); ++i) {
    if (groups.empty() || groups.back().share != share.Value(i) || groups.back().kind != kind.GetView(i)) {
      groups.push_back({share.Value(i), kind.GetString(i), {}});
    }
    if (mask.IsValid(i)) {
      auto bits = arrow::SliceBuffer(mask.value_data(), mask.value_offset(i), mask.value_length(i));
      question.mask = std::make_shared<arrow::BooleanArray>(rows, std::move(bits));
      question.filter = RowFilter::IdBitmap(question.mask);
    }
    question.query = queries.vectors[query.Value(i)];
    question.truth = {nearest + truth.value_offset(i), static_cast<size_t>(truth.value_length(i))};
    groups.back().questions.push_back(question);
  }
  return groups;
}

template <typename Ask>
Measured Measure(const Group& group, const Options& options, Ask&& ask) {
  Measured measured = {};
  std::vector<Ids> found;
  for (double total = 0; total < options.seconds && !measured.cut;) {
    found.clear();
    const auto start = Clock::now();
    for (const Question& question : group.questions) {
      found.push_back(ask(question));
      measured.cut = SecondsSince(start) > options.cap;
      if (measured.cut) break;
    }
    const double seconds = SecondsSince(start);
    total += seconds;
    measured.qps = std::max(measured.qps, static_cast<double>(found.size()) / seconds);
  }
  size_t hits = 0;
  size_t wanted = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const auto& truth = group.questions[i].truth;
    wanted += std::min(options.k, truth.size());
    hits += static_cast<size_t>(
        std::ranges::count_if(found[i], [&](uint32_t id) { return std::ranges::find(truth, id) != truth.end(); }));
  }
  measured.recall = static_cast<double>(hits) / static_cast<double>(wanted);
  return measured;
}

void PrintMeasured(const Group& group, const char* way, int64_t ef, const Measured& measured) {
  Print({{"what", "filtered"},
         {"kind", group.kind},
         {"share", group.share},
         {"way", way},
         {"ef", ef},
         {"recall", measured.recall},
         {"qps", measured.qps}});
}

// A system that chooses by itself has no Scan.
template <typename System>
void MeasureAll(const std::vector<Group>& groups, const Options& options, System& system) {
  for (const Group& group : groups) {
    double scan_qps = 0;
    if constexpr (requires { &System::Scan; }) {
      const Measured scan = Measure(group, options, [&](const Question& question) { return system.Scan(question); });
      PrintMeasured(group, "scan", 0, scan);
      if (scan.recall >= options.enough) scan_qps = scan.qps;
    }
    for (const int64_t ef : options.ef) {
      const Measured walk = Measure(group, options, [&](const Question& q) { return system.Search(q, ef); });
      PrintMeasured(group, system.Scanned() ? "scan" : "walk", ef, walk);
      if (walk.recall >= options.enough || walk.cut || walk.qps < scan_qps) break;
    }
  }
}

class Pennon {
 public:
  static Result<Pennon> Build(const std::shared_ptr<arrow::FixedSizeListArray>& vectors, const Options& options) {
    ARROW_ASSIGN_OR_RAISE(auto index,
                          LiveIndex::Make({.dim = vectors->value_length(),
                                           .build = {.m = options.m, .ef_construction = options.ef_construction}}));
    constexpr int64_t kBatch = 1000;
    for (int64_t first = 0; first < vectors->length(); first += kBatch) {
      ARROW_RETURN_NOT_OK(index.Append(vectors->Slice(first, kBatch), {.threads = options.threads}).status());
    }
    return Pennon(options.k, std::move(index));
  }

  Ids Search(const Question& question, int64_t ef) const {
    const Answer answer = index_.Search(question.query, {.k = k_, .ef = ef, .filter = question.filter}).ValueOrDie();
    Ids ids;
    for (const SearchResult& row : answer.rows) ids.push_back(row.id);
    return ids;
  }

  // Whether most searches since the last call did.
  bool Scanned() {
    const Stats before = std::exchange(stats_, index_.GetStats());
    return 2 * (stats_.exact_scans - before.exact_scans) > stats_.searches - before.searches;
  }

 private:
  Pennon(size_t k, LiveIndex index) : k_(static_cast<int64_t>(k)), index_(std::move(index)) {}

  int64_t k_;
  LiveIndex index_;
  Stats stats_;
};

class Hnswlib {
 public:
  Hnswlib(const std::vector<std::vector<float>>& vectors, const Options& options)
      : k_(options.k),
        space_(vectors[0].size()),
        graph_(&space_, vectors.size(), static_cast<size_t>(options.m), static_cast<size_t>(options.ef_construction)),
        flat_(&space_, vectors.size()) {
    for (size_t i = 0; i < vectors.size(); ++i) flat_.addPoint(vectors[i].data(), i);
    std::atomic<size_t> next = 0;
    const auto insert = [&] {
      for (size_t i = next++; i < vectors.size(); i = next++) graph_.addPoint(vectors[i].data(), i);
    };
    std::vector<std::jthread> threads;
    for (int i = 0; i < options.threads; ++i) threads.emplace_back(insert);
  }

  Ids Search(const Question& question, int64_t ef) {
    graph_.setEf(static_cast<size_t>(ef));
    return Ask(graph_, question);
  }
  Ids Scan(const Question& question) const { return Ask(flat_, question); }
  static bool Scanned() { return false; }

 private:
  class Passes : public hnswlib::BaseFilterFunctor {
   public:
    explicit Passes(const arrow::BooleanArray& mask) : bits_(mask.values()->data()) {}
    bool operator()(hnswlib::labeltype id) override { return (bits_[id / 8] >> (id % 8) & 1) != 0; }

   private:
    const uint8_t* bits_;
  };

  Ids Ask(const hnswlib::AlgorithmInterface<float>& index, const Question& question) const {
    Passes passes(*question.mask);
    auto found = index.searchKnn(question.query.data(), k_, &passes);
    Ids ids;
    for (; !found.empty(); found.pop()) ids.push_back(static_cast<uint32_t>(found.top().second));
    return ids;
  }

  size_t k_;
  hnswlib::L2Space space_;
  hnswlib::HierarchicalNSW<float> graph_;
  hnswlib::BruteforceSearch<float> flat_;
};

Status Run(const Options& options) {
  ARROW_ASSIGN_OR_RAISE(auto data, cli::DataFile::Read(options.data));
  ARROW_ASSIGN_OR_RAISE(auto vectors, data.Vectors(""));
  ARROW_ASSIGN_OR_RAISE(auto queries_file, cli::DataFile::Read(options.queries));
  ARROW_ASSIGN_OR_RAISE(auto asked, queries_file.Vectors(""));
  ARROW_ASSIGN_OR_RAISE(auto queries, cli::Queries::Decode(*asked));
  ARROW_ASSIGN_OR_RAISE(auto masks, cli::DataFile::Read(options.masks));
  ARROW_ASSIGN_OR_RAISE(auto groups, ReadGroups(masks, queries, vectors->length()));

  const bool ours = options.system == "pennon";
  Print({{"what", "run"},
         {"version", ours ? Version() : PENNON_HNSWLIB_VERSION},
         {"note", ours ? vectors->value_type()->ToString() + " vectors" : "float vectors"},
         {"rows", vectors->length()},
         {"dim", vectors->value_length()},
         {"metric", "l2"}});
  if (ours) {
    ARROW_ASSIGN_OR_RAISE(Pennon pennon, Pennon::Build(vectors, options));
    MeasureAll(groups, options, pennon);
  } else {
    ARROW_ASSIGN_OR_RAISE(const auto floats, cli::Queries::Decode(*vectors));
    Hnswlib hnswlib(floats.vectors, options);
    MeasureAll(groups, options, hnswlib);
  }
  return Status::OK();
}

}  // namespace
}  // namespace pennon

int main(int argc, char** argv) {
  pennon::Options options;
  CLI::App app("Filtered searches of Pennon or hnswlib");
  app.add_option("DATA", options.data)->required();
  app.add_option("QUERIES", options.queries)->required();
  app.add_option("MASKS", options.masks)->required();
  app.add_option("--system", options.system)->required()->check(CLI::IsMember({"pennon", "hnswlib"}));
  app.add_option("--k", options.k)->required();
  app.add_option("--ef", options.ef)->required()->delimiter(',');
  app.add_option("--m", options.m)->required();
  app.add_option("--ef-construction", options.ef_construction)->required();
  app.add_option("--threads", options.threads)->required();
  app.add_option("--enough", options.enough)->required();
  app.add_option("--seconds", options.seconds)->required();
  app.add_option("--cap", options.cap)->required();
  CLI11_PARSE(app, argc, argv);
  const arrow::Status status = pennon::Run(options);
  if (!status.ok()) fmt::print(stderr, "pennon_filtered: {}\n", status.message());
  return status.ok() ? 0 : 1;
}
