// Surveys: what other walks need, measured by walks from a sample of rows whenever the rows have doubled.
#include <algorithm>
#include <cmath>

#include "graph/graph.h"
#include "graph/moments.h"

namespace pennon::graph {
namespace {

constexpr size_t kSample = 128;
constexpr size_t kSurveyFrom = 1024;  // rows
constexpr float kFarthest = 64;       // as a reach
constexpr float kNearest = 1.001f;    // a smaller reach would be lost in the noise of floats
// Share of the kRank nearest rows that codes must keep before kRank farther ones, and so in a walk that keeps 2 kRank.
// At 0.98 a walk by codes finds as many as an exact one, at 0.91 seven hundredths less where it keeps the fewest.
constexpr double kLeastKept = 0.97;
// Deviations of sketches' distances that sifting allows for.
constexpr double kSiftDeviations = 1;

// The ratio within which there are ef on the average, of samples of `width` ascending ratios.
float RatioOf(const float* ratios, const bool* telling, size_t width, size_t ef) {
  const auto sampled = static_cast<size_t>(std::count(telling, telling + kSample, true));
  if (sampled < kSample / 4) return 0;
  float low = 1;
  float high = kFarthest;
  for (int step = 0; step < 20; ++step) {
    const float middle = (low + high) / 2;
    size_t within = 0;
    for (size_t i = 0; i < kSample; ++i) {
      const float* row = ratios + i * width;
      within += telling[i] ? static_cast<size_t>(std::upper_bound(row, row + width, middle) - row) : 0;
    }
    (within < sampled * ef ? low : high) = middle;
  }
  return high < kNearest ? 0 : high;
}

}  // namespace

bool Graph::TakeSurvey(const Scorer& scorer, std::span<Scratch* const> workers, Version& at, uint32_t rows) noexcept {
  const size_t ef = params_.ef_construction;
  const size_t width = 2 * ef;
  const bool changed = rows >= 2 * at.survey.rows || at.largest_norm > 2 * at.survey.largest_norm;
  if (!changed || rows < std::max(kSurveyFrom, 2 * width) || ef <= kRank) return true;
  if (!std::isfinite(scorer.Of(0, workers[0]->probes.data()).least)) return true;
  Buffer<float> ratios(scratch_allocator_);  // width a row of the sample
  Buffer<float> errors(scratch_allocator_);  // ef a row, NaN where there are none
  if (!ratios.Reserve(kSample * width) || !errors.Reserve(kSample * ef)) return false;
  std::atomic<bool> walked{true};
  const auto walk = [&](Scratch& scratch, const Probe& probe, const Reach& reach) {
    const uint64_t best = Descend(probe, at.entry, at.levels - 1, 1, at.tick, rows, scratch);
    if (Beam<false>(probe, best, 0, at.tick, reach, {ef, ef, rows}, scratch) != Walked::kDone) {
      walked.store(false, std::memory_order_relaxed);
    }
  };
  const auto sample = [&](size_t i) { return static_cast<uint32_t>(i * rows / kSample); };

  bool telling[kSample];
  std::atomic<size_t> kept{0};
  pool_.For(kSample, [&](size_t worker, size_t i) {
    Scratch& scratch = *workers[worker];
    const Probe exact = scorer.Of(sample(i), scratch.probes.data());
    walk(scratch, exact, Reach::Plain(width));
    // The row itself comes first, but under dot. Ratios of noise mean nothing.
    const size_t found = scratch.beam.size();
    const auto distance = [&](size_t j) { return KeyDistance(scratch.beam[j]); };
    const float near = found > kRank ? distance(kRank) - exact.least : 0;
    telling[i] = near > exact.noise && std::isfinite(near);
    for (size_t j = 0; j < width; ++j) {
      ratios[i * width + j] = j < found ? (distance(j) - exact.least) / near : kFarthest;
    }
    float* row_errors = errors.data() + i * ef;
    std::fill_n(row_errors, ef, std::numeric_limits<float>::quiet_NaN());
    if (!scorer.has_codes() || found <= ef) return;
    uint32_t* ids = scratch.block.data();
    float* distances = scratch.distances.data();
    for (size_t j = 0; j < found; ++j) {
      ids[j] = KeyId(scratch.beam[j]);
      distances[j] = distance(j);
    }
    scorer.sketch_errors(scorer, sample(i), ids + 1, ef - 1, distances + 1, row_errors, scratch.probes.data());
    const Probe codes = scorer.Of(sample(i), scratch.probes.data(), {.coded = true});
    codes.Score(ids, found, distances);
    size_t before = 0;
    for (size_t j = 1; j <= kRank; ++j) {
      size_t ahead = 0;  // farther rows that are no farther by codes
      for (size_t l = j + 1; l < found; ++l) ahead += distances[l] <= distances[j] && distance(l) > distance(j) ? 1 : 0;
      before += ahead < kRank ? 1 : 0;
    }
    kept.fetch_add(before, std::memory_order_relaxed);
  });
  if (!walked.load(std::memory_order_relaxed)) return false;
  at.survey = {
      .rows = rows, .largest_norm = at.largest_norm, .reach = RatioOf(ratios.data(), telling, width, ef), .mode = {}};
  if (!scorer.has_codes()) return true;

  at.survey.mode.coded = static_cast<double>(kept) > kLeastKept * double{kSample * kRank};
  Moments error;
  for (size_t i = 0; i < kSample * ef; ++i) {
    if (std::isfinite(errors[i])) error.Add(errors[i]);
  }
  if (error.n < kSample) return true;
  const Mode sifting = {.coded = at.survey.mode.coded,
                        .slack = static_cast<float>(error.mean() + kSiftDeviations * error.deviation())};
  std::atomic<uint64_t> passed{0};
  std::atomic<uint64_t> sifted{0};
  pool_.For(kSample, [&](size_t worker, size_t i) {
    Scratch& scratch = *workers[worker];
    const uint64_t passed_before = scratch.passed.load(std::memory_order_relaxed);
    const uint64_t sifted_before = scratch.sifted.load(std::memory_order_relaxed);
    const Probe probe = scorer.Of(sample(i), scratch.probes.data(), sifting);
    walk(scratch, probe, PlanReach(probe, at.survey));
    passed.fetch_add(scratch.passed.load(std::memory_order_relaxed) - passed_before, std::memory_order_relaxed);
    sifted.fetch_add(scratch.sifted.load(std::memory_order_relaxed) - sifted_before, std::memory_order_relaxed);
  });
  const float worth = sifting.coded ? scorer.worth_coded : scorer.worth_exact;
  if (static_cast<double>(passed) < worth * static_cast<double>(sifted)) at.survey.mode.slack = sifting.slack;
  return walked.load(std::memory_order_relaxed);
}

}  // namespace pennon::graph
