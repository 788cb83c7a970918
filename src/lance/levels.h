// Repetition and definition levels of pages of version 2.1 on, and the nested arrays that they stand for.
//
// Each entry of a page is a value, or an empty or null list, or something null around one. Layers are what a type is
// made of, from the values outwards: each item and each list. An entry's repetition level says how many layers of
// lists begin with it, from the innermost; its definition level is 0 for a value, else what it is instead: levels are
// given out from the innermost layer on, one for null items, one for null lists, one for empty lists.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/array.h>
#include <arrow/memory_pool.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "lance/page_layout.h"

namespace pennon::lance_format {

struct Entries {
  std::vector<uint16_t> repetition;  // empty: no lists
  std::vector<uint16_t> definition;  // empty: all are 0
};

class Levels {
 public:
  // The type is as MakeLayoutPage's. Invalid if the layers are not those of such a type.
  static arrow::Result<Levels> Make(const std::vector<uint64_t>& layers, const std::shared_ptr<arrow::DataType>& type);

  const std::shared_ptr<arrow::DataType>& leaf() const { return types_[0]; }
  bool has_lists() const { return lists_ > 0; }
  uint16_t most_repetition() const { return lists_; }  // that of an entry that begins a row
  uint16_t most_definition() const { return static_cast<uint16_t>(depths_.size() - 1); }
  // Whether an entry has a place among the values, if only of a null.
  bool visible(uint16_t definition) const { return depths_[definition] == 0; }
  // How many entries have a place among the values.
  uint64_t CountVisible(const std::vector<uint16_t>& definition) const;
  // Of the visible entries, in the bits of a new buffer: null if none is null.
  arrow::Result<std::shared_ptr<arrow::Buffer>> LeafValidity(const std::vector<uint16_t>& definition,
                                                             arrow::MemoryPool* pool) const;
  // Decoded levels as numbers. Invalid if one is more than `most`.
  static arrow::Result<std::vector<uint16_t>> Check(const arrow::Buffer& levels, uint64_t count, uint16_t most);

  // The array of so many rows. Levels are no more than the most there are, and the first entry begins a row. The leaf
  // has the visible entries, nulls included.
  arrow::Result<std::shared_ptr<arrow::Array>> Assemble(Entries entries, std::shared_ptr<arrow::Array> leaf,
                                                        uint64_t rows, arrow::MemoryPool* pool) const;

 private:
  std::vector<RepDefLayer> layers_;                      // from the innermost
  std::vector<std::shared_ptr<arrow::DataType>> types_;  // of each
  std::vector<uint16_t> depths_;                         // of each definition level: lists that it hides from
  uint16_t lists_ = 0;
};

}  // namespace pennon::lance_format
