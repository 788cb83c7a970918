// What a version of a table is: its schema, the files that hold its rows, its indices.
//
// What a manifest of another writer says beyond the fields here is kept with each part as `others`, the message's
// other fields as they were, and goes into the next version.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "lance/schema.h"
#include "lance/uuid.h"

namespace pennon::lance_format {

struct DataFile {
  std::string path = {};  // in data/
  std::vector<int32_t> field_ids = {};
  std::vector<int32_t> columns = {};  // of the file, one a field; -1: none
  uint32_t major_version = 2;
  uint32_t minor_version = 0;
  uint64_t size = 0;  // bytes; 0: not known
  std::string others = {};
};

struct DeletionFile {
  enum Type : int32_t { kArrow = 0, kBitmap = 1 };
  int32_t type = kArrow;
  uint64_t read_version = 0;
  uint64_t id = 0;
  uint64_t rows = 0;  // deleted ones
  std::string others = {};

  std::string Name(uint64_t fragment) const;  // in _deletions/
};

struct FileSlice {
  std::string path = {};  // from the table's directory
  uint64_t offset = 0;
  uint64_t size = 0;
};

struct Fragment {
  uint64_t id = 0;  // less than 2^32
  std::vector<DataFile> files = {};
  uint64_t rows = 0;  // with those that are deleted
  std::optional<DeletionFile> deletions = {};
  // Of stable row ids: the message RowIdSequence, or where it is.
  std::string row_ids = {};
  std::optional<FileSlice> row_ids_file = {};
  std::string others = {};

  uint64_t live_rows() const { return rows - (deletions ? deletions->rows : 0); }
};

struct IndexFile {
  std::string name = {};
  uint64_t size = 0;  // bytes
  std::string others = {};
};

struct Index {
  Uuid uuid = {};  // also the name of its directory in _indices/
  std::vector<int32_t> field_ids = {};
  std::string name = {};
  uint64_t dataset_version = 0;               // that it was made from
  std::optional<std::string> fragments = {};  // a Roaring bitmap; rows of others are scanned
  std::string details = {};                   // a google.protobuf.Any
  std::optional<int32_t> version = {};
  std::optional<uint64_t> created_at_ms = {};  // since the epoch
  std::vector<IndexFile> files = {};           // none: not known
  std::string others = {};
};

// The name of what kind of an index it is, by the type of its details: VectorIndex, say.
std::string DetailsName(const Index& index);

// Bits of feature flags.
inline constexpr uint64_t kDeletionFiles = 1 << 0;
inline constexpr uint64_t kStableRowIds = 1 << 1;

struct Manifest {
  uint64_t version = 0;
  std::vector<Field> fields = {};
  std::vector<Fragment> fragments = {};
  std::vector<Index> indices = {};
  int64_t created_at_ns = 0;  // since the epoch
  uint64_t reader_flags = 0;
  uint64_t writer_flags = 0;
  std::optional<uint32_t> max_fragment_id = {};  // ever used
  std::string transaction_file = {};             // in _transactions/
  std::string inline_transaction = {};           // a copy of it in the manifest's file; not written
  uint64_t next_row_id = 0;                      // of stable ones: none was given from there on
  std::string file_version = "2.0";              // of data files
  std::string others = {};

  bool has_stable_row_ids() const { return (reader_flags & kStableRowIds) != 0; }
};

// What a version that has nothing of the one before keeps of it: its config, say, and which ids were given.
Manifest Emptied(const Manifest& manifest);

// The bytes of a manifest file.
std::string ManifestFile(const Manifest& manifest);
// Of such bytes, from anywhere. Invalid, with what is wrong; NotImplemented if a flag for readers is not known.
arrow::Result<Manifest> ReadManifest(std::string_view file);
// NotImplemented, with its name, if a flag for writers is not known.
arrow::Status CheckWritable(const Manifest& manifest);

// The messages DataFragment and IndexMetadata of table.proto.
std::string ToMessage(const Fragment& fragment);
std::string ToMessage(const Index& index);

}  // namespace pennon::lance_format
