#include "graph/thread_pool.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include <pthread.h>
#include <unistd.h>

#include "graph/steps.h"

namespace pennon::graph {
namespace {

constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

void ThreadPool::Stop() noexcept {
  // Threads that are not here can neither be joined nor destroyed.
  if (process_ != getpid()) new (&workers_) std::vector<std::thread>;
  stop_ = true;
  ++round_;
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  stop_ = false;
  threads_ = 1;
}

bool ThreadPool::SetThreads(size_t threads) noexcept {
  if (workers_.size() + 1 < threads && !Start(threads - 1)) return false;
  threads_ = threads;
  return true;
}

bool ThreadPool::Start(size_t workers) noexcept {
  process_ = getpid();
  // Signals are for threads of the host, but for those that a thread brings upon itself.
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&blocked, own);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  bool started = true;
  try {
    workers_.reserve(workers);
    while (workers_.size() < workers) {
      const size_t worker = workers_.size() + 1;
      const uint32_t seen = round_.load(std::memory_order_relaxed);
      workers_.emplace_back([this, worker, seen] { Loop(worker, seen); });
    }
  } catch (const std::exception&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void ThreadPool::Run(size_t n, Call call, void* object) {
  active_ = std::min(threads_, n);
  n_ = n;
  call_ = call;
  object_ = object;
  next_.store(active_, std::memory_order_relaxed);
  running_.store(workers_.size(), std::memory_order_relaxed);
  ++round_;
  round_.notify_all();
  Work(0);
  for (int spin = 0; running_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::Work(size_t worker) {
  if (worker >= active_) return;
  for (size_t i = worker; i < n_; i = next_.fetch_add(1, std::memory_order_relaxed))
    call_(object_, worker, PENNON_TASK(i, n_));
}

void ThreadPool::Loop(size_t worker, uint32_t seen) {
  char name[16];
  std::snprintf(name, sizeof(name), "pennon-%u", static_cast<unsigned>(worker % 100'000));
  pthread_setname_np(pthread_self(), name);
  for (;;) {
    for (int spin = 0; spin < kSpins && round_.load(std::memory_order_acquire) == seen; ++spin) Pause();
    round_.wait(seen);
    ++seen;
    if (stop_) return;
    Work(worker);
    running_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace pennon::graph
