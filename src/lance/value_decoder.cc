#include "lance/value_decoder.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <arrow/buffer_builder.h>
#include <arrow/util/compression.h>

#include "lance/bit_packing.h"
#include "lance/little_endian.h"
#include "lance/page_decoder.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using BufferPtr = std::shared_ptr<arrow::Buffer>;
using Kind = ValueEncoding::Kind;

std::string_view View(const arrow::Buffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), static_cast<size_t>(buffer.size())};
}

Result<BufferPtr> Allocate(uint64_t count, uint64_t bits, arrow::MemoryPool* pool) {
  ARROW_RETURN_NOT_OK(CheckSize(count, bits));
  ARROW_ASSIGN_OR_RAISE(BufferPtr buffer, arrow::AllocateBuffer(static_cast<int64_t>((count * bits + 7) / 8), pool));
  return buffer;
}

// Calls with a number of the word's type.
template <typename Call>
Status WithWord(uint64_t bits, Call&& call) {
  switch (bits) {
    case 8: return call(uint8_t{});
    case 16: return call(uint16_t{});
    case 32: return call(uint32_t{});
    default: return call(uint64_t{});
  }
}

Result<BufferPtr> Flat(const BufferPtr& buffer, uint64_t bits, uint64_t count) {
  const auto bytes = static_cast<uint64_t>(buffer->size());
  if (bits == 0) return Status::Invalid("expected values of some bits, got 0");
  if (count > 0 && (bits > bytes * 8 || count > bytes * 8 / bits)) {
    return Status::Invalid("expected ", std::to_string(count), " values of ", std::to_string(bits), " bits, got ",
                           std::to_string(bytes), " bytes");
  }
  return arrow::SliceBuffer(buffer, 0, static_cast<int64_t>((count * bits + 7) / 8));
}

// A block of 1024, the first of which are wanted.
template <typename Word>
void UnpackSome(const char* packed, uint64_t width, uint64_t count, char* to) {
  std::array<Word, kPackedBlock> values;
  Unpack(packed, width, values.data());
  std::memcpy(to, values.data(), static_cast<size_t>(count) * sizeof(Word));
}

// The bits of a value come first, as a word.
Result<BufferPtr> InlineBits(const BufferPtr& buffer, uint64_t bits, uint64_t count, arrow::MemoryPool* pool) {
  if (count > kPackedBlock) {
    return Status::Invalid("expected at most 1024 packed values, got ", std::to_string(count));
  }
  ARROW_ASSIGN_OR_RAISE(auto values, Allocate(count, bits, pool));
  if (count == 0) return values;
  const std::string_view bytes = View(*buffer);
  ARROW_RETURN_NOT_OK(WithWord(bits, [&](auto word) -> Status {
    using Word = decltype(word);
    const uint64_t width = bytes.size() < sizeof(Word) ? UINT64_MAX : uint64_t{Get<Word>(bytes.data())};
    if (width > bits || bytes.size() < sizeof(Word) + PackedBytes(width)) {
      return Status::Invalid("expected 1024 packed values of at most ", std::to_string(bits), " bits, got ",
                             std::to_string(width), " bits in ", std::to_string(bytes.size()), " bytes");
    }
    UnpackSome<Word>(bytes.data() + sizeof(Word), width, count, reinterpret_cast<char*>(values->mutable_data()));
    return Status::OK();
  }));
  return values;
}

// Blocks of 1024. The last may be shorter: then its values are not packed, which its size tells.
Result<BufferPtr> OutOfLineBits(const BufferPtr& buffer, uint64_t bits, uint64_t width, uint64_t count,
                                arrow::MemoryPool* pool) {
  ARROW_ASSIGN_OR_RAISE(auto values, Allocate(count, bits, pool));
  const std::string_view bytes = View(*buffer);
  const uint64_t whole = count / kPackedBlock;
  const uint64_t rest = count % kPackedBlock;
  const uint64_t packed = PackedBytes(width);
  const bool plain = rest > 0 && bytes.size() == whole * packed + rest * bits / 8;
  if (!plain && bytes.size() < (whole + (rest > 0 ? 1 : 0)) * packed) {
    return Status::Invalid("expected ", std::to_string(count), " values packed to ", std::to_string(width),
                           " bits, got ", std::to_string(bytes.size()), " bytes");
  }
  ARROW_RETURN_NOT_OK(WithWord(bits, [&](auto word) {
    using Word = decltype(word);
    auto* to = reinterpret_cast<char*>(values->mutable_data());
    for (uint64_t first = 0; first < count; first += kPackedBlock) {
      const char* from = bytes.data() + first / kPackedBlock * packed;
      const uint64_t here = std::min<uint64_t>(count - first, kPackedBlock);
      if (plain && here < kPackedBlock) {
        std::memcpy(to + first * sizeof(Word), from, here * sizeof(Word));
      } else {
        UnpackSome<Word>(from, width, here, to + first * sizeof(Word));
      }
    }
    return Status::OK();
  }));
  return values;
}

// The first bytes of all values, then the second ones, and so on.
Result<BufferPtr> JoinBytes(const BufferPtr& buffer, uint64_t bits, uint64_t count, arrow::MemoryPool* pool) {
  ARROW_ASSIGN_OR_RAISE(const auto split, Flat(buffer, bits, count));
  ARROW_ASSIGN_OR_RAISE(auto values, Allocate(count, bits, pool));
  const uint64_t width = bits / 8;
  for (uint64_t byte = 0; byte < width; ++byte) {
    for (uint64_t i = 0; i < count; ++i) {
      values->mutable_data()[i * width + byte] = split->data()[byte * count + i];
    }
  }
  return values;
}

// Offsets of so many values, which begin at `from` and are counted from the buffer's start or, if they are apart, from
// where the bytes begin.
Result<DecodedValues> Variable(const BufferPtr& buffer, uint64_t bits, uint64_t count, uint64_t from, uint64_t origin) {
  const std::string_view bytes = View(*buffer);
  const uint64_t width = bits / 8;
  if (count == 0) return DecodedValues{.bytes = buffer, .offsets = {0}};
  if (count >= bytes.size() || from > bytes.size() || (count + 1) > (bytes.size() - from) / width ||
      origin > bytes.size()) {
    return Status::Invalid("expected ", std::to_string(count), " values and where they begin, got ",
                           std::to_string(bytes.size()), " bytes");
  }
  DecodedValues values{.count = count, .bytes = buffer};
  values.offsets.reserve(count + 1);
  uint64_t before = 0;
  for (uint64_t i = 0; i <= count; ++i) {
    const char* at = bytes.data() + from + i * width;
    const uint64_t offset = width == 4 ? Get<uint32_t>(at) : Get<uint64_t>(at);
    if (offset < before || offset > bytes.size() - origin) {
      return Status::Invalid("expected offsets of ", std::to_string(before), " to ",
                             std::to_string(bytes.size() - origin), ", got ", std::to_string(offset));
    }
    values.offsets.push_back(static_cast<int64_t>(origin + offset));
    before = offset;
  }
  return values;
}

uint64_t BufferCount(const ValueEncoding& encoding) {
  switch (encoding.kind) {
    case Kind::kRle: return 2;
    case Kind::kGeneral: return BufferCount(encoding.inner[0]);
    case Kind::kFixedSizeList: return (encoding.item_validity ? 1 : 0) + BufferCount(encoding.inner[0]);
    default: return 1;
  }
}

const std::string* FindSymbols(const ValueEncoding& encoding) {
  if (encoding.kind == Kind::kFsst) return &encoding.symbols;
  return encoding.kind == Kind::kGeneral ? FindSymbols(encoding.inner[0]) : nullptr;
}

constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // of a buffer that was compressed

}  // namespace

Result<BufferPtr> Decompress(ValueEncoding::Scheme scheme, std::string_view bytes, uint64_t most,
                             arrow::MemoryPool* pool) {
  const bool lz4 = scheme == ValueEncoding::Scheme::kLz4;
  const size_t prefix = lz4 ? sizeof(uint32_t) : sizeof(uint64_t);
  constexpr uint32_t kZstdFrame = 0xFD2FB528;
  if (bytes.size() < prefix) {
    return Status::Invalid("expected compressed bytes and their size, got ", std::to_string(bytes.size()), " bytes");
  }
  if (!lz4 && Get<uint32_t>(bytes.data()) == kZstdFrame) {
    return Status::NotImplemented("zstd without the size before it");
  }
  const uint64_t size = lz4 ? Get<uint32_t>(bytes.data()) : Get<uint64_t>(bytes.data());
  // lz4 makes at most 255 bytes of one, zstd 128 KiB of a block, which takes 4.
  if (size > most || size / (lz4 ? 255 : 1 << 15) > bytes.size()) {
    return Status::Invalid("expected at most ", std::to_string(most), " bytes of ", std::to_string(bytes.size()),
                           " compressed ones, got ", std::to_string(size));
  }
  const auto type = lz4 ? arrow::Compression::LZ4 : arrow::Compression::ZSTD;
  ARROW_ASSIGN_OR_RAISE(const auto codec, arrow::util::Codec::Create(type));
  ARROW_ASSIGN_OR_RAISE(BufferPtr buffer, arrow::AllocateBuffer(static_cast<int64_t>(size), pool));
  bytes.remove_prefix(prefix);
  const auto got = codec->Decompress(static_cast<int64_t>(bytes.size()), reinterpret_cast<const uint8_t*>(bytes.data()),
                                     buffer->size(), buffer->mutable_data());
  if (!got.ok() || *got != buffer->size()) {
    return Status::Invalid("expected ", lz4 ? "lz4" : "zstd", " of ", std::to_string(size), " bytes, got ",
                           got.ok() ? std::to_string(*got) + " bytes" : got.status().message());
  }
  return buffer;
}

Result<ValueDecoder> ValueDecoder::Make(const ValueEncoding& encoding, arrow::MemoryPool* pool) {
  const std::string nothing(sizeof(uint64_t), '\0');
  const std::string* symbols = FindSymbols(encoding);
  ARROW_ASSIGN_OR_RAISE(auto fsst, FsstTable::Make(symbols != nullptr ? *symbols : nothing));
  return ValueDecoder(encoding, fsst, pool);
}

Result<DecodedValues> ValueDecoder::DecodeChunk(std::vector<BufferPtr> buffers, uint64_t count) const {
  return Chunk(encoding_, buffers.data(), buffers.size(), count);
}

Result<DecodedValues> ValueDecoder::DecodeWhole(const BufferPtr& buffer, uint64_t count) const {
  return Whole(encoding_, buffer, count);
}

Result<DecodedValues> ValueDecoder::Chunk(const ValueEncoding& encoding, const BufferPtr* buffers, size_t left,
                                          uint64_t count) const {
  if (left < BufferCount(encoding)) {
    return Status::Invalid("expected ", std::to_string(BufferCount(encoding)), " buffers in a chunk, got ",
                           std::to_string(left));
  }
  DecodedValues values{.count = count};
  switch (encoding.kind) {
    case Kind::kFlat: {
      ARROW_ASSIGN_OR_RAISE(values.bytes, Flat(buffers[0], encoding.bits, count));
      return values;
    }
    case Kind::kInlineBitpacking: {
      ARROW_ASSIGN_OR_RAISE(values.bytes, InlineBits(buffers[0], encoding.bits, count, pool_));
      return values;
    }
    case Kind::kOutOfLineBitpacking: {
      ARROW_ASSIGN_OR_RAISE(values.bytes,
                            OutOfLineBits(buffers[0], encoding.bits, encoding.inner[0].bits, count, pool_));
      return values;
    }
    case Kind::kByteStreamSplit: {
      ARROW_ASSIGN_OR_RAISE(values.bytes, JoinBytes(buffers[0], encoding.inner[0].bits, count, pool_));
      return values;
    }
    case Kind::kFixedSizeList: {
      const uint64_t width = WidthOf(encoding);
      if (width == 0) return Status::Invalid("expected lists of some items, got 0");
      uint64_t items = 1;
      for (const ValueEncoding* list = &encoding; list->kind == Kind::kFixedSizeList; list = list->inner.data()) {
        items *= list->dimension;
        values.item_validity.emplace_back();
        if (!list->item_validity) continue;
        ARROW_ASSIGN_OR_RAISE(values.item_validity.back(), Flat(*buffers++, items, count));
      }
      ARROW_ASSIGN_OR_RAISE(values.bytes, Flat(*buffers, width, count));
      return values;
    }
    case Kind::kRle: return Runs(encoding, buffers[0], buffers[1], count);
    case Kind::kVariable: return Variable(buffers[0], encoding.bits, count, 0, 0);
    case Kind::kFsst: {
      ARROW_ASSIGN_OR_RAISE(const auto compressed, Chunk(encoding.inner[0], buffers, left, count));
      std::string bytes;
      values.offsets.reserve(count + 1);
      values.offsets.push_back(0);
      for (uint64_t i = 0; i < count; ++i) {
        const auto first = static_cast<size_t>(compressed.offsets[i]);
        const auto last = static_cast<size_t>(compressed.offsets[i + 1]);
        ARROW_RETURN_NOT_OK(fsst_.Decode(View(*compressed.bytes).substr(first, last - first), bytes));
        values.offsets.push_back(static_cast<int64_t>(bytes.size()));
      }
      values.bytes = arrow::Buffer::FromString(std::move(bytes));
      return values;
    }
    case Kind::kNull: return Status::NotImplemented("encoding constant");
    case Kind::kGeneral: break;
  }
  std::vector<BufferPtr> inner(buffers, buffers + left);
  ARROW_ASSIGN_OR_RAISE(inner[0], Decompress(encoding.scheme, View(*inner[0]), kMostBytes, pool_));
  return Chunk(encoding.inner[0], inner.data(), inner.size(), count);
}

Result<DecodedValues> ValueDecoder::Whole(const ValueEncoding& encoding, const BufferPtr& buffer,
                                          uint64_t count) const {
  const std::string_view bytes = View(*buffer);
  switch (encoding.kind) {
    case Kind::kGeneral: {
      ARROW_ASSIGN_OR_RAISE(const auto inner, Decompress(encoding.scheme, bytes, kMostBytes, pool_));
      return Whole(encoding.inner[0], inner, count);
    }
    // How many bytes the values take, those, and the lengths.
    case Kind::kRle: {
      constexpr size_t kPrefix = sizeof(uint64_t);
      const uint64_t size = bytes.size() < kPrefix ? UINT64_MAX : Get<uint64_t>(bytes.data());
      if (bytes.size() < kPrefix || size > bytes.size() - kPrefix) {
        return Status::Invalid("expected runs of values, got ", std::to_string(bytes.size()), " bytes");
      }
      const auto first = static_cast<int64_t>(size);
      return Runs(encoding, arrow::SliceBuffer(buffer, kPrefix, first), arrow::SliceBuffer(buffer, kPrefix + first),
                  count);
    }
    // How many bits an offset has, where the bytes begin, and offsets from there.
    case Kind::kVariable: {
      const uint64_t width = encoding.bits / 8;
      if (bytes.size() < 2 * width) {
        return Status::Invalid("expected variable values, got ", std::to_string(bytes.size()), " bytes");
      }
      const auto number = [&](size_t at) {
        return width == 4 ? Get<uint32_t>(bytes.data() + at) : Get<uint64_t>(bytes.data() + at);
      };
      if (number(0) != encoding.bits || number(width) < 2 * width) {
        return Status::Invalid("expected variable values with offsets of ", std::to_string(encoding.bits),
                               " bits, got ", std::to_string(number(0)));
      }
      return Variable(buffer, encoding.bits, count, 2 * width, number(width));
    }
    default: return Chunk(encoding, &buffer, 1, count);
  }
}

Result<DecodedValues> ValueDecoder::Runs(const ValueEncoding& encoding, const BufferPtr& values,
                                         const BufferPtr& lengths, uint64_t count) const {
  // What is packed out of line is known to be as many as the other's are.
  const auto known = [&](const ValueEncoding& part, const BufferPtr& buffer) -> Result<DecodedValues> {
    const uint64_t width = WidthOf(part) / 8;
    if (part.kind == Kind::kFlat) return Whole(part, buffer, static_cast<uint64_t>(buffer->size()) / width);
    if (part.kind != Kind::kGeneral || part.inner[0].kind != Kind::kFlat) {
      return Status::NotImplemented("another encoding of runs than plain or compressed numbers");
    }
    ARROW_ASSIGN_OR_RAISE(const auto plain, Decompress(part.scheme, View(*buffer), kMostBytes, pool_));
    return Whole(part.inner[0], plain, static_cast<uint64_t>(plain->size()) / width);
  };
  const bool values_packed = encoding.inner[0].kind == Kind::kOutOfLineBitpacking;
  const bool lengths_packed = encoding.inner[1].kind == Kind::kOutOfLineBitpacking;
  DecodedValues of;
  DecodedValues runs;
  if (!values_packed) {
    ARROW_ASSIGN_OR_RAISE(of, known(encoding.inner[0], values));
  }
  if (lengths_packed) {
    ARROW_ASSIGN_OR_RAISE(runs, Whole(encoding.inner[1], lengths, of.count));
  } else {
    ARROW_ASSIGN_OR_RAISE(runs, known(encoding.inner[1], lengths));
  }
  if (values_packed) {
    ARROW_ASSIGN_OR_RAISE(of, Whole(encoding.inner[0], values, runs.count));
  }
  if (of.count != runs.count) {
    return Status::Invalid("expected a length for each of ", std::to_string(of.count), " runs, got ",
                           std::to_string(runs.count));
  }
  const uint64_t bits = WidthOf(encoding);
  DecodedValues out{.count = count};
  ARROW_ASSIGN_OR_RAISE(out.bytes, Allocate(count, bits, pool_));
  uint64_t done = 0;
  ARROW_RETURN_NOT_OK(WithWord(bits, [&](auto word) {
    using Word = decltype(word);
    auto* to = reinterpret_cast<Word*>(out.bytes->mutable_data());
    return WithWord(WidthOf(encoding.inner[1]), [&](auto length) {
      using Length = decltype(length);
      const auto* lengths_of = reinterpret_cast<const char*>(runs.bytes->data());
      const auto* values_of = reinterpret_cast<const char*>(of.bytes->data());
      for (uint64_t i = 0; i < of.count && done < count; ++i) {
        // The last run of a chunk may go on: the next chunk has it again.
        const uint64_t here = std::min<uint64_t>(Get<Length>(lengths_of + i * sizeof(Length)), count - done);
        std::fill_n(to + done, here, Get<Word>(values_of + i * sizeof(Word)));
        done += here;
      }
      return Status::OK();
    });
  }));
  if (done == count) return out;
  return Status::Invalid("expected runs of ", std::to_string(count), " values, got ", std::to_string(done));
}

Status ValueDecoder::DecodeOne(std::string_view bytes, uint64_t most, std::string& to) const {
  to.clear();
  if (encoding_.kind == Kind::kFsst) return fsst_.Decode(bytes, to);
  if (encoding_.kind == Kind::kVariable || bytes.empty()) return to.assign(bytes), Status::OK();
  ARROW_ASSIGN_OR_RAISE(const auto value, Decompress(encoding_.scheme, bytes, most, pool_));
  return to.assign(View(*value)), Status::OK();
}

Status CheckType(const ValueEncoding& encoding, const arrow::DataType& type) {
  const arrow::Type::type id = type.id();
  const uint64_t got = WidthOf(encoding);
  const bool variable = arrow::is_base_binary_like(id);
  const uint64_t wanted = variable ? 0 : WidthOf(type);
  if (!variable && wanted == 0) return Status::NotImplemented("type ", type.ToString());
  const bool list = id == arrow::Type::FIXED_SIZE_LIST;
  const ValueEncoding* plain = &encoding;
  while (plain->kind == Kind::kGeneral) plain = &plain->inner[0];
  if (list != (plain->kind == Kind::kFixedSizeList)) {
    return Status::NotImplemented("another encoding of ", type.ToString(), " than its items");
  }
  if (list && DimensionsOf(*plain) != DimensionsOf(type)) {
    return Status::Invalid("expected values of ", type.ToString(), ", got lists of ", std::to_string(plain->dimension));
  }
  if (got == wanted) return Status::OK();
  return Status::Invalid("expected values of ", type.ToString(), ", got ",
                         got == 0 ? "variable ones" : std::to_string(got) + " bits");
}

Result<std::shared_ptr<arrow::Array>> MakeValues(const std::shared_ptr<arrow::DataType>& type,
                                                 const DecodedValues& values, arrow::MemoryPool* pool) {
  const auto count = static_cast<int64_t>(values.count);
  if (!values.offsets.empty()) {
    const bool large = type->id() == arrow::Type::LARGE_STRING || type->id() == arrow::Type::LARGE_BINARY;
    ARROW_ASSIGN_OR_RAISE(auto offsets, MakeOffsets(values.offsets, large, pool));
    return arrow::MakeArray(arrow::ArrayData::Make(type, count, {nullptr, std::move(offsets), values.bytes}, 0));
  }
  std::vector<BufferPtr> validity = {nullptr};
  validity.insert(validity.end(), values.item_validity.begin(), values.item_validity.end());
  return MakeFixed(type, count, validity, values.bytes);
}

}  // namespace pennon::lance_format
