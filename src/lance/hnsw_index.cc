#include "lance/hnsw_index.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/util/key_value_metadata.h>
#include <nlohmann/json.hpp>

#include "lance/file_writer.h"
#include "lance/half.h"
#include "lance/ivf.h"
#include "lance/message.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using nlohmann::ordered_json;

// index.proto.
enum class DetailsTag : Tag { kMetric = 1, kHnsw = 3, kSq = 5, kFlat = 8 };
enum class HnswTag : Tag { kM = 1, kEfConstruction = 2, kMaxLevel = 3 };
enum class SqTag : Tag { kBits = 1 };

constexpr int64_t kBytesABatch = 1 << 20;  // enough for a page

std::string Name(Distance distance) {
  return distance == Distance::kCosine ? "cosine" : distance == Distance::kDot ? "dot" : "l2";
}

// In the list of one partition.
std::string OfPartition(const std::string& json) { return ordered_json::array({json}).dump(); }

// index.idx, but for its end.
Result<std::unique_ptr<FileWriter>> BeginGraph(io::FileSystem& files, const std::string& directory,
                                               const HnswIndex& index, const PageOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto file, files.Create(directory + "/index.idx"));
  ARROW_ASSIGN_OR_RAISE(auto writer, FileWriter::Make(std::move(file), index.graph.schema(), options));
  ARROW_RETURN_NOT_OK(writer->Write(index.graph));
  return writer;
}

Result<IndexFile> EndGraph(FileWriter& writer, const HnswIndex& index, const std::vector<float>& centroid) {
  const auto& metadata = index.graph.schema()->metadata();
  if (!metadata) return Status::Invalid("graph: expected metadata lance:hnsw, got none");
  ARROW_ASSIGN_OR_RAISE(const std::string hnsw, metadata->Get(kHnswKey));
  // One partition, with a centroid that every query is nearest to.
  const Ivf ivf = {.partitions = {{0, static_cast<uint64_t>(index.graph.num_rows())}},
                   .dim = centroid.size(),
                   .centroids = centroid};
  ARROW_RETURN_NOT_OK(writer.AddGlobalBuffer(ToMessage(ivf, index.half)));
  const ordered_json type = {{"type", index.storage == Storage::kSq ? "IVF_HNSW_SQ" : "IVF_HNSW_FLAT"},
                             {"distance_type", Name(index.distance)}};
  Metadata of_file = {{"lance:index", type.dump()}, {"lance:ivf", "1"}, {kHnswKey, OfPartition(hnsw)}};
  for (int64_t i = 0; i < metadata->size(); ++i) {
    if (metadata->key(i) != kHnswKey) of_file.emplace_back(metadata->key(i), metadata->value(i));
  }
  ARROW_ASSIGN_OR_RAISE(const uint64_t size, writer.Close(of_file));
  return IndexFile{"index.idx", size};
}

// What `flat` or `__sq_code` holds of each row, made in the same buffers again and again. Sums up the vectors.
class VectorsReader {
 public:
  VectorsReader(const HnswIndex& index, const CodeRange& range, std::vector<double>& sums)
      : index_(index), range_(range), sums_(sums), scratch_(sums.size()) {}

  const std::shared_ptr<arrow::DataType>& type() const { return type_; }
  uint32_t rows_a_batch() const { return rows_a_batch_; }

  Status Init(arrow::MemoryPool* pool) {
    const int64_t width = int64_t{index_.dim} * type_->byte_width();
    rows_a_batch_ = static_cast<uint32_t>((kBytesABatch + width - 1) / width);
    ARROW_ASSIGN_OR_RAISE(values_, arrow::AllocateBuffer(rows_a_batch_ * width, pool));
    ARROW_ASSIGN_OR_RAISE(row_ids_,
                          arrow::AllocateBuffer(rows_a_batch_ * static_cast<int64_t>(sizeof(uint64_t)), pool));
    return Status::OK();
  }

  // Valid until the next call.
  Result<std::shared_ptr<arrow::RecordBatch>> Read(const std::shared_ptr<arrow::Schema>& schema, uint32_t first,
                                                   uint32_t count) {
    uint8_t* to = values_->mutable_data();
    auto* row_id = reinterpret_cast<uint64_t*>(row_ids_->mutable_data());
    const int64_t width = int64_t{index_.dim} * type_->byte_width();
    for (uint32_t row = first; row < first + count; ++row, to += width) {
      *row_id++ = index_.row_id(row);
      const std::span<const float> vector(index_.read(row, scratch_.data()), scratch_.size());
      for (size_t i = 0; i < vector.size(); ++i) sums_[i] += vector[i];
      Put(vector, to);
      const bool zero = std::all_of(vector.begin(), vector.end(), [](float value) { return value == 0; });
      if (index_.distance != Distance::kCosine || index_.storage != Storage::kFlat || !zero) continue;
      // Lance divides by its length, and a distance that is no number comes before all others. Of infinite length, as
      // floats go, it is at distance 1 from everything, as it is here.
      constexpr float kTooLong = 1e25f;
      if (index_.half) {
        return Status::NotImplemented(
            "column: expected no zero vectors of float16 under cosine, which Lance cannot rank "
            "in an index of type flat (sq can), got one at row id ",
            std::to_string(index_.row_id(row)));
      }
      *reinterpret_cast<float*>(to) = kTooLong;
    }
    const auto numbers = std::make_shared<arrow::UInt64Array>(count, row_ids_);
    const auto values =
        arrow::MakeArray(arrow::ArrayData::Make(type_, int64_t{count} * index_.dim, {nullptr, values_}, 0));
    ARROW_ASSIGN_OR_RAISE(auto vectors, arrow::FixedSizeListArray::FromArrays(values, index_.dim));
    return arrow::RecordBatch::Make(schema, count, {numbers, std::move(vectors)});
  }

 private:
  void Put(std::span<const float> vector, uint8_t* to) const {
    if (index_.storage == Storage::kSq) {
      ScalarCodes(vector, range_, to);
    } else if (index_.half) {
      std::transform(vector.begin(), vector.end(), reinterpret_cast<uint16_t*>(to), HalfBits);
    } else {
      std::copy(vector.begin(), vector.end(), reinterpret_cast<float*>(to));
    }
  }

  const HnswIndex& index_;
  const CodeRange& range_;
  std::vector<double>& sums_;
  const std::shared_ptr<arrow::DataType> type_ = index_.storage == Storage::kSq ? arrow::uint8()
                                                 : index_.half                  ? arrow::float16()
                                                                                : arrow::float32();
  std::vector<float> scratch_;
  uint32_t rows_a_batch_ = 0;
  std::shared_ptr<arrow::Buffer> values_;
  std::shared_ptr<arrow::Buffer> row_ids_;
};

Result<IndexFile> WriteVectors(io::FileSystem& files, const std::string& directory, const HnswIndex& index,
                               std::vector<double>& sums, const PageOptions& options) {
  const bool sq = index.storage == Storage::kSq;
  const CodeRange range = sq ? RangeOf(index) : CodeRange();
  VectorsReader vectors(index, range, sums);
  ARROW_RETURN_NOT_OK(vectors.Init(options.pool));
  const auto schema =
      arrow::schema({arrow::field("_rowid", arrow::uint64()),
                     arrow::field(sq ? "__sq_code" : "flat", arrow::fixed_size_list(vectors.type(), index.dim))});
  ARROW_ASSIGN_OR_RAISE(auto file, files.Create(directory + "/auxiliary.idx"));
  ARROW_ASSIGN_OR_RAISE(auto writer, FileWriter::Make(std::move(file), schema, options));
  for (uint32_t first = 0; first < index.rows;) {
    const uint32_t count = std::min(vectors.rows_a_batch(), index.rows - first);
    ARROW_ASSIGN_OR_RAISE(const auto batch, vectors.Read(schema, first, count));
    ARROW_RETURN_NOT_OK(writer->Write(*batch));
    first += count;
  }
  ARROW_RETURN_NOT_OK(writer->AddGlobalBuffer(ToMessage(Ivf{.partitions = {{0, index.rows}}}, false)));
  ordered_json storage = {{"dim", index.dim}};
  if (sq) {
    storage["num_bits"] = 8;
    storage["bounds"] = {{"start", range.low}, {"end", range.high}};
  }
  ARROW_ASSIGN_OR_RAISE(const uint64_t size, writer->Close({{"distance_type", Name(index.distance)},
                                                            {"lance:ivf", "1"},
                                                            {"storage_metadata", OfPartition(storage.dump())}}));
  return IndexFile{"auxiliary.idx", size};
}

}  // namespace

CodeRange RangeOf(const HnswIndex& index) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> low(static_cast<size_t>(index.dim), kInfinity);
  std::vector<float> high(low.size(), -kInfinity);
  std::vector<float> scratch(low.size());
  for (uint32_t row = 0; row < index.rows; ++row) {
    const float* const vector = index.read(row, scratch.data());
    for (size_t i = 0; i < scratch.size(); ++i) {
      low[i] = std::min(low[i], vector[i]);
      high[i] = std::max(high[i], vector[i]);
    }
  }
  return {*std::min_element(low.begin(), low.end()), *std::max_element(high.begin(), high.end())};
}

void ScalarCodes(std::span<const float> vector, const CodeRange& range, uint8_t* codes) {
  const double width = range.high - range.low;
  const double scale = width > 0 ? 255 / width : 0;
  for (size_t i = 0; i < vector.size(); ++i) {
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>((vector[i] - range.low) * scale));
  }
}

Result<std::vector<IndexFile>> WriteHnswIndex(io::FileSystem& files, const std::string& directory,
                                              const HnswIndex& index, const PageOptions& options) {
  std::vector<double> sums(static_cast<size_t>(index.dim));
  Result<IndexFile> vectors = IndexFile();
  Result<std::unique_ptr<FileWriter>> graph = nullptr;
  index.both([&] { vectors = WriteVectors(files, directory, index, sums, options); },
             [&] { graph = BeginGraph(files, directory, index, options); });
  ARROW_RETURN_NOT_OK(vectors);
  ARROW_RETURN_NOT_OK(graph);
  std::vector<float> mean(sums.size());
  std::transform(sums.begin(), sums.end(), mean.begin(),
                 [&](double sum) { return static_cast<float>(sum / index.rows); });
  ARROW_ASSIGN_OR_RAISE(IndexFile graph_file, EndGraph(**graph, index, mean));
  return std::vector{std::move(graph_file), *std::move(vectors)};
}

std::string HnswIndexDetails(const HnswIndex& index) {
  return Any("/lance.index.pb.VectorIndexDetails", Message<DetailsTag>([&](auto& details) {
               details.add_uint32(DetailsTag::kMetric, static_cast<uint32_t>(index.distance));
               details.add_message(DetailsTag::kHnsw, Message<HnswTag>([&](auto& hnsw) {
                                     hnsw.add_uint32(HnswTag::kM, static_cast<uint32_t>(index.m));
                                     hnsw.add_uint32(HnswTag::kEfConstruction,
                                                     static_cast<uint32_t>(index.ef_construction));
                                     hnsw.add_uint32(HnswTag::kMaxLevel, static_cast<uint32_t>(index.max_level));
                                   }));
               if (index.storage == Storage::kSq) {
                 details.add_message(DetailsTag::kSq, Message<SqTag>([](auto& sq) { sq.add_uint32(SqTag::kBits, 8); }));
               } else {
                 details.add_message(DetailsTag::kFlat, std::string());
               }
             }));
}

}  // namespace pennon::lance_format
