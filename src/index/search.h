// One query against one version: by walking the graph and ranking what that finds, or by a scan.
#pragma once

#include <chrono>
#include <exception>
#include <vector>

#include <arrow/status.h>

#include "graph/graph.h"
#include "index/adapters.h"
#include "index/ending.h"
#include "index/passing.h"
#include "pennon/live_index.h"

namespace pennon {

// What is searched.
struct Searched {
  const graph::Graph& graph;
  const Rows& exact;
  const Rows& coded;
};

// Used once; valid as long as what it was made of.
class Search {
 public:
  // explanation: null, or what is told of the search.
  Search(const Searched& index, const graph::Graph::Reader& reader, const ScoredVector& query, const Passing& passing,
         const Ending& ending, Explanation* explanation = nullptr);
  ~Search();
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  // The k nearest.
  arrow::Result<Answer> Nearest(size_t k, size_t ef, bool exact);
  // All that are no farther than the radius, or with `exact` off those of them that are found.
  arrow::Result<Answer> Within(float radius, size_t ef, bool exact);

 private:
  bool WorthWalking(size_t ef) const;
  // The query's code, made at the first call. Null: no memory.
  CodedVector* Coded();
  // Leaves those of at most kScanBlock ids whose rows may be within the distance, as far as their codes tell.
  size_t RuleOut(uint32_t* ids, size_t n, float distance);
  // Fills the scratch's beam. What a predicate has thrown is thrown.
  graph::Walked Walk(size_t k, size_t ef, float within = -std::numeric_limits<float>::infinity());
  // Scores all of the beam and appends what is within the radius; gives by how much codes are seen to add.
  double RankWithin(float radius, std::vector<SearchResult>* rows);
  void ScanFor(size_t k, float radius, Answer* answer);
  void CutShort(Answer* answer) const;
  uint64_t row_id(uint32_t id) const { return index_.exact.vectors.row_id(id); }

  using Clock = std::chrono::steady_clock;
  void Tell(int64_t sign);
  // Counts what came since the last lap to a part of the search.
  void Lap(SearchPart Explanation::* part);

  const Searched& index_;
  const graph::Graph::Reader& reader_;
  graph::Scratch& scratch_;
  const ScoredVector query_;
  const bool has_codes_;
  const double row_cost_;
  const double scan_cost_;
  const Passing& passing_;
  const Ending& ending_;
  Explanation* const explanation_;
  const graph::Mode mode_;
  const graph::Probe exact_;
  graph::Probe probe_;
  CodedVector* coded_ = nullptr;
  bool ready_ = false;     // probe_, for walks
  bool measured_ = false;  // coded_, for RuleOut
  uint32_t pause_ = 0;     // blocks to go by before RuleOut looks again
  uint32_t next_pause_ = 1;
  std::exception_ptr failure_;
  Clock::time_point lap_;
  uint64_t computed_ = 0;
};

}  // namespace pennon
