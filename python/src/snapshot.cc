#include <nanobind/stl/string.h>
#include <pennon/pager.h>

#include "search.h"

namespace pennon::python {

void BindSnapshot(nb::module_& module) {
  nb::class_<Held<Snapshot>> snapshot(module, "Snapshot");
  BindSearches(snapshot);
  snapshot.def("close", &Held<Snapshot>::Close)
      .def_prop_ro("closed", &Held<Snapshot>::closed)
      .def("to_arrow", [](const Held<Snapshot>& self) {
        auto held = self.Get();
        return nb::steal(arrow::py::wrap_batch(Unlocked([&] { return held->ToRecordBatch(); })));
      });

  nb::class_<Held<Pager>>(module, "Pager")
      .def(
          "__init__",
          [](Held<Pager>* self, const Held<Snapshot>& snapshot, nb::handle query, int64_t ef, const RowFilter* filter,
             bool exact) {
            PagerOptions options = {.ef = ef, .exact = exact};
            if (filter) options.filter = *filter;
            new (self) Held<Pager>(Check(Pager::Make(*snapshot.Get(), Query(query), options)));
          },
          nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg())
      .def(
          "next",
          [](const Held<Pager>& self, int64_t k, std::optional<double> timeout) {
            auto pager = self.Get();
            const Deadline deadline = MakeDeadline(timeout);
            return Hits::Of(Unlocked([&] { return pager->Next(k, deadline); }));
          },
          nb::arg(), nb::arg().none());
}

}  // namespace pennon::python
