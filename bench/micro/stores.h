// The sample's rows and their codes, in stores as an index has them.
#pragma once

#include <cstdint>
#include <vector>

#include <arrow/memory_pool.h>
#include <arrow/util/logging.h>

#include "index/adapters.h"
#include "index/pool_allocator.h"
#include "memory/buffer.h"
#include "support.h"

namespace pennon {

struct SampleStores {
  SampleStores() { Append(0, kIndexed); }
  void Append(int64_t first, int64_t n) {
    const auto row_id = [](int64_t i) { return static_cast<uint64_t>(i); };
    ARROW_CHECK_OK(rows.Append(*Sample::Get().Rows(first, n), row_id));
    ARROW_CHECK(codes.Append(rows));
  }
  void Restore(const RowStore::Mark& mark) {
    codes.Restore(mark.size);
    rows.Restore(mark);
  }

  PoolAllocator::Totals totals;
  PoolAllocator memory{arrow::default_memory_pool(), totals};
  RowStore rows{Sample::Get().dim(), DistanceKind::kCosine, memory};
  CodeStore codes{Sample::Get().dim(), DistanceKind::kCosine, memory};
  const Rows both{rows, &codes};
};

// Memory for a query's forms.
class FormsMemory {
 public:
  explicit FormsMemory(SampleStores& stores) : stores_(stores), memory_(stores.memory) {
    ARROW_CHECK(memory_.Reserve(QueryScratch::Bytes(stores.both)));
  }
  RowsQuery Encode(const std::vector<float>& values) {
    const QueryScratch scratch(stores_.both, memory_.data());
    const ScoredVector vector = stores_.rows.MakeQuery(values.data());
    return {vector, stores_.codes.Encode(vector, scratch.floats, scratch.code)};
  }
  void* code() { return memory_.data(); }

 private:
  SampleStores& stores_;
  Buffer<char> memory_;
};

}  // namespace pennon
