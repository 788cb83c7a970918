// Where tests look on: after each step of the writer, and where a reader reads a list. In the product nothing is there.
#pragma once

#ifdef PENNON_STEPS
#include <cstddef>

namespace pennon::graph {

// The test's.
void AfterStep(const char* step) noexcept;
size_t TaskAt(size_t i, size_t n) noexcept;  // a permutation of [0, n): the order in which a wave's tasks are done

}  // namespace pennon::graph

#define PENNON_STEP(step) AfterStep(step)
#define PENNON_TASK(i, n) TaskAt(i, n)
#else
#define PENNON_STEP(step) static_cast<void>(0)
#define PENNON_TASK(i, n) (i)
#endif
