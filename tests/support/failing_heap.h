// operator new, to fail when asked to.
#pragma once

#include <cstdint>

namespace pennon {

// As long as it lives, one allocation of this thread fails: that after the next `left` ones.
class FailingHeap {
 public:
  explicit FailingHeap(int64_t left);
  ~FailingHeap();
  FailingHeap(const FailingHeap&) = delete;
  FailingHeap& operator=(const FailingHeap&) = delete;
};

}  // namespace pennon
