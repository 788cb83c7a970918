// Sequences of row ids, as rowids.proto has them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <protozero/pbf_writer.hpp>

namespace pennon {

// A message of one field.
inline std::string OneField(uint32_t tag, const std::string& bytes) {
  std::string message;
  protozero::pbf_writer(message).add_message(tag, bytes);
  return message;
}

// EncodedU64Array of numbers of 2, 4 or 8 bytes, the last without a base.
inline std::string Numbers(size_t width, uint64_t base, const std::vector<uint64_t>& offsets) {
  std::string bytes;
  for (const uint64_t offset : offsets) bytes.append(reinterpret_cast<const char*>(&offset), width);
  std::string array;
  protozero::pbf_writer writer(array);
  if (width < 8) writer.add_uint64(1, base);
  writer.add_bytes(2, bytes);
  return OneField(width == 2 ? 1 : width == 4 ? 2 : 3, array);
}

// Segments of a sequence: put together they are one.
inline std::string IdRange(uint32_t kind, uint64_t start, uint64_t end, const std::string& rest = "") {
  std::string range;
  protozero::pbf_writer writer(range);
  writer.add_uint64(1, start);
  writer.add_uint64(2, end);
  if (!rest.empty()) writer.add_bytes(3, rest);
  return OneField(1, OneField(kind, range));
}
inline std::string IdRange(uint64_t start, uint64_t end) { return IdRange(1, start, end); }
inline std::string IdsWithHoles(uint64_t start, uint64_t end, const std::string& holes) {
  return IdRange(2, start, end, holes);
}
inline std::string IdsOfBitmap(uint64_t start, uint64_t end, const std::string& bitmap) {
  return IdRange(3, start, end, bitmap);
}
inline std::string SortedIds(const std::string& numbers) { return OneField(1, OneField(4, numbers)); }
inline std::string Ids(const std::string& numbers) { return OneField(1, OneField(5, numbers)); }

}  // namespace pennon
