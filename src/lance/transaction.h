// What was done to a version to make the next, by which a writer that started from an older one sees whether its own
// change still fits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "lance/manifest.h"
#include "lance/uuid.h"

namespace pennon::lance_format {

// The bytes of a transaction file: a table anew, new fragments, whose ids are not looked at, or a new index, instead of
// some if need be.
std::string OverwriteTransaction(uint64_t read_version, const Uuid& uuid, const std::vector<Fragment>& fragments,
                                 const std::vector<Field>& fields);
std::string AppendTransaction(uint64_t read_version, const Uuid& uuid, const std::vector<Fragment>& fragments);
std::string CreateIndexTransaction(uint64_t read_version, const Uuid& uuid, const Index& index,
                                   const std::vector<Index>& removed);

// Another writer's, as far as ours must know it.
struct Transaction {
  uint32_t operation = 0;                     // its number in transaction.proto
  std::vector<uint64_t> fragments = {};       // that it rewrote
  std::vector<int32_t> fields = {};           // whose values it changed in these, if it did not move their rows
  std::vector<std::string> index_names = {};  // of those that it made

  std::string Name() const;
};

arrow::Result<Transaction> ReadTransaction(std::string_view bytes);

// Lance's rules of what goes with what: AlreadyExists, with what the other did, if ours does not fit after it.
arrow::Status CheckOverwriteFits(const Transaction& other);
arrow::Status CheckAppendFits(const Transaction& other);
arrow::Status CheckIndexFits(const Transaction& other, const Index& index);

}  // namespace pennon::lance_format
