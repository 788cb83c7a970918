#include "lance/schema.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include <arrow/type_traits.h>

#include "lance/message.h"
#include "lance/page_decoder.h"
#include "lance/utf8.h"

namespace pennon::lance_format {
namespace {

using arrow::DataType;
using arrow::Result;
using arrow::Status;

enum class FieldTag : Tag { kName = 2, kId = 3, kParentId = 4, kLogicalType = 5, kNullable = 6 };

constexpr size_t kDeepest = 64;  // of parents, which others walk by recursion

const char* Unit(const DataType& type) {
  const auto unit = type.id() == arrow::Type::TIMESTAMP  ? static_cast<const arrow::TimestampType&>(type).unit()
                    : type.id() == arrow::Type::DURATION ? static_cast<const arrow::DurationType&>(type).unit()
                                                         : static_cast<const arrow::TimeType&>(type).unit();
  switch (unit) {
    case arrow::TimeUnit::SECOND: return "s";
    case arrow::TimeUnit::MILLI: return "ms";
    case arrow::TimeUnit::MICRO: return "us";
    case arrow::TimeUnit::NANO: break;
  }
  return "ns";
}

// Lance's name of a type, or an empty string; of lists of a fixed size only if all in them is of one width.
std::string LogicalType(const DataType& type) {
  using arrow::Type;
  switch (type.id()) {
    case Type::BOOL:
    case Type::INT8:
    case Type::INT16:
    case Type::INT32:
    case Type::INT64:
    case Type::UINT8:
    case Type::UINT16:
    case Type::UINT32:
    case Type::UINT64:
    case Type::HALF_FLOAT:
    case Type::FLOAT:
    case Type::DOUBLE:
    case Type::BINARY:
    case Type::LARGE_BINARY:
    case Type::LIST:
    case Type::LARGE_LIST:
    case Type::NA:
    case Type::MAP:
    case Type::STRUCT: return type.name();
    case Type::STRING: return "string";
    case Type::LARGE_STRING: return "large_string";
    case Type::DATE32: return "date32:day";
    case Type::DATE64: return "date64:ms";
    case Type::TIME32: return std::string("time32:") + Unit(type);
    case Type::TIME64: return std::string("time64:") + Unit(type);
    case Type::DURATION: return std::string("duration:") + Unit(type);
    case Type::TIMESTAMP: {
      const std::string& zone = static_cast<const arrow::TimestampType&>(type).timezone();
      return std::string("timestamp:") + Unit(type) + ":" + (zone.empty() ? "-" : zone);
    }
    case Type::DECIMAL128:
    case Type::DECIMAL256: {
      const auto& decimal = static_cast<const arrow::DecimalType&>(type);
      return "decimal:" + std::to_string(decimal.bit_width()) + ":" + std::to_string(decimal.precision()) + ":" +
             std::to_string(decimal.scale());
    }
    case Type::FIXED_SIZE_BINARY: {
      const int32_t width = static_cast<const arrow::FixedSizeBinaryType&>(type).byte_width();
      return width == 0 ? "" : "fixed_size_binary:" + std::to_string(width);
    }
    case Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
      const std::string item = WidthOf(*list.value_type()) > 0 ? LogicalType(*list.value_type()) : "";
      return item.empty() || list.list_size() == 0 ? ""
                                                   : "fixed_size_list:" + item + ":" + std::to_string(list.list_size());
    }
    default: return "";
  }
}

bool IsWritten(const DataType& type) {
  using arrow::Type;
  switch (type.id()) {
    case Type::NA:
    case Type::MAP:
    case Type::DECIMAL256: return false;
    case Type::FIXED_SIZE_LIST: {
      const Type::type item = static_cast<const arrow::FixedSizeListType&>(type).value_type()->id();
      return arrow::is_integer(item) || arrow::is_floating(item);
    }
    default: return true;
  }
}

constexpr std::string_view kDictionary = "dict:";

Status AddField(const arrow::Field& field, int32_t parent, const std::string& path, std::vector<Field>& fields,
                size_t depth = 0) {
  if (depth > kDeepest)
    return Status::NotImplemented("column ", path, ": expected at most ", std::to_string(kDeepest), " parents");
  // Arrow's C interface cuts it there.
  if (field.name().find('\0') != std::string::npos) {
    return Status::Invalid("column ", path.substr(0, path.find('\0')), "...: expected a name without a zero byte");
  }
  const DataType& type = *field.type();
  std::string logical = LogicalType(type);
  if (logical.empty() || !IsWritten(type)) {
    return Status::NotImplemented("column ", path, ": expected a type that Lance's writer here knows, got ",
                                  type.ToString());
  }
  const auto id = static_cast<int32_t>(fields.size());
  fields.push_back({field.name(), id, parent, std::move(logical), field.nullable()});
  if (type.id() == arrow::Type::FIXED_SIZE_LIST) return Status::OK();
  const bool list = type.id() == arrow::Type::LIST || type.id() == arrow::Type::LARGE_LIST;
  for (const auto& child : type.fields()) {
    // Parquet's and Arrow's names of items differ; Lance knows "item" alone.
    const auto& named = list ? child->WithName("item") : child;
    ARROW_RETURN_NOT_OK(AddField(*named, id, path + "." + named->name(), fields, depth + 1));
  }
  return Status::OK();
}

// The types that a name alone tells.
const arrow::DataTypeVector& PlainTypes() {
  using arrow::TimeUnit;
  static const arrow::DataTypeVector types = {
      arrow::null(),
      arrow::boolean(),
      arrow::int8(),
      arrow::int16(),
      arrow::int32(),
      arrow::int64(),
      arrow::uint8(),
      arrow::uint16(),
      arrow::uint32(),
      arrow::uint64(),
      arrow::float16(),
      arrow::float32(),
      arrow::float64(),
      arrow::utf8(),
      arrow::large_utf8(),
      arrow::binary(),
      arrow::large_binary(),
      arrow::date32(),
      arrow::date64(),
      arrow::time32(TimeUnit::SECOND),
      arrow::time32(TimeUnit::MILLI),
      arrow::time64(TimeUnit::MICRO),
      arrow::time64(TimeUnit::NANO),
      arrow::duration(TimeUnit::SECOND),
      arrow::duration(TimeUnit::MILLI),
      arrow::duration(TimeUnit::MICRO),
      arrow::duration(TimeUnit::NANO),
  };
  return types;
}

// 1 to 2^31 - 1; 0 if it is none of these.
int32_t Number(std::string_view digits) {
  int32_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return error == std::errc() && end == digits.data() + digits.size() ? std::max(number, 0) : 0;
}

// What follows a prefix, which is taken off.
bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

constexpr int kDeepestLists = 8;  // of a fixed size, in each other

// Of a name, or null. What it takes that is not quite such a name, LogicalType tells.
std::shared_ptr<DataType> LeafType(std::string_view name, int depth = 0) {
  for (const auto& type : PlainTypes()) {
    if (LogicalType(*type) == name) return type;
  }
  const size_t colon = name.rfind(':');
  if (colon == std::string_view::npos) return nullptr;
  const std::string_view last = name.substr(colon + 1);
  if (TakePrefix(name, "timestamp:")) {
    constexpr std::pair<std::string_view, arrow::TimeUnit::type> kUnits[] = {{"s:", arrow::TimeUnit::SECOND},
                                                                             {"ms:", arrow::TimeUnit::MILLI},
                                                                             {"us:", arrow::TimeUnit::MICRO},
                                                                             {"ns:", arrow::TimeUnit::NANO}};
    for (const auto& [unit_name, unit] : kUnits) {
      if (TakePrefix(name, unit_name)) return arrow::timestamp(unit, name == "-" ? "" : std::string(name));
    }
    return nullptr;
  }
  const bool wide = TakePrefix(name, "decimal:256:");
  if (wide || TakePrefix(name, "decimal:128:")) {
    const int32_t digits = Number(name.substr(0, name.find(':')));
    int32_t scale = 0;
    std::from_chars(last.data(), last.data() + last.size(), scale);
    return (wide ? arrow::Decimal256Type::Make(digits, scale) : arrow::Decimal128Type::Make(digits, scale))
        .ValueOr(nullptr);
  }
  const int32_t size = Number(last);
  if (size == 0) return nullptr;
  if (TakePrefix(name, "fixed_size_binary:")) return arrow::fixed_size_binary(size);
  if (depth < kDeepestLists && TakePrefix(name, "fixed_size_list:")) {
    const auto item = LeafType(name.substr(0, name.size() - last.size() - 1), depth + 1);
    // Bits of a value are counted in 64.
    if (item && WidthOf(*item) > 0 && WidthOf(*item) <= UINT32_MAX) return arrow::fixed_size_list(item, size);
  }
  return nullptr;
}

// Of what is in an Arrow dictionary, which is read as its values; or null.
std::shared_ptr<DataType> DictionaryType(std::string_view name) {
  // dict:VALUE:INDEX:ORDERED
  if (!TakePrefix(name, kDictionary)) return nullptr;
  name = name.substr(0, name.rfind(':'));
  const auto index = LeafType(name.substr(std::min(name.rfind(':'), name.size() - 1) + 1));
  if (!index || !arrow::is_integer(index->id())) return nullptr;
  name = name.substr(0, name.rfind(':'));
  auto type = LeafType(name);
  return type && LogicalType(*type) == name ? type : nullptr;
}

Result<std::shared_ptr<DataType>> TypeOf(const Field& field, const arrow::FieldVector& children) {
  const std::string_view name = field.logical_type;
  const bool list = name == "list" || name == "list.struct";
  const bool large_list = name == "large_list" || name == "large_list.struct";
  if (name == "struct") return arrow::struct_(children);
  if ((list || large_list) && children.size() == 1) {
    return list ? arrow::list(children[0]) : arrow::large_list(children[0]);
  }
  if (name == "map" && children.size() == 1) {
    auto map = arrow::MapType::Make(children[0]);
    if (map.ok()) return *map;
  }
  if (children.empty() && !list && !large_list) {
    auto type = DictionaryType(name);
    if (type != nullptr) return type;
    type = LeafType(name);
    if (type != nullptr && LogicalType(*type) == name) return type;
  }
  return Status::NotImplemented("column ", field.name, ": expected a type that is known here, got \"", name, "\" with ",
                                std::to_string(children.size()), " fields");
}

}  // namespace

bool IsDictionary(const Field& field) { return field.logical_type.starts_with(kDictionary); }

Result<std::vector<Field>> MakeFields(const arrow::Schema& schema) {
  std::vector<Field> fields;
  for (const auto& field : schema.fields()) {
    // Lance refuses all of these when it goes on with the table, or panics.
    if (field->name().empty()) return Status::Invalid("column: expected a name, got an empty one");
    if (field->name().find_first_of(".`") != std::string::npos) {
      return Status::Invalid("column ", field->name(), ": expected a name without '.' and '`'");
    }
    if (schema.GetAllFieldIndices(field->name()).size() > 1) {
      return Status::Invalid("column ", field->name(), ": expected one of that name");
    }
    ARROW_RETURN_NOT_OK(AddField(*field, -1, field->name(), fields));
  }
  return fields;
}

Result<std::shared_ptr<arrow::Schema>> MakeSchema(const std::vector<Field>& fields) {
  // From the last on, so that the children of each are there.
  std::map<int32_t, size_t> places;
  std::vector<size_t> depths;
  for (size_t i = 0; i < fields.size(); ++i) {
    // As all strings of protocol buffers.
    if (!IsUtf8(fields[i].name) || !IsUtf8(fields[i].logical_type)) {
      return Status::Invalid("column of id ", std::to_string(fields[i].id), ": expected names in UTF-8");
    }
    const auto parent = places.find(fields[i].parent);
    if (fields[i].parent != -1 && parent == places.end()) {
      return Status::Invalid("column ", fields[i].name, ": expected its parent before it, got id ",
                             std::to_string(fields[i].parent));
    }
    depths.push_back(fields[i].parent == -1 ? 0 : depths[parent->second] + 1);
    if (depths.back() > kDeepest) {
      return Status::NotImplemented("column ", fields[i].name, ": expected at most ", std::to_string(kDeepest),
                                    " parents");
    }
    if (fields[i].id < 0 || !places.emplace(fields[i].id, i).second) {
      return Status::Invalid("column ", fields[i].name, ": expected an id of its own, got ",
                             std::to_string(fields[i].id));
    }
  }
  std::vector<arrow::FieldVector> children(fields.size());  // last first
  arrow::FieldVector columns;
  for (size_t i = fields.size(); i-- > 0;) {
    std::reverse(children[i].begin(), children[i].end());
    ARROW_ASSIGN_OR_RAISE(auto type, TypeOf(fields[i], children[i]));
    auto& siblings = fields[i].parent == -1 ? columns : children[places[fields[i].parent]];
    siblings.push_back(arrow::field(fields[i].name, std::move(type), fields[i].nullable));
  }
  std::reverse(columns.begin(), columns.end());
  return arrow::schema(std::move(columns));
}

std::string ToMessage(const Field& field) {
  return Message<FieldTag>([&](auto& message) {
           message.add_string(FieldTag::kName, field.name);
           message.add_int32(FieldTag::kId, field.id);
           message.add_int32(FieldTag::kParentId, field.parent);
           message.add_string(FieldTag::kLogicalType, field.logical_type);
           message.add_bool(FieldTag::kNullable, field.nullable);
         }) +
         field.others;
}

Field ReadField(std::string_view bytes) {
  Field field{.parent = 0, .nullable = false};  // what a message without them means
  field.others = ReadMessage(bytes, [&](protozero::pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Bytes(FieldTag::kName): return field.name = reader.get_string(), true;
      case Varint(FieldTag::kId): return field.id = reader.get_int32(), true;
      case Varint(FieldTag::kParentId): return field.parent = reader.get_int32(), true;
      case Bytes(FieldTag::kLogicalType): return field.logical_type = reader.get_string(), true;
      case Varint(FieldTag::kNullable): return field.nullable = reader.get_bool(), true;
      default: return false;
    }
  });
  return field;
}

}  // namespace pennon::lance_format
