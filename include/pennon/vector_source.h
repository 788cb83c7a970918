// What HnswGraph asks of the vectors it links: rows 0 to size() - 1 and distances between them.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "pennon/version.h"

namespace pennon::inline PENNON_ABI {

// All const member functions may be called from several threads at a time. A distance that is NaN, or a call that
// throws, makes the operation that asked fail with a Status and leaves the graph as it was.
template <typename Source>
concept VectorSource = requires(const Source& source, std::span<const float> query, uint32_t id) {
  { source.size() } -> std::convertible_to<size_t>;
  { source.dim() } -> std::convertible_to<size_t>;
  { source.row_id(id) } -> std::convertible_to<uint64_t>;
  { source.DistanceTo(query, id) } -> std::convertible_to<float>;
  { source.DistanceBetween(id, id) } -> std::convertible_to<float>;
};

// A source may also score blocks of rows, which is faster: out[i] is the distance to ids[i].
template <typename Source>
concept BlockVectorSource = VectorSource<Source> && requires(const Source& source, std::span<const float> query,
                                                             uint32_t id, std::span<const uint32_t> ids, float* out) {
  source.DistancesTo(query, ids, out);
  source.DistancesBetween(id, ids, out);
};

// Any source behind plain functions; valid as long as the source.
class VectorSourceRef {
 public:
  template <VectorSource Source>
  VectorSourceRef(const Source& source)  // implicit, as for a view
      : source_(std::addressof(source)),
        size_(source.size()),
        dim_(source.dim()),
        row_id_(
            [](const void* object, uint32_t id) -> uint64_t { return static_cast<const Source*>(object)->row_id(id); }),
        to_([](const void* object, std::span<const float> query, std::span<const uint32_t> ids, float* out) {
          const Source& self = *static_cast<const Source*>(object);
          if constexpr (BlockVectorSource<Source>) {
            self.DistancesTo(query, ids, out);
          } else {
            for (size_t i = 0; i < ids.size(); ++i) out[i] = self.DistanceTo(query, ids[i]);
          }
        }),
        between_([](const void* object, uint32_t id, std::span<const uint32_t> ids, float* out) {
          const Source& self = *static_cast<const Source*>(object);
          if constexpr (BlockVectorSource<Source>) {
            self.DistancesBetween(id, ids, out);
          } else {
            for (size_t i = 0; i < ids.size(); ++i) out[i] = self.DistanceBetween(id, ids[i]);
          }
        }) {}

  size_t size() const { return size_; }
  size_t dim() const { return dim_; }
  uint64_t row_id(uint32_t id) const { return row_id_(source_, id); }
  void DistancesTo(std::span<const float> query, std::span<const uint32_t> ids, float* out) const {
    to_(source_, query, ids, out);
  }
  void DistancesBetween(uint32_t id, std::span<const uint32_t> ids, float* out) const {
    between_(source_, id, ids, out);
  }

 private:
  const void* source_;
  size_t size_;
  size_t dim_;
  uint64_t (*row_id_)(const void*, uint32_t);
  void (*to_)(const void*, std::span<const float>, std::span<const uint32_t>, float*);
  void (*between_)(const void*, uint32_t, std::span<const uint32_t>, float*);
};

}  // namespace pennon::inline PENNON_ABI
