#include "binding.h"

#include <arrow/array.h>
#include <arrow/python/pyarrow.h>

namespace pennon::python {
namespace {

RowFilter MakeFilter(nb::handle rows) {
  std::shared_ptr<arrow::Array> array = Check(arrow::py::unwrap_array(rows.ptr()));
  if (array->type_id() == arrow::Type::BOOL)
    return RowFilter::Bitmap(std::static_pointer_cast<arrow::BooleanArray>(array));
  return Unlocked([&] { return RowFilter::RowIds(*array); });
}

}  // namespace

void BindFilter(nb::module_& module) {
  nb::class_<RowFilter>(module, "Filter").def("__init__", [](RowFilter* self, nb::handle rows) {
    new (self) RowFilter(MakeFilter(rows));
  });
}

}  // namespace pennon::python
