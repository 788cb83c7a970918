// Hits: what a search found, before it becomes Arrow or numpy.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <pennon/live_index.h>

namespace pennon::python {

struct Hits {
  std::vector<Answer> answers;
  bool many = false;  // of many queries, with a column that says of which

  static Hits Of(Answer answer) {
    Hits hits;
    hits.answers.push_back(std::move(answer));
    return hits;
  }

  size_t rows() const {
    size_t count = 0;
    for (const Answer& answer : answers) count += answer.rows.size();
    return count;
  }
  // The first that was cut short, or null.
  const Answer* incomplete() const {
    for (const Answer& answer : answers) {
      if (!answer.complete) return &answer;
    }
    return nullptr;
  }
};

}  // namespace pennon::python
