// An index whose options, and those of its calls, are hostile: an error or an answer that keeps its promises, at once
// and in little memory.
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <arrow/builder.h>
#include <arrow/memory_pool.h>
#include <arrow/type.h>
#include <fuzzer/FuzzedDataProvider.h>

#include "pennon/hnsw_graph.h"
#include "pennon/live_index.h"
#include "pennon/pager.h"
#include "require.h"

namespace pennon::fuzz {
namespace {

constexpr int64_t kMostBytes = int64_t{64} << 20;  // that a few hundred small rows may ask for at a time

// Arrow's pool, but nobody may ask it for much.
class StrictPool final : public arrow::MemoryPool {
 public:
  arrow::Status Allocate(int64_t size, int64_t alignment, uint8_t** out) override {
    Require(size <= kMostBytes, "a huge allocation");
    return pool_->Allocate(size, alignment, out);
  }
  arrow::Status Reallocate(int64_t old_size, int64_t size, int64_t alignment, uint8_t** out) override {
    Require(size <= kMostBytes, "a huge allocation");
    return pool_->Reallocate(old_size, size, alignment, out);
  }
  void Free(uint8_t* memory, int64_t size, int64_t alignment) override { pool_->Free(memory, size, alignment); }
  int64_t bytes_allocated() const override { return pool_->bytes_allocated(); }
  int64_t max_memory() const override { return pool_->max_memory(); }
  int64_t total_bytes_allocated() const override { return pool_->total_bytes_allocated(); }
  int64_t num_allocations() const override { return pool_->num_allocations(); }
  std::string backend_name() const override { return "strict"; }

 private:
  arrow::MemoryPool* pool_ = arrow::system_memory_pool();
};

class Calls {
 public:
  Calls(const uint8_t* bytes, size_t size) : data_(bytes, size) {}

  void Run() {
    const LiveIndexOptions options = Options();
    if (const auto usage = EstimateMemory(options, Number<uint64_t>(1000), Estimate()); usage.ok()) {
      const int64_t parts[] = {usage->vectors_bytes,  usage->caller_bytes, usage->codes_bytes, usage->graph_bytes,
                               usage->versions_bytes, usage->other_bytes,  usage->total()};
      for (const int64_t bytes : parts) Require(bytes >= 0, "an estimate of no less than nothing");
    } else {
      RequireClear(usage.status());
    }
    auto made = LiveIndex::Make(options);
    if (!made.ok()) return RequireClear(made.status());
    LiveIndex index = *std::move(made);
    for (int calls = 0; calls < 12 && data_.remaining_bytes() > 0; ++calls) {
      switch (data_.ConsumeIntegralInRange(0, 7)) {
        case 0:
        case 1: Append(index); break;
        case 2: Search(index); break;
        case 3: SearchRange(index); break;
        case 4: SearchBatch(index); break;
        case 5: Page(index); break;
        case 6: Export(index); break;
        default: index.Trim();
      }
    }
    const VerifyReport report = index.Verify().ValueOrDie();
    Require(report.ok && report.rows == index.size(), "every row is reachable");
  }

 private:
  // Up to `usual`, or whatever there is.
  template <typename T>
  T Number(T usual) {
    constexpr T kMost = std::numeric_limits<T>::max();
    constexpr T kEdges[] = {
        std::numeric_limits<T>::min(), static_cast<T>(-1), 0, 1, 2, kMost / 2, kMost / 2 + 1, kMost - 1, kMost};
    switch (data_.ConsumeIntegralInRange(0, 3)) {
      case 0: return data_.PickValueInArray(kEdges);
      case 1: return data_.ConsumeIntegral<T>();
      default: return data_.ConsumeIntegralInRange<T>(0, usual);
    }
  }
  // Mostly one, since to start threads takes longer than all else here.
  int Threads() { return data_.ConsumeProbability<float>() < 0.98f ? 1 : Number<int>(3); }
  float Real() {
    return data_.ConsumeBool() ? static_cast<float>(data_.ConsumeIntegral<int8_t>())
                               : std::bit_cast<float>(data_.ConsumeIntegral<uint32_t>());
  }

  LiveIndexOptions Options() {
    LiveIndexOptions options;
    dim_ = options.dim =
        data_.ConsumeProbability<float>() < 0.8f ? data_.ConsumeIntegralInRange(1, 16) : Number<int32_t>(64);
    options.metric = data_.PickValueInArray({Metric::kL2, Metric::kCosine, Metric::kDot});
    options.codes = data_.PickValueInArray({Codes::kNone, Codes::kQuantized});
    if (data_.ConsumeBool()) {
      options.build = {.max_level = Number<int32_t>(64),
                       .m = Number<int32_t>(64),
                       .ef_construction = Number<int32_t>(200),
                       .seed = data_.ConsumeIntegral<uint64_t>()};
    }
    if (data_.ConsumeBool()) options.max_rows = Number<uint64_t>(300);
    if (data_.ConsumeBool()) options.memory_limit = Number<int64_t>(1 << 20);
    options.pool = &pool_;
    return options;
  }
  EstimateOptions Estimate() {
    return {.batch_rows = Number<uint64_t>(1000),
            .half = data_.ConsumeBool(),
            .copied = data_.ConsumeBool(),
            .threads = Number<int>(8)};
  }
  Deadline Until() {
    using Clock = std::chrono::steady_clock;
    switch (data_.ConsumeIntegralInRange(0, 4)) {
      case 0: return Clock::time_point::min();
      case 1: return Clock::time_point::max();
      case 2: return Clock::time_point(Clock::duration(data_.ConsumeIntegral<int64_t>()));
      default: return std::nullopt;
    }
  }
  RowFilter Filter() {
    const int kind = data_.ConsumeIntegralInRange(0, 5);
    if (kind == 0) return RowFilter::Predicate([](uint64_t row_id) { return row_id % 2 == 0; });
    if (kind == 1) return RowFilter::RowIds(*Ids(data_.ConsumeIntegralInRange(0, 20))).ValueOr(RowFilter());
    if (kind > 3) return {};
    arrow::BooleanBuilder builder;
    for (int i = data_.ConsumeIntegralInRange(0, 100); i > 0; --i) {
      const int bit = data_.ConsumeIntegralInRange(0, 3);
      Require((bit == 3 ? builder.AppendNull() : builder.Append(bit != 0)).ok(), "memory");
    }
    auto bits = std::static_pointer_cast<arrow::BooleanArray>(builder.Finish().ValueOrDie());
    return kind == 2 ? RowFilter::Bitmap(bits, Number<uint64_t>(100)) : RowFilter::IdBitmap(bits);
  }
  std::shared_ptr<arrow::Array> Ids(int64_t n) {
    arrow::UInt64Builder builder;
    for (int64_t i = 0; i < n; ++i) Require(builder.Append(Number<uint64_t>(100)).ok(), "memory");
    auto ids = builder.Finish().ValueOrDie();
    return data_.ConsumeBool() ? ids : ids->View(arrow::int64()).ValueOrDie();
  }
  // Rows of the index's dimension, or of another where that would be too much.
  std::shared_ptr<arrow::Array> Rows(int most) {
    const bool fits = dim_ >= 1 && dim_ <= 64 && data_.ConsumeProbability<float>() < 0.95f;
    const int32_t dim = fits ? dim_ : data_.ConsumeBool() ? std::max(dim_, 0) : Number<int32_t>(16) & 0x7FFFFFFF;
    const int rows = dim > 64 ? 0 : data_.ConsumeIntegralInRange(0, most);
    const bool half = data_.ConsumeBool();
    const bool tame = data_.ConsumeBool();
    arrow::FloatBuilder floats;
    arrow::HalfFloatBuilder halves;
    arrow::TypedBufferBuilder<bool> valid;
    for (int i = 0; i < rows; ++i) {
      Require(valid.Append(!data_.ConsumeBool() || tame).ok(), "memory");
      for (int32_t d = 0; d < dim; ++d) {
        const float value = tame ? static_cast<float>(data_.ConsumeIntegral<int8_t>()) : Real();
        Require((half ? halves.Append(static_cast<uint16_t>(tame ? 0x3C00 + d : data_.ConsumeIntegral<uint16_t>()))
                      : floats.Append(value))
                    .ok(),
                "memory");
      }
    }
    auto values = half ? halves.Finish().ValueOrDie() : floats.Finish().ValueOrDie();
    return std::make_shared<arrow::FixedSizeListArray>(arrow::fixed_size_list(values->type(), dim), rows, values,
                                                       valid.Finish().ValueOrDie());
  }
  std::vector<float> Query() {
    std::vector<float> query(dim_ >= 1 && dim_ <= 64 ? static_cast<size_t>(dim_) : 3);
    if (data_.ConsumeProbability<float>() < 0.1f) query.resize(data_.ConsumeIntegralInRange<size_t>(0, 70));
    for (float& value : query) value = Real();
    return query;
  }
  SearchOptions SearchWith() {
    return {.k = Number<int64_t>(20),
            .ef = Number<int64_t>(50),
            .filter = Filter(),
            .exact = data_.ConsumeBool(),
            .deadline = Until()};
  }

  void Append(LiveIndex& index) {
    const auto rows = Rows(150);
    AppendOptions options = {.threads = Threads(), .deadline = Until()};
    if (data_.ConsumeBool()) options.first_row_id = Number<uint64_t>(1000);
    if (data_.ConsumeProbability<float>() < 0.2f) options.row_ids = Ids(rows->length());
    const uint32_t before = index.size();
    const auto appended = index.Append(rows, options);
    if (appended.ok()) {
      Require(appended->first == before && appended->last == index.size() && index.size() <= index.options().max_rows,
              "the ids of what was appended");
    } else {
      if (!appended.status().IsCancelled()) RequireClear(appended.status());
      Require(index.size() == before, "a refused batch changes nothing");
    }
  }
  void Check(const LiveIndex& index, const Answer& answer, const SearchOptions& search) {
    for (size_t i = 1; i < answer.rows.size(); ++i) {
      const SearchResult &a = answer.rows[i - 1], &b = answer.rows[i];
      Require(std::tie(a.distance, a.row_id, a.id) < std::tie(b.distance, b.row_id, b.id), "results in order");
    }
    for (const SearchResult& row : answer.rows) {
      Require(search.filter.Passes(row.row_id, row.id), "results pass the filter");
    }
    Require(answer.rows.size() <= static_cast<size_t>(search.k), "at most k");
    if (!answer.complete || !search.filter.all()) return;
    Require(answer.rows.size() == std::min<uint64_t>(static_cast<uint64_t>(search.k), index.size()), "k means k");
  }
  void Search(const LiveIndex& index) {
    const SearchOptions options = SearchWith();
    const auto explained = index.GetSnapshot().ValueOrDie().Explain(Query(), options);
    if (!explained.ok()) return RequireClear(explained.status());
    Check(index, explained->answer, options);
  }
  void SearchRange(const LiveIndex& index) {
    const float radius = Real();
    const auto answer = index.SearchRange(
        Query(), radius,
        {.ef = Number<int64_t>(50), .filter = Filter(), .exact = data_.ConsumeBool(), .deadline = Until()});
    if (!answer.ok()) return RequireClear(answer.status());
    for (const SearchResult& row : answer->rows) Require(row.distance <= radius, "results within the radius");
  }
  void SearchBatch(const LiveIndex& index) {
    const SearchOptions options = SearchWith();
    const auto queries = Rows(4);
    BatchOptions batch = {.threads = Threads()};
    if (data_.ConsumeBool()) {
      for (int64_t i = 0; i < queries->length(); ++i) batch.filters.push_back(Filter());
    }
    const auto answers = index.SearchBatch(*queries, options, batch);
    if (!answers.ok()) return RequireClear(answers.status());
    Require(answers->size() == static_cast<size_t>(queries->length()), "an answer a query");
    if (!batch.filters.empty()) return;
    for (const Answer& answer : *answers) Check(index, answer, options);
  }
  void Page(const LiveIndex& index) {
    auto pager = Pager::Make(index.GetSnapshot().ValueOrDie(), Query(),
                             {.ef = Number<int64_t>(50), .filter = Filter(), .exact = data_.ConsumeBool()});
    if (!pager.ok()) return RequireClear(pager.status());
    size_t given = 0;
    for (int page = data_.ConsumeIntegralInRange(1, 4); page > 0; --page) {
      const auto answer = pager->Next(Number<int64_t>(20), Until());
      if (!answer.ok()) return RequireClear(answer.status());
      given += answer->rows.size();
    }
    Require(given <= index.size(), "each row once");
  }
  void Export(const LiveIndex& index) {
    const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
    std::optional<uint64_t> reverse;
    if (data_.ConsumeBool()) reverse = Number<uint64_t>(1000);
    const auto rows = snapshot.ToRecordBatch(reverse);
    if (!rows.ok()) return RequireClear(rows.status());
    Require((*rows)->num_rows() == snapshot.size() && (*rows)->ValidateFull().ok(), "rows are exported as they are");
    const auto graph = snapshot.ToLanceHnswBatch().ValueOrDie();
    Require(HnswGraph::FromLanceHnswBatch(*graph).ValueOrDie().size() == snapshot.size(), "an export can be imported");
  }

  FuzzedDataProvider data_;
  StrictPool pool_;
  int32_t dim_ = 0;
};

}  // namespace
}  // namespace pennon::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pennon::fuzz::Calls(data, size).Run();
  return 0;
}
