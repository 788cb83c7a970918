// Where the rows of an index were among all that were appended, those with null vectors among them, which have no ids.
//
// Threads: one writer; readers may ask for rows that something else has published to them.
#pragma once

#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include <arrow/array.h>

#include "memory/allocator.h"

namespace pennon {

class Places {
 public:
  explicit Places(Allocator& allocator) : runs_(StdAllocator<Run>(allocator)) {}

  struct Mark {
    size_t runs;
    uint64_t end;
  };
  Mark GetMark() const { return {runs_.size(), end_}; }
  void Restore(const Mark& mark) noexcept {
    const std::lock_guard lock(mutex_);
    runs_.erase(runs_.begin() + static_cast<int64_t>(mark.runs), runs_.end());
    end_ = mark.end;
  }

  // Vectors, of which the first that is not null has the id. False: no memory, and nothing has changed.
  [[nodiscard]] bool Append(const arrow::Array& vectors, uint32_t id) {
    const Mark mark = GetMark();
    try {
      const std::lock_guard lock(mutex_);
      const bool nulls = vectors.null_count() > 0;
      for (int64_t i = 0; i < vectors.length(); ++i) {
        if (nulls && vectors.IsNull(i)) continue;
        const uint64_t place = end_ + static_cast<uint64_t>(i);
        Add(id, place);
        ++id;
        if (!nulls) break;  // the others follow it
      }
      end_ += static_cast<uint64_t>(vectors.length());
      return true;
    } catch (const std::bad_alloc&) {
      Restore(mark);
      return false;
    }
  }

  // The row of the id, which comes after the rows so far, is there.
  [[nodiscard]] bool Append(uint32_t id, uint64_t place) {
    try {
      const std::lock_guard lock(mutex_);
      Add(id, place);
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }
  // Where what is appended then begins.
  void SetEnd(uint64_t end) { end_ = end; }

  // Of the first rows, by id; empty: the place is the id.
  std::vector<uint64_t> Of(uint32_t rows) const {
    std::vector<uint64_t> places;
    const std::lock_guard lock(mutex_);
    if (runs_.empty() || runs_[0].id >= rows) return places;
    places.reserve(rows);
    size_t run = 0;
    for (uint32_t id = 0; id < rows; ++id) {
      while (run < runs_.size() && runs_[run].id <= id) ++run;
      places.push_back(run == 0 ? id : runs_[run - 1].place + (id - runs_[run - 1].id));
    }
    return places;
  }

 private:
  // Ids from here on follow each other, and so do their places.
  struct Run {
    uint32_t id;
    uint64_t place;
  };
  void Add(uint32_t id, uint64_t place) {
    if (place != (runs_.empty() ? id : runs_.back().place + (id - runs_.back().id))) runs_.push_back({id, place});
  }

  mutable std::mutex mutex_;
  std::vector<Run, StdAllocator<Run>> runs_;
  uint64_t end_ = 0;  // of the vectors so far
};

}  // namespace pennon
