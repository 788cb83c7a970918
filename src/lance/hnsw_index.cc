#include "lance/hnsw_index.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

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

constexpr uint32_t kRowsABatch = 1024;

std::string Name(Distance distance) {
  return distance == Distance::kCosine ? "cosine" : distance == Distance::kDot ? "dot" : "l2";
}

// What a look at all vectors tells.
struct Survey {
  std::vector<float> mean;
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
};

Survey Look(const HnswIndex& index) {
  Survey survey;
  std::vector<double> sums(static_cast<size_t>(index.dim));
  std::vector<float> vector(sums.size());
  for (uint32_t row = 0; row < index.rows; ++row) {
    index.read(row, vector.data());
    for (size_t i = 0; i < vector.size(); ++i) {
      sums[i] += vector[i];
      survey.low = std::min<double>(survey.low, vector[i]);
      survey.high = std::max<double>(survey.high, vector[i]);
    }
  }
  for (const double sum : sums) survey.mean.push_back(static_cast<float>(sum / index.rows));
  return survey;
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
                             const Survey& survey, const PageOptions& options) {
  const auto& metadata = index.graph.schema()->metadata();
  if (!metadata) return Status::Invalid("graph: expected metadata lance:hnsw, got none");
  ARROW_ASSIGN_OR_RAISE(const std::string hnsw, metadata->Get("lance:hnsw"));
  ARROW_ASSIGN_OR_RAISE(auto file, files.Create(directory + "/index.idx"));
  ARROW_ASSIGN_OR_RAISE(auto writer, FileWriter::Make(std::move(file), index.graph.schema(), options));
  ARROW_RETURN_NOT_OK(writer->Write(index.graph));
  ARROW_RETURN_NOT_OK(
      writer->AddGlobalBuffer(Ivf(static_cast<uint64_t>(index.graph.num_rows()), &survey.mean, index.half)));
  const ordered_json type = {{"type", index.storage == Storage::kSq ? "IVF_HNSW_SQ" : "IVF_HNSW_FLAT"},
                             {"distance_type", Name(index.distance)}};
  ARROW_ASSIGN_OR_RAISE(
      const uint64_t size,
      writer->Close({{"lance:index", type.dump()}, {"lance:ivf", "1"}, {"lance:hnsw", OfPartition(hnsw)}}));
  return IndexFile{"index.idx", size};
}

uint8_t ScalarCode(float value, const Survey& survey) {
  if (survey.high <= survey.low) return 0;
  return static_cast<uint8_t>(std::clamp((value - survey.low) * 255 / (survey.high - survey.low), 0.0, 255.0));
}

// The vectors of some rows as the column that the storage wants.
Result<std::shared_ptr<arrow::Array>> Vectors(const HnswIndex& index, const Survey& survey, uint32_t first,
                                              uint32_t last, arrow::MemoryPool* pool) {
  arrow::FloatBuilder floats(pool);
  arrow::HalfFloatBuilder halves(pool);
  arrow::UInt8Builder codes(pool);
  std::vector<float> vector(static_cast<size_t>(index.dim));
  for (uint32_t row = first; row < last; ++row) {
    index.read(row, vector.data());
    if (index.storage == Storage::kFlat && !index.half) {
      ARROW_RETURN_NOT_OK(floats.AppendValues(vector));
      continue;
    }
    for (const float value : vector) {
      ARROW_RETURN_NOT_OK(index.storage == Storage::kSq ? codes.Append(ScalarCode(value, survey))
                                                        : halves.Append(arrow::util::Float16::FromFloat(value).bits()));
    }
  }
  arrow::ArrayBuilder& used = index.storage == Storage::kSq ? static_cast<arrow::ArrayBuilder&>(codes)
                              : index.half                  ? static_cast<arrow::ArrayBuilder&>(halves)
                                                            : floats;
  ARROW_ASSIGN_OR_RAISE(auto values, used.Finish());
  return arrow::FixedSizeListArray::FromArrays(values, index.dim);
}

Result<IndexFile> WriteVectors(io::FileSystem& files, const std::string& directory, const HnswIndex& index,
                               const Survey& survey, const PageOptions& options) {
  const bool sq = index.storage == Storage::kSq;
  const auto value = sq ? arrow::uint8() : index.half ? arrow::float16() : arrow::float32();
  const auto schema =
      arrow::schema({arrow::field("_rowid", arrow::uint64()),
                     arrow::field(sq ? "__sq_code" : "flat", arrow::fixed_size_list(value, index.dim))});
  ARROW_ASSIGN_OR_RAISE(auto file, files.Create(directory + "/auxiliary.idx"));
  ARROW_ASSIGN_OR_RAISE(auto writer, FileWriter::Make(std::move(file), schema, options));
  for (uint32_t first = 0; first < index.rows;) {
    const uint32_t last = first + std::min(kRowsABatch, index.rows - first);
    arrow::UInt64Builder row_ids(options.pool);
    for (uint32_t row = first; row < last; ++row) ARROW_RETURN_NOT_OK(row_ids.Append(index.row_id(row)));
    ARROW_ASSIGN_OR_RAISE(auto ids, row_ids.Finish());
    ARROW_ASSIGN_OR_RAISE(auto vectors, Vectors(index, survey, first, last, options.pool));
    ARROW_RETURN_NOT_OK(writer->Write(*arrow::RecordBatch::Make(schema, last - first, {ids, vectors})));
    first = last;
  }
  ARROW_RETURN_NOT_OK(writer->AddGlobalBuffer(Ivf(index.rows, nullptr, false)));
  ordered_json storage = {{"dim", index.dim}};
  if (sq) {
    storage["num_bits"] = 8;
    storage["bounds"] = {{"start", survey.low}, {"end", survey.high}};
  }
  ARROW_ASSIGN_OR_RAISE(const uint64_t size, writer->Close({{"distance_type", Name(index.distance)},
                                                            {"lance:ivf", "1"},
                                                            {"storage_metadata", OfPartition(storage.dump())}}));
  return IndexFile{"auxiliary.idx", size};
}

}  // namespace

Result<std::vector<IndexFile>> WriteHnswIndex(io::FileSystem& files, const std::string& directory,
                                              const HnswIndex& index, const PageOptions& options) {
  const Survey survey = Look(index);
  ARROW_ASSIGN_OR_RAISE(auto graph, WriteGraph(files, directory, index, survey, options));
  ARROW_ASSIGN_OR_RAISE(auto vectors, WriteVectors(files, directory, index, survey, options));
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
