#include "lance/ivf.h"

#include <arrow/util/float16.h>

#include "lance/half.h"
#include "lance/little_endian.h"
#include "lance/message.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// index.proto.
enum class IvfTag : Tag { kOffsets = 2, kLengths = 3, kCentroids = 4 };
enum class TensorTag : Tag { kDataType = 1, kShape = 2, kData = 3 };
enum DataType : uint64_t { kFloat16 = 1, kFloat32 = 2 };

Status ReadCentroids(std::string_view message, size_t partitions, Ivf& ivf) {
  uint64_t type = 0;
  std::vector<uint64_t> shape;
  std::string_view data;
  ReadMessage(message, [&](protozero::pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Varint(TensorTag::kDataType): type = reader.get_uint64(); return true;
      case Varint(TensorTag::kShape):
      case Bytes(TensorTag::kShape): Take(reader, shape); return true;
      case Bytes(TensorTag::kData): data = View(reader.get_view()); return true;
      default: return false;
    }
  });
  if (type != kFloat16 && type != kFloat32) {
    return Status::NotImplemented("expected centroids of float16 or float32, got type ", std::to_string(type));
  }
  const size_t width = type == kFloat16 ? 2 : 4;
  const bool fits = shape.size() == 2 && shape[0] == partitions && shape[1] > 0 &&
                    shape[1] <= data.size() / width / partitions && data.size() == partitions * shape[1] * width;
  if (!fits) {
    return Status::Invalid("expected a centroid for each of ", std::to_string(partitions), " partitions, got ",
                           std::to_string(data.size()), " bytes of other shape");
  }
  ivf.dim = shape[1];
  for (const char* value = data.data(); value != data.data() + data.size(); value += width) {
    ivf.centroids.push_back(type == kFloat32 ? Get<float>(value)
                                             : arrow::util::Float16::FromBits(Get<uint16_t>(value)).ToFloat());
  }
  return Status::OK();
}

}  // namespace

std::string ToMessage(const Ivf& ivf, bool half) {
  return Message<IvfTag>([&](auto& message) {
    std::vector<uint64_t> offsets;
    std::vector<uint32_t> lengths;
    for (const Range& partition : ivf.partitions) {
      offsets.push_back(partition.first);
      lengths.push_back(static_cast<uint32_t>(partition.count));
    }
    message.add_packed_uint64(IvfTag::kOffsets, offsets.begin(), offsets.end());
    message.add_packed_uint32(IvfTag::kLengths, lengths.begin(), lengths.end());
    if (ivf.centroids.empty()) return;
    std::string values;
    for (const float value : ivf.centroids) {
      half ? Put(values, HalfBits(value)) : Put(values, value);
    }
    message.add_message(IvfTag::kCentroids, Message<TensorTag>([&](auto& tensor) {
                          const uint32_t shape[] = {static_cast<uint32_t>(ivf.partitions.size()),
                                                    static_cast<uint32_t>(ivf.dim)};
                          tensor.add_uint32(TensorTag::kDataType, half ? kFloat16 : kFloat32);
                          tensor.add_packed_uint32(TensorTag::kShape, shape, shape + 2);
                          tensor.add_bytes(TensorTag::kData, values);
                        }));
  });
}

Result<Ivf> ReadIvf(std::string_view message, uint64_t rows) {
  return Parsed("partitions", [&]() -> Result<Ivf> {
    std::vector<uint64_t> offsets;
    std::vector<uint64_t> lengths;
    std::string_view centroids;
    ReadMessage(message, [&](protozero::pbf_reader& reader) {
      switch (reader.tag_and_type()) {
        case Varint(IvfTag::kOffsets):
        case Bytes(IvfTag::kOffsets): Take(reader, offsets); return true;
        case Varint(IvfTag::kLengths):
        case Bytes(IvfTag::kLengths): Take(reader, lengths); return true;
        case Bytes(IvfTag::kCentroids): centroids = View(reader.get_view()); return true;
        default: return false;
      }
    });
    if (lengths.empty() || offsets.size() != lengths.size()) {
      return Status::Invalid("partitions: expected at least one, and as many offsets as lengths, got ",
                             std::to_string(offsets.size()), " and ", std::to_string(lengths.size()));
    }
    Ivf ivf;
    uint64_t left = rows;
    for (size_t i = 0; i < lengths.size(); ++i) {
      if (offsets[i] > rows || lengths[i] > rows - offsets[i] || lengths[i] > left) {
        return Status::Invalid("partition ", std::to_string(i), ": expected rows of the file's ", std::to_string(rows),
                               " that no other has, got ", std::to_string(lengths[i]), " from ",
                               std::to_string(offsets[i]));
      }
      left -= lengths[i];
      ivf.partitions.push_back({offsets[i], lengths[i]});
    }
    if (!centroids.empty()) ARROW_RETURN_NOT_OK(ReadCentroids(centroids, lengths.size(), ivf));
    return ivf;
  });
}

}  // namespace pennon::lance_format
