#include "lance/hnsw_index.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/util/float16.h>
#include <arrow/util/key_value_metadata.h>
#include <nlohmann/json.hpp>

#include "lance/file_writer.h"
#include "lance/little_endian.h"
#include "lance/message.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using nlohmann::ordered_json;

// index.proto.
enum class IvfTag : Tag { kOffsets = 2, kLengths = 3, kCentroids = 4 };
enum class TensorTag : Tag { kDataType = 1, kShape = 2, kData = 3 };
enum class DetailsTag : Tag { kMetric = 1, kHnsw = 3, kSq = 5, kFlat = 8 };
enum class HnswTag : Tag { kM = 1, kEfConstruction = 2, kMaxLevel = 3 };
enum class SqTag : Tag { kBits = 1 };

constexpr uint32_t kRowsABatch = 128;

std::string Name(Distance distance) {
  return distance == Distance::kCosine ? "cosine" : distance == Distance::kDot ? "dot" : "l2";
}

// The values that codes are spread over.
struct Range {
  double low = 0;
  double high = 0;
};

Range Look(const HnswIndex& index) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> low(static_cast<size_t>(index.dim), kInfinity);
  std::vector<float> high(low.size(), -kInfinity);
  std::vector<float> vector(low.size());
  for (uint32_t row = 0; row < index.rows; ++row) {
    index.read(row, vector.data());
    for (size_t i = 0; i < vector.size(); ++i) {
      low[i] = std::min(low[i], vector[i]);
      high[i] = std::max(high[i], vector[i]);
    }
  }
  return {*std::min_element(low.begin(), low.end()), *std::max_element(high.begin(), high.end())};
}

// One partition that is all there is: so many rows of the file, and a centroid that every query is nearest to.
std::string Ivf(uint64_t rows, const std::vector<float>* centroid, bool half) {
  return Message<IvfTag>([&](auto& ivf) {
    const uint64_t offset = 0;
    const auto length = static_cast<uint32_t>(rows);
    ivf.add_packed_uint64(IvfTag::kOffsets, &offset, &offset + 1);
    ivf.add_packed_uint32(IvfTag::kLengths, &length, &length + 1);
    if (centroid == nullptr) return;
    std::string values;
    for (const float value : *centroid) {
      half ? Put(values, arrow::util::Float16::FromFloat(value).bits()) : Put(values, value);
    }
    ivf.add_message(IvfTag::kCentroids, Message<TensorTag>([&](auto& tensor) {
                      const uint32_t shape[] = {1, static_cast<uint32_t>(centroid->size())};
                      tensor.add_uint32(TensorTag::kDataType, half ? 1 : 2);
                      tensor.add_packed_uint32(TensorTag::kShape, shape, shape + 2);
                      tensor.add_bytes(TensorTag::kData, values);
                    }));
  });
}

// In the list of one partition.
std::string OfPartition(const std::string& json) { return ordered_json::array({json}).dump(); }

Result<IndexFile> WriteGraph(io::FileSystem& files, const std::string& directory, const HnswIndex& index,
                             const std::vector<float>& centroid, const PageOptions& options) {
  const auto& metadata = index.graph.schema()->metadata();
  if (!metadata) return Status::Invalid("graph: expected metadata lance:hnsw, got none");
  ARROW_ASSIGN_OR_RAISE(const std::string hnsw, metadata->Get(kHnswKey));
  ARROW_ASSIGN_OR_RAISE(auto file, files.Create(directory + "/index.idx"));
  ARROW_ASSIGN_OR_RAISE(auto writer, FileWriter::Make(std::move(file), index.graph.schema(), options));
  ARROW_RETURN_NOT_OK(writer->Write(index.graph));
  ARROW_RETURN_NOT_OK(
      writer->AddGlobalBuffer(Ivf(static_cast<uint64_t>(index.graph.num_rows()), &centroid, index.half)));
  const ordered_json type = {{"type", index.storage == Storage::kSq ? "IVF_HNSW_SQ" : "IVF_HNSW_FLAT"},
                             {"distance_type", Name(index.distance)}};
  Metadata of_file = {{"lance:index", type.dump()}, {"lance:ivf", "1"}, {kHnswKey, OfPartition(hnsw)}};
  for (int64_t i = 0; i < metadata->size(); ++i) {
    if (metadata->key(i) != kHnswKey) of_file.emplace_back(metadata->key(i), metadata->value(i));
  }
  ARROW_ASSIGN_OR_RAISE(const uint64_t size, writer->Close(of_file));
  return IndexFile{"index.idx", size};
}

uint8_t ScalarCode(float value, const Range& range) {
  if (range.high <= range.low) return 0;
  return static_cast<uint8_t>(std::clamp((value - range.low) * 255 / (range.high - range.low), 0.0, 255.0));
}

// The vectors of some rows as the column that the storage wants. Adds them to the sums.
Result<std::shared_ptr<arrow::Array>> Vectors(const HnswIndex& index, const Range& range, uint32_t first, uint32_t last,
                                              std::vector<double>& sums, arrow::MemoryPool* pool) {
  const bool sq = index.storage == Storage::kSq;
  const auto type = sq ? arrow::uint8() : index.half ? arrow::float16() : arrow::float32();
  const int64_t count = int64_t{last - first} * index.dim;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer, arrow::AllocateBuffer(count * type->byte_width(), pool));
  uint8_t* to = buffer->mutable_data();
  std::vector<float> vector(sums.size());
  for (uint32_t row = first; row < last; ++row, to += index.dim * type->byte_width()) {
    index.read(row, vector.data());
    for (size_t i = 0; i < vector.size(); ++i) sums[i] += vector[i];
    if (sq) {
      std::transform(vector.begin(), vector.end(), to, [&](float value) { return ScalarCode(value, range); });
    } else if (index.half) {
      std::transform(vector.begin(), vector.end(), reinterpret_cast<uint16_t*>(to),
                     [](float value) { return arrow::util::Float16::FromFloat(value).bits(); });
    } else {
      std::copy(vector.begin(), vector.end(), reinterpret_cast<float*>(to));
    }
  }
  const auto values = arrow::MakeArray(arrow::ArrayData::Make(type, count, {nullptr, buffer}, 0));
  return arrow::FixedSizeListArray::FromArrays(values, index.dim);
}

Result<IndexFile> WriteVectors(io::FileSystem& files, const std::string& directory, const HnswIndex& index,
                               std::vector<double>& sums, const PageOptions& options) {
  const bool sq = index.storage == Storage::kSq;
  const auto value = sq ? arrow::uint8() : index.half ? arrow::float16() : arrow::float32();
  const auto schema =
      arrow::schema({arrow::field("_rowid", arrow::uint64()),
                     arrow::field(sq ? "__sq_code" : "flat", arrow::fixed_size_list(value, index.dim))});
  const Range range = sq ? Look(index) : Range();
  ARROW_ASSIGN_OR_RAISE(auto file, files.Create(directory + "/auxiliary.idx"));
  ARROW_ASSIGN_OR_RAISE(auto writer, FileWriter::Make(std::move(file), schema, options));
  for (uint32_t first = 0; first < index.rows;) {
    const uint32_t last = first + std::min(kRowsABatch, index.rows - first);
    arrow::UInt64Builder row_ids(options.pool);
    for (uint32_t row = first; row < last; ++row) ARROW_RETURN_NOT_OK(row_ids.Append(index.row_id(row)));
    ARROW_ASSIGN_OR_RAISE(auto ids, row_ids.Finish());
    ARROW_ASSIGN_OR_RAISE(auto vectors, Vectors(index, range, first, last, sums, options.pool));
    ARROW_RETURN_NOT_OK(writer->Write(*arrow::RecordBatch::Make(schema, last - first, {ids, vectors})));
    first = last;
  }
  ARROW_RETURN_NOT_OK(writer->AddGlobalBuffer(Ivf(index.rows, nullptr, false)));
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

Result<std::vector<IndexFile>> WriteHnswIndex(io::FileSystem& files, const std::string& directory,
                                              const HnswIndex& index, const PageOptions& options) {
  std::vector<double> sums(static_cast<size_t>(index.dim));
  ARROW_ASSIGN_OR_RAISE(auto vectors, WriteVectors(files, directory, index, sums, options));
  std::vector<float> mean(sums.size());
  std::transform(sums.begin(), sums.end(), mean.begin(),
                 [&](double sum) { return static_cast<float>(sum / index.rows); });
  ARROW_ASSIGN_OR_RAISE(auto graph, WriteGraph(files, directory, index, mean, options));
  return std::vector{std::move(graph), std::move(vectors)};
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
