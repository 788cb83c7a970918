// Searches, which an index and a snapshot have alike.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/python/pyarrow.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "binding.h"
#include "hits.h"

namespace pennon::python {

// A float32 array of one dimension, as Python's buffer protocol shows it.
class Query {
 public:
  explicit Query(nb::handle array) {
    if (PyObject_GetBuffer(array.ptr(), &view_, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
    if (view_.ndim != 1 || !view_.format || view_.format[0] != 'f' || view_.format[1]) {
      PyBuffer_Release(&view_);
      throw nb::type_error("a query must be a contiguous float32 array of one dimension");
    }
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query() { PyBuffer_Release(&view_); }
  operator std::span<const float>() const {
    return {static_cast<const float*>(view_.buf), static_cast<size_t>(view_.shape[0])};
  }

 private:
  Py_buffer view_;
};

template <typename Object>
Hits Search(const Object& self, nb::handle query, int64_t k, int64_t ef, const RowFilter* filter,
            std::optional<double> timeout, bool exact) {
  auto searched = self.Get();
  Query vector(query);
  SearchOptions options = {.k = k, .ef = ef, .exact = exact, .deadline = MakeDeadline(timeout)};
  if (filter) options.filter = *filter;
  return Hits::Of(Unlocked([&] { return searched->Search(vector, options); }));
}

template <typename Object>
Hits SearchBatch(const Object& self, nb::handle queries, int64_t k, int64_t ef, const RowFilter* filter,
                 std::vector<const RowFilter*> filters, std::optional<double> timeout, bool exact, int threads) {
  auto searched = self.Get();
  auto vectors = Check(arrow::py::unwrap_array(queries.ptr()));
  SearchOptions options = {.k = k, .ef = ef, .exact = exact, .deadline = MakeDeadline(timeout)};
  if (filter) options.filter = *filter;
  BatchOptions batch = {.threads = threads};
  for (const RowFilter* one : filters) batch.filters.push_back(one ? *one : RowFilter());
  std::optional<arrow::Result<std::vector<Answer>>> answers;
  RunStoppable([&](std::stop_token stop) {
    options.stop_token = stop;
    answers.emplace(searched->SearchBatch(*vectors, options, batch));
  });
  return {.answers = Check(std::move(*answers)), .many = true};
}

template <typename Object>
Hits SearchRange(const Object& self, nb::handle query, float radius, int64_t ef, const RowFilter* filter,
                 std::optional<double> timeout, bool exact) {
  auto searched = self.Get();
  Query vector(query);
  RangeOptions options = {.ef = ef, .exact = exact, .deadline = MakeDeadline(timeout)};
  if (filter) options.filter = *filter;
  return Hits::Of(Unlocked([&] { return searched->SearchRange(vector, radius, options); }));
}

template <typename Object>
nb::tuple Verify(const Object& self) {
  auto searched = self.Get();
  const VerifyReport report = Unlocked([&] { return searched->Verify(); });
  return nb::make_tuple(report.rows, report.unreachable, report.ok, report.problem);
}

template <typename Object>
void BindSearches(nb::class_<Object>& searched) {
  searched.def("__len__", [](const Object& self) { return self.Get()->size(); })
      .def("search", &Search<Object>, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg())
      .def("search_batch", &SearchBatch<Object>, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(),
           nb::arg().none(), nb::arg(), nb::arg())
      .def("search_range", &SearchRange<Object>, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(),
           nb::arg())
      .def("verify", &Verify<Object>);
}

}  // namespace pennon::python
