// Messages field by field, where each is one of a few kinds. All throw protozero::exception at what is no message,
// which Parsed of message.h makes an error.
#pragma once

#include <cstdint>
#include <string_view>

#include <arrow/status.h>

#include "lance/message.h"

namespace pennon::lance_format {

// The field of a oneof that is there last, as in protocol buffers.
struct OneOf {
  Tag tag = 0;
  std::string_view message;
};
inline OneOf TakeOneOf(std::string_view bytes) {
  OneOf found;
  ReadMessage(bytes, [&](protozero::pbf_reader& reader) {
    if (reader.wire_type() != protozero::pbf_wire_type::length_delimited) return false;
    found.tag = reader.tag();
    found.message = View(reader.get_view());
    return true;
  });
  return found;
}

// Calls take(tag, message) for messages, and take(tag, number) for numbers.
template <typename OnMessage, typename OnNumber>
arrow::Status ReadFields(std::string_view bytes, OnMessage&& on_message, OnNumber&& on_number) {
  arrow::Status status;
  ReadMessage(bytes, [&](protozero::pbf_reader& reader) {
    if (reader.wire_type() == protozero::pbf_wire_type::varint) {
      const Tag tag = reader.tag();
      on_number(tag, reader.get_uint64());
      return true;
    }
    if (reader.wire_type() != protozero::pbf_wire_type::length_delimited) return false;
    const Tag tag = reader.tag();
    const std::string_view message = View(reader.get_view());
    if (status.ok()) status = on_message(tag, message);
    return true;
  });
  return status;
}

inline constexpr auto kNoMessages = [](Tag, std::string_view) { return arrow::Status::OK(); };
inline constexpr auto kNoNumbers = [](Tag, uint64_t) {};

}  // namespace pennon::lance_format
