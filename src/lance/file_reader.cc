#include "lance/file_reader.h"

#include <algorithm>
#include <cstring>

#include "lance/array_encoding.h"
#include "lance/file_messages.h"
#include "lance/little_endian.h"
#include "lance/read_fields.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

constexpr uint64_t kFooterBytes = 40;
constexpr uint64_t kPlaceBytes = 16;

// *left: what no page has yet of the file's bytes. Pages may not share them, or a small file would have much in it.
Result<PageInfo> ParsePage(std::string_view message, uint64_t file_size, uint64_t* left) {
  PageInfo page;
  std::vector<uint64_t> offsets;
  std::vector<uint64_t> sizes;
  std::string_view encoding;
  ReadMessage(message, [&](protozero::pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Varint(PageTag::kOffsets):
      case Bytes(PageTag::kOffsets): return Take(reader, offsets), true;
      case Varint(PageTag::kSizes):
      case Bytes(PageTag::kSizes): return Take(reader, sizes), true;
      case Varint(PageTag::kLength): return page.rows = reader.get_uint64(), true;
      case Bytes(PageTag::kEncoding): return encoding = View(reader.get_view()), true;
      default: return false;
    }
  });
  ARROW_ASSIGN_OR_RAISE(auto typed, ParseEncoding(encoding));
  page.type_url = std::move(typed.type_url);
  page.encoding = std::move(typed.value);
  if (offsets.size() != sizes.size()) {
    return Status::Invalid("expected a size for each of ", std::to_string(offsets.size()), " buffers, got ",
                           std::to_string(sizes.size()));
  }
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] > file_size || sizes[i] > file_size - offsets[i]) {
      return Status::Invalid("expected a buffer in ", std::to_string(file_size), " bytes, got ",
                             std::to_string(sizes[i]), " bytes at ", std::to_string(offsets[i]));
    }
    if (sizes[i] > *left) {
      return Status::Invalid("expected buffers of pages that share no bytes, got more than the file's ",
                             std::to_string(file_size), " bytes");
    }
    *left -= sizes[i];
    page.buffers.push_back({offsets[i], sizes[i]});
  }
  return page;
}

Result<std::vector<PageInfo>> ParseColumn(std::string_view message, uint64_t file_size, uint64_t* left) {
  std::vector<PageInfo> pages;
  ARROW_RETURN_NOT_OK(ReadFields(
      message,
      [&](Tag tag, std::string_view part) -> Status {
        if (tag != Tag(ColumnMetadataTag::kPages)) return Status::OK();
        ARROW_ASSIGN_OR_RAISE(auto page, ParsePage(part, file_size, left));
        pages.push_back(std::move(page));
        return Status::OK();
      },
      kNoNumbers));
  uint64_t rows = 0;
  for (const PageInfo& page : pages) {
    if (page.rows > INT64_MAX - rows) return Status::Invalid("expected fewer than 2^63 rows, got more");
    rows += page.rows;
  }
  return pages;
}

}  // namespace

// The end of a file, as far as it was needed.
class FileReader::Tail {
 public:
  // What is quick to read of it is on its way.
  explicit Tail(io::InputFile& file)
      : file_(file), bytes_(std::min(file.size(), file.quick_bytes()), '\0'), begin_(file.size() - bytes_.size()) {
    begun_ = file.StartReads({{begin_, bytes_.size(), bytes_.data()}});
  }
  Status Finish() { return begun_(); }

  // At least from there on.
  Status Reach(uint64_t begin) {
    if (begin >= begin_) return Status::OK();
    std::string more(begin_ - begin, '\0');
    ARROW_RETURN_NOT_OK(file_.ReadAt(begin, more.size(), more.data()));
    bytes_ = std::move(more) + bytes_;
    begin_ = begin;
    return Status::OK();
  }
  // What has been reached.
  std::string_view At(uint64_t offset, uint64_t size) const {
    return std::string_view(bytes_).substr(offset - begin_, size);
  }

 private:
  io::InputFile& file_;
  std::string bytes_;
  uint64_t begin_;
  io::InputFile::Finish begun_;
};

Result<std::shared_ptr<const FileReader>> FileReader::Open(std::unique_ptr<io::InputFile> file,
                                                           arrow::MemoryPool* pool) {
  return Start(std::move(file), pool)();
}

FileReader::Opening FileReader::Start(std::unique_ptr<io::InputFile> file, arrow::MemoryPool* pool) {
  auto reader = std::shared_ptr<FileReader>(new FileReader(std::move(file), pool));
  auto tail = std::make_shared<Tail>(*reader->file_);
  return [reader, tail]() -> Result<std::shared_ptr<const FileReader>> {
    const Status status = Parsed("footer", [&] { return reader->Read(*tail); });
    if (status.ok()) return reader;
    return status.IsIOError() ? status : status.WithMessage(reader->path(), ": ", status.message());
  };
}

Status FileReader::Read(Tail& tail) {
  ARROW_RETURN_NOT_OK(tail.Finish());
  const uint64_t size = file_->size();
  if (size < kFooterBytes) {
    return Status::Invalid("expected a footer of 40 bytes, got a file of ", std::to_string(size));
  }
  const char* footer = tail.At(size - kFooterBytes, kFooterBytes).data();
  if (std::string_view(footer + 36, 4) != "LANC") return Status::Invalid("expected a file that ends in LANC");
  const auto columns_at = Get<uint64_t>(footer);
  const auto buffers_at = Get<uint64_t>(footer + 16);
  const uint64_t buffer_count = Get<uint32_t>(footer + 24);
  const uint64_t column_count = Get<uint32_t>(footer + 28);
  const auto major = Get<uint16_t>(footer + 32);
  const auto minor = Get<uint16_t>(footer + 34);
  // 0.3 is what files of version 2.0 say.
  const bool first = major == 0 && minor == 3;
  if (!first && (major != 2 || minor > 2)) {
    return Status::NotImplemented("expected a file of version 2.0 to 2.2, got ", std::to_string(major), ".",
                                  std::to_string(minor));
  }
  minor_version_ = first ? 0 : minor;
  const uint64_t end = size - kFooterBytes;
  if (buffers_at > end || buffer_count > (end - buffers_at) / kPlaceBytes || column_count > buffers_at / kPlaceBytes ||
      columns_at > buffers_at - column_count * kPlaceBytes) {
    return Status::Invalid("expected a footer of tables in ", std::to_string(size), " bytes, got ",
                           std::to_string(column_count), " columns before and ", std::to_string(buffer_count),
                           " buffers from ", std::to_string(buffers_at));
  }
  const uint64_t columns_table = buffers_at - column_count * kPlaceBytes;
  ARROW_RETURN_NOT_OK(tail.Reach(columns_at));
  const auto places = [&](uint64_t at, uint64_t count, std::vector<io::ByteRange>& to) -> Status {
    for (uint64_t i = 0; i < count; ++i) {
      const char* place = tail.At(at + i * kPlaceBytes, kPlaceBytes).data();
      to.push_back({Get<uint64_t>(place), Get<uint64_t>(place + 8)});
      if (to.back().offset <= size && to.back().length <= size - to.back().offset) continue;
      return Status::Invalid("expected a place in ", std::to_string(size), " bytes, got ",
                             std::to_string(to.back().length), " at ", std::to_string(to.back().offset));
    }
    return Status::OK();
  };
  std::vector<io::ByteRange> columns;
  ARROW_RETURN_NOT_OK(places(columns_table, column_count, columns));
  ARROW_RETURN_NOT_OK(places(buffers_at, buffer_count, global_buffers_));
  if (global_buffers_.empty()) return Status::Invalid("expected a schema, got no global buffers");
  // What begins here is read at once: the schema is close before the columns.
  const io::ByteRange schema = global_buffers_[0];
  if (schema.offset < columns_at && columns_at - schema.offset <= schema.length + file_->quick_bytes()) {
    ARROW_RETURN_NOT_OK(tail.Reach(schema.offset));
    ARROW_RETURN_NOT_OK(ReadDescriptor(tail.At(schema.offset, schema.length)));
  } else {
    ARROW_ASSIGN_OR_RAISE(const auto buffer, ReadGlobalBuffer(0));
    ARROW_RETURN_NOT_OK(ReadDescriptor(std::string_view(*buffer)));
  }
  // They may not share bytes, or a small file would have many pages.
  uint64_t before = columns_at;
  uint64_t left = size;
  for (size_t i = 0; i < columns.size(); ++i) {
    const io::ByteRange& column = columns[i];
    if (column.offset < before || column.offset + column.length > columns_table) {
      return Status::Invalid("expected the columns one after the other, got ", std::to_string(column.length),
                             " bytes at ", std::to_string(column.offset), " for number ", std::to_string(i));
    }
    before = column.offset + column.length;
    auto pages = ParseColumn(tail.At(column.offset, column.length), size, &left);
    if (!pages.ok()) {
      return pages.status().WithMessage("column number ", std::to_string(i), ": ", pages.status().message());
    }
    columns_.push_back(*std::move(pages));
  }
  return Status::OK();
}

Status FileReader::ReadDescriptor(std::string_view descriptor) {
  std::string_view schema;
  ARROW_RETURN_NOT_OK(ReadFields(
      descriptor,
      [&](Tag tag, std::string_view part) {
        if (tag == Tag(FileDescriptorTag::kSchema)) schema = part;
        return Status::OK();
      },
      [&](Tag tag, uint64_t number) {
        if (tag == Tag(FileDescriptorTag::kLength)) rows_ = number;
      }));
  if (rows_ > INT64_MAX) return Status::Invalid("expected fewer than 2^63 rows, got ", std::to_string(rows_));
  return ReadFields(
      schema,
      [&](Tag tag, std::string_view part) -> Status {
        if (tag == Tag(SchemaTag::kFields)) fields_.push_back(ReadField(part));
        if (tag != Tag(SchemaTag::kMetadata)) return Status::OK();
        auto& [key, value] = metadata_.emplace_back();
        return ReadFields(
            part,
            [&](Tag which, std::string_view text) {
              if (which == Tag(EntryTag::kKey)) key = text;
              if (which == Tag(EntryTag::kValue)) value = text;
              return Status::OK();
            },
            kNoNumbers);
      },
      kNoNumbers);
}

const std::string* FileReader::FindMetadata(const std::string& key) const {
  const auto found =
      std::find_if(metadata_.begin(), metadata_.end(), [&](const auto& entry) { return entry.first == key; });
  return found == metadata_.end() ? nullptr : &found->second;
}

Result<std::shared_ptr<arrow::Buffer>> FileReader::ReadGlobalBuffer(size_t buffer) const {
  ARROW_ASSIGN_OR_RAISE(auto reading, StartGlobalBuffer(buffer));
  ARROW_ASSIGN_OR_RAISE(const auto read, reading.Finish());
  return read[0];
}

Result<io::RangesRead> FileReader::StartGlobalBuffer(size_t buffer) const {
  if (buffer >= global_buffers_.size()) {
    return Status::Invalid(path(), ": expected global buffer ", std::to_string(buffer), ", got ",
                           std::to_string(global_buffers_.size()));
  }
  return io::RangesRead::Start(*file_, {&global_buffers_[buffer], 1}, pool_);
}

}  // namespace pennon::lance_format
