#include "lance/table.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <utility>

#include "lance/file_writer.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// Newest first in a listing.
std::string ManifestName(uint64_t version) {
  std::string digits = std::to_string(std::numeric_limits<uint64_t>::max() - version);
  return std::string(20 - digits.size(), '0') + digits + ".manifest";
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
  table.manifest_.file_version = options.pages.version == FileVersion::k2_0 ? "2.0" : "2.2";
  ARROW_ASSIGN_OR_RAISE(const auto versions, files.List(directory + "/_versions"));
  const auto is_version = [](const std::string& name) { return name.ends_with(".manifest"); };
  if (std::any_of(versions.begin(), versions.end(), is_version))
    return Status::AlreadyExists(directory, ": expected no table, found one");
  for (const char* below : {"/data", "/_versions", "/_transactions"}) {
    ARROW_RETURN_NOT_OK(files.MakeDirectory(directory + below));
  }
  return table;
}

Status Table::Append(arrow::RecordBatchReader& rows) {
  ARROW_ASSIGN_OR_RAISE(auto fragments, WriteFragments(rows));
  Manifest next = manifest_;
  std::vector<uint64_t> first_rows = first_rows_;
  for (Fragment& fragment : fragments) {
    fragment.id = next.fragments.size();
    first_rows.push_back(first_rows.back() + fragment.rows);
    next.fragments.push_back(fragment);
  }
  ARROW_RETURN_NOT_OK(Commit(next, [&](const Uuid& uuid) {
    return next.version == 0 ? OverwriteTransaction(uuid, next) : AppendTransaction(next.version, uuid, fragments);
  }));
  first_rows_ = std::move(first_rows);
  return Status::OK();
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
        file.minor_version = options_.pages.version == FileVersion::k2_0 ? 0 : 2;
        file.field_ids = writer->column_fields();
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

Status Table::Commit(Manifest manifest, const MakeTransaction& transaction) {
  const uint64_t read_version = manifest.version++;
  const Uuid uuid = Uuid::Random();
  manifest.created_at_ns = NowNanos();
  manifest.transaction_file = std::to_string(read_version) + "-" + uuid.ToString() + ".txn";
  ARROW_ASSIGN_OR_RAISE(auto file, files_->Create(directory_ + "/_transactions/" + manifest.transaction_file));
  ARROW_RETURN_NOT_OK(file->Write(transaction(uuid)));
  ARROW_RETURN_NOT_OK(file->Close());
  const Status status =
      files_->PutIfAbsent(directory_ + "/_versions/" + ManifestName(manifest.version), ManifestFile(manifest));
  if (status.IsAlreadyExists()) {
    return Status::AlreadyExists(directory_, ": expected to commit version ", std::to_string(manifest.version),
                                 ", but another writer has");
  }
  ARROW_RETURN_NOT_OK(status);
  manifest_ = std::move(manifest);
  return Status::OK();
}

uint64_t Table::RowId(uint64_t position) const {
  const auto fragment = std::upper_bound(first_rows_.begin(), first_rows_.end(), position) - 1;
  return static_cast<uint64_t>(fragment - first_rows_.begin()) << 32 | (position - *fragment);
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
  index.created_at_ms = NowNanos() / 1000000;
  next.indices.push_back(index);
  return Commit(std::move(next),
                [&](const Uuid& uuid) { return CreateIndexTransaction(manifest_.version, uuid, index); });
}

}  // namespace pennon::lance_format
