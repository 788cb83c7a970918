#include "pennon/pager.h"

#include <algorithm>
#include <utility>

#include "index/adapters.h"
#include "index/scan.h"

namespace pennon::inline PENNON_ABI {

using arrow::Result;
using arrow::Status;

Pager::Pager(Snapshot snapshot, std::span<const float> query, PagerOptions options)
    : snapshot_(std::move(snapshot)),
      query_(query.begin(), query.end()),
      options_(std::move(options)),
      given_(snapshot_.size()) {}

Result<Pager> Pager::Make(Snapshot snapshot, std::span<const float> query, PagerOptions options) {
  return Guard([&]() -> Result<Pager> {
    ARROW_RETURN_NOT_OK(snapshot.Search(query, {.k = 0}).status());
    return Pager(std::move(snapshot), query, std::move(options));
  });
}

// Twice the rows that will have been given are to be near, so that reading on seldom searches again, and half of those
// found: a walk misses most among its farthest.
Result<Answer> Pager::Refill(size_t k, const Deadline& deadline, const std::stop_token& stop_token) {
  const size_t near = std::min(2 * (count_given_ + k), size_t{snapshot_.size()});
  const size_t wanted = std::min(2 * near, size_t{snapshot_.size()});
  ARROW_ASSIGN_OR_RAISE(Answer found, snapshot_.Search(query_, {.k = static_cast<int64_t>(wanted),
                                                                .ef = options_.ef,
                                                                .filter = options_.filter,
                                                                .exact = options_.exact,
                                                                .deadline = deadline,
                                                                .stop_token = stop_token}));
  std::vector<SearchResult> ready;
  for (const SearchResult& row : found.rows) {
    if (!given_[row.id]) ready.push_back(row);
  }
  Join(std::span(ready_).subspan(next_), &ready);
  ready_ = std::move(ready);
  next_ = 0;
  near_ = found.complete ? near - count_given_ : 0;
  all_ = found.complete && (found.rows.size() < wanted || wanted == snapshot_.size());
  return found;
}

Result<Answer> Pager::Next(int64_t k, const Deadline& deadline, const std::stop_token& stop_token) {
  return Guard([&]() -> Result<Answer> {
    if (k < 1) return Invalid("k: expected at least 1, got ", k);
    const size_t wanted = std::min(static_cast<size_t>(k), given_.size());
    Answer page;
    if (!all_ && next_ + wanted > near_) {
      ARROW_ASSIGN_OR_RAISE(page, Refill(wanted, deadline, stop_token));
    }
    const auto first = ready_.begin() + static_cast<std::ptrdiff_t>(next_);
    page.rows.assign(first, first + static_cast<std::ptrdiff_t>(std::min(wanted, ready_.size() - next_)));
    for (const SearchResult& row : page.rows) given_[row.id] = true;
    next_ += page.rows.size();
    count_given_ += page.rows.size();
    return page;
  });
}

}  // namespace pennon::inline PENNON_ABI
