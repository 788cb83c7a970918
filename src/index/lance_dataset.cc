#include "index/lance_dataset.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <arrow/type.h>

#include "graph/thread_pool.h"
#include "index/adapters.h"
#include "index/lance_choice.h"
#include "io/arrow_file_system.h"
#include "io/file_system.h"
#include "lance/cleanup.h"
#include "lance/hnsw_index.h"
#include "lance/roaring.h"
#include "lance/row_ids.h"

namespace pennon {
namespace {

using arrow::Result;
using arrow::Status;
using lance_format::Table;

Result<int> FindColumn(const arrow::Schema& schema, const std::string& name, int32_t dim) {
  int found = -1;
  for (int i = 0; i < schema.num_fields(); ++i) {
    const arrow::Field& field = *schema.field(i);
    if (name.empty() ? !HoldsVectors(*field.type()) : field.name() != name) continue;
    if (found >= 0) return Invalid("column: expected one column of vectors, found two; name one in the options");
    found = i;
  }
  if (found < 0) {
    return Invalid("column: expected ", name.empty() ? "one of type FixedSizeList<float or halffloat>" : name, " in ",
                   schema.ToString());
  }
  const arrow::DataType& type = *schema.field(found)->type();
  if (!HoldsVectors(type) || static_cast<const arrow::FixedSizeListType&>(type).list_size() != dim) {
    return Invalid("column ", schema.field(found)->name(), ": expected FixedSizeList<float or halffloat>[", dim,
                   "], got ", type.ToString());
  }
  return found;
}

Status CheckPositions(std::span<const uint64_t> positions, uint32_t rows, uint64_t table_rows) {
  if (positions.size() < rows) {
    return Invalid("positions: expected one for each of ", rows, " rows, got ", positions.size());
  }
  std::vector<bool> taken(table_rows);
  for (uint32_t row = 0; row < rows; ++row) {
    if (positions[row] >= table_rows) {
      return Invalid("positions: expected less than the table's ", table_rows, " rows, got ", positions[row],
                     " for row ", row);
    }
    if (taken[positions[row]]) return Invalid("positions: expected each once, got ", positions[row], " twice");
    taken[positions[row]] = true;
  }
  return Status::OK();
}

// The vector at unit length, which Lance wants under cosine. A norm may be too small for a float.
void CopyUnit(const ScoredVector& from, int32_t dim, float* to) {
  double scale = from.inverse_norm;
  if (!std::isfinite(scale)) {
    double sum = 0;
    for (int32_t i = 0; i < dim; ++i) sum += double{from.values[i]} * from.values[i];
    scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
  }
  for (int32_t i = 0; i < dim; ++i) to[i] = static_cast<float>(from.values[i] * scale);
}

void DoBoth(const std::function<void()>& one, const std::function<void()>& other) {
  graph::ThreadPool threads;
  // Without a second thread this one does both.
  static_cast<void>(threads.SetThreads(2));
  std::exception_ptr failures[2];
  threads.For(2, [&](size_t, size_t i) {
    try {
      i == 0 ? one() : other();
    } catch (...) {
      failures[i] = std::current_exception();
    }
  });
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

lance_format::Distance DistanceOf(Metric metric) {
  return metric == Metric::kCosine ? lance_format::Distance::kCosine
         : metric == Metric::kDot  ? lance_format::Distance::kDot
                                   : lance_format::Distance::kL2;
}

}  // namespace

bool HoldsVectors(const arrow::DataType& type) {
  if (type.id() != arrow::Type::FIXED_SIZE_LIST) return false;
  const arrow::Type::type value = static_cast<const arrow::FixedSizeListType&>(type).value_type()->id();
  return value == arrow::Type::FLOAT || value == arrow::Type::HALF_FLOAT;
}

Result<lance::IndexSummary> AddLanceIndex(Table& table, const lance::IndexOptions& options,
                                          const LanceSnapshot& snapshot) {
  const uint32_t rows = snapshot.rows;
  const LiveIndexOptions& index = snapshot.options;
  if (rows == 0) return Invalid("snapshot: expected at least one row, got 0");
  ARROW_RETURN_NOT_OK(table.CheckWritable());
  if (table.has_deletions()) {
    return Status::NotImplemented("table: expected one without deleted rows, got one with some; compact it first");
  }
  if (options.threads < 0) return Invalid("threads: expected 0 or more, got ", options.threads);
  ARROW_ASSIGN_OR_RAISE(const int column, FindColumn(table.schema(), options.column, index.dim));
  std::span<const uint64_t> positions = options.positions;
  if (positions.empty()) {
    positions = snapshot.places;
    // Ascending, but of an index that was loaded.
    const uint64_t appended = positions.empty() ? rows : *std::max_element(positions.begin(), positions.end()) + 1;
    if (appended > table.rows()) {
      return Invalid("table: expected the ", appended, " rows that were appended up to the snapshot, got ",
                     table.rows());
    }
  }
  if (!positions.empty()) ARROW_RETURN_NOT_OK(CheckPositions(positions, rows, table.rows()));
  const arrow::Field& field = *table.schema().field(column);
  const std::string name = options.name.empty() ? field.name() + "_idx" : options.name;
  const Status name_fits = table.CheckIndexName(name, table.FieldId(column), options.replace);
  if (!name_fits.ok()) return name_fits.WithMessage("name: ", name_fits.message());
  ARROW_ASSIGN_OR_RAISE(const auto of_table,
                        lance_format::RowsInOrder::Read(table.files(), table.directory(), table.manifest()));
  const auto position = [&](uint32_t row) { return positions.empty() ? row : positions[row]; };
  // What is in none of these, Lance scans.
  std::set<uint32_t> fragments;
  for (uint32_t row = 0; row < rows; ++row) {
    fragments.insert(static_cast<uint32_t>(of_table.AddressAt(position(row)) >> 32));
  }
  ARROW_ASSIGN_OR_RAISE(const auto graph, snapshot.make_graph());
  const auto& type = static_cast<const arrow::FixedSizeListType&>(*field.type());
  lance_format::HnswIndex hnsw{
      .distance = DistanceOf(index.metric),
      .storage = options.type == lance::IndexType::kHnswSq ? lance_format::Storage::kSq : lance_format::Storage::kFlat,
      .graph = *graph,
      .m = index.build.m,
      .ef_construction = index.build.ef_construction,
      .max_level = index.build.max_level,
      .rows = rows,
      .dim = index.dim,
      .half = type.value_type()->id() == arrow::Type::HALF_FLOAT,
      .read =
          [&](uint32_t row, float* own) {
            const ScoredVector from = snapshot.store.Load(row, own);
            if (index.metric != Metric::kCosine) return from.values;
            CopyUnit(from, index.dim, own);
            return static_cast<const float*>(own);
          },
      .row_id = [&](uint32_t row) { return of_table.IdAt(position(row)); },
      .both = [&](const auto& one,
                  const auto& other) { ThreadsOf(options.threads) > 1 ? DoBoth(one, other) : (one(), other()); },
  };
  lance::IndexSummary summary;
  if (options.type == lance::IndexType::kAuto) {
    std::vector<float> buffer(static_cast<size_t>(index.dim));
    ARROW_ASSIGN_OR_RAISE(const LanceChoice choice, ChooseLanceIndex(hnsw, [&](uint32_t row, int64_t k) {
                            const ScoredVector vector = snapshot.store.Load(row, buffer.data());
                            return snapshot.nearest({vector.values, buffer.size()}, k);
                          }));
    hnsw.storage = choice.storage;
    summary.reason = choice.reason;
  }
  summary.type = hnsw.storage == lance_format::Storage::kSq ? lance::IndexType::kHnswSq : lance::IndexType::kHnswFlat;
  const auto uuid = lance_format::Uuid::Random();
  ARROW_ASSIGN_OR_RAISE(const std::string directory, table.MakeIndexDirectory(uuid));
  ARROW_ASSIGN_OR_RAISE(auto files,
                        lance_format::WriteHnswIndex(table.files(), directory, hnsw, table.options().pages));
  ARROW_RETURN_NOT_OK(table.AddIndex({.uuid = uuid,
                                      .field_ids = {table.FieldId(column)},
                                      .name = name,
                                      .fragments = lance_format::RoaringBitmap({fragments.begin(), fragments.end()}),
                                      .details = lance_format::HnswIndexDetails(hnsw),
                                      .version = 1,
                                      .files = std::move(files)},
                                     options.replace));
  return summary;
}

}  // namespace pennon

namespace pennon::inline PENNON_ABI::lance {

using arrow::Result;
using arrow::Status;

namespace {

// To be written.
Result<io::Location> LocateLocal(const std::string& path) {
  const size_t scheme = path.find("://");
  if (scheme == std::string::npos || path.starts_with("file:/")) return io::Locate(path);
  return Invalid("path: writing is for local file systems, got one of ", path.substr(0, scheme), "://");
}

lance_format::TableOptions TableOptionsOf(const WriteOptions& options) {
  arrow::MemoryPool* pool = options.pool != nullptr ? options.pool : arrow::default_memory_pool();
  return lance_format::TableOptions{
      .rows_a_fragment = options.rows_a_fragment,
      .pages = {.version = options.file_version == FileVersion::k2_0 ? lance_format::FileVersion::k2_0
                                                                     : lance_format::FileVersion::k2_2,
                .budget = options.page_bytes,
                .pool = pool}};
}

}  // namespace

Dataset::Dataset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() = default;

Result<Dataset> Dataset::Create(const std::string& path, const std::shared_ptr<arrow::Schema>& schema,
                                const WriteOptions& options) {
  return Guard([&]() -> Result<Dataset> {
    if (schema == nullptr) return Invalid("schema: expected one, got null");
    ARROW_ASSIGN_OR_RAISE(const auto at, LocateLocal(path));
    ARROW_ASSIGN_OR_RAISE(auto table, lance_format::Table::Create(*at.files, at.path, schema, TableOptionsOf(options)));
    return Dataset(std::make_unique<Impl>(Impl{at.files, std::move(table), {}, 0}));
  });
}

Result<Dataset> Dataset::Overwrite(const std::string& path, const std::shared_ptr<arrow::Schema>& schema,
                                   const WriteOptions& options) {
  return Guard([&]() -> Result<Dataset> {
    if (schema == nullptr) return Invalid("schema: expected one, got null");
    ARROW_ASSIGN_OR_RAISE(const auto at, LocateLocal(path));
    ARROW_ASSIGN_OR_RAISE(auto table,
                          lance_format::Table::Overwrite(*at.files, at.path, schema, TableOptionsOf(options)));
    return Dataset(std::make_unique<Impl>(Impl{at.files, std::move(table), {}, 0}));
  });
}

Result<Dataset> Dataset::Open(const std::string& path, const OpenOptions& options) {
  return Guard([&]() -> Result<Dataset> {
    ARROW_ASSIGN_OR_RAISE(const auto at, io::Locate(path));
    ARROW_ASSIGN_OR_RAISE(
        auto table, lance_format::Table::Open(*at.files, at.path, options.version, TableOptionsOf(options.write)));
    return Dataset(std::make_unique<Impl>(Impl{at.files, std::move(table), {}, 0}));
  });
}

Result<CleanupResult> Dataset::Cleanup(const std::string& path, const CleanupOptions& options) {
  return Guard([&]() -> Result<CleanupResult> {
    ARROW_ASSIGN_OR_RAISE(const auto at, LocateLocal(path));
    const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
    if (options.older_than.count() < 0 || options.older_than > std::chrono::duration_cast<std::chrono::seconds>(now)) {
      return Invalid("older_than: expected 0 to the seconds since 1970, got ", options.older_than.count());
    }
    ARROW_ASSIGN_OR_RAISE(const auto orphans,
                          lance_format::FindOrphans(*at.files, at.path, (now - options.older_than).count()));
    if (!options.dry_run) ARROW_RETURN_NOT_OK(lance_format::RemoveFiles(*at.files, at.path, orphans));
    CleanupResult result;
    for (const io::FileInfo& orphan : orphans) {
      result.files.push_back(orphan.path);
      result.bytes += orphan.size;
    }
    return result;
  });
}

Result<uint64_t> Dataset::Append(arrow::RecordBatchReader& rows) {
  return Guard([&] { return impl_->table.Append(rows); });
}

uint64_t Dataset::version() const { return impl_->table.version(); }
uint64_t Dataset::rows() const { return impl_->table.rows(); }
uint64_t Dataset::fragments() const { return impl_->table.manifest().fragments.size(); }
const std::string& Dataset::file_version() const { return impl_->table.manifest().file_version; }
const std::shared_ptr<arrow::Schema>& Dataset::schema() const { return impl_->table.shared_schema(); }

}  // namespace pennon::inline PENNON_ABI::lance
