// Protocol buffer messages as strings. Field numbers are enums beside where they are used, after the .proto file of
// lance-format/lance 14.0.2 that declares them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>
#include <protozero/exception.hpp>
#include <protozero/pbf_builder.hpp>
#include <protozero/pbf_reader.hpp>
#include <protozero/types.hpp>

namespace pennon::lance_format {

using Tag = protozero::pbf_tag_type;

// What fill(builder) writes.
template <typename Tags, typename Fill>
std::string Message(Fill&& fill) {
  std::string bytes;
  protozero::pbf_builder<Tags> builder(bytes);
  fill(builder);
  return bytes;
}

// What a reader's tag_and_type() is at a field of that number and wire type.
template <typename Tags>
constexpr uint32_t Varint(Tags tag) {
  return protozero::tag_and_type(tag, protozero::pbf_wire_type::varint);
}
template <typename Tags>
constexpr uint32_t Bytes(Tags tag) {
  return protozero::tag_and_type(tag, protozero::pbf_wire_type::length_delimited);
}

// Calls take(reader) at each field of the message, which takes the value and returns true, or false. What is not taken
// is returned as it was, so that it may be written again. Throws protozero::exception at what is no message.
template <typename Take>
std::string ReadMessage(std::string_view bytes, Take&& take) {
  std::string others;
  protozero::pbf_reader reader(bytes.data(), bytes.size());
  while (true) {
    const char* start = reader.data().data();
    if (!reader.next()) return others;
    if (take(reader)) continue;
    reader.skip();
    others.append(start, reader.data().data());
  }
}

inline std::string_view View(protozero::data_view bytes) { return {bytes.data(), bytes.size()}; }

// A value of a repeated field, or several, packed.
inline void Take(protozero::pbf_reader& reader, std::vector<int32_t>& values) {
  if (reader.wire_type() == protozero::pbf_wire_type::varint) {
    values.push_back(reader.get_int32());
    return;
  }
  const auto packed = reader.get_packed_int32();
  values.insert(values.end(), packed.begin(), packed.end());
}
inline void Take(protozero::pbf_reader& reader, std::vector<uint64_t>& values) {
  if (reader.wire_type() == protozero::pbf_wire_type::varint) {
    values.push_back(reader.get_uint64());
    return;
  }
  const auto packed = reader.get_packed_uint64();
  values.insert(values.end(), packed.begin(), packed.end());
}

// What parse() returns; Invalid, naming what it is, if that finds no message.
template <typename Parse>
auto Parsed(std::string_view what, Parse&& parse) -> decltype(parse()) {
  try {
    return parse();
  } catch (const protozero::exception& error) {
    return arrow::Status::Invalid(what, ": expected a protocol buffer message: ", error.what());
  }
}

// google.protobuf.Any. Lance's type URLs begin with a slash.
enum class AnyTag : Tag { kTypeUrl = 1, kValue = 2 };
inline std::string Any(std::string_view type_url, const std::string& value) {
  return Message<AnyTag>([&](auto& any) {
    any.add_string(AnyTag::kTypeUrl, type_url.data(), type_url.size());
    any.add_bytes(AnyTag::kValue, value);
  });
}

}  // namespace pennon::lance_format
