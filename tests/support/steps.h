// What tests that are compiled with the graph's steps do at each of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

namespace pennon::graph {

// Not called for steps that are taken meanwhile by the same thread.
extern std::function<void(std::string_view step)> after_step;
// Names the order in which a wave's tasks are done; 0: ascending.
extern std::atomic<uint64_t> task_order;

}  // namespace pennon::graph
