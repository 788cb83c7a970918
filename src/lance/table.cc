#include "lance/table.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <limits>
#include <numeric>
#include <string_view>
#include <system_error>
#include <utility>

#include "lance/file_writer.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

constexpr std::string_view kManifest = ".manifest";

std::string ManifestName(uint64_t version, ManifestNaming naming) {
  if (naming == ManifestNaming::kAscending) return std::to_string(version) + std::string(kManifest);
  const std::string digits = std::to_string(std::numeric_limits<uint64_t>::max() - version);
  return std::string(20 - digits.size(), '0') + digits + std::string(kManifest);
}

struct VersionName {
  uint64_t version;
  ManifestNaming naming;
};

// Ascending. What else there is in the directory is no version.
Result<std::vector<VersionName>> ListVersions(io::FileSystem& files, const std::string& directory) {
  ARROW_ASSIGN_OR_RAISE(const auto names, files.List(directory + "/_versions"));
  std::vector<VersionName> versions;
  for (const std::string& name : names) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc()) continue;
    // 20 digits count down: no table has as many versions.
    const auto naming = name.size() == 20 + kManifest.size() ? ManifestNaming::kDescending : ManifestNaming::kAscending;
    const bool descends = naming == ManifestNaming::kDescending;
    const uint64_t version = descends ? std::numeric_limits<uint64_t>::max() - number : number;
    if (version != 0 && name == ManifestName(version, naming)) versions.push_back({version, naming});
  }
  std::sort(versions.begin(), versions.end(), [](const VersionName& a, const VersionName& b) {
    return a.version < b.version || (a.version == b.version && a.naming > b.naming);
  });
  return versions;
}

Result<Manifest> ReadVersion(io::FileSystem& files, const std::string& directory, const VersionName& name) {
  const std::string path = directory + "/_versions/" + ManifestName(name.version, name.naming);
  ARROW_ASSIGN_OR_RAISE(const std::string file, files.Read(path));
  auto manifest = ReadManifest(file);
  if (!manifest.ok()) return manifest.status().WithMessage(path, ": ", manifest.status().message());
  if (manifest->version != name.version) {
    return Status::Invalid(path, ": expected version ", name.version, ", got ", manifest->version);
  }
  return manifest;
}

uint64_t NextFragmentId(const Manifest& manifest) {
  uint64_t next = manifest.max_fragment_id ? uint64_t{*manifest.max_fragment_id} + 1 : 0;
  for (const Fragment& fragment : manifest.fragments) next = std::max(next, fragment.id + 1);
  return next;
}

int64_t NowNanos() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace

Result<Table> Table::Create(io::FileSystem& files, const std::string& directory,
                            const std::shared_ptr<arrow::Schema>& schema, const TableOptions& options) {
  if (directory.empty()) return Status::Invalid("path: expected the name of a directory, got an empty one");
  if (options.rows_a_fragment == 0) return Status::Invalid("rows_a_fragment: expected at least 1, got 0");
  Table table(files, directory, schema, options);
  ARROW_ASSIGN_OR_RAISE(table.manifest_.fields, MakeFields(*schema));
  ARROW_ASSIGN_OR_RAISE(const auto versions, ListVersions(files, directory));
  if (!versions.empty()) return Status::AlreadyExists(directory, ": expected no table, found one");
  for (const char* below : {"/data", "/_versions", "/_transactions"}) {
    ARROW_RETURN_NOT_OK(files.MakeDirectory(directory + below));
  }
  return table;
}

Result<Table> Table::Open(io::FileSystem& files, const std::string& directory, std::optional<uint64_t> version,
                          const TableOptions& options) {
  if (directory.empty()) return Status::Invalid("path: expected the name of a directory, got an empty one");
  ARROW_ASSIGN_OR_RAISE(const auto versions, ListVersions(files, directory));
  if (versions.empty()) return Status::IOError(directory, ": expected a Lance table, found none");
  const auto found = std::find_if(versions.rbegin(), versions.rend(), [&](const VersionName& name) {
    return name.version == version.value_or(name.version);
  });
  if (found == versions.rend()) {
    return Status::IOError(directory, ": expected version ", *version, ", found ", versions.front().version, " to ",
                           versions.back().version);
  }
  Table table(files, directory, nullptr, options);
  table.naming_ = found->naming;
  table.newest_ = found->version == versions.back().version;
  ARROW_ASSIGN_OR_RAISE(auto manifest, ReadVersion(files, directory, *found));
  ARROW_ASSIGN_OR_RAISE(table.schema_, MakeSchema(manifest.fields));
  table.SetManifest(std::move(manifest));
  return table;
}

void Table::SetManifest(Manifest manifest) {
  manifest_ = std::move(manifest);
  first_rows_ = {0};
  rows_ = 0;
  for (const Fragment& fragment : manifest_.fragments) {
    first_rows_.push_back(first_rows_.back() + fragment.rows);
    rows_ += fragment.live_rows();
  }
}

Status Table::CheckWritable() const {
  if (!newest_) {
    return Status::Invalid(directory_, ": expected the newest version to write after, got version ", manifest_.version);
  }
  ARROW_RETURN_NOT_OK(lance_format::CheckWritable(manifest_));
  if (manifest_.file_version != "2.0") {
    return Status::NotImplemented(directory_, ": expected a table of file version 2.0, got ", manifest_.file_version);
  }
  return Status::OK();
}

Status Table::Append(arrow::RecordBatchReader& rows) {
  ARROW_RETURN_NOT_OK(CheckWritable());
  ARROW_ASSIGN_OR_RAISE(auto fragments, WriteFragments(rows));
  Manifest next = manifest_;
  uint64_t id = NextFragmentId(next);
  for (Fragment& fragment : fragments) {
    if (id >> 32 != 0) return Status::CapacityError(directory_, ": expected an id left for a fragment, got none");
    next.max_fragment_id = static_cast<uint32_t>(id);
    fragment.id = id++;
    next.fragments.push_back(fragment);
  }
  return Commit(next, [&](const Uuid& uuid) {
    return next.version == 0 ? OverwriteTransaction(uuid, next) : AppendTransaction(next.version, uuid, fragments);
  });
}

Result<std::vector<Fragment>> Table::WriteFragments(arrow::RecordBatchReader& rows) {
  std::vector<Fragment> fragments;
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
        ARROW_ASSIGN_OR_RAISE(auto output, files_->Create(directory_ + "/data/" + file.path));
        ARROW_ASSIGN_OR_RAISE(writer, FileWriter::Make(std::move(output), schema_, options_.pages));
        for (const Field& field : manifest_.fields) file.field_ids.push_back(field.id);
        file.columns.resize(file.field_ids.size());
        std::iota(file.columns.begin(), file.columns.end(), 0);  // a 2.0 file has a column for each field
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

Status Table::Commit(Manifest manifest, const MakeTransaction& transaction) {
  const uint64_t read_version = manifest.version++;
  const Uuid uuid = Uuid::Random();
  manifest.created_at_ns = NowNanos();
  manifest.transaction_file = std::to_string(read_version) + "-" + uuid.ToString() + ".txn";
  ARROW_ASSIGN_OR_RAISE(auto file, files_->Create(directory_ + "/_transactions/" + manifest.transaction_file));
  ARROW_RETURN_NOT_OK(file->Write(transaction(uuid)));
  ARROW_RETURN_NOT_OK(file->Close());
  const Status status =
      files_->PutIfAbsent(directory_ + "/_versions/" + ManifestName(manifest.version, naming_), ManifestFile(manifest));
  if (status.IsAlreadyExists()) {
    return Status::AlreadyExists(directory_, ": expected to commit version ", std::to_string(manifest.version),
                                 ", but another writer has");
  }
  ARROW_RETURN_NOT_OK(status);
  SetManifest(std::move(manifest));
  return Status::OK();
}

uint64_t Table::RowId(uint64_t position) const {
  const auto fragment = std::upper_bound(first_rows_.begin(), first_rows_.end(), position) - 1;
  return manifest_.fragments[static_cast<size_t>(fragment - first_rows_.begin())].id << 32 | (position - *fragment);
}

bool Table::HasIndex(const std::string& name) const {
  return std::any_of(manifest_.indices.begin(), manifest_.indices.end(),
                     [&](const Index& index) { return index.name == name; });
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

Status Table::AddIndex(Index index) {
  Manifest next = manifest_;
  if (HasIndex(index.name)) return Status::AlreadyExists(directory_, ": there is an index ", index.name);
  index.dataset_version = manifest_.version;
  index.created_at_ms = static_cast<uint64_t>(NowNanos() / 1000000);
  next.indices.push_back(index);
  return Commit(std::move(next),
                [&](const Uuid& uuid) { return CreateIndexTransaction(manifest_.version, uuid, index); });
}

}  // namespace pennon::lance_format
