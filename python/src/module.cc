#include "binding.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include <arrow/python/pyarrow.h>

#include <pennon/params.h>
#include <pennon/version.h>

namespace pennon::python {
namespace {

constexpr std::chrono::milliseconds kSignalsEvery(20);
int forks = 0;                  // changed where there is one thread alone
unsigned long main_thread = 0;  // Python's, which handles signals

PyObject* ExceptionOf(const arrow::Status& status) {
  switch (status.code()) {
    case arrow::StatusCode::Invalid: return PyExc_ValueError;
    case arrow::StatusCode::TypeError: return PyExc_TypeError;
    case arrow::StatusCode::KeyError: return PyExc_KeyError;
    case arrow::StatusCode::IndexError: return PyExc_IndexError;
    case arrow::StatusCode::OutOfMemory:
    case arrow::StatusCode::CapacityError: return PyExc_MemoryError;
    case arrow::StatusCode::IOError: return PyExc_OSError;
    case arrow::StatusCode::AlreadyExists: return PyExc_FileExistsError;
    case arrow::StatusCode::NotImplemented: return PyExc_NotImplementedError;
    case arrow::StatusCode::Cancelled: return PyExc_TimeoutError;  // signals raise their own
    default: return PyExc_RuntimeError;
  }
}

// While it lives, signals are left to other threads, but those that a thread brings upon itself.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&all, own);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

void Raise(const arrow::Status& status) {
  PyErr_SetString(ExceptionOf(status), status.message().c_str());
  throw nb::python_error();
}

int Forks() { return forks; }

void RunStoppable(const std::function<void(std::stop_token)>& work) {
  std::stop_source stop;
  if (PyThread_get_thread_ident() != main_thread) {
    const WithoutGil unlocked;
    work(stop.get_token());
    return;
  }
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::exception_ptr thrown;
  bool raised = false;
  {
    const WithoutGil unlocked;
    std::thread thread;
    {
      SignalsBlocked blocked;  // which the new thread inherits
      thread = std::thread([&] {
        try {
          work(stop.get_token());
        } catch (...) {
          thrown = std::current_exception();
        }
        std::lock_guard lock(mutex);
        done = true;
        ended.notify_one();
      });
    }
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, kSignalsEvery, [&] { return done; })) {
      if (raised) continue;
      lock.unlock();
      nb::gil_scoped_acquire acquire;
      raised = PyErr_CheckSignals() != 0;
      if (raised) stop.request_stop();
      lock.lock();
    }
    lock.unlock();
    thread.join();
  }
  if (raised) throw nb::python_error();
  if (thrown) std::rethrow_exception(thrown);
}

Deadline MakeDeadline(std::optional<double> timeout) {
  if (!timeout) return std::nullopt;
  if (!(*timeout >= 0)) {
    throw nb::value_error(("timeout: expected seconds, 0 or more, or None, got " + std::to_string(*timeout)).c_str());
  }
  if (*timeout > 1e9) return std::nullopt;
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(*timeout));
}

}  // namespace pennon::python

NB_MODULE(_core, module) {
  using namespace pennon::python;
  nb::set_leak_warnings(false);  // a thread that never ended, say, may hold an index when the interpreter ends
  if (arrow::py::import_pyarrow() != 0) throw nb::python_error();
  pthread_atfork(nullptr, nullptr, [] { ++forks; });
  main_thread = nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"));
  module.attr("__version__") = nb::str(pennon::Version().data(), pennon::Version().size());
  module.attr("simd") = nb::str(pennon::SimdName().data(), pennon::SimdName().size());
  module.def("default_threads", &pennon::DefaultThreads);
  BindFilter(module);
  BindHits(module);
  BindSnapshot(module);
  BindIndex(module);
  BindLance(module);
}
