// The threads that link a wave, or answer a batch of queries. One caller at a time.
//
// Workers spin a little between waves, since two barriers a wave cost more than the work of a small one otherwise.
//
// A child of fork has no workers: there it can only be destroyed, which touches nothing that they may have held.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace pennon::graph {

class ThreadPool {
 public:
  ThreadPool() = default;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() { Stop(); }

  // Makes `threads` threads work from now on, the caller among them. False if the system gives no more.
  [[nodiscard]] bool SetThreads(size_t threads) noexcept;

  // Ends the workers; SetThreads starts new ones.
  void Stop() noexcept;

  // Calls task(worker, i) for every i in [0, n), worker below the number of threads, and returns when all are done. If
  // n is at least that number, every thread gets some.
  template <typename Task>
  void For(size_t n, Task&& task) {
    if (n == 0) return;
    if (threads_ == 1 || n == 1) {
      for (size_t i = 0; i < n; ++i) task(size_t{0}, i);
      return;
    }
    using Type = std::remove_reference_t<Task>;
    Run(n, [](void* object, size_t worker, size_t i) { (*static_cast<Type*>(object))(worker, i); }, &task);
  }

 private:
  using Call = void (*)(void* object, size_t worker, size_t i);
  bool Start(size_t workers) noexcept;
  void Run(size_t n, Call call, void* object);
  void Work(size_t worker);
  void Loop(size_t worker, uint32_t seen);

  size_t threads_ = 1;
  std::vector<std::thread> workers_;
  pid_t process_ = 0;  // that started them

  // Written by the caller before the round is raised, read by workers after they saw it.
  size_t active_ = 1;
  size_t n_ = 0;
  Call call_ = nullptr;
  void* object_ = nullptr;
  bool stop_ = false;

  std::atomic<size_t> next_{0};
  std::atomic<size_t> running_{0};
  std::atomic<uint32_t> round_{0};  // workers sleep on it; four bytes, so that nothing lies between it and the kernel
};

}  // namespace pennon::graph
