// A vector index's two files, as somebody has written them; see hnsw_index.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "io/file_system.h"
#include "lance/file_reader.h"
#include "lance/hnsw_index.h"

namespace pennon::lance_format {

class HnswIndexReader {
 public:
  // Any vector index: what it is. Files need not outlive it.
  static arrow::Result<HnswIndexReader> Open(io::FileSystem& files, const std::string& directory,
                                             arrow::MemoryPool* pool);

  const std::string& type() const { return type_; }  // as Lance calls it
  Distance distance() const { return distance_; }
  uint64_t rows() const { return vectors_->rows(); }
  // The file's metadata, or null.
  const std::string* FindMetadata(const std::string& key) const { return graph_->FindMetadata(key); }

  // What follows is NotImplemented for other types than IVF_HNSW_FLAT and IVF_HNSW_SQ, and for several partitions.
  arrow::Result<Storage> GetStorage() const;
  // Columns __vector_id, __neighbors, _distance and metadata lance:hnsw.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReadGraph() const;
  // Some of the columns `_rowid` and, if the storage is flat, `flat`, in batches of so many rows.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ReadVectors(const std::vector<std::string>& columns,
                                                                       int64_t batch_rows) const;

 private:
  HnswIndexReader() = default;

  std::string directory_;
  std::string type_;
  Distance distance_ = Distance::kL2;
  std::shared_ptr<const FileReader> graph_;
  std::shared_ptr<const FileReader> vectors_;
};

}  // namespace pennon::lance_format
