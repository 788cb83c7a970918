// Protocol buffer messages as strings. Field numbers are enums beside where they are used, after the .proto file of
// lance-format/lance 14.0.2 that declares them.
#pragma once

#include <string>
#include <string_view>

#include <protozero/pbf_builder.hpp>
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

// google.protobuf.Any. Lance's type URLs begin with a slash.
inline std::string Any(std::string_view type_url, const std::string& value) {
  enum class AnyTag : Tag { kTypeUrl = 1, kValue = 2 };
  return Message<AnyTag>([&](auto& any) {
    any.add_string(AnyTag::kTypeUrl, type_url.data(), type_url.size());
    any.add_bytes(AnyTag::kValue, value);
  });
}

}  // namespace pennon::lance_format
