// Which of the visible rows a search may return, by id: those that a filter passes, but for hidden ones.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include <arrow/util/bitmap_reader.h>

#include "memory/buffer.h"
#include "pennon/live_index.h"
#include "vectors/row_store.h"

namespace pennon::inline PENNON_ABI {  // as RowFilter, whose friend it is

// Rows that are walked over and never found, whatever filters say.
struct Hidden {
  std::span<const uint64_t> bits = {};  // by id, from the first row to the last one that is hidden, at least
  uint32_t rows = 0;                    // how many they are

  uint64_t Word(uint32_t first) const { return first / 64 < bits.size() ? bits[first / 64] : 0; }
  bool operator()(uint32_t id) const { return (Word(id) >> id % 64 & 1) != 0; }
};

// What a predicate said of rows, so that searches which share it ask once a row. Any number of threads.
class Remembered {
 public:
  explicit Remembered(Allocator& allocator) : words_(allocator) {}

  [[nodiscard]] bool Reset(uint32_t rows) noexcept { return words_.Resize(2 * (size_t{rows} / 64 + 1)); }

  template <typename Ask>
  bool Passes(uint32_t id, Ask&& ask) {
    const uint64_t bit = uint64_t{1} << (id % 64);
    std::atomic_ref<uint64_t> passing(words_[size_t{id} / 64 * 2]);
    std::atomic_ref<uint64_t> known(words_[size_t{id} / 64 * 2 + 1]);
    if ((known.load(std::memory_order_acquire) & bit) == 0) {
      if (ask()) passing.fetch_or(bit, std::memory_order_relaxed);
      known.fetch_or(bit, std::memory_order_release);
    }
    return (passing.load(std::memory_order_relaxed) & bit) != 0;
  }

 private:
  Buffer<uint64_t> words_;
};

// Valid as long as the filter and the rows. Asking may throw what a predicate throws.
class Passing {
 public:
  Passing(const RowFilter& filter, const RowStore& rows, uint32_t visible, const Hidden& hidden = {});

  bool all() const { return unfiltered() && hidden_.rows == 0; }
  // All rows pass that are not hidden.
  bool unfiltered() const { return filter_.kind_ == RowFilter::Kind::kAll; }
  // A predicate is asked; what it says may be kept, in what has been reset to the visible rows.
  bool asks() const { return filter_.kind_ == RowFilter::Kind::kPredicate; }
  void Remember(Remembered* remembered) { remembered_ = remembered; }
  // About what a scan would cost if a row that passes costs so much, NaN where that cannot be told without asking.
  double ScanCost(double row) const;
  bool operator()(uint32_t id) const {
    if (hidden_.rows > 0 && hidden_(id)) return false;
    if (by_id_) return PassesBit(id + shift_);
    return remembered_ == nullptr ? filter_.Passes(rows_.row_id(id), id)
                                  : remembered_->Passes(id, [&] { return filter_.Passes(rows_.row_id(id), id); });
  }

  // Goes through the visible rows, 64 at a time.
  class Words {
   public:
    explicit Words(const Passing& passing);

    // A bit for each of the rows from `first` on, a multiple of 64 that follows the last one.
    uint64_t Next(uint32_t first);

   private:
    const Passing& passing_;
    uint32_t begin_ = 0;                                       // no row before it passes
    std::optional<arrow::internal::BitmapUInt64Reader> bits_;  // of the rows from from_ to end_; no later one passes
    uint64_t from_ = 0;
    uint64_t end_ = 0;
  };

 private:
  bool PassesBit(uint64_t at) const {
    return at < length_ && arrow::bit_util::GetBit(bits_, static_cast<int64_t>(at) + offset_);
  }

  const RowFilter& filter_;
  const RowStore& rows_;
  const uint32_t visible_;
  const Hidden hidden_;
  Remembered* remembered_ = nullptr;
  // Where ids tell all: id's bit is at id + shift_, of length_ ones; others do not pass.
  bool by_id_ = false;
  const uint8_t* bits_ = nullptr;
  int64_t offset_ = 0;
  uint64_t length_ = 0;
  uint64_t shift_ = 0;
};

}  // namespace pennon::inline PENNON_ABI
