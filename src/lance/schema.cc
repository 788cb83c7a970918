#include "lance/schema.h"

#include <arrow/type_traits.h>

#include "lance/message.h"

namespace pennon::lance_format {
namespace {

using arrow::DataType;
using arrow::Result;
using arrow::Status;

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

// Lance's name of a type, or an empty string.
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
    case Type::DECIMAL128: {
      const auto& decimal = static_cast<const arrow::Decimal128Type&>(type);
      return "decimal:128:" + std::to_string(decimal.precision()) + ":" + std::to_string(decimal.scale());
    }
    case Type::FIXED_SIZE_BINARY: {
      const int32_t width = static_cast<const arrow::FixedSizeBinaryType&>(type).byte_width();
      return width == 0 ? "" : "fixed_size_binary:" + std::to_string(width);
    }
    case Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
      const bool fits = arrow::is_integer(list.value_type()->id()) || arrow::is_floating(list.value_type()->id());
      if (!fits || list.list_size() == 0) return "";
      return "fixed_size_list:" + LogicalType(*list.value_type()) + ":" + std::to_string(list.list_size());
    }
    default: return "";
  }
}

Status AddField(const arrow::Field& field, int32_t parent, const std::string& path, std::vector<Field>& fields) {
  const DataType& type = *field.type();
  std::string logical = LogicalType(type);
  if (logical.empty()) {
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
    ARROW_RETURN_NOT_OK(AddField(*named, id, path + "." + named->name(), fields));
  }
  return Status::OK();
}

}  // namespace

Result<std::vector<Field>> MakeFields(const arrow::Schema& schema) {
  std::vector<Field> fields;
  for (const auto& field : schema.fields()) {
    // Lance refuses both when it goes on with the table.
    if (field->name().find('.') != std::string::npos) {
      return Status::Invalid("column ", field->name(), ": expected a name without '.'");
    }
    if (schema.GetAllFieldIndices(field->name()).size() > 1) {
      return Status::Invalid("column ", field->name(), ": expected one of that name");
    }
    ARROW_RETURN_NOT_OK(AddField(*field, -1, field->name(), fields));
  }
  return fields;
}

std::string ToMessage(const Field& field) {
  enum class FieldTag : Tag { kName = 2, kId = 3, kParentId = 4, kLogicalType = 5, kNullable = 6 };
  return Message<FieldTag>([&](auto& message) {
    message.add_string(FieldTag::kName, field.name);
    message.add_int32(FieldTag::kId, field.id);
    message.add_int32(FieldTag::kParentId, field.parent);
    message.add_string(FieldTag::kLogicalType, field.logical_type);
    message.add_bool(FieldTag::kNullable, field.nullable);
  });
}

}  // namespace pennon::lance_format
