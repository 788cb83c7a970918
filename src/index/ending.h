// Whether a call's deadline has passed or a stop was requested.
#pragma once

#include <chrono>
#include <stop_token>

#include "graph/graph.h"
#include "pennon/live_index.h"

namespace pennon {

// Valid as long as the options that it was made of.
class Ending {
 public:
  template <typename Options>
  explicit Ending(const Options& options) : deadline_(options.deadline), stop_token_(options.stop_token) {}

  bool due() const {
    return stop_token_.stop_requested() || (deadline_ && std::chrono::steady_clock::now() >= *deadline_);
  }
  const char* reason() const {
    return stop_token_.stop_requested() ? "a stop was requested" : "the deadline has passed";
  }
  graph::Interrupt interrupt() const {
    if (!deadline_ && !stop_token_.stop_possible()) return {};
    return {this, [](const void* ending) noexcept { return static_cast<const Ending*>(ending)->due(); }};
  }

 private:
  const Deadline& deadline_;
  const std::stop_token& stop_token_;
};

}  // namespace pennon
