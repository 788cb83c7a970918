#include "lance/file_writer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "lance/array_encoding.h"
#include "lance/file_messages.h"
#include "lance/little_endian.h"
#include "lance/required_fields.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

constexpr uint64_t kAlignment = 64;

std::string FileDescriptor(const std::vector<Field>& fields, const Metadata& metadata, uint64_t rows) {
  const std::string schema = Message<SchemaTag>([&](auto& message) {
    for (const Field& field : fields) message.add_message(SchemaTag::kFields, ToMessage(field));
    for (const auto& [key, value] : metadata) {
      message.add_message(SchemaTag::kMetadata, Message<EntryTag>([&](auto& entry) {
                            entry.add_string(EntryTag::kKey, key);
                            entry.add_bytes(EntryTag::kValue, value);
                          }));
    }
  });
  return Message<FileDescriptorTag>([&](auto& file) {
    file.add_message(FileDescriptorTag::kSchema, schema);
    file.add_uint64(FileDescriptorTag::kLength, rows);
  });
}

// A struct without fields has no column to say where it is null, and the width of values is a number of 32 bits.
Status CheckZips(const arrow::DataType& type, const std::string& path) {
  if (type.id() == arrow::Type::STRUCT && type.num_fields() == 0) {
    return Status::NotImplemented("column ", path, ": expected a struct of at least one field, got ", type.ToString());
  }
  if (type.id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
    if (int64_t{list.list_size()} * (list.value_type()->bit_width() + 1) + 8 > std::numeric_limits<uint32_t>::max()) {
      return Status::NotImplemented("column ", path, ": expected values of less than 2^32 bits, got ", type.ToString());
    }
  }
  for (const auto& field : type.fields()) ARROW_RETURN_NOT_OK(CheckZips(*field->type(), path + "." + field->name()));
  return Status::OK();
}

// Whether values of one field may be among the other's: what has no nulls may be where there may be some. Files do not
// say whether numbers of a fixed-size list may be null, so that a table's schema is not always the one it was made
// with.
bool Fits(const arrow::Field& from, const arrow::Field& to) {
  const arrow::DataType& type = *from.type();
  const arrow::Type::type id = type.id();
  if ((from.nullable() && !to.nullable()) || id != to.type()->id()) return false;
  const bool lists = id == arrow::Type::LIST || id == arrow::Type::LARGE_LIST || id == arrow::Type::FIXED_SIZE_LIST;
  if (!lists && id != arrow::Type::STRUCT) return type.Equals(*to.type());
  if (type.num_fields() != to.type()->num_fields()) return false;
  if (id == arrow::Type::FIXED_SIZE_LIST && static_cast<const arrow::FixedSizeListType&>(type).list_size() !=
                                                static_cast<const arrow::FixedSizeListType&>(*to.type()).list_size()) {
    return false;
  }
  for (int i = 0; i < type.num_fields(); ++i) {
    const arrow::Field& child = *type.field(i);
    const arrow::Field& place = *to.type()->field(i);
    if ((!lists && child.name() != place.name()) || !Fits(child, place)) return false;
  }
  return true;
}

}  // namespace

Status CheckFits(const arrow::Schema& from, const arrow::Schema& to) {
  bool fits = from.num_fields() == to.num_fields();
  for (int i = 0; fits && i < from.num_fields(); ++i) {
    fits = from.field(i)->name() == to.field(i)->name() && Fits(*from.field(i), *to.field(i));
  }
  return fits ? Status::OK() : Status::Invalid("batch: expected the schema ", to.ToString(), ", got ", from.ToString());
}

FileWriter::FileWriter(std::unique_ptr<io::OutputFile> file, std::shared_ptr<arrow::Schema> schema,
                       std::vector<Field> fields, const PageOptions& options)
    : file_(std::move(file)),
      schema_(std::move(schema)),
      fields_(std::move(fields)),
      version_(options.version),
      sink_([this](const Page& page) { return WritePage(page); }) {
  int32_t columns = 0;
  PageOptions pages = options;
  if (pages.pool == nullptr) pages.pool = arrow::default_memory_pool();
  for (const auto& field : schema_->fields()) encoders_.push_back(MakeEncoder(*field->type(), columns, sink_, pages));
  const std::string empty = Message<ColumnMetadataTag>(
      [](auto& column) { column.add_message(ColumnMetadataTag::kEncoding, ColumnEncoding()); });
  columns_.resize(static_cast<size_t>(columns), {.metadata = empty});
  for (size_t i = 0; i < fields_.size(); ++i) {
    // Its first field would follow it.
    const bool parent = i + 1 < fields_.size() && fields_[i + 1].parent == fields_[i].id;
    if (version_ == FileVersion::k2_0 || !parent) column_fields_.push_back(fields_[i].id);
  }
}

Result<std::unique_ptr<FileWriter>> FileWriter::Make(std::unique_ptr<io::OutputFile> file,
                                                     const std::shared_ptr<arrow::Schema>& schema,
                                                     const PageOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto fields, MakeFields(*schema));
  if (options.version == FileVersion::k2_2) {
    for (const auto& field : schema->fields()) ARROW_RETURN_NOT_OK(CheckZips(*field->type(), field->name()));
  }
  return std::unique_ptr<FileWriter>(new FileWriter(std::move(file), schema, std::move(fields), options));
}

Status FileWriter::Write(const arrow::RecordBatch& batch) {
  ARROW_RETURN_NOT_OK(CheckFits(*batch.schema(), *schema_));
  ARROW_RETURN_NOT_OK(batch.Validate());  // Arrow's C interface takes what another library says
  for (int i = 0; i < batch.num_columns(); ++i) {
    ARROW_RETURN_NOT_OK(CheckRequired(*schema_->field(i), *batch.column(i)));
  }
  for (int i = 0; i < batch.num_columns(); ++i) {
    const Status status = encoders_[static_cast<size_t>(i)]->Append(*batch.column(i));
    if (!status.ok()) return status.WithMessage("column ", batch.column_name(i), ": ", status.message());
  }
  rows_ += static_cast<uint64_t>(batch.num_rows());
  return Status::OK();
}

Result<FileWriter::Place> FileWriter::WriteAligned(std::string_view bytes) {
  static constexpr std::array<char, kAlignment> kPadding = {};
  const uint64_t padding = (kAlignment - position_ % kAlignment) % kAlignment;
  ARROW_RETURN_NOT_OK(file_->Write({kPadding.data(), padding}));
  ARROW_RETURN_NOT_OK(file_->Write(bytes));
  const Place place{position_ + padding, bytes.size()};
  position_ = place.position + place.size;
  return place;
}

Status FileWriter::WritePage(const Page& page) {
  std::vector<uint64_t> offsets;
  std::vector<uint64_t> sizes;
  for (std::string_view buffer : page.buffers) {
    ARROW_ASSIGN_OR_RAISE(const Place place, WriteAligned(buffer));
    offsets.push_back(place.position);
    sizes.push_back(place.size);
  }
  Column& into = columns_[static_cast<size_t>(page.column)];
  const bool layout = version_ == FileVersion::k2_2;
  protozero::pbf_builder<ColumnMetadataTag> column(into.metadata);
  column.add_message(ColumnMetadataTag::kPages, Message<PageTag>([&](auto& message) {
                       message.add_packed_uint64(PageTag::kOffsets, offsets.begin(), offsets.end());
                       message.add_packed_uint64(PageTag::kSizes, sizes.begin(), sizes.end());
                       message.add_uint64(PageTag::kLength, page.rows);
                       message.add_message(PageTag::kEncoding,
                                           layout ? LayoutEncoding(page.encoding) : PageEncoding(page.encoding));
                       // The table's row at which it begins; Lance leaves it out of 2.0.
                       message.add_uint64(PageTag::kPriority, layout ? into.rows : 0);
                     }));
  into.rows += page.rows;
  return Status::OK();
}

Status FileWriter::AddGlobalBuffer(std::string_view bytes) {
  ARROW_ASSIGN_OR_RAISE(const Place place, WriteAligned(bytes));
  global_buffers_.push_back(place);
  return Status::OK();
}

Result<uint64_t> FileWriter::Close(const Metadata& metadata) {
  for (const auto& encoder : encoders_) ARROW_RETURN_NOT_OK(encoder->Flush());
  ARROW_ASSIGN_OR_RAISE(const Place schema, WriteAligned(FileDescriptor(fields_, metadata, rows_)));
  std::string tail;
  std::string places;
  for (const Column& column : columns_) {
    Put(places, position_ + tail.size());
    Put(places, uint64_t{column.metadata.size()});
    tail += column.metadata;
  }
  const uint64_t columns_at = position_;
  const uint64_t places_at = position_ + tail.size();
  const uint64_t buffers_at = places_at + places.size();
  tail += places;
  global_buffers_.insert(global_buffers_.begin(), schema);
  for (const Place& buffer : global_buffers_) {
    Put(tail, buffer.position);
    Put(tail, buffer.size);
  }
  Put(tail, columns_at);
  Put(tail, places_at);
  Put(tail, buffers_at);
  Put(tail, static_cast<uint32_t>(global_buffers_.size()));
  Put(tail, static_cast<uint32_t>(columns_.size()));
  // Footers of files of version 2.0 say 0.3.
  const bool old = version_ == FileVersion::k2_0;
  Put(tail, static_cast<uint16_t>(old ? 0 : 2));
  Put(tail, static_cast<uint16_t>(old ? 3 : 2));
  tail += "LANC";
  ARROW_RETURN_NOT_OK(file_->Write(tail));
  ARROW_RETURN_NOT_OK(file_->Close());
  return position_ + tail.size();
}

}  // namespace pennon::lance_format
