// A Lance table: a version of it, and its way to the next ones: data files, then a version, committed by one manifest
// that must not exist before. Of two that commit the same version the loser looks at what the winner did, and commits
// the next one if that goes with its own change. What fails leaves files that no manifest names.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "io/file_system.h"
#include "lance/encoder.h"
#include "lance/manifest.h"
#include "lance/transaction.h"
#include "lance/versions.h"

namespace pennon::lance_format {

struct TableOptions {
  uint64_t rows_a_fragment = 1 << 20;
  PageOptions pages = {};
};

class Table {
 public:
  // Makes the directory, and no version yet. AlreadyExists if it holds a table; NotImplemented for a type that the
  // format here does not have. Files must outlive the table.
  static arrow::Result<Table> Create(io::FileSystem& files, const std::string& directory,
                                     const std::shared_ptr<arrow::Schema>& schema, const TableOptions& options = {});

  // As Create, but where there is a table the first append begins it anew: it makes the next version, with nothing of
  // those before. Until then this is at the newest, without rows.
  static arrow::Result<Table> Overwrite(io::FileSystem& files, const std::string& directory,
                                        const std::shared_ptr<arrow::Schema>& schema, const TableOptions& options = {});

  // A version, which may only be read if it is not the newest; by default that. Files must outlive the table.
  static arrow::Result<Table> Open(io::FileSystem& files, const std::string& directory,
                                   std::optional<uint64_t> version = {}, const TableOptions& options = {});

  const std::string& directory() const { return directory_; }
  const Manifest& manifest() const { return manifest_; }
  uint64_t version() const { return manifest_.version; }
  uint64_t rows() const { return rows_; }  // without those that are deleted
  bool has_deletions() const { return rows_ != all_rows_; }
  const arrow::Schema& schema() const { return *schema_; }
  const std::shared_ptr<arrow::Schema>& shared_schema() const { return schema_; }
  const TableOptions& options() const { return options_; }
  uint64_t NextRowId() const;  // of the first row that is appended next
  // AlreadyExists if there is an index of that name that is not to be replaced, or of another column.
  arrow::Status CheckIndexName(const std::string& name, int32_t field_id, bool replace) const;
  // Of a column of the schema.
  int32_t FieldId(int column) const;

  // NotImplemented or Invalid if this version is none that may be written after.
  arrow::Status CheckWritable() const;
  // Writes rows of the schema and commits a version with them at the end. Returns the position of the first of them:
  // other writers' rows may have come before.
  arrow::Result<uint64_t> Append(arrow::RecordBatchReader& rows);

  // Where an index's files go: a directory of its own, which is made.
  arrow::Result<std::string> MakeIndexDirectory(const Uuid& uuid);
  // Commits a version with an index of index.fragments whose files are there, instead of what has its name if that may
  // be and is of the same column.
  arrow::Status AddIndex(Index index, bool replace = false);

  io::FileSystem& files() const { return *files_; }

 private:
  Table(io::FileSystem& files, std::string directory, std::shared_ptr<arrow::Schema> schema,
        const TableOptions& options)
      : files_(&files), directory_(std::move(directory)), schema_(std::move(schema)), options_(options) {}

  static arrow::Result<Table> Begin(io::FileSystem& files, const std::string& directory,
                                    const std::shared_ptr<arrow::Schema>& schema, const TableOptions& options,
                                    bool anew);

  // What is to be done to the newest version, whichever that is by then.
  struct Change {
    Uuid uuid = Uuid::Random();
    std::string transaction = {};  // its bytes
    // AlreadyExists if it does not fit after what another writer did.
    std::function<arrow::Status(const Transaction& other)> check = {};
    std::function<arrow::Status(Manifest& next)> apply = {};
  };

  void SetManifest(Manifest manifest);
  // Also where it fails it says which files it has begun.
  arrow::Result<std::vector<Fragment>> WriteFragments(arrow::RecordBatchReader& rows, std::vector<std::string>* paths);
  // Transaction first, so that there is no version without one. AlreadyExists, and the table is as it was, if the
  // change does not fit after what other writers have committed since this version.
  arrow::Status Commit(const Change& change);
  // The newest version, if the change fits after all from `base`, which is this one, to that.
  arrow::Result<Manifest> Rebase(const Change& change, Manifest base, const std::vector<VersionName>& versions);

  io::FileSystem* files_;
  std::string directory_;
  std::shared_ptr<arrow::Schema> schema_;
  TableOptions options_;
  bool newest_ = true;   // when it was opened
  bool begins_ = false;  // with the first append, of which the manifest has the columns
  Manifest manifest_;
  uint64_t rows_ = 0;
  uint64_t all_rows_ = 0;  // with those that are deleted
};

}  // namespace pennon::lance_format
