#include "lance/table.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "lance/file_writer.h"
#include "lance/row_ids.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// Of a commit. Each that fails is another writer's success.
constexpr int kMostTries = 100;

uint64_t NextFragmentId(const Manifest& manifest) {
  uint64_t next = manifest.max_fragment_id ? uint64_t{*manifest.max_fragment_id} + 1 : 0;
  for (const Fragment& fragment : manifest.fragments) next = std::max(next, fragment.id + 1);
  return next;
}

bool SameColumn(const Field& a, const Field& b) {
  return a.name == b.name && a.id == b.id && a.parent == b.parent && a.logical_type == b.logical_type &&
         a.nullable == b.nullable;
}

bool SameColumns(const std::vector<Field>& a, const std::vector<Field>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), SameColumn);
}

// Lance adds columns of these names when it reads, and panics where there is one.
Status CheckNames(const arrow::Schema& schema) {
  for (const char* own :
       {"_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "_row_last_updated_at_version"}) {
    if (schema.GetFieldIndex(own) < 0) continue;
    return Status::Invalid("column ", own, ": expected a name that is not one of Lance's own");
  }
  return Status::OK();
}

// A file's writer numbers the fields as they come in the schema, and so must the table, whatever the numbers.
Status CheckPreorder(const std::vector<Field>& fields, const arrow::Schema& schema) {
  ARROW_ASSIGN_OR_RAISE(const auto written, MakeFields(schema));
  for (size_t i = 0; i < fields.size(); ++i) {
    const int32_t parent = written[i].parent;
    if (fields[i].logical_type != written[i].logical_type) {
      return Status::NotImplemented("column ", fields[i].name, ": expected a type that is written here, got ",
                                    fields[i].logical_type);
    }
    if (fields[i].parent != (parent == -1 ? -1 : fields[static_cast<size_t>(parent)].id)) {
      return Status::NotImplemented("column ", fields[i].name, ": expected the fields of a column to follow it");
    }
  }
  return Status::OK();
}

const Field* FindField(const Manifest& manifest, int32_t id) {
  const auto field = std::find_if(manifest.fields.begin(), manifest.fields.end(),
                                  [&](const Field& candidate) { return candidate.id == id; });
  return field == manifest.fields.end() ? nullptr : &*field;
}

Status CheckIndexNameIn(const Manifest& manifest, const std::string& name, int32_t field_id, bool replace) {
  for (const Index& index : manifest.indices) {
    if (index.name != name) continue;
    if (!replace) return Status::AlreadyExists("there is an index ", name);
    if (index.field_ids != std::vector{field_id}) {
      return Status::AlreadyExists("there is an index ", name, " of another column");
    }
  }
  return Status::OK();
}

int64_t NowNanos() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

Status CheckOptions(const TableOptions& options) {
  if (options.rows_a_fragment < 1 || options.rows_a_fragment > 0xFFFFFFFFu) {
    return Status::Invalid("rows_a_fragment: expected 1 to 2^32 - 1, got ", std::to_string(options.rows_a_fragment));
  }
  if (options.pages.budget < 1 || options.pages.budget > 1 << 30) {
    return Status::Invalid("page_bytes: expected 1 to 2^30, got ", std::to_string(options.pages.budget));
  }
  return Status::OK();
}

}  // namespace

Result<Table> Table::Create(io::FileSystem& files, const std::string& directory,
                            const std::shared_ptr<arrow::Schema>& schema, const TableOptions& options) {
  return Begin(files, directory, schema, options, false);
}

Result<Table> Table::Overwrite(io::FileSystem& files, const std::string& directory,
                               const std::shared_ptr<arrow::Schema>& schema, const TableOptions& options) {
  return Begin(files, directory, schema, options, true);
}

Result<Table> Table::Begin(io::FileSystem& files, const std::string& directory,
                           const std::shared_ptr<arrow::Schema>& schema, const TableOptions& options, bool anew) {
  if (directory.empty()) return Status::Invalid("path: expected the name of a directory, got an empty one");
  ARROW_RETURN_NOT_OK(CheckOptions(options));
  ARROW_RETURN_NOT_OK(CheckNames(*schema));
  ARROW_ASSIGN_OR_RAISE(auto fields, MakeFields(*schema));
  ARROW_ASSIGN_OR_RAISE(const auto versions, ListVersions(files, directory));
  Table table(files, directory, schema, options);
  if (!versions.empty()) {
    if (!anew) return Status::AlreadyExists(directory, ": expected no table, found one");
    ARROW_ASSIGN_OR_RAISE(const auto newest, ReadVersion(files, directory, versions.back()));
    ARROW_RETURN_NOT_OK(lance_format::CheckWritable(newest));
    table.SetManifest(Emptied(newest));
  }
  table.begins_ = true;
  table.manifest_.fields = std::move(fields);
  table.manifest_.file_version = options.pages.version == FileVersion::k2_0 ? "2.0" : "2.2";
  for (const char* below : {"/data", "/_versions", "/_transactions"}) {
    ARROW_RETURN_NOT_OK(files.MakeDirectory(directory + below));
  }
  return table;
}

Result<Table> Table::Open(io::FileSystem& files, const std::string& directory, std::optional<uint64_t> version,
                          const TableOptions& options) {
  if (directory.empty()) return Status::Invalid("path: expected the name of a directory, got an empty one");
  ARROW_RETURN_NOT_OK(CheckOptions(options));
  ARROW_ASSIGN_OR_RAISE(const auto versions, ListVersions(files, directory));
  if (versions.empty()) return Status::IOError(directory, ": expected a Lance table, found none");
  const auto found = std::find_if(versions.rbegin(), versions.rend(), [&](const VersionName& name) {
    return name.version == version.value_or(name.version);
  });
  if (found == versions.rend()) {
    return Status::IOError(directory, ": expected version ", std::to_string(*version), ", found ",
                           std::to_string(versions.front().version), " to ", std::to_string(versions.back().version));
  }
  Table table(files, directory, nullptr, options);
  table.newest_ = found->version == versions.back().version;
  ARROW_ASSIGN_OR_RAISE(auto manifest, ReadVersion(files, directory, *found));
  ARROW_ASSIGN_OR_RAISE(table.schema_, MakeSchema(manifest.fields));
  table.SetManifest(std::move(manifest));
  return table;
}

void Table::SetManifest(Manifest manifest) {
  manifest_ = std::move(manifest);
  rows_ = all_rows_ = 0;
  for (const Fragment& fragment : manifest_.fragments) {
    all_rows_ += fragment.rows;
    rows_ += fragment.live_rows();
  }
}

Status Table::CheckWritable() const {
  if (!newest_) {
    return Status::Invalid(directory_, ": expected the newest version to write after, got version ",
                           std::to_string(manifest_.version));
  }
  ARROW_RETURN_NOT_OK(lance_format::CheckWritable(manifest_));
  return Status::OK();
}

Result<uint64_t> Table::Append(arrow::RecordBatchReader& rows) {
  ARROW_RETURN_NOT_OK(CheckWritable());
  if (manifest_.file_version != "2.0" && manifest_.file_version != "2.2") {
    return Status::NotImplemented(directory_, ": expected a table of file version 2.0 or 2.2, got ",
                                  manifest_.file_version);
  }
  ARROW_RETURN_NOT_OK(CheckPreorder(manifest_.fields, *schema_));
  ARROW_RETURN_NOT_OK(CheckFits(*rows.schema(), *schema_));
  std::vector<std::string> written;
  const auto outcome = WriteFragments(rows, &written);
  if (!outcome.ok()) {
    // A disk may be full of them.
    for (const std::string& path : written) static_cast<void>(files_->Remove(path));
    return outcome.status();
  }
  const std::vector<Fragment>& fragments = *outcome;
  const auto apply = [&](Manifest& next) -> Status {
    if (begins_) {
      next = Emptied(next);
      next.fields = manifest_.fields;
      next.file_version = manifest_.file_version;
    } else if (!SameColumns(next.fields, manifest_.fields)) {
      return Status::AlreadyExists("an append does not fit after another writer has changed the columns");
    }
    uint64_t id = NextFragmentId(next);
    for (Fragment fragment : fragments) {
      if (id >> 32 != 0) return Status::CapacityError("expected a number left for a fragment, got none");
      next.max_fragment_id = static_cast<uint32_t>(id);
      fragment.id = id++;
      ARROW_RETURN_NOT_OK(GiveRowIds(next, fragment));
      next.fragments.push_back(std::move(fragment));
    }
    return Status::OK();
  };
  Change change{.check = begins_ ? CheckOverwriteFits : CheckAppendFits, .apply = apply};
  change.transaction = begins_ ? OverwriteTransaction(version(), change.uuid, fragments, manifest_.fields)
                               : AppendTransaction(version(), change.uuid, fragments);
  ARROW_RETURN_NOT_OK(Commit(change));
  begins_ = false;
  uint64_t appended = 0;
  for (const Fragment& fragment : fragments) appended += fragment.rows;
  return rows_ - appended;
}

Result<std::vector<Fragment>> Table::WriteFragments(arrow::RecordBatchReader& rows, std::vector<std::string>* paths) {
  std::vector<Fragment> fragments;
  PageOptions pages = options_.pages;
  pages.version = manifest_.file_version == "2.0" ? FileVersion::k2_0 : FileVersion::k2_2;
  std::unique_ptr<FileWriter> writer;
  DataFile file;
  const auto close = [&]() -> Status {
    ARROW_ASSIGN_OR_RAISE(file.size, writer->Close());
    fragments.push_back({.files = {file}, .rows = writer->rows()});
    writer = nullptr;
    return Status::OK();
  };
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, rows.Next());
    if (!batch) break;
    for (int64_t from = 0; from < batch->num_rows();) {
      if (!writer) {
        file = {.path = Uuid::Random().ToString() + ".lance"};
        ARROW_ASSIGN_OR_RAISE(auto output, files_->Create(paths->emplace_back(directory_ + "/data/" + file.path)));
        ARROW_ASSIGN_OR_RAISE(writer, FileWriter::Make(std::move(output), schema_, pages));
        file.minor_version = pages.version == FileVersion::k2_0 ? 0 : 2;
        // The writer numbers fields as they come in the schema.
        for (const int32_t field : writer->column_fields()) {
          file.field_ids.push_back(manifest_.fields[static_cast<size_t>(field)].id);
        }
        file.columns.resize(file.field_ids.size());
        std::iota(file.columns.begin(), file.columns.end(), 0);
      }
      const auto room = static_cast<int64_t>(options_.rows_a_fragment - writer->rows());
      const int64_t count = std::min(batch->num_rows() - from, room);
      ARROW_RETURN_NOT_OK(writer->Write(*batch->Slice(from, count)));
      from += count;
      if (writer->rows() == options_.rows_a_fragment) ARROW_RETURN_NOT_OK(close());
    }
  }
  if (writer) ARROW_RETURN_NOT_OK(close());
  return fragments;
}

Status Table::Commit(const Change& change) {
  const std::string transaction_file = std::to_string(version()) + "-" + change.uuid.ToString() + ".txn";
  ARROW_RETURN_NOT_OK(files_->MakeDirectory(directory_ + "/_transactions"));
  ARROW_ASSIGN_OR_RAISE(auto file, files_->Create(directory_ + "/_transactions/" + transaction_file));
  ARROW_RETURN_NOT_OK(file->Write(change.transaction));
  ARROW_RETURN_NOT_OK(file->Close());
  Manifest base = manifest_;
  for (int tries = 0; tries < kMostTries; ++tries) {
    // By name alone a version would seem free that others have made and removed.
    ARROW_ASSIGN_OR_RAISE(const auto versions, ListVersions(*files_, directory_));
    ARROW_ASSIGN_OR_RAISE(base, Rebase(change, std::move(base), versions));
    Manifest next = base;
    ++next.version;
    const Status applied = change.apply(next);
    if (!applied.ok()) return applied.WithMessage(directory_, ": ", applied.message());
    next.created_at_ns = NowNanos();
    next.transaction_file = transaction_file;
    const VersionName name{next.version, versions.empty() ? ManifestNaming::kDescending : versions.back().naming};
    const Status status = files_->PutIfAbsent(name.Path(directory_), ManifestFile(next));
    if (status.IsAlreadyExists()) continue;
    ARROW_RETURN_NOT_OK(status);
    SetManifest(std::move(next));
    return Status::OK();
  }
  return Status::AlreadyExists(directory_, ": expected to commit a version, but other writers were faster ",
                               std::to_string(kMostTries), " times");
}

Result<Manifest> Table::Rebase(const Change& change, Manifest base, const std::vector<VersionName>& versions) {
  if (base.version != 0 && (versions.empty() || versions.back().version < base.version)) {
    return Status::IOError(directory_, ": expected version ", std::to_string(base.version),
                           " or later, found another table");
  }
  for (const VersionName& name : versions) {
    if (name.version <= base.version) continue;
    if (base.version == 0) {
      return Status::AlreadyExists(directory_, ": expected to make a table, but another writer has");
    }
    if (name.version != base.version + 1) {
      return Status::AlreadyExists(directory_, ": expected version ", std::to_string(base.version + 1),
                                   ", to see what another writer did, but it has been removed");
    }
    ARROW_ASSIGN_OR_RAISE(base, ReadVersion(*files_, directory_, name));
    std::string bytes = base.inline_transaction;
    if (bytes.empty() && !base.transaction_file.empty()) {
      ARROW_ASSIGN_OR_RAISE(bytes, files_->Read(directory_ + "/_transactions/" + base.transaction_file));
    }
    auto transaction = ReadTransaction(bytes);
    const Status status = transaction.ok() ? change.check(*transaction) : transaction.status();
    if (!status.ok()) {
      return status.WithMessage(directory_, ", version ", std::to_string(name.version), ": ", status.message());
    }
  }
  ARROW_RETURN_NOT_OK(lance_format::CheckWritable(base));
  return base;
}

uint64_t Table::NextRowId() const {
  return manifest_.has_stable_row_ids() ? manifest_.next_row_id : NextFragmentId(manifest_) << 32;
}

Status Table::CheckIndexName(const std::string& name, int32_t field_id, bool replace) const {
  return CheckIndexNameIn(manifest_, name, field_id, replace);
}

int32_t Table::FieldId(int column) const {
  const auto is_top = [&](const Field& field) { return field.parent == -1 && column-- == 0; };
  return std::find_if(manifest_.fields.begin(), manifest_.fields.end(), is_top)->id;
}

Result<std::string> Table::MakeIndexDirectory(const Uuid& uuid) {
  std::string directory = directory_ + "/_indices/" + uuid.ToString();
  ARROW_RETURN_NOT_OK(files_->MakeDirectory(directory));
  return directory;
}

Status Table::AddIndex(Index index, bool replace) {
  index.dataset_version = version();
  index.created_at_ms = static_cast<uint64_t>(NowNanos() / 1000000);
  const auto has_name = [&](const Index& other) { return other.name == index.name; };
  Change change{.check = [&](const Transaction& other) { return CheckIndexFits(other, index); },
                .apply = [&](Manifest& next) -> Status {
                  ARROW_RETURN_NOT_OK(CheckIndexNameIn(next, index.name, index.field_ids[0], replace));
                  const Field* field = FindField(next, index.field_ids[0]);
                  if (field == nullptr || field->logical_type != FindField(manifest_, field->id)->logical_type) {
                    return Status::AlreadyExists("index ", index.name,
                                                 " does not fit after another writer has changed its column");
                  }
                  std::erase_if(next.indices, has_name);
                  next.indices.push_back(index);
                  return Status::OK();
                }};
  std::vector<Index> removed;
  std::copy_if(manifest_.indices.begin(), manifest_.indices.end(), std::back_inserter(removed), has_name);
  change.transaction = CreateIndexTransaction(version(), change.uuid, index, removed);
  return Commit(change);
}

}  // namespace pennon::lance_format
