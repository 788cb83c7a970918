#include <algorithm>

#include "graph/graph.h"

namespace pennon::graph {
namespace {

// Marks what a walk from row 0 over lists(row) reaches; how many rows it misses.
template <typename Lists>
uint32_t Unreached(uint32_t rows, Buffer<uint8_t>& seen, Buffer<uint32_t>& stack, Lists&& lists) {
  std::fill(seen.begin(), seen.end(), uint8_t{0});
  uint32_t missing = rows - 1;
  seen[0] = 1;
  stack.Push(0);
  while (!stack.empty()) {
    for (uint32_t id : lists(stack.Pop())) {
      if (seen[id] != 0) continue;
      seen[id] = 1;
      --missing;
      stack.Push(id);
    }
  }
  return missing;
}

}  // namespace

bool Graph::Verify(const Reader& reader, Report* report) const noexcept {
  const Version& version = reader.version();
  const uint32_t rows = version.rows;
  *report = {};
  if (rows == 0) return true;
  auto fail = [&](const char* problem, uint32_t row) {
    if (report->problem == nullptr) {
      report->problem = problem;
      report->row = row;
    }
  };
  Buffer<uint64_t> starts(scratch_allocator_);
  Buffer<uint32_t> reversed(scratch_allocator_);
  Buffer<uint32_t> stack(scratch_allocator_);
  Buffer<uint8_t> seen(scratch_allocator_);
  Buffer<uint32_t> sorted(scratch_allocator_);
  if (!starts.Resize(size_t{rows} + 2) || !stack.Reserve(rows) || !seen.Resize(rows) ||
      !sorted.Reserve(params_.capacity(0))) {
    return false;
  }
  if (version.entry >= rows || levels_[version.entry] + 1 != version.levels) fail("the entry point is not on top", 0);
  bool in_range = true;
  for (uint32_t row = 0; row < rows; ++row) {
    if (levels_[row] + 1 > version.levels) fail("a row is above the entry point", row);
    for (int32_t level = 0; level <= levels_[row]; ++level) {
      const Record* record = ReadList(row, level, version.tick);
      if (record->row != row || record->level != level) fail("a list is under the wrong row", row);
      if (record->count > params_.capacity(level)) fail("a list is too long", row);
      sorted.Truncate(0);
      for (uint32_t id : record->neighbors()) {
        if (id >= rows) {
          fail("a neighbour does not exist", row);
          in_range = false;
          continue;
        }
        if (id == row) fail("a row is its own neighbour", row);
        if (levels_[id] < level) fail("a neighbour is not on the level", row);
        if (sorted.size() < sorted.capacity()) sorted.Push(id);
        if (level == 0) ++starts[size_t{id} + 2];
      }
      std::sort(sorted.begin(), sorted.end());
      if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) fail("a neighbour is listed twice", row);
    }
    const Record* record = ReadList(row, 0, version.tick);
    if (record->children > params_.most_children() || record->pinned() > record->count) {
      fail("a row has too many children", row);
    }
    if (row == 0 || record->count == 0) continue;
    const uint32_t parent = record->ids()[0];
    if (parent >= row) {
      fail("a parent does not come before its child", row);
      continue;
    }
    const Record* above = ReadList(parent, 0, version.tick);
    const uint32_t* children = above->ids() + (parent == 0 ? 0 : 1);
    if (std::find(children, children + above->children, row) == children + above->children) {
      fail("a parent does not list its child", row);
    }
  }
  if (!in_range) return true;

  auto forward = [&](uint32_t row) { return ReadList(row, 0, version.tick)->neighbors(); };
  report->unreachable = Unreached(rows, seen, stack, forward);
  for (size_t i = 1; i < starts.size(); ++i) starts[i] += starts[i - 1];
  if (!reversed.Resize(starts[starts.size() - 1])) return false;
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t id : forward(row)) reversed[starts[size_t{id} + 1]++] = row;
  }
  const uint32_t cannot_leave = Unreached(rows, seen, stack, [&](uint32_t row) {
    return std::span<const uint32_t>(reversed.data() + starts[row], starts[row + 1] - starts[row]);
  });
  report->unreachable = std::max(report->unreachable, cannot_leave);
  if (report->unreachable != 0) fail("rows are unreachable", 0);
  return true;
}

}  // namespace pennon::graph
