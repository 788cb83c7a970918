#include "hits.h"

#include "binding.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>

#include <arrow/python/pyarrow.h>
#include <arrow/table.h>
#include <arrow/util/key_value_metadata.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

namespace pennon::python {
namespace {

std::shared_ptr<arrow::Table> ToTable(const Hits& hits) {
  auto batch = Check(hits.many ? ToRecordBatch(std::span(hits.answers)) : ToRecordBatch(hits.answers[0]));
  auto schema = batch->schema();
  if (const Answer* answer = hits.incomplete()) {
    schema = schema->WithMetadata(
        arrow::key_value_metadata({"pennon:complete", "pennon:reason"}, {"false", answer->reason}));
  }
  return arrow::Table::Make(std::move(schema), batch->columns(), batch->num_rows());
}

template <typename T>
nb::object ToNumpy(std::unique_ptr<T[]> values, bool matrix, size_t rows, size_t columns) {
  T* data = values.get();
  nb::capsule owner(values.release(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
  const size_t shape[] = {rows, columns};
  const size_t* from = matrix ? shape : shape + 1;
  return nb::cast(nb::ndarray<nb::numpy, T>(data, matrix ? 2 : 1, from, owner));
}

// The row ids and distances, padded where an answer is shorter than others.
nb::tuple ToArrays(const Hits& hits) {
  size_t columns = 0;
  for (const Answer& answer : hits.answers) columns = std::max(columns, answer.rows.size());
  const size_t cells = hits.answers.size() * columns;
  auto row_ids = std::make_unique<uint64_t[]>(cells);
  auto distances = std::make_unique<float[]>(cells);
  size_t cell = 0;
  for (const Answer& answer : hits.answers) {
    const size_t end = cell + columns;
    for (const SearchResult& row : answer.rows) {
      row_ids[cell] = row.row_id;
      distances[cell++] = row.distance;
    }
    for (; cell < end; ++cell) {
      row_ids[cell] = std::numeric_limits<uint64_t>::max();
      distances[cell] = std::numeric_limits<float>::infinity();
    }
  }
  return nb::make_tuple(ToNumpy(std::move(row_ids), hits.many, hits.answers.size(), columns),
                        ToNumpy(std::move(distances), hits.many, hits.answers.size(), columns));
}

}  // namespace

void BindHits(nb::module_& module) {
  nb::class_<Hits>(module, "Hits",
                   "What a search found: light, and made Arrow, numpy or pandas when asked.\n\n"
                   "Its length is the number of rows, over all queries.")
      .def_prop_ro(
          "complete", [](const Hits& hits) { return hits.incomplete() == nullptr; },
          "bool: Whether no query was cut short.")
      .def_prop_ro(
          "reason",
          [](const Hits& hits) {
            const Answer* answer = hits.incomplete();
            return answer ? answer->reason : std::string();
          },
          "str: Why the first one that was cut short was; else empty.")
      .def("__len__", &Hits::rows)
      .def("__repr__",
           [](const Hits& hits) {
             std::string text = "<pennon.Hits: " + std::to_string(hits.rows()) + " rows";
             if (hits.many) text += " for " + std::to_string(hits.answers.size()) + " queries";
             return text + (hits.incomplete() ? ", cut short>" : ">");
           })
      .def(
          "to_arrow",
          [](const Hits& hits) {
            auto table = ToTable(hits);
            return nb::steal(arrow::py::wrap_table(table));
          },
          nb::sig("def to_arrow(self) -> pyarrow.Table"),
          "As a table.\n\n"
          "Returns\n-------\npyarrow.Table\n"
          "    ``row_id`` uint64 and ``distance`` float32, by ascending distance, then row id; of many queries\n"
          "    ``query`` uint32 before them. Where the search was cut short, the schema's metadata has\n"
          "    ``pennon:complete`` = ``false`` and ``pennon:reason``.")
      .def("to_numpy", &ToArrays,
           "As arrays.\n\n"
           "Returns\n-------\n"
           "row_ids : numpy.ndarray of uint64, shape (n,) or (queries, n)\n"
           "distances : numpy.ndarray of float32, of the same shape\n"
           "    Of many queries, n is the length of the longest answer; shorter ones are filled up with the row id\n"
           "    2**64 - 1 and the distance infinity.")
      .def(
          "to_pandas",
          [](const Hits& hits) { return nb::steal(arrow::py::wrap_table(ToTable(hits))).attr("to_pandas")(); },
          "As a data frame.\n\nReturns\n-------\npandas.DataFrame\n    The columns of `to_arrow`.");
}

}  // namespace pennon::python
