#include "lance/fsst.h"

#include <cstring>

#include "lance/little_endian.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;

constexpr uint8_t kEscape = 255;
constexpr uint64_t kEnabled = uint64_t{1} << 24;  // of the header, whose low byte is how many symbols there are

}  // namespace

Result<FsstTable> FsstTable::Make(std::string_view bytes) {
  FsstTable table;
  constexpr size_t kSymbol = 8;
  if (bytes.size() < sizeof(uint64_t)) {
    return Status::Invalid("expected a table of symbols, got ", std::to_string(bytes.size()), " bytes");
  }
  const auto header = Get<uint64_t>(bytes.data());
  table.enabled_ = (header & kEnabled) != 0;
  table.count_ = header & 0xFF;
  bytes.remove_prefix(sizeof(uint64_t));
  if (table.count_ > table.symbols_.size() || bytes.size() < table.count_ * (kSymbol + 1)) {
    return Status::Invalid("expected a table of at most 255 symbols, got ", std::to_string(table.count_), " in ",
                           std::to_string(bytes.size()), " bytes");
  }
  const char* lengths = bytes.data() + table.count_ * kSymbol;
  for (size_t i = 0; i < table.count_; ++i) {
    std::memcpy(table.symbols_[i].data(), bytes.data() + i * kSymbol, kSymbol);
    table.lengths_[i] = static_cast<uint8_t>(lengths[i]);
    if (table.lengths_[i] > kSymbol) {
      return Status::Invalid("expected symbols of at most 8 bytes, got ", std::to_string(table.lengths_[i]));
    }
  }
  return table;
}

Status FsstTable::Decode(std::string_view compressed, std::string& to) const {
  if (!enabled_) return to.append(compressed), Status::OK();
  const size_t before = to.size();
  to.resize(before + compressed.size() * 8);
  char* at = to.data() + before;
  for (size_t i = 0; i < compressed.size(); ++i) {
    const auto code = static_cast<uint8_t>(compressed[i]);
    if (code == kEscape) {
      if (++i == compressed.size()) return Status::Invalid("expected a byte after an escape, got the string's end");
      *at++ = compressed[i];
      continue;
    }
    if (code >= count_) {
      return Status::Invalid("expected one of ", std::to_string(count_), " symbols, got number ", std::to_string(code));
    }
    std::memcpy(at, symbols_[code].data(), 8);  // there is room for all of them
    at += lengths_[code];
  }
  to.resize(static_cast<size_t>(at - to.data()));
  return Status::OK();
}

}  // namespace pennon::lance_format
