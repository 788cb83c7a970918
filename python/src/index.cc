#include "index.h"

#include <string>

#include <nanobind/stl/string.h>

namespace pennon::python {
namespace {

constexpr int64_t kWaveRows = 256;  // of an append, between which it looks whether to stop

Metric ToMetric(const std::string& name) {
  for (Metric metric : {Metric::kL2, Metric::kCosine, Metric::kDot}) {
    if (ToString(metric) == name) return metric;
  }
  throw nb::value_error(("metric: expected \"l2\", \"cosine\" or \"dot\", got \"" + name + "\"").c_str());
}

LiveIndex MakeIndex(int32_t dim, const std::string& metric, std::optional<int32_t> m,
                    std::optional<int32_t> ef_construction, bool codes, uint64_t seed, int64_t memory_limit) {
  LiveIndexOptions options = {.dim = dim, .metric = ToMetric(metric), .memory_limit = memory_limit};
  options.codes = codes ? Codes::kQuantized : Codes::kNone;
  options.build.m = m.value_or(options.build.m);
  options.build.ef_construction = ef_construction.value_or(options.build.ef_construction);
  options.build.seed = seed;
  return Check(LiveIndex::Make(options));
}

nb::tuple Append(Index& self, nb::handle vectors, nb::handle row_ids, int threads, std::optional<double> timeout) {
  auto index = self.Get();
  auto array = Check(arrow::py::unwrap_array(vectors.ptr()));
  AppendOptions options = {.threads = threads, .deadline = MakeDeadline(timeout)};
  if (!row_ids.is_none()) options.row_ids = Check(arrow::py::unwrap_array(row_ids.ptr()));
  std::optional<arrow::Result<LiveIndex::IdRange>> ids;
  struct Running {
    explicit Running(int& appends) : count(appends), alone(count++ == 0) {}
    ~Running() { --count; }
    int& count;
    const bool alone;
  } running(self.appends);
  if (running.alone && array->length() <= kWaveRows) {  // over before a signal would be looked for
    const WithoutGil unlocked;
    ids.emplace(index->Append(array, options));
  } else {
    RunStoppable([&](std::stop_token stop) {
      options.stop_token = stop;
      ids.emplace(index->Append(array, options));
    });
  }
  const auto [first, last] = Check(std::move(*ids));
  return nb::make_tuple(first, last);
}

nb::tuple GetMemoryUsage(const Index& self) {
  const MemoryUsage usage = self.Get()->GetMemoryUsage();
  return nb::make_tuple(usage.vectors_bytes, usage.caller_bytes, usage.codes_bytes, usage.graph_bytes,
                        usage.versions_bytes, usage.other_bytes, usage.peak_bytes);
}

nb::tuple GetStats(const Index& self) {
  const Stats stats = self.Get()->GetStats();
  return nb::make_tuple(stats.rows, stats.versions_published, stats.live_versions, stats.appends_failed,
                        stats.build_distances, stats.searches, stats.search_distances, stats.exact_scans,
                        stats.last_publish_nanos);
}

}  // namespace

void BindIndex(nb::module_& module) {
  nb::class_<Index> index(module, "Index");
  BindSearches(index);
  index
      .def(
          "__init__",
          [](Index* self, int32_t dim, const std::string& metric, std::optional<int32_t> m,
             std::optional<int32_t> ef_construction, bool codes, uint64_t seed, int64_t memory_limit) {
            new (self) Index(MakeIndex(dim, metric, m, ef_construction, codes, seed, memory_limit));
          },
          nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg())
      .def("append", &Append, nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none())
      .def("snapshot", [](const Index& self) { return new Held<Snapshot>(Check(self.Get()->GetSnapshot())); })
      .def("options",
           [](const Index& self) {
             auto held = self.Get();
             const LiveIndexOptions& options = held->options();
             const std::string metric(ToString(options.metric));
             return nb::make_tuple(options.dim, metric, options.build.m, options.build.ef_construction,
                                   options.codes != Codes::kNone, options.build.seed, options.memory_limit);
           })
      .def("memory_usage", &GetMemoryUsage)
      .def("stats", &GetStats)
      .def("trim", [](const Index& self) {
        auto held = self.Get();
        const WithoutGil unlocked;
        held->Trim();
      });
}

}  // namespace pennon::python
