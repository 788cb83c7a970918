// ctest: labels=contract-7,contract-8,recall timeout=300
// Recall of the kinds of data that bench/datasets.py tells of, at a fixed seed and in small, against bounds that ten
// seeds gave: PENNON_QUALITY_SEEDS=10 measures them anew and prints them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cli/data_file.h"
#include "pennon/live_index.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr size_t kRows = 6000;
constexpr size_t kQueries = 1000;
constexpr size_t kBatch = 500;
constexpr int64_t kK = 10;
// Few, so that there is something to lose.
constexpr BuildParams kBuild = {.m = 8, .ef_construction = 40};
constexpr int64_t kEf = 16;
constexpr double kDeviations = 3;
constexpr double kLeastMargin = 0.002;

using Random = std::mt19937_64;

float Uniform(Random& random, float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(random);
}

// A bound is for the graph without codes and with them.
struct Kind {
  const char* name;
  Metric metric;
  bool half;
  std::function<Vectors(size_t n, Random& random)> make;  // in the order of their arrival
  double recall[2];
};

// The committed embeddings, shuffled.
Vectors Packages(size_t n, Random& random) {
  static const Vectors all = [] {
    const auto file = cli::DataFile::Read(PENNON_SAMPLE).ValueOrDie();
    return cli::Queries::Decode(*file.Vectors("").ValueOrDie()).ValueOrDie().vectors;
  }();
  Vectors some(n);
  std::sample(all.begin(), all.end(), some.begin(), n, random);
  std::shuffle(some.begin(), some.end(), random);
  return some;
}

Vectors Clustered(size_t n, Random& random) {
  Vectors centres(n / 24, std::vector<float>(1024));
  for (auto& centre : centres) {
    for (float& value : centre) value = Uniform(random, -1, 1);
  }
  Vectors rows(n);
  for (size_t i = 0; i < n; ++i) {
    rows[i] = centres[i % centres.size()];
    for (float& value : rows[i]) value += 0.05f * Uniform(random, -1, 1);
  }
  return rows;
}

// Whole numbers from 0 to 255 in cells of eight, of which a few are large: as SIFT's histograms of gradients.
Vectors Histograms(size_t n, size_t dim, Random& random) {
  std::exponential_distribution<float> length(1.0f / 25);
  Vectors centres(40, std::vector<float>(dim));
  for (auto& centre : centres) {
    for (float& value : centre) value = length(random);
  }
  Vectors rows(n);
  for (auto& row : rows) {
    row = centres[random() % centres.size()];
    for (float& value : row) value = std::floor(std::min(0.4f * value + 0.6f * length(random), 255.0f));
  }
  return rows;
}

// Norms over three orders of magnitude.
Vectors Norms(size_t n, Random& random) {
  Vectors rows = Packages(n, random);
  for (auto& row : rows) {
    const float norm = std::pow(10.0f, Uniform(random, -1.5f, 1.5f));
    for (float& value : row) value *= norm;
  }
  return rows;
}

// One coordinate in 10,000 is at a thousand standard deviations.
Vectors Outliers(size_t n, Random& random) {
  Vectors rows = Packages(n, random);
  const float huge = 1000 / std::sqrt(static_cast<float>(rows[0].size()));
  for (auto& row : rows) {
    for (float& value : row) {
      if (random() % 10'000 == 0) value = random() % 2 == 0 ? huge : -huge;
    }
  }
  return rows;
}

// The centre moves by two lengths, and lengths double, as rows arrive.
Vectors Drift(size_t n, Random& random) {
  Vectors rows = Packages(n, random);
  const Vectors towards = Normal(1, static_cast<int>(rows[0].size()), random());
  const float step = 2 / std::sqrt(static_cast<float>(rows[0].size()));
  for (size_t i = 0; i < n; ++i) {
    const float time = static_cast<float>(i) / static_cast<float>(n);
    for (size_t d = 0; d < rows[i].size(); ++d) rows[i][d] = rows[i][d] * (1 + time) + time * step * towards[0][d];
  }
  return rows;
}

const Kind kKinds[] = {
    {"clustered-1024", Metric::kL2, false, Clustered, {0.9664, 0.9719}},
    {"sift-128",
     Metric::kL2,
     false,
     [](size_t n, Random& random) { return Histograms(n, 128, random); },
     {0.9004, 0.9168}},
    {"sift-96",
     Metric::kL2,
     false,
     [](size_t n, Random& random) { return Histograms(n, 96, random); },
     {0.8752, 0.8855}},
    {"packages", Metric::kL2, false, Packages, {0.7928, 0.8006}},
    {"float16-cosine", Metric::kCosine, true, Packages, {0.7940, 0.8001}},
    {"float16-dot", Metric::kDot, true, Packages, {0.7949, 0.7932}},
    {"norms-l2", Metric::kL2, false, Norms, {0.3209, 0.3698}},
    {"norms-cosine", Metric::kCosine, false, Norms, {0.7908, 0.7962}},
    {"norms-dot", Metric::kDot, false, Norms, {0.8525, 0.8514}},
    {"outliers", Metric::kL2, false, Outliers, {0.7662, 0.7818}},
    {"drift", Metric::kL2, false, Drift, {0.7131, 0.7227}},
    {"equal",
     Metric::kL2,
     false,
     [](size_t n, Random&) { return Vectors(n, std::vector<float>(24, 0.25f)); },
     {0.9980, 0.9980}},
};

constexpr double kMeanRecall = 0.8136;

// Of the index without codes and of that with them. Also that every row can be reached, and that no walk became a scan.
std::array<double, 2> RecallOf(const Kind& kind, uint64_t seed) {
  Random random(seed);
  Vectors all = kind.make(kRows + kQueries, random);
  Vectors queries;
  for (size_t i = 0; i < kQueries; ++i) {
    const size_t from = random() % all.size();
    queries.push_back(std::move(all[from]));
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(from));
  }
  const auto dim = static_cast<int>(all[0].size());
  const auto rows = ToArray(all, dim, {}, kind.half);
  BuildParams build = kBuild;
  build.seed = seed;
  std::vector<float> within;  // the distance of the k-th nearest
  std::array<double, 2> recall;
  for (const Codes codes : {Codes::kNone, Codes::kQuantized}) {
    LiveIndex index = LiveIndex::Make({.dim = dim, .metric = kind.metric, .codes = codes, .build = build}).ValueOrDie();
    for (size_t i = 0; i < kRows; i += kBatch) {
      EXPECT_TRUE(index.Append(rows->Slice(static_cast<int64_t>(i), kBatch), {.threads = 1}).ok());
    }
    if (within.empty()) {
      for (const auto& query : queries) {
        within.push_back(index.Search(query, {.k = kK, .exact = true}).ValueOrDie().rows.back().distance);
      }
    }
    const uint64_t scans = index.GetStats().exact_scans;
    int64_t found = 0;
    for (size_t i = 0; i < kQueries; ++i) {
      for (const auto& row : index.Search(queries[i], {.k = kK, .ef = kEf}).ValueOrDie().rows) {
        found += row.distance <= within[i] ? 1 : 0;
      }
    }
    EXPECT_EQ(index.GetStats().exact_scans, scans) << kind.name;
    const VerifyReport report = index.Verify().ValueOrDie();
    EXPECT_TRUE(report.ok) << kind.name << ": " << report.problem;
    recall[codes == Codes::kQuantized] = static_cast<double>(found) / static_cast<double>(kK * int64_t{kQueries});
  }
  return recall;
}

// Of several seeds.
class Recalls {
 public:
  void Add(double recall) { recalls_.push_back(recall); }
  void Print(const std::string& name) const {
    const auto n = static_cast<double>(recalls_.size());
    const double mean = std::accumulate(recalls_.begin(), recalls_.end(), 0.0) / n;
    double squares = 0;
    for (const double recall : recalls_) squares += (recall - mean) * (recall - mean);
    const double deviation = std::sqrt(squares / (n - 1));
    const double bound = mean - std::max(kDeviations * deviation, kLeastMargin);
    std::printf("%-24s first %.4f, mean %.4f, deviation %.4f: bound %.4f\n", name.c_str(), recalls_[0], mean, deviation,
                std::floor(1e4 * bound) / 1e4);
    std::fflush(stdout);
  }

 private:
  std::vector<double> recalls_;
};

TEST(Quality, NoKindHasLostRecall) {
  const char* const wanted = std::getenv("PENNON_QUALITY_SEEDS");
  const uint64_t seeds = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 1;
  std::vector<double> all(seeds);  // the mean of all kinds, which varies less than each
  for (const Kind& kind : kKinds) {
    Recalls recalls[2];
    for (uint64_t seed = 1; seed <= seeds; ++seed) {
      const auto recall = RecallOf(kind, seed);
      for (const int codes : {0, 1}) {
        recalls[codes].Add(recall[codes]);
        all[seed - 1] += recall[codes] / (2 * std::size(kKinds));
        EXPECT_GE(recall[codes], kind.recall[codes])
            << kind.name << (codes == 0 ? ", no codes" : ", codes") << ", seed " << seed;
      }
    }
    if (seeds == 1) continue;
    recalls[0].Print(std::string(kind.name) + ", no codes");
    recalls[1].Print(std::string(kind.name) + ", codes");
  }
  Recalls means;
  for (const double mean : all) {
    means.Add(mean);
    EXPECT_GE(mean, kMeanRecall);
  }
  if (seeds > 1) means.Print("all kinds");
}

}  // namespace
}  // namespace pennon
