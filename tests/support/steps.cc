#include "support/steps.h"

#include <numeric>

#include "graph/steps.h"

namespace pennon::graph {

std::function<void(std::string_view step)> after_step;
std::atomic<uint64_t> task_order{0};

void AfterStep(const char* step) noexcept {
  thread_local bool within = false;
  if (within || !after_step) return;
  within = true;
  after_step(step);
  within = false;
}

size_t TaskAt(size_t i, size_t n) noexcept {
  const uint64_t order = task_order.load(std::memory_order_relaxed);
  if (order == 0) return i;
  size_t stride = 1 + order % n;
  while (std::gcd(stride, n) != 1) ++stride;
  return (i * stride + order / 7) % n;
}

}  // namespace pennon::graph
