// The messages at a file's end, as its writer and its reader know them.
#pragma once

#include "lance/message.h"

namespace pennon::lance_format {

// file2.proto.
enum class FileDescriptorTag : Tag { kSchema = 1, kLength = 2 };
enum class ColumnMetadataTag : Tag { kEncoding = 1, kPages = 2 };
enum class PageTag : Tag { kOffsets = 1, kSizes = 2, kLength = 3, kEncoding = 4, kPriority = 5 };
// file.proto.
enum class SchemaTag : Tag { kFields = 1, kMetadata = 5 };
enum class EntryTag : Tag { kKey = 1, kValue = 2 };

}  // namespace pennon::lance_format
