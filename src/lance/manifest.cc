#include "lance/manifest.h"

#include <algorithm>

#include "lance/little_endian.h"
#include "lance/message.h"
#include "pennon/version.h"

namespace pennon::lance_format {
namespace {

// table.proto.
enum class ManifestTag : Tag {
  kFields = 1,
  kFragments = 2,
  kVersion = 3,
  kIndexSection = 6,
  kTimestamp = 7,
  kMaxFragmentId = 11,
  kTransactionFile = 12,
  kWriterVersion = 13,
  kDataFormat = 15,
};
enum class TimestampTag : Tag { kSeconds = 1, kNanos = 2 };
enum class WriterVersionTag : Tag { kLibrary = 1, kVersion = 2 };
enum class DataFormatTag : Tag { kFileFormat = 1, kVersion = 2 };
enum class FragmentTag : Tag { kId = 1, kFiles = 2, kPhysicalRows = 4 };
enum class DataFileTag : Tag {
  kPath = 1,
  kFields = 2,
  kColumnIndices = 3,
  kMajorVersion = 4,
  kMinorVersion = 5,
  kSize = 6
};
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
// transaction.proto.
enum class TransactionTag : Tag { kReadVersion = 1, kUuid = 2, kAppend = 100, kOverwrite = 102, kCreateIndex = 103 };
enum class AppendTag : Tag { kFragments = 1 };
enum class OverwriteTag : Tag { kFragments = 1, kSchema = 2 };
enum class CreateIndexTag : Tag { kNewIndices = 1 };

std::string ToMessage(const DataFile& file) {
  return Message<DataFileTag>([&](auto& message) {
    message.add_string(DataFileTag::kPath, file.path);
    message.add_packed_int32(DataFileTag::kFields, file.field_ids.begin(), file.field_ids.end());
    message.add_packed_int32(DataFileTag::kColumnIndices, file.columns.begin(), file.columns.end());
    message.add_uint32(DataFileTag::kMajorVersion, 2);
    if (file.minor_version != 0) message.add_uint32(DataFileTag::kMinorVersion, file.minor_version);
    message.add_uint64(DataFileTag::kSize, file.size);
  });
}

std::string ToMessage(const Fragment& fragment) {
  return Message<FragmentTag>([&](auto& message) {
    if (fragment.id != 0) message.add_uint64(FragmentTag::kId, fragment.id);
    for (const DataFile& file : fragment.files) message.add_message(FragmentTag::kFiles, ToMessage(file));
    message.add_uint64(FragmentTag::kPhysicalRows, fragment.rows);
  });
}

std::string ToMessage(const Index& index) {
  return Message<IndexTag>([&](auto& message) {
    message.add_message(IndexTag::kUuid, Message<UuidTag>([&](auto& uuid) {
                          uuid.add_bytes(UuidTag::kBytes, reinterpret_cast<const char*>(index.uuid.bytes.data()),
                                         index.uuid.bytes.size());
                        }));
    message.add_packed_int32(IndexTag::kFields, &index.field_id, &index.field_id + 1);
    message.add_string(IndexTag::kName, index.name);
    message.add_uint64(IndexTag::kDatasetVersion, index.dataset_version);
    message.add_bytes(IndexTag::kFragmentBitmap, RoaringBitmap(index.fragments));
    message.add_message(IndexTag::kDetails, index.details);
    message.add_int32(IndexTag::kIndexVersion, 1);
    message.add_uint64(IndexTag::kCreatedAt, static_cast<uint64_t>(index.created_at_ms));
    for (const IndexFile& file : index.files) {
      message.add_message(IndexTag::kFiles, Message<IndexFileTag>([&](auto& inner) {
                            inner.add_string(IndexFileTag::kPath, file.name);
                            inner.add_uint64(IndexFileTag::kSize, file.size);
                          }));
    }
  });
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
                          time.add_int64(TimestampTag::kSeconds, manifest.created_at_ns / 1000000000);
                          time.add_int32(TimestampTag::kNanos,
                                         static_cast<int32_t>(manifest.created_at_ns % 1000000000));
                        }));
    uint64_t max_fragment_id = 0;
    for (const Fragment& fragment : manifest.fragments) max_fragment_id = std::max(max_fragment_id, fragment.id);
    message.add_uint32(ManifestTag::kMaxFragmentId, static_cast<uint32_t>(max_fragment_id));
    message.add_string(ManifestTag::kTransactionFile, manifest.transaction_file);
    message.add_message(ManifestTag::kWriterVersion, Message<WriterVersionTag>([](auto& writer) {
                          writer.add_string(WriterVersionTag::kLibrary, "pennon");
                          writer.add_string(WriterVersionTag::kVersion, PENNON_VERSION);
                        }));
    message.add_message(ManifestTag::kDataFormat, Message<DataFormatTag>([&](auto& format) {
                          format.add_string(DataFormatTag::kFileFormat, "lance");
                          format.add_string(DataFormatTag::kVersion, manifest.file_version);
                        }));
  });
}

std::string Transaction(uint64_t read_version, const Uuid& uuid, TransactionTag operation, const std::string& what) {
  return Message<TransactionTag>([&](auto& message) {
    if (read_version != 0) message.add_uint64(TransactionTag::kReadVersion, read_version);
    message.add_string(TransactionTag::kUuid, uuid.ToString());
    message.add_message(operation, what);
  });
}

}  // namespace

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

std::string OverwriteTransaction(const Uuid& uuid, const Manifest& manifest) {
  return Transaction(0, uuid, TransactionTag::kOverwrite, Message<OverwriteTag>([&](auto& overwrite) {
                       for (const Fragment& fragment : manifest.fragments) {
                         overwrite.add_message(OverwriteTag::kFragments, ToMessage(fragment));
                       }
                       for (const Field& field : manifest.fields) {
                         overwrite.add_message(OverwriteTag::kSchema, ToMessage(field));
                       }
                     }));
}

std::string AppendTransaction(uint64_t read_version, const Uuid& uuid, std::vector<Fragment> fragments) {
  return Transaction(read_version, uuid, TransactionTag::kAppend, Message<AppendTag>([&](auto& append) {
                       for (Fragment& fragment : fragments) {
                         fragment.id = 0;  // given by the commit
                         append.add_message(AppendTag::kFragments, ToMessage(fragment));
                       }
                     }));
}

std::string CreateIndexTransaction(uint64_t read_version, const Uuid& uuid, const Index& index) {
  return Transaction(read_version, uuid, TransactionTag::kCreateIndex, Message<CreateIndexTag>([&](auto& create) {
                       create.add_message(CreateIndexTag::kNewIndices, ToMessage(index));
                     }));
}

std::string RoaringBitmap(const std::vector<uint32_t>& values) {
  // A container for each high half that occurs: the low halves, or a bitset where these are many.
  constexpr size_t kMostOfArray = 4096;
  std::string headers;
  std::string containers;
  std::vector<size_t> places;  // of the containers among them
  for (auto first = values.begin(); first != values.end();) {
    const uint32_t high = *first >> 16;
    const auto last = std::find_if(first, values.end(), [&](uint32_t value) { return value >> 16 != high; });
    const auto size = static_cast<size_t>(last - first);
    Put(headers, static_cast<uint16_t>(high));
    Put(headers, static_cast<uint16_t>(size - 1));
    places.push_back(containers.size());
    if (size <= kMostOfArray) {
      for (auto value = first; value != last; ++value) Put(containers, static_cast<uint16_t>(*value));
    } else {
      std::string bits(8192, '\0');
      for (auto value = first; value != last; ++value) {
        char& byte = bits[(*value & 0xFFFF) / 8];
        byte = static_cast<char>(byte | 1 << *value % 8);
      }
      containers += bits;
    }
    first = last;
  }
  std::string bitmap;
  Put(bitmap, uint32_t{12346});
  Put(bitmap, static_cast<uint32_t>(places.size()));
  bitmap += headers;
  const size_t start = bitmap.size() + 4 * places.size();
  for (const size_t place : places) Put(bitmap, static_cast<uint32_t>(start + place));
  return bitmap + containers;
}

}  // namespace pennon::lance_format
