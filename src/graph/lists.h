// The records of neighbour lists.
//
// Layout of ids at level 0: [parent] [children] [others]; row 0 has no parent. Parent and children are never pruned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
#include <span>

#include "graph/versioned_lists.h"
#include "memory/allocator.h"
#include "memory/buffer.h"

namespace pennon::graph {

struct Record : Chained<NativeMemory, Record> {
  uint32_t row;
  uint16_t count;
  uint16_t children;
  uint8_t level;

  // After the header: capacity ids, then a bit for each slot that has been tested against all others so marked.
  uint32_t* ids() { return reinterpret_cast<uint32_t*>(this + 1); }
  const uint32_t* ids() const { return reinterpret_cast<const uint32_t*>(this + 1); }
  std::span<const uint32_t> neighbors() const { return {ids(), count}; }
  size_t pinned() const { return level == 0 ? children + (row != 0 ? 1u : 0u) : 0u; }
};

// Records of one capacity, from blocks of 2 MiB, smaller ones while there are few records, and a list of free ones.
class Slab {
 public:
  Slab(Allocator& allocator, size_t capacity)
      : allocator_(allocator), blocks_(allocator), bytes_(RecordBytes(capacity)) {}
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for (const Block& block : blocks_) allocator_.Free(block.memory, block.bytes);
  }

  // Makes the next n Take calls succeed.
  [[nodiscard]] bool Reserve(size_t n) noexcept {
    while (free_count_ < n) {
      const size_t wanted = NextBlock(bytes_, all_);
      if (!blocks_.Reserve(blocks_.size() + 1)) return false;
      void* memory = allocator_.Allocate(wanted * bytes_);
      if (memory == nullptr) return false;
      blocks_.Push({memory, wanted * bytes_});
      all_ += wanted;
      for (size_t i = wanted; i-- > 0;) Give(new (static_cast<char*>(memory) + i * bytes_) Record());
    }
    return true;
  }
  Record* Take() noexcept {
    Record* record = free_;
    free_ = record->next;
    --free_count_;
    return record;
  }
  void Give(Record* record) noexcept {
    record->next = free_;
    free_ = record;
    ++free_count_;
  }

  // Frees the blocks that came after the first `blocks`; none of their records may be in use.
  void ReturnFrom(size_t blocks) noexcept {
    if (blocks == blocks_.size()) return;
    const auto leaving = [&](const Record* record) {
      const auto at = reinterpret_cast<uintptr_t>(record);
      return std::any_of(blocks_.begin() + blocks, blocks_.end(), [&](const Block& block) {
        return at - reinterpret_cast<uintptr_t>(block.memory) < block.bytes;
      });
    };
    for (Record** link = &free_; *link != nullptr;) {
      if (leaving(*link)) {
        *link = (*link)->next;
      } else {
        link = &(*link)->next;
      }
    }
    while (blocks_.size() > blocks) {
      const Block block = blocks_.Pop();
      allocator_.Free(block.memory, block.bytes);
      free_count_ -= block.bytes / bytes_;
      all_ -= block.bytes / bytes_;
    }
  }
  size_t blocks() const { return blocks_.size(); }
  size_t record_bytes() const { return bytes_; }

  // What a slab takes that had to give so many at a time.
  static uint64_t BytesFor(size_t capacity, uint64_t records) {
    const size_t bytes = RecordBytes(capacity);
    uint64_t all = 0;
    uint64_t blocks = 0;
    for (; all < records; ++blocks) all += NextBlock(bytes, all);
    return all * bytes + 5 * blocks / 4 * sizeof(Block);
  }

 private:
  struct Block {
    void* memory;
    size_t bytes;
  };
  static size_t RecordBytes(size_t capacity) {
    return (sizeof(Record) + capacity * sizeof(uint32_t) + (capacity + 31) / 32 * sizeof(uint32_t) + 7) / 8 * 8;
  }
  // Records of the next block: a sixteenth of what there is, and less than an estimate may be off while there is
  // little.
  static size_t NextBlock(size_t record_bytes, uint64_t all) {
    constexpr uint64_t kLeastBytes = 4096;
    constexpr uint64_t kLittle = uint64_t{16} << 20;
    const uint64_t bytes = all * record_bytes;
    const uint64_t most = (bytes < kLittle ? uint64_t{128} : uint64_t{2048}) << 10;
    return std::max<size_t>(std::clamp(bytes / 16, kLeastBytes, most) / record_bytes, 1);
  }

  Allocator& allocator_;
  Buffer<Block> blocks_;
  uint64_t all_ = 0;  // records, free or not
  const size_t bytes_;
  Record* free_ = nullptr;
  size_t free_count_ = 0;
};

}  // namespace pennon::graph
