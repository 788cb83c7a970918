#include <string>

#include <arrow/table.h>
#include <nanobind/stl/string.h>
#include <pennon/lance.h>

#include "index.h"

namespace pennon::python {
namespace {

uint64_t Append(const Held<lance::Dataset>& self, nb::handle rows) {
  auto dataset = self.Get();
  auto table = Check(arrow::py::unwrap_table(rows.ptr()));
  return Unlocked([&] {
    arrow::TableBatchReader reader(*table);
    return dataset->Append(reader);
  });
}

nb::tuple WriteIndex(const Held<lance::Dataset>& self, const Held<Snapshot>& snapshot, const std::string& column,
                     const std::string& name, const std::string& type, nb::handle positions, int threads) {
  auto dataset = self.Get();
  auto held = snapshot.Get();
  lance::IndexOptions options = {.column = column, .name = name, .threads = threads};
  std::shared_ptr<arrow::Array> places;
  if (!positions.is_none()) {
    places = Check(arrow::py::unwrap_array(positions.ptr()));
    if (places->type_id() != arrow::Type::UINT64) throw nb::type_error("positions must be uint64");
    options.positions = {static_cast<const arrow::UInt64Array&>(*places).raw_values(),
                         static_cast<size_t>(places->length())};
  }
  if (type == "auto") {
    options.type = lance::IndexType::kAuto;
  } else if (type == "sq") {
    options.type = lance::IndexType::kHnswSq;
  } else if (type != "flat") {
    throw nb::value_error(("index_type: expected \"flat\", \"sq\" or \"auto\", got \"" + type + "\"").c_str());
  }
  const lance::IndexSummary summary = Unlocked([&] { return held->ToLance(*dataset, options); });
  return nb::make_tuple(summary.type == lance::IndexType::kHnswSq ? "sq" : "flat", summary.reason);
}

Index* LoadIndex(const Held<lance::Dataset>& self, const std::string& name, bool rebuild, bool codes,
                 int64_t memory_limit, int threads) {
  auto dataset = self.Get();
  const lance::LoadOptions options = {.name = name,
                                      .rebuild = rebuild,
                                      .codes = codes ? Codes::kQuantized : Codes::kNone,
                                      .memory_limit = memory_limit,
                                      .threads = threads};
  return new Index(Unlocked([&] { return dataset->LoadIndex(options); }));
}

}  // namespace

void BindLance(nb::module_& module) {
  nb::class_<Held<lance::Dataset>>(module, "Dataset")
      .def_static("create",
                  [](const std::string& path, nb::handle schema) {
                    auto fields = Check(arrow::py::unwrap_schema(schema.ptr()));
                    return new Held<lance::Dataset>(Unlocked([&] { return lance::Dataset::Create(path, fields); }));
                  })
      .def_static("overwrite",
                  [](const std::string& path, nb::handle schema) {
                    auto fields = Check(arrow::py::unwrap_schema(schema.ptr()));
                    return new Held<lance::Dataset>(Unlocked([&] { return lance::Dataset::Overwrite(path, fields); }));
                  })
      .def_static(
          "open",
          [](const std::string& path, std::optional<uint64_t> version) {
            return new Held<lance::Dataset>(Unlocked([&] { return lance::Dataset::Open(path, {.version = version}); }));
          },
          nb::arg(), nb::arg().none())
      .def_prop_ro("version", [](const Held<lance::Dataset>& self) { return self.Get()->version(); })
      .def("index_names",
           [](const Held<lance::Dataset>& self) {
             auto dataset = self.Get();
             nb::list names;
             for (const lance::IndexInfo& info : Unlocked([&] { return dataset->Indices(); })) {
               names.append(nb::str(info.name.c_str(), info.name.size()));
             }
             return names;
           })
      .def("append", &Append)
      .def("write_index", &WriteIndex, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg())
      .def("load_index", &LoadIndex);
}

}  // namespace pennon::python
