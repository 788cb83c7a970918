// Pager: the results of one query, page by page, to the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <arrow/result.h>

#include "pennon/export.h"
#include "pennon/live_index.h"
#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

struct PagerOptions {
  int64_t ef = 64;  // as in SearchOptions, and more on later pages
  RowFilter filter = {};
  bool exact = false;  // scan all rows: the pages are then one list in the order of Search
};

// Bound to a snapshot. Read to the end, the pages have each visible row that passes the filter once. A page is in the
// order of Search, and follows the page before, but for rows that a walk had missed: they come first on the next page.
//
// Reading n rows costs about as much as a search for 8 n, however long the pages are. A pager holds a bit a row and up
// to four times the results that it gave, of the C++ heap, as answers do.
//
// Threads: one at a time.
class PENNON_EXPORT Pager {
 public:
  // query: dim floats, copied.
  static arrow::Result<Pager> Make(Snapshot snapshot, std::span<const float> query, PagerOptions options = {});

  // The next k, at least 1; fewer only at the end, or where the search is cut short: that page says so, and the next
  // one goes on. A call that fails changes nothing.
  arrow::Result<Answer> Next(int64_t k, const Deadline& deadline = std::nullopt,
                             const std::stop_token& stop_token = {});

 private:
  Pager(Snapshot snapshot, std::span<const float> query, PagerOptions options);
  arrow::Result<Answer> Refill(size_t k, const Deadline& deadline, const std::stop_token& stop_token);

  Snapshot snapshot_;
  std::vector<float> query_;
  PagerOptions options_;
  std::vector<bool> given_;  // by id
  size_t count_given_ = 0;
  std::vector<SearchResult> ready_;  // found and not given, in order, from next_ on
  size_t next_ = 0;
  size_t near_ = 0;   // no wider search will put many others before so many of them
  bool all_ = false;  // nothing is left to be found
};

}  // namespace pennon::inline PENNON_ABI
