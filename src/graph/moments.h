// Mean and deviation of values as they come.
#pragma once

#include <algorithm>
#include <cmath>

namespace pennon::graph {

struct Moments {
  double n = 0;
  double sum = 0;
  double squares = 0;

  void Add(double value) {
    n += 1;
    sum += value;
    squares += value * value;
  }
  double mean() const { return sum / n; }
  double deviation() const { return std::sqrt(std::max(0.0, squares / n - mean() * mean())); }
};

}  // namespace pennon::graph
