#include "lance/manifest.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "lance/little_endian.h"
#include "lance/message.h"
#include "lance/roaring.h"
#include "lance/utf8.h"
#include "pennon/version.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using protozero::pbf_reader;

constexpr int64_t kSecond = 1000000000;  // in nanoseconds
constexpr size_t kTailBytes = 16;        // of a manifest file: where the message is, a version of files, LANC

// table.proto.
enum class ManifestTag : Tag {
  kFields = 1,
  kFragments = 2,
  kVersion = 3,
  kAuxiliaryData = 4,
  kSchemaMetadata = 5,
  kIndexSection = 6,
  kTimestamp = 7,
  kTag = 8,
  kReaderFlags = 9,
  kWriterFlags = 10,
  kMaxFragmentId = 11,
  kTransactionFile = 12,
  kWriterVersion = 13,
  kNextRowId = 14,
  kDataFormat = 15,
  kTransactionSectionUntil13 = 21,  // of Lance's versions
  kTransactionSection = 23,
};
enum class TimestampTag : Tag { kSeconds = 1, kNanos = 2 };
enum class WriterVersionTag : Tag { kLibrary = 1, kVersion = 2 };
enum class DataFormatTag : Tag { kFileFormat = 1, kVersion = 2 };
// Row ids are of all physical rows. Lance 14 writes them inline, however many there are.
enum class FragmentTag : Tag {
  kId = 1,
  kFiles = 2,
  kDeletionFile = 3,
  kPhysicalRows = 4,
  kInlineRowIds = 5,
  kExternalRowIds = 6,
};
enum class ExternalFileTag : Tag { kPath = 1, kOffset = 2, kSize = 3 };
enum class DataFileTag : Tag {
  kPath = 1,
  kFields = 2,
  kColumnIndices = 3,
  kMajorVersion = 4,
  kMinorVersion = 5,
  kSize = 6,
};
enum class DeletionFileTag : Tag { kType = 1, kReadVersion = 2, kId = 3, kRows = 4 };
enum class IndexSectionTag : Tag { kIndices = 1 };
enum class IndexTag : Tag {
  kUuid = 1,
  kFields = 2,
  kName = 3,
  kDatasetVersion = 4,
  kFragmentBitmap = 5,
  kDetails = 6,
  kIndexVersion = 7,
  kCreatedAt = 8,
  kFiles = 10,
};
enum class IndexFileTag : Tag { kPath = 1, kSize = 2 };
enum class UuidTag : Tag { kBytes = 1 };

std::string ToMessage(const DataFile& file) {
  return Message<DataFileTag>([&](auto& message) {
           message.add_string(DataFileTag::kPath, file.path);
           message.add_packed_int32(DataFileTag::kFields, file.field_ids.begin(), file.field_ids.end());
           message.add_packed_int32(DataFileTag::kColumnIndices, file.columns.begin(), file.columns.end());
           message.add_uint32(DataFileTag::kMajorVersion, file.major_version);
           if (file.minor_version != 0) message.add_uint32(DataFileTag::kMinorVersion, file.minor_version);
           message.add_uint64(DataFileTag::kSize, file.size);
         }) +
         file.others;
}

std::string ToMessage(const DeletionFile& deletions) {
  return Message<DeletionFileTag>([&](auto& message) {
           if (deletions.type != 0) message.add_int32(DeletionFileTag::kType, deletions.type);
           message.add_uint64(DeletionFileTag::kReadVersion, deletions.read_version);
           message.add_uint64(DeletionFileTag::kId, deletions.id);
           message.add_uint64(DeletionFileTag::kRows, deletions.rows);
         }) +
         deletions.others;
}

std::string ToMessage(const Manifest& manifest, bool has_index_section) {
  return Message<ManifestTag>([&](auto& message) {
           for (const Field& field : manifest.fields) message.add_message(ManifestTag::kFields, ToMessage(field));
           for (const Fragment& fragment : manifest.fragments) {
             message.add_message(ManifestTag::kFragments, ToMessage(fragment));
           }
           message.add_uint64(ManifestTag::kVersion, manifest.version);
           if (has_index_section) message.add_uint64(ManifestTag::kIndexSection, 0);  // its offset
           message.add_message(ManifestTag::kTimestamp, Message<TimestampTag>([&](auto& time) {
                                 time.add_int64(TimestampTag::kSeconds, manifest.created_at_ns / kSecond);
                                 time.add_int32(TimestampTag::kNanos,
                                                static_cast<int32_t>(manifest.created_at_ns % kSecond));
                               }));
           if (manifest.reader_flags != 0) message.add_uint64(ManifestTag::kReaderFlags, manifest.reader_flags);
           if (manifest.writer_flags != 0) message.add_uint64(ManifestTag::kWriterFlags, manifest.writer_flags);
           if (manifest.max_fragment_id) message.add_uint32(ManifestTag::kMaxFragmentId, *manifest.max_fragment_id);
           message.add_string(ManifestTag::kTransactionFile, manifest.transaction_file);
           if (manifest.next_row_id != 0) message.add_uint64(ManifestTag::kNextRowId, manifest.next_row_id);
           message.add_message(ManifestTag::kWriterVersion, Message<WriterVersionTag>([](auto& writer) {
                                 writer.add_string(WriterVersionTag::kLibrary, "pennon");
                                 writer.add_string(WriterVersionTag::kVersion, PENNON_VERSION);
                               }));
           message.add_message(ManifestTag::kDataFormat, Message<DataFormatTag>([&](auto& format) {
                                 format.add_string(DataFormatTag::kFileFormat, "lance");
                                 format.add_string(DataFormatTag::kVersion, manifest.file_version);
                               }));
         }) +
         manifest.others;
}

// A name below a directory of the table, and not one that leads out of it.
// One path has one name, by which cleanup knows the file again.
Status CheckName(const char* what, const std::string& name) {
  const std::string path = "/" + name + "/";
  const bool inside = path.find("//") == std::string::npos && path.find("/./") == std::string::npos &&
                      path.find("/../") == std::string::npos && path.find('\0') == std::string::npos;
  return inside ? Status::OK() : Status::Invalid(what, ": expected a path below the table, got \"", name, "\"");
}

Result<DataFile> ReadDataFile(std::string_view bytes) {
  DataFile file{.major_version = 0};
  file.others = ReadMessage(bytes, [&](pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Bytes(DataFileTag::kPath): return file.path = reader.get_string(), true;
      case Bytes(DataFileTag::kFields):
      case Varint(DataFileTag::kFields): return Take(reader, file.field_ids), true;
      case Bytes(DataFileTag::kColumnIndices):
      case Varint(DataFileTag::kColumnIndices): return Take(reader, file.columns), true;
      case Varint(DataFileTag::kMajorVersion): return file.major_version = reader.get_uint32(), true;
      case Varint(DataFileTag::kMinorVersion): return file.minor_version = reader.get_uint32(), true;
      case Varint(DataFileTag::kSize): return file.size = reader.get_uint64(), true;
      default: return false;
    }
  });
  ARROW_RETURN_NOT_OK(CheckName("data file", file.path));
  if (file.columns.empty() && !file.field_ids.empty() && file.major_version == 0 && file.minor_version < 3) {
    return Status::NotImplemented("data file ", file.path, ": expected one of version 2.0 to 2.2, got a legacy one");
  }
  if (file.columns.size() != file.field_ids.size()) {
    return Status::Invalid("data file ", file.path, ": expected a column for each of ",
                           std::to_string(file.field_ids.size()), " fields, got ", std::to_string(file.columns.size()));
  }
  return file;
}

DeletionFile ReadDeletionFile(std::string_view bytes) {
  DeletionFile file;
  file.others = ReadMessage(bytes, [&](pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Varint(DeletionFileTag::kType): return file.type = reader.get_int32(), true;
      case Varint(DeletionFileTag::kReadVersion): return file.read_version = reader.get_uint64(), true;
      case Varint(DeletionFileTag::kId): return file.id = reader.get_uint64(), true;
      case Varint(DeletionFileTag::kRows): return file.rows = reader.get_uint64(), true;
      default: return false;
    }
  });
  return file;
}

FileSlice ReadFileSlice(std::string_view bytes) {
  FileSlice file;
  ReadMessage(bytes, [&](pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Bytes(ExternalFileTag::kPath): return file.path = reader.get_string(), true;
      case Varint(ExternalFileTag::kOffset): return file.offset = reader.get_uint64(), true;
      case Varint(ExternalFileTag::kSize): return file.size = reader.get_uint64(), true;
      default: return false;
    }
  });
  return file;
}

Result<Fragment> ReadFragment(std::string_view bytes) {
  Fragment fragment;
  Status status;
  fragment.others = ReadMessage(bytes, [&](pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Varint(FragmentTag::kId): return fragment.id = reader.get_uint64(), true;
      case Varint(FragmentTag::kPhysicalRows): return fragment.rows = reader.get_uint64(), true;
      case Bytes(FragmentTag::kDeletionFile):
        return fragment.deletions = ReadDeletionFile(View(reader.get_view())), true;
      // The later one of these two holds.
      case Bytes(FragmentTag::kInlineRowIds):
        fragment.row_ids_file.reset();
        return fragment.row_ids = reader.get_bytes(), true;
      case Bytes(FragmentTag::kExternalRowIds):
        fragment.row_ids.clear();
        return fragment.row_ids_file = ReadFileSlice(View(reader.get_view())), true;
      case Bytes(FragmentTag::kFiles): {
        auto file = ReadDataFile(View(reader.get_view()));
        status &= file.status();
        if (file.ok()) fragment.files.push_back(std::move(*file));
        return true;
      }
      default: return false;
    }
  });
  ARROW_RETURN_NOT_OK(status);
  if (fragment.row_ids_file) ARROW_RETURN_NOT_OK(CheckName("file of row ids", fragment.row_ids_file->path));
  if (fragment.id >> 32 != 0)
    return Status::Invalid("fragment: expected an id below 2^32, got ", std::to_string(fragment.id));
  const uint64_t deleted = fragment.rows - fragment.live_rows();
  if (fragment.rows >> 32 != 0 || deleted > fragment.rows) {
    return Status::Invalid("fragment ", std::to_string(fragment.id),
                           ": expected less than 2^32 rows and no more deleted, got ", std::to_string(fragment.rows),
                           " and ", std::to_string(deleted));
  }
  return fragment;
}

Result<Index> ReadIndex(std::string_view bytes) {
  Index index;
  size_t bytes_of_uuid = 0;
  index.others = ReadMessage(bytes, [&](pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Bytes(IndexTag::kUuid):
        ReadMessage(View(reader.get_view()), [&](pbf_reader& inner) {
          if (inner.tag_and_type() != Bytes(UuidTag::kBytes)) return false;
          const std::string_view uuid = View(inner.get_view());
          bytes_of_uuid = uuid.size();
          std::copy_n(uuid.begin(), std::min(uuid.size(), index.uuid.bytes.size()), index.uuid.bytes.begin());
          return true;
        });
        return true;
      case Bytes(IndexTag::kFields):
      case Varint(IndexTag::kFields): return Take(reader, index.field_ids), true;
      case Bytes(IndexTag::kName): return index.name = reader.get_string(), true;
      case Varint(IndexTag::kDatasetVersion): return index.dataset_version = reader.get_uint64(), true;
      case Bytes(IndexTag::kFragmentBitmap): return index.fragments = reader.get_bytes(), true;
      case Bytes(IndexTag::kDetails): return index.details = reader.get_bytes(), true;
      case Varint(IndexTag::kIndexVersion): return index.version = reader.get_int32(), true;
      case Varint(IndexTag::kCreatedAt): return index.created_at_ms = reader.get_uint64(), true;
      case Bytes(IndexTag::kFiles): {
        IndexFile& file = index.files.emplace_back();
        file.others = ReadMessage(View(reader.get_view()), [&](pbf_reader& inner) {
          switch (inner.tag_and_type()) {
            case Bytes(IndexFileTag::kPath): return file.name = inner.get_string(), true;
            case Varint(IndexFileTag::kSize): return file.size = inner.get_uint64(), true;
            default: return false;
          }
        });
        return true;
      }
      default: return false;
    }
  });
  if (bytes_of_uuid != index.uuid.bytes.size()) {
    return Status::Invalid("index ", index.name, ": expected a UUID of 16 bytes, got ", std::to_string(bytes_of_uuid));
  }
  if (!IsUtf8(index.name)) return Status::Invalid("index: expected a name in UTF-8");
  for (const IndexFile& file : index.files) ARROW_RETURN_NOT_OK(CheckName("file of an index", file.name));
  if (index.fragments) {
    const Status status = RoaringView::Make(*index.fragments).status();
    if (!status.ok()) return status.WithMessage("index ", index.name, ", fragments: ", status.message());
  }
  return index;
}

// Of a time that there is in nanoseconds; 0 else.
int64_t ReadTimestamp(std::string_view bytes) {
  int64_t seconds = 0;
  int32_t nanos = 0;
  ReadMessage(bytes, [&](pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Varint(TimestampTag::kSeconds): return seconds = reader.get_int64(), true;
      case Varint(TimestampTag::kNanos): return nanos = reader.get_int32(), true;
      default: return false;
    }
  });
  const bool fits = seconds >= 0 && seconds < INT64_MAX / kSecond && nanos >= 0 && nanos < kSecond;
  return fits ? seconds * kSecond + nanos : 0;
}

// The message whose length is at a position of a manifest file, before the end of what it has.
Result<std::string_view> MessageAt(std::string_view file, uint64_t position, const char* what) {
  const auto end = file.size() - kTailBytes;
  if (position > end || end - position < 4) {
    return Status::Invalid(what, ": expected a position below ", std::to_string(end), ", got ",
                           std::to_string(position));
  }
  const auto size = Get<uint32_t>(file.data() + position);
  if (size > end - position - 4) {
    return Status::Invalid(what, ": expected at most ", std::to_string(end - position - 4), " bytes, got ",
                           std::to_string(size));
  }
  return file.substr(position + 4, size);
}

struct NamedFlag {
  uint64_t bit;
  const char* name;
};
constexpr NamedFlag kFlags[] = {
    {kDeletionFiles, "deletion files"}, {kStableRowIds, "stable row ids"},
    {1 << 2, "files of version 2"},     {1 << 3, "table config"},
    {1 << 4, "several base paths"},     {1 << 5, "no transaction files"},
    {1 << 6, "data overlay files"},     {1 << 7, "indices with covering columns"},
};
constexpr uint64_t kUnderstood = kDeletionFiles | kStableRowIds | 1 << 2 | 1 << 3;

Status CheckFlags(const char* of, uint64_t flags) {
  for (uint64_t bit = 1; bit != 0; bit <<= 1) {
    if ((flags & ~kUnderstood & bit) == 0) continue;
    const auto* const flag =
        std::find_if(std::begin(kFlags), std::end(kFlags), [&](const NamedFlag& named) { return named.bit == bit; });
    return Status::NotImplemented(of, " feature flag ", std::to_string(bit), flag == std::end(kFlags) ? "" : " (",
                                  flag == std::end(kFlags) ? "" : flag->name, flag == std::end(kFlags) ? "" : ")",
                                  " is set, which is not known here");
  }
  return Status::OK();
}

}  // namespace

std::string DeletionFile::Name(uint64_t fragment) const {
  return std::to_string(fragment) + "-" + std::to_string(read_version) + "-" + std::to_string(id) +
         (type == kBitmap ? ".bin" : ".arrow");
}

Manifest Emptied(const Manifest& manifest) {
  Manifest emptied = manifest;
  for (const Fragment& fragment : manifest.fragments) {
    const auto id = static_cast<uint32_t>(fragment.id);
    emptied.max_fragment_id = std::max(emptied.max_fragment_id.value_or(id), id);
  }
  emptied.fields.clear();
  emptied.fragments.clear();
  emptied.indices.clear();
  emptied.others = ReadMessage(manifest.others, [](pbf_reader& reader) {
    if (reader.tag() != static_cast<uint32_t>(ManifestTag::kSchemaMetadata)) return false;
    return reader.skip(), true;
  });
  return emptied;
}

std::string ToMessage(const Fragment& fragment) {
  return Message<FragmentTag>([&](auto& message) {
           if (fragment.id != 0) message.add_uint64(FragmentTag::kId, fragment.id);
           for (const DataFile& file : fragment.files) message.add_message(FragmentTag::kFiles, ToMessage(file));
           if (fragment.deletions) message.add_message(FragmentTag::kDeletionFile, ToMessage(*fragment.deletions));
           message.add_uint64(FragmentTag::kPhysicalRows, fragment.rows);
           if (!fragment.row_ids.empty()) message.add_bytes(FragmentTag::kInlineRowIds, fragment.row_ids);
           if (fragment.row_ids_file) {
             message.add_message(FragmentTag::kExternalRowIds, Message<ExternalFileTag>([&](auto& file) {
                                   file.add_string(ExternalFileTag::kPath, fragment.row_ids_file->path);
                                   file.add_uint64(ExternalFileTag::kOffset, fragment.row_ids_file->offset);
                                   file.add_uint64(ExternalFileTag::kSize, fragment.row_ids_file->size);
                                 }));
           }
         }) +
         fragment.others;
}

std::string ToMessage(const Index& index) {
  return Message<IndexTag>([&](auto& message) {
           message.add_message(IndexTag::kUuid, Message<UuidTag>([&](auto& uuid) {
                                 uuid.add_bytes(UuidTag::kBytes, reinterpret_cast<const char*>(index.uuid.bytes.data()),
                                                index.uuid.bytes.size());
                               }));
           message.add_packed_int32(IndexTag::kFields, index.field_ids.begin(), index.field_ids.end());
           message.add_string(IndexTag::kName, index.name);
           message.add_uint64(IndexTag::kDatasetVersion, index.dataset_version);
           if (index.fragments) message.add_bytes(IndexTag::kFragmentBitmap, *index.fragments);
           if (!index.details.empty()) message.add_message(IndexTag::kDetails, index.details);
           if (index.version) message.add_int32(IndexTag::kIndexVersion, *index.version);
           if (index.created_at_ms) message.add_uint64(IndexTag::kCreatedAt, *index.created_at_ms);
           for (const IndexFile& file : index.files) {
             message.add_message(IndexTag::kFiles, Message<IndexFileTag>([&](auto& inner) {
                                                     inner.add_string(IndexFileTag::kPath, file.name);
                                                     inner.add_uint64(IndexFileTag::kSize, file.size);
                                                   }) + file.others);
           }
         }) +
         index.others;
}

std::string ManifestFile(const Manifest& manifest) {
  std::string file;
  if (!manifest.indices.empty()) {
    const std::string section = Message<IndexSectionTag>([&](auto& message) {
      for (const Index& index : manifest.indices) message.add_message(IndexSectionTag::kIndices, ToMessage(index));
    });
    Put(file, static_cast<uint32_t>(section.size()));
    file += section;
  }
  const uint64_t position = file.size();
  const std::string message = ToMessage(manifest, !manifest.indices.empty());
  Put(file, static_cast<uint32_t>(message.size()));
  file += message;
  Put(file, position);
  Put(file, uint16_t{0});
  Put(file, uint16_t{2});
  return file + "LANC";
}

Result<Manifest> ReadManifest(std::string_view file) {
  return Parsed("manifest", [&]() -> Result<Manifest> {
    if (file.size() < kTailBytes || !file.ends_with("LANC")) {
      return Status::Invalid("manifest: expected a file that ends in LANC, got another of ",
                             std::to_string(file.size()), " bytes");
    }
    const auto position = Get<uint64_t>(file.data() + file.size() - kTailBytes);
    ARROW_ASSIGN_OR_RAISE(const auto message, MessageAt(file, position, "manifest"));
    Manifest manifest{.file_version = {}};
    std::string file_format;
    std::optional<uint64_t> indices_at;
    std::optional<uint64_t> transaction_at;
    Status status;
    manifest.others = ReadMessage(message, [&](pbf_reader& reader) {
      switch (reader.tag_and_type()) {
        case Bytes(ManifestTag::kFields): return manifest.fields.push_back(ReadField(View(reader.get_view()))), true;
        case Bytes(ManifestTag::kFragments): {
          auto fragment = ReadFragment(View(reader.get_view()));
          status &= fragment.status();
          if (fragment.ok()) manifest.fragments.push_back(std::move(*fragment));
          return true;
        }
        case Varint(ManifestTag::kVersion): return manifest.version = reader.get_uint64(), true;
        case Varint(ManifestTag::kIndexSection): return indices_at = reader.get_uint64(), true;
        case Bytes(ManifestTag::kTimestamp):
          return manifest.created_at_ns = ReadTimestamp(View(reader.get_view())), true;
        case Varint(ManifestTag::kReaderFlags): return manifest.reader_flags = reader.get_uint64(), true;
        case Varint(ManifestTag::kWriterFlags): return manifest.writer_flags = reader.get_uint64(), true;
        case Varint(ManifestTag::kMaxFragmentId): return manifest.max_fragment_id = reader.get_uint32(), true;
        case Bytes(ManifestTag::kTransactionFile): return manifest.transaction_file = reader.get_string(), true;
        case Varint(ManifestTag::kNextRowId): return manifest.next_row_id = reader.get_uint64(), true;
        case Bytes(ManifestTag::kDataFormat):
          ReadMessage(View(reader.get_view()), [&](pbf_reader& inner) {
            switch (inner.tag_and_type()) {
              case Bytes(DataFormatTag::kFileFormat): return file_format = inner.get_string(), true;
              case Bytes(DataFormatTag::kVersion): return manifest.file_version = inner.get_string(), true;
              default: return false;
            }
          });
          return true;
        case Varint(ManifestTag::kTransactionSectionUntil13):
        case Varint(ManifestTag::kTransactionSection): return transaction_at = reader.get_uint64(), true;
        // Of this version alone.
        case Varint(ManifestTag::kAuxiliaryData):
        case Bytes(ManifestTag::kTag):
        case Bytes(ManifestTag::kWriterVersion): return reader.skip(), true;
        default: return false;
      }
    });
    ARROW_RETURN_NOT_OK(CheckFlags("reader", manifest.reader_flags));
    ARROW_RETURN_NOT_OK(status);
    if (file_format != "lance") {
      return Status::NotImplemented("manifest: expected files of format lance, got \"", file_format, "\"");
    }
    if (!IsUtf8(manifest.file_version)) {
      return Status::Invalid("manifest: expected a file version in UTF-8");
    }
    if (!manifest.transaction_file.empty()) {
      ARROW_RETURN_NOT_OK(CheckName("transaction file", manifest.transaction_file));
    }
    std::vector<uint64_t> ids;
    ids.reserve(manifest.fragments.size());
    for (const Fragment& fragment : manifest.fragments) ids.push_back(fragment.id);
    std::sort(ids.begin(), ids.end());
    if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {
      return Status::Invalid("manifest: expected fragments with ids of their own, got one twice");
    }
    if (indices_at) {
      ARROW_ASSIGN_OR_RAISE(const auto section, MessageAt(file, *indices_at, "index section"));
      ReadMessage(section, [&](pbf_reader& reader) {
        if (reader.tag_and_type() != Bytes(IndexSectionTag::kIndices)) return false;
        auto index = ReadIndex(View(reader.get_view()));
        status &= index.status();
        if (index.ok()) manifest.indices.push_back(std::move(*index));
        return true;
      });
      ARROW_RETURN_NOT_OK(status);
    }
    if (transaction_at) {
      ARROW_ASSIGN_OR_RAISE(manifest.inline_transaction, MessageAt(file, *transaction_at, "transaction section"));
    }
    return manifest;
  });
}

std::string DetailsName(const Index& index) {
  std::string name;
  try {
    ReadMessage(index.details, [&](pbf_reader& reader) {
      return reader.tag_and_type() == Bytes(AnyTag::kTypeUrl) ? (name = reader.get_string(), true) : false;
    });
  } catch (const protozero::exception&) {
    return "";
  }
  name = name.substr(name.find_last_of("./") + 1);
  constexpr std::string_view kEnd = "Details";
  return name.ends_with(kEnd) ? name.substr(0, name.size() - kEnd.size()) : name;
}

Status CheckWritable(const Manifest& manifest) { return CheckFlags("writer", manifest.writer_flags); }

}  // namespace pennon::lance_format
