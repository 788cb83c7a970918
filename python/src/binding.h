// What the bindings of all themes share: how errors, the GIL, signals and forks are dealt with.
#pragma once

#include <cxxabi.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

#include <arrow/result.h>
#include <arrow/status.h>
#include <nanobind/nanobind.h>

#include <pennon/live_index.h>

namespace nb = nanobind;

namespace pennon::python {

// Raises the Python exception of a status that is not ok.
[[noreturn]] void Raise(const arrow::Status& status);

inline void Check(const arrow::Status& status) {
  if (!status.ok()) Raise(status);
}

template <typename T>
T Check(arrow::Result<T> result) {
  Check(result.status());
  return std::move(result).ValueUnsafe();
}

// While it lives, other Python threads run.
class WithoutGil {
 public:
  WithoutGil() : thread_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(thread_);
    } catch (const abi::__forced_unwind&) {
      // The interpreter ends, and until 3.14 ends this thread, one of its daemons: by unwinding a stack whose frames
      // let no exception through. It waits for the end of the process instead, as from 3.14 on.
      while (true) pause();
    }
  }

 private:
  PyThreadState* const thread_;
};

// What work() gives, which runs without the GIL, or its exception.
template <typename Work>
auto Unlocked(Work&& work) {
  std::optional<decltype(work())> result;
  {
    const WithoutGil unlocked;
    result.emplace(work());
  }
  return Check(std::move(*result));
}

// How many forks are between this process and the one that loaded the module.
int Forks();

// Something of Pennon's that a Python object holds. It goes without the GIL, which the buffers of numpy arrays want for
// themselves when they go; a child of fork leaves alone what it inherits, for whose locks and threads it cannot know.
template <typename T>
class Held {
 public:
  explicit Held(T value) : value_(std::make_shared<T>(std::move(value))), forks_(Forks()) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { Close(); }

  void Close() {
    std::shared_ptr<T> value = std::exchange(value_, nullptr);
    if (!value) return;
    if (forks_ != Forks()) {
      new std::shared_ptr<T>(std::move(value));
      return;
    }
    const WithoutGil unlocked;
    value.reset();
  }
  bool closed() const { return value_ == nullptr; }

  // Shared, as another thread may close it meanwhile.
  std::shared_ptr<T> Get() const {
    if (!value_) throw nb::value_error("the snapshot is closed");
    if (forks_ != Forks()) {
      PyErr_SetString(
          PyExc_RuntimeError,
          "this index or snapshot was made before a fork, and is not for use in the child process: make one "
          "there, or start processes by multiprocessing's \"spawn\" or \"forkserver\"");
      throw nb::python_error();
    }
    return value_;
  }

 private:
  std::shared_ptr<T> value_;
  int forks_;
};

// Runs work without the GIL. On Python's main thread, where signals are handled, work runs on another one, and this one
// looks for signals; where a handler raises, as that of Ctrl-C does, work is asked to stop, and the exception is raised
// once it has ended.
void RunStoppable(const std::function<void(std::stop_token)>& work);

// From seconds: none for none or infinity.
Deadline MakeDeadline(std::optional<double> timeout);

void BindFilter(nb::module_& module);
void BindHits(nb::module_& module);
void BindSnapshot(nb::module_& module);
void BindIndex(nb::module_& module);
void BindLance(nb::module_& module);

}  // namespace pennon::python
