#include "lance/transaction.h"

#include <algorithm>
#include <utility>

#include "lance/message.h"
#include "lance/roaring.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using protozero::pbf_reader;

// transaction.proto.
enum class TransactionTag : Tag {
  kReadVersion = 1,
  kUuid = 2,
  kAppend = 100,
  kDelete = 101,
  kOverwrite = 102,
  kCreateIndex = 103,
  kRewrite = 104,
  kMerge = 105,
  kRestore = 106,
  kReserveFragments = 107,
  kUpdate = 108,
  kProject = 109,
  kUpdateConfig = 110,
  kDataReplacement = 111,
  kUpdateMemWalState = 112,
  kClone = 113,
  kUpdateBases = 114,
  kDataOverlay = 115,
};
enum class AppendTag : Tag { kFragments = 1 };
enum class OverwriteTag : Tag { kFragments = 1, kSchema = 2 };
enum class CreateIndexTag : Tag { kNewIndices = 1, kRemovedIndices = 2 };
enum class RewriteTag : Tag { kOldFragments = 1, kGroups = 3 };
enum class RewriteGroupTag : Tag { kOldFragments = 1 };
enum class UpdateTag : Tag { kUpdatedFragments = 2, kFieldsModified = 4 };
enum class DataReplacementTag : Tag { kReplacements = 1 };
enum class ReplacementTag : Tag { kFragmentId = 1, kNewFile = 2 };
// table.proto.
enum class FragmentTag : Tag { kId = 1 };
enum class DataFileTag : Tag { kFields = 2 };
enum class IndexTag : Tag { kName = 3 };

std::string Around(uint64_t read_version, const Uuid& uuid, TransactionTag operation, const std::string& what) {
  return Message<TransactionTag>([&](auto& message) {
    if (read_version != 0) message.add_uint64(TransactionTag::kReadVersion, read_version);
    message.add_string(TransactionTag::kUuid, uuid.ToString());
    message.add_message(operation, what);
  });
}

uint64_t FragmentId(std::string_view fragment) {
  uint64_t id = 0;
  ReadMessage(fragment, [&](pbf_reader& reader) {
    if (reader.tag_and_type() != Varint(FragmentTag::kId)) return false;
    return id = reader.get_uint64(), true;
  });
  return id;
}

void ReadCreateIndex(std::string_view bytes, Transaction& transaction) {
  ReadMessage(bytes, [&](pbf_reader& reader) {
    if (reader.tag_and_type() != Bytes(CreateIndexTag::kNewIndices)) return false;
    std::string& name = transaction.index_names.emplace_back();
    ReadMessage(View(reader.get_view()), [&](pbf_reader& index) {
      if (index.tag_and_type() != Bytes(IndexTag::kName)) return false;
      return name = index.get_string(), true;
    });
    return true;
  });
}

void ReadRewrite(std::string_view bytes, Transaction& transaction) {
  ReadMessage(bytes, [&](pbf_reader& reader) {
    if (reader.tag_and_type() == Bytes(RewriteTag::kOldFragments)) {
      return transaction.fragments.push_back(FragmentId(View(reader.get_view()))), true;
    }
    if (reader.tag_and_type() != Bytes(RewriteTag::kGroups)) return false;
    ReadMessage(View(reader.get_view()), [&](pbf_reader& group) {
      if (group.tag_and_type() != Bytes(RewriteGroupTag::kOldFragments)) return false;
      return transaction.fragments.push_back(FragmentId(View(group.get_view()))), true;
    });
    return true;
  });
}

void ReadUpdate(std::string_view bytes, Transaction& transaction) {
  ReadMessage(bytes, [&](pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case Bytes(UpdateTag::kUpdatedFragments):
        return transaction.fragments.push_back(FragmentId(View(reader.get_view()))), true;
      case Bytes(UpdateTag::kFieldsModified):
      case Varint(UpdateTag::kFieldsModified): return Take(reader, transaction.fields), true;
      default: return false;
    }
  });
}

void ReadDataReplacement(std::string_view bytes, Transaction& transaction) {
  ReadMessage(bytes, [&](pbf_reader& reader) {
    if (reader.tag_and_type() != Bytes(DataReplacementTag::kReplacements)) return false;
    uint64_t& id = transaction.fragments.emplace_back();
    ReadMessage(View(reader.get_view()), [&](pbf_reader& replacement) {
      switch (replacement.tag_and_type()) {
        case Varint(ReplacementTag::kFragmentId): return id = replacement.get_uint64(), true;
        case Bytes(ReplacementTag::kNewFile):
          ReadMessage(View(replacement.get_view()), [&](pbf_reader& file) {
            switch (file.tag_and_type()) {
              case Bytes(DataFileTag::kFields):
              case Varint(DataFileTag::kFields): return Take(file, transaction.fields), true;
              default: return false;
            }
          });
          return true;
        default: return false;
      }
    });
    return true;
  });
}

constexpr std::pair<TransactionTag, const char*> kNames[] = {
    {TransactionTag::kAppend, "Append"},
    {TransactionTag::kDelete, "Delete"},
    {TransactionTag::kOverwrite, "Overwrite"},
    {TransactionTag::kCreateIndex, "CreateIndex"},
    {TransactionTag::kRewrite, "Rewrite"},
    {TransactionTag::kMerge, "Merge"},
    {TransactionTag::kRestore, "Restore"},
    {TransactionTag::kReserveFragments, "ReserveFragments"},
    {TransactionTag::kUpdate, "Update"},
    {TransactionTag::kProject, "Project"},
    {TransactionTag::kUpdateConfig, "UpdateConfig"},
    {TransactionTag::kDataReplacement, "DataReplacement"},
    {TransactionTag::kUpdateMemWalState, "UpdateMemWalState"},
    {TransactionTag::kClone, "Clone"},
    {TransactionTag::kUpdateBases, "UpdateBases"},
    {TransactionTag::kDataOverlay, "DataOverlay"},
};

}  // namespace

std::string OverwriteTransaction(uint64_t read_version, const Uuid& uuid, const std::vector<Fragment>& fragments,
                                 const std::vector<Field>& fields) {
  return Around(read_version, uuid, TransactionTag::kOverwrite, Message<OverwriteTag>([&](auto& overwrite) {
                  for (const Fragment& fragment : fragments) {
                    overwrite.add_message(OverwriteTag::kFragments, ToMessage(fragment));
                  }
                  for (const Field& field : fields) overwrite.add_message(OverwriteTag::kSchema, ToMessage(field));
                }));
}

std::string AppendTransaction(uint64_t read_version, const Uuid& uuid, const std::vector<Fragment>& fragments) {
  return Around(read_version, uuid, TransactionTag::kAppend, Message<AppendTag>([&](auto& append) {
                  for (const Fragment& fragment : fragments) {
                    append.add_message(AppendTag::kFragments, ToMessage(fragment));
                  }
                }));
}

std::string CreateIndexTransaction(uint64_t read_version, const Uuid& uuid, const Index& index,
                                   const std::vector<Index>& removed) {
  return Around(read_version, uuid, TransactionTag::kCreateIndex, Message<CreateIndexTag>([&](auto& create) {
                  create.add_message(CreateIndexTag::kNewIndices, ToMessage(index));
                  for (const Index& other : removed) {
                    create.add_message(CreateIndexTag::kRemovedIndices, ToMessage(other));
                  }
                }));
}

std::string Transaction::Name() const {
  for (const auto& [tag, name] : kNames) {
    if (static_cast<uint32_t>(tag) == operation) return name;
  }
  return "operation " + std::to_string(operation);
}

Result<Transaction> ReadTransaction(std::string_view bytes) {
  return Parsed("transaction", [&]() -> Result<Transaction> {
    Transaction transaction;
    ReadMessage(bytes, [&](pbf_reader& reader) {
      // What follows the version, a UUID, a tag and properties is the operation.
      constexpr auto kFirst = static_cast<uint32_t>(TransactionTag::kAppend);
      if (reader.tag() < kFirst || reader.wire_type() != protozero::pbf_wire_type::length_delimited) return false;
      transaction.operation = reader.tag();
      const std::string_view what = View(reader.get_view());
      switch (static_cast<TransactionTag>(transaction.operation)) {
        case TransactionTag::kCreateIndex: ReadCreateIndex(what, transaction); break;
        case TransactionTag::kRewrite: ReadRewrite(what, transaction); break;
        case TransactionTag::kUpdate: ReadUpdate(what, transaction); break;
        case TransactionTag::kDataReplacement: ReadDataReplacement(what, transaction); break;
        default: break;
      }
      return true;
    });
    if (transaction.operation == 0) return Status::Invalid("transaction: expected an operation, got none");
    return transaction;
  });
}

Status CheckOverwriteFits(const Transaction& other) {
  switch (static_cast<TransactionTag>(other.operation)) {
    case TransactionTag::kRestore: return Status::OK();
    case TransactionTag::kOverwrite: break;
    default:
      if (CheckAppendFits(other).ok()) return Status::OK();
  }
  return Status::AlreadyExists("an overwrite does not fit after another writer's ", other.Name());
}

Status CheckAppendFits(const Transaction& other) {
  switch (static_cast<TransactionTag>(other.operation)) {
    case TransactionTag::kAppend:
    case TransactionTag::kDelete:
    case TransactionTag::kCreateIndex:
    case TransactionTag::kRewrite:
    case TransactionTag::kMerge:
    case TransactionTag::kReserveFragments:
    case TransactionTag::kUpdate:
    case TransactionTag::kProject:
    case TransactionTag::kUpdateConfig:
    case TransactionTag::kDataReplacement:
    case TransactionTag::kClone:
    case TransactionTag::kUpdateBases:
    case TransactionTag::kDataOverlay: return Status::OK();
    default: return Status::AlreadyExists("an append does not fit after another writer's ", other.Name());
  }
}

Status CheckIndexFits(const Transaction& other, const Index& index) {
  const auto refuse = [&](const std::string& what) {
    return Status::AlreadyExists("index ", index.name, " does not fit after another writer's ", other.Name(), what);
  };
  const auto covers = [&](const RoaringView& bitmap) {
    return std::any_of(other.fragments.begin(), other.fragments.end(), [&](uint64_t fragment) {
      return fragment >> 32 == 0 && bitmap.Contains(static_cast<uint32_t>(fragment));
    });
  };
  const std::string_view fragments = index.fragments ? std::string_view(*index.fragments) : std::string_view();
  ARROW_ASSIGN_OR_RAISE(const auto bitmap, RoaringView::Make(fragments));
  switch (static_cast<TransactionTag>(other.operation)) {
    case TransactionTag::kAppend:
    case TransactionTag::kDelete:
    case TransactionTag::kMerge:
    case TransactionTag::kReserveFragments:
    case TransactionTag::kProject:
    case TransactionTag::kUpdateConfig:
    case TransactionTag::kClone:
    case TransactionTag::kUpdateBases:
    case TransactionTag::kDataOverlay: return Status::OK();
    case TransactionTag::kCreateIndex:
      if (std::find(other.index_names.begin(), other.index_names.end(), index.name) == other.index_names.end()) {
        return Status::OK();
      }
      return refuse(" of the same name");
    case TransactionTag::kRewrite: return covers(bitmap) ? refuse(" of its rows") : Status::OK();
    case TransactionTag::kUpdate:
    case TransactionTag::kDataReplacement:
      if (covers(bitmap) && std::find_first_of(other.fields.begin(), other.fields.end(), index.field_ids.begin(),
                                               index.field_ids.end()) != other.fields.end()) {
        return refuse(" of its column");
      }
      return Status::OK();
    default: return refuse("");
  }
}

}  // namespace pennon::lance_format
