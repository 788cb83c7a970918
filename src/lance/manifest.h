// What a version of a table is: its schema, the files that hold its rows, its indices. And the transaction that made it
// of the one before, by which other writers see whether theirs still fits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lance/schema.h"
#include "lance/uuid.h"

namespace pennon::lance_format {

struct DataFile {
  std::string path = {};  // in data/
  std::vector<int32_t> field_ids = {};
  std::vector<int32_t> columns = {};  // of the file, one a field
  uint32_t minor_version = 0;         // of the file; the major one is 2
  uint64_t size = 0;                  // bytes
};

struct Fragment {
  uint64_t id = 0;
  std::vector<DataFile> files = {};
  uint64_t rows = 0;
};

struct IndexFile {
  std::string name = {};
  uint64_t size = 0;  // bytes
};

struct Index {
  Uuid uuid = {};  // also the name of its directory in _indices/
  int32_t field_id = 0;
  std::string name = {};
  uint64_t dataset_version = 0;          // that it was made from
  std::vector<uint32_t> fragments = {};  // ascending; rows of others are scanned
  std::string details = {};              // a google.protobuf.Any
  int64_t created_at_ms = 0;             // since the epoch
  std::vector<IndexFile> files = {};
};

struct Manifest {
  uint64_t version = 0;
  std::vector<Field> fields = {};
  std::vector<Fragment> fragments = {};
  std::vector<Index> indices = {};
  int64_t created_at_ns = 0;          // since the epoch
  std::string transaction_file = {};  // in _transactions/
  std::string file_version = "2.0";   // of data files
};

// The bytes of a manifest file.
std::string ManifestFile(const Manifest& manifest);

// The bytes of a transaction file: a new table, new fragments, whose ids are not looked at, or a new index.
std::string OverwriteTransaction(const Uuid& uuid, const Manifest& manifest);
std::string AppendTransaction(uint64_t read_version, const Uuid& uuid, std::vector<Fragment> fragments);
std::string CreateIndexTransaction(uint64_t read_version, const Uuid& uuid, const Index& index);

// The portable 32-bit Roaring bitmap of ascending values.
std::string RoaringBitmap(const std::vector<uint32_t>& values);

}  // namespace pennon::lance_format
