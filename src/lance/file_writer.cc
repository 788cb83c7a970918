#include "lance/file_writer.h"

#include <array>

#include "lance/array_encoding.h"
#include "lance/little_endian.h"
#include "lance/message.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

// Footers of files of version 2.0 say 0.3.
constexpr uint16_t kMajor = 0;
constexpr uint16_t kMinor = 3;
constexpr uint64_t kAlignment = 64;

// file2.proto.
enum class FileDescriptorTag : Tag { kSchema = 1, kLength = 2 };
enum class ColumnMetadataTag : Tag { kEncoding = 1, kPages = 2 };
enum class PageTag : Tag { kOffsets = 1, kSizes = 2, kLength = 3, kEncoding = 4, kPriority = 5 };
// file.proto.
enum class SchemaTag : Tag { kFields = 1, kMetadata = 5 };
enum class EntryTag : Tag { kKey = 1, kValue = 2 };

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

}  // namespace

FileWriter::FileWriter(std::unique_ptr<io::OutputFile> file, std::shared_ptr<arrow::Schema> schema,
                       std::vector<Field> fields, const PageOptions& options)
    : file_(std::move(file)),
      schema_(std::move(schema)),
      fields_(std::move(fields)),
      sink_([this](const Page& page) { return WritePage(page); }) {
  int32_t columns = 0;
  PageOptions pages = options;
  if (pages.pool == nullptr) pages.pool = arrow::default_memory_pool();
  for (const auto& field : schema_->fields()) encoders_.push_back(MakeEncoder(*field->type(), columns, sink_, pages));
  columns_.resize(static_cast<size_t>(columns), Message<ColumnMetadataTag>([](auto& column) {
                    column.add_message(ColumnMetadataTag::kEncoding, ColumnEncoding());
                  }));
}

Result<std::unique_ptr<FileWriter>> FileWriter::Make(std::unique_ptr<io::OutputFile> file,
                                                     const std::shared_ptr<arrow::Schema>& schema,
                                                     const PageOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto fields, MakeFields(*schema));
  return std::unique_ptr<FileWriter>(new FileWriter(std::move(file), schema, std::move(fields), options));
}

Status FileWriter::Write(const arrow::RecordBatch& batch) {
  if (!batch.schema()->Equals(*schema_, /*check_metadata=*/false)) {
    return Status::Invalid("batch: expected the schema ", schema_->ToString(), ", got ", batch.schema()->ToString());
  }
  for (int i = 0; i < batch.num_columns(); ++i) {
    if (!schema_->field(i)->nullable() && batch.column(i)->null_count() > 0) {
      return Status::Invalid("column ", batch.column_name(i), ": expected no nulls, as its field says, got ",
                             std::to_string(batch.column(i)->null_count()));
    }
  }
  for (int i = 0; i < batch.num_columns(); ++i) {
    const Status status = encoders_[static_cast<size_t>(i)]->Append(*batch.column(i), rows_);
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
  protozero::pbf_builder<ColumnMetadataTag> column(columns_[static_cast<size_t>(page.column)]);
  column.add_message(ColumnMetadataTag::kPages, Message<PageTag>([&](auto& message) {
                       message.add_packed_uint64(PageTag::kOffsets, offsets.begin(), offsets.end());
                       message.add_packed_uint64(PageTag::kSizes, sizes.begin(), sizes.end());
                       message.add_uint64(PageTag::kLength, page.rows);
                       message.add_message(PageTag::kEncoding, PageEncoding(page.encoding));
                       message.add_uint64(PageTag::kPriority, page.first_row);
                     }));
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
  for (const std::string& column : columns_) {
    Put(places, position_ + tail.size());
    Put(places, uint64_t{column.size()});
    tail += column;
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
  Put(tail, kMajor);
  Put(tail, kMinor);
  tail += "LANC";
  ARROW_RETURN_NOT_OK(file_->Write(tail));
  ARROW_RETURN_NOT_OK(file_->Close());
  return position_ + tail.size();
}

}  // namespace pennon::lance_format
