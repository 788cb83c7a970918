// A vector index's two files, as somebody has written them; see hnsw_index.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "io/file_system.h"
#include "lance/column_reader.h"
#include "lance/file_reader.h"
#include "lance/hnsw_index.h"
#include "lance/ivf.h"
#include "lance/manifest.h"

namespace pennon::lance_format {

// Some columns of a file. From one thread at a time.
class FileColumns {
 public:
  static arrow::Result<FileColumns> Make(const std::shared_ptr<const FileReader>& file,
                                         const std::vector<std::string>& names);
  const arrow::Schema& schema() const { return *schema_; }
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Read(const Range& rows) const;

 private:
  FileColumns() = default;

  std::shared_ptr<const FileReader> file_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::unique_ptr<ColumnReader>> columns_;
};

// Rows whose vectors are near a centroid, with a graph of their own. It may have none.
struct IndexPartition {
  Range graph = {};       // rows of index.idx, of all levels
  Range vectors = {};     // of auxiliary.idx
  std::string hnsw = {};  // metadata lance:hnsw
};

struct IndexPartitions {
  std::vector<IndexPartition> partitions = {};
  std::vector<float> centroids = {};  // one each
};

class HnswIndexReader {
 public:
  // Any vector index: what it is. In two steps, so that several are opened at the same time; `known` are files of which
  // the sizes are. Files need not outlive it.
  using Opening = std::function<arrow::Result<HnswIndexReader>()>;
  static arrow::Result<Opening> Start(io::FileSystem& files, const std::string& directory,
                                      const std::vector<IndexFile>& known, arrow::MemoryPool* pool);

  const std::string& type() const { return type_; }  // as Lance calls it
  Distance distance() const { return distance_; }
  uint64_t rows() const { return vectors_->rows(); }
  // The file's metadata, or null.
  const std::string* FindMetadata(const std::string& key) const { return graph_->FindMetadata(key); }

  // What follows is NotImplemented for other types than IVF_HNSW_FLAT and IVF_HNSW_SQ.
  arrow::Result<Storage> GetStorage() const;
  arrow::Result<uint64_t> CountPartitions() const;
  // Of vectors of so many dimensions; in two steps, likewise.
  using PartitionsReading = std::function<arrow::Result<IndexPartitions>()>;
  arrow::Result<PartitionsReading> StartPartitions(int32_t dim) const;
  // Columns __vector_id, __neighbors, _distance and metadata lance:hnsw. Takes memory for ids that the file holds:
  // those of level 0 are 0 to partition.vectors.count - 1, no neighbour is there twice in a row.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReadGraph(const IndexPartition& partition) const;
  // Some of the columns `_rowid`, uint64, and, by the storage, `flat` or `__sq_code`, of auxiliary.idx.
  arrow::Result<FileColumns> Vectors(const std::vector<std::string>& columns) const;
  // Of `__sq_code`.
  arrow::Result<CodeRange> ReadCodeRange() const;

 private:
  HnswIndexReader() = default;
  static arrow::Result<HnswIndexReader> Make(const std::string& directory, const FileReader::Opening& graph,
                                             const FileReader::Opening& vectors);
  arrow::Result<IndexPartitions> MakePartitions(int32_t dim, Ivf graphs, const Ivf& vectors) const;

  std::string directory_;
  std::string type_;
  Distance distance_ = Distance::kL2;
  std::shared_ptr<const FileReader> graph_;
  std::shared_ptr<const FileReader> vectors_;
};

}  // namespace pennon::lance_format
