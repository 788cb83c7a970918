// What writers wait for, until a deadline or a stop token ends the wait; std::timed_mutex knows no stop tokens.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>

#include "pennon/live_index.h"

namespace pennon {

class WriterLock {
 public:
  void lock() { lock({}, {}); }
  // False: not locked, the wait was ended.
  bool lock(const Deadline& deadline, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const auto is_free = [&] { return !locked_; };
    if (!(deadline ? freed_.wait_until(lock, stop, *deadline, is_free) : freed_.wait(lock, stop, is_free))) {
      return false;
    }
    locked_ = true;
    return true;
  }
  bool try_lock() {
    std::unique_lock lock(mutex_, std::try_to_lock);
    return lock.owns_lock() && !std::exchange(locked_, true);
  }
  void unlock() {
    {
      std::lock_guard lock(mutex_);
      locked_ = false;
    }
    freed_.notify_one();
  }

 private:
  std::mutex mutex_;  // never held for long
  std::condition_variable_any freed_;
  bool locked_ = false;
};

}  // namespace pennon
