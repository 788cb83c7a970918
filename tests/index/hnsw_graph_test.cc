// ctest: labels=contract-1,contract-7,contract-8,contract-10,contract-11,asan timeout=300
#include "pennon/hnsw_graph.h"

#include <limits>
#include <stdexcept>

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "pennon/vector_store.h"
#include "support/vectors.h"

namespace pennon {
namespace {

// The seed's store: element (row, column) is row + column / 1000.
Vectors Ramp(size_t rows, int dim) {
  Vectors vectors(rows);
  for (size_t row = 0; row < rows; ++row) {
    for (int column = 0; column < dim; ++column) {
      vectors[row].push_back(static_cast<float>(row) + static_cast<float>(column) * 0.001f);
    }
  }
  return vectors;
}

VectorStoreSnapshot Store(const Vectors& rows, int dim, Metric metric = Metric::kL2, uint64_t first_row_id = 0) {
  VectorStore store = VectorStore::Make(dim, metric).ValueOrDie();
  EXPECT_TRUE(store.AppendBatch(ToArray(rows, dim), first_row_id).ok());
  return store.GetSnapshot();
}

HnswGraph Graph(int m, int ef_construction, uint64_t seed = 100) {
  BuildParams params = BuildParams::MemWalDefault();
  params.m = m;
  params.ef_construction = ef_construction;
  params.seed = seed;
  return HnswGraph::Make(params).ValueOrDie();
}

TEST(HnswGraph, ParallelInsertSearchesVisibleGraph) {
  const auto rows = Ramp(256, 16);
  const auto source = Store(rows, 16, Metric::kL2, 100);
  HnswGraph graph = Graph(8, 32, 7);
  ASSERT_TRUE(graph.InsertBatch(0, 256, source).ok());
  EXPECT_EQ(graph.size(), 256u);
  EXPECT_EQ(graph.indexed_size(), 256u);
  const auto found = graph.Search(rows[42], {.k = 5, .ef = 32}, source).ValueOrDie();
  ASSERT_EQ(found.size(), 5u);
  EXPECT_EQ(found[0], (SearchResult{42, 142, 0.0f}));
}

TEST(HnswGraph, LanceBatchHasLancesShape) {
  const auto source = Store(Ramp(64, 8), 8);
  HnswGraph graph = Graph(8, 32, 11);
  ASSERT_TRUE(graph.InsertBatchSerial(0, 64, source).ok());
  const auto batch = graph.ToLanceHnswBatch(source).ValueOrDie();
  EXPECT_EQ(batch->schema()->ToString(false),
            "__vector_id: uint32\n__neighbors: list<item: uint32>\n_distance: list<item: float>");
  const auto json = nlohmann::json::parse(batch->schema()->metadata()->Get("lance:hnsw").ValueOrDie());
  EXPECT_EQ(json["params"],
            (nlohmann::json{{"max_level", 7}, {"m", 8}, {"ef_construction", 32}, {"prefetch_distance", 2}}));
  EXPECT_EQ(json["level_offsets"].size(), 8u);
  EXPECT_EQ(json["level_offsets"][1], 64);
  EXPECT_EQ(json["level_offsets"][7], batch->num_rows());
  const auto& lists = static_cast<const arrow::ListArray&>(*batch->column(2));
  const auto& distances = static_cast<const arrow::FloatArray&>(*lists.values());
  for (int64_t row = 0; row < batch->num_rows(); ++row) {
    for (int64_t i = lists.value_offset(row) + 1; i < lists.value_offset(row + 1); ++i) {
      EXPECT_LE(distances.Value(i - 1), distances.Value(i));
    }
  }
}

TEST(HnswGraph, AStaleSourceStillGetsAnswers) {
  const int dim = 8;
  const auto rows = Normal(2000, dim, 1);
  const auto source = Store(rows, dim);
  HnswGraph graph = Graph(4, 20);
  ASSERT_TRUE(graph.InsertBatch(0, 2000, source).ok());
  for (size_t shorter : {1, 5, 100, 777, 1999}) {
    const auto stale = Store(Vectors(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(shorter)), dim);
    for (const auto& query : Normal(20, dim, 2)) {
      const auto found = graph.Search(query, {.k = 10, .ef = 20}, stale).ValueOrDie();
      EXPECT_EQ(found.size(), std::min<size_t>(10, shorter));
      for (const auto& row : found) EXPECT_LT(row.id, shorter);
    }
  }
}

double Recall(const HnswGraph& graph, const VectorStoreSnapshot& source, const Vectors& queries) {
  size_t found = 0;
  for (const auto& query : queries) {
    const auto exact = graph.Search(query, {.k = static_cast<int64_t>(source.size())}, source).ValueOrDie();
    for (const auto& row : graph.Search(query, {.k = 10, .ef = 40}, source).ValueOrDie()) {
      found += row.distance <= exact[9].distance;
    }
  }
  return static_cast<double>(found) / (10.0 * static_cast<double>(queries.size()));
}

TEST(HnswGraph, ReadsBackWhatItWrote) {
  const int dim = 16;
  const auto source = Store(Normal(3000, dim, 3), dim);
  const auto queries = Normal(50, dim, 4);
  HnswGraph graph = Graph(8, 60);
  ASSERT_TRUE(graph.InsertBatch(0, 3000, source).ok());
  const auto batch = graph.ToLanceHnswBatch(source).ValueOrDie();
  HnswGraph read = HnswGraph::FromLanceHnswBatch(*batch).ValueOrDie();
  EXPECT_EQ(read.size(), 3000u);
  EXPECT_TRUE(read.Verify().ok()) << read.Verify().ToString();
  EXPECT_EQ(read.params().m, 8);
  EXPECT_NEAR(Recall(read, source, queries), Recall(graph, source, queries), 0.01);
  // And it goes on growing.
  const auto more = Store(Normal(3500, dim, 3), dim);
  ASSERT_TRUE(read.InsertBatch(3000, 3500, more).ok());
  EXPECT_TRUE(read.Verify().ok());
}

std::shared_ptr<arrow::RecordBatch> WithMetadata(const arrow::RecordBatch& batch, const std::string& json) {
  return batch.ReplaceSchemaMetadata(arrow::key_value_metadata({"lance:hnsw"}, {json}));
}

TEST(HnswGraph, AForeignGraphGetsATree) {
  // A chain of rows, each linked to the next only: not strongly connected.
  arrow::UInt32Builder ids;
  auto values = std::make_shared<arrow::UInt32Builder>();
  auto floats = std::make_shared<arrow::FloatBuilder>();
  arrow::ListBuilder neighbors(arrow::default_memory_pool(), values);
  arrow::ListBuilder distances(arrow::default_memory_pool(), floats);
  for (uint32_t row = 0; row < 100; ++row) {
    ASSERT_TRUE(ids.Append(row).ok() && neighbors.Append().ok() && distances.Append().ok());
    if (row == 99) break;
    ASSERT_TRUE(values->Append(row + 1).ok() && floats->Append(1).ok());
  }
  const auto schema = arrow::schema({arrow::field("__vector_id", arrow::uint32()),
                                     arrow::field("__neighbors", arrow::list(arrow::uint32())),
                                     arrow::field("_distance", arrow::list(arrow::float32()))});
  const auto batch = arrow::RecordBatch::Make(
      schema, 100, {ids.Finish().ValueOrDie(), neighbors.Finish().ValueOrDie(), distances.Finish().ValueOrDie()});
  const std::string good =
      R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10,"prefetch_distance":null},"level_offsets":[0,100]})";
  const HnswGraph graph = HnswGraph::FromLanceHnswBatch(*WithMetadata(*batch, good)).ValueOrDie();
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify().ToString();

  for (
      const char* bad : {
          "",
          "[]",
          "{}",
          R"({"entry_point":0})",
          R"({"entry_point":100,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,100]})",
          R"({"entry_point":-1,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,100]})",
          R"({"entry_point":0,"params":{"max_level":7,"m":1,"ef_construction":10},"level_offsets":[0,100]})",
          R"({"entry_point":0,"params":{"max_level":99,"m":2,"ef_construction":10},"level_offsets":[0,100]})",
          R"({"entry_point":0,"params":{"max_level":7,"m":1e300,"ef_construction":10},"level_offsets":[0,100]})",
          R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0]})",
          R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,99]})",
          R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,50,100]})",
          R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,100,50,100]})",
          R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,18446744073709551615]})",
      }) {
    EXPECT_TRUE(HnswGraph::FromLanceHnswBatch(*WithMetadata(*batch, bad)).status().IsInvalid()) << bad;
  }
  const auto missing = WithMetadata(*batch->RemoveColumn(1).ValueOrDie(), good);
  EXPECT_TRUE(HnswGraph::FromLanceHnswBatch(*missing).status().IsInvalid());
  // Every neighbour id one too large.
  auto data = batch->column(1)->data()->Copy();
  arrow::UInt32Builder shifted;
  for (uint32_t row = 0; row < 99; ++row) ASSERT_TRUE(shifted.Append(row + 2).ok());
  data->child_data[0] = shifted.Finish().ValueOrDie()->data();
  const auto out_of_range = WithMetadata(
      *arrow::RecordBatch::Make(schema, 100, {batch->column(0), arrow::MakeArray(data), batch->column(2)}), good);
  EXPECT_TRUE(HnswGraph::FromLanceHnswBatch(*out_of_range).status().IsInvalid());
}

std::shared_ptr<arrow::RecordBatch> ReadFixture(const char* name) {
  const auto path = std::string(PENNON_TEST_DATA) + "/" + name;
  const auto file = arrow::io::ReadableFile::Open(path).ValueOrDie();
  return arrow::ipc::RecordBatchFileReader::Open(file).ValueOrDie()->ReadRecordBatch(0).ValueOrDie();
}

// Words of the metadata are not walked into.
TEST(HnswGraph, MetadataWithDeepBrackets) {
  const auto source = Store(Ramp(3, 2), 2);
  HnswGraph graph = Graph(8, 32);
  ASSERT_TRUE(graph.InsertBatch(0, 3, source).ok());
  const auto batch = graph.ToLanceHnswBatch(source).ValueOrDie();
  constexpr size_t kDeep = 2'000'000;
  const std::string brackets = std::string(kDeep, '[') + std::string(kDeep, ']');
  for (const std::string& json : std::vector<std::string>{
           brackets, R"({"entry_point":)" + brackets + "}",
           R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,)" + brackets +
               "]}",
           R"({"entry_point":0,"params":{"max_level":7,"m":2,"ef_construction":10},"level_offsets":[0,"x"]})"}) {
    const auto imported = HnswGraph::FromLanceHnswBatch(*WithMetadata(*batch, json));
    EXPECT_TRUE(imported.status().IsInvalid()) << imported.status().ToString().substr(0, 200);
  }
}

// Lance's builder counts its first row on level 0 only: this batch has more rows than its level_offsets say.
TEST(HnswGraph, AGraphThatLanceBuilt) {
  const auto batch = ReadFixture("lance-hnsw.arrow");
  VectorStore store = VectorStore::Make(8, Metric::kL2).ValueOrDie();
  ASSERT_TRUE(store.AppendBatch(ReadFixture("lance-vectors.arrow")->GetColumnByName("flat"), 0).ok());
  const auto source = store.GetSnapshot();
  HnswGraph graph = HnswGraph::FromLanceHnswBatch(*batch).ValueOrDie();
  ASSERT_EQ(graph.size(), source.size());
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify().ToString();
  size_t found = 0;
  for (const auto& query : Normal(100, 8, 1)) {
    std::vector<float> distances(source.size());
    for (uint32_t id = 0; id < source.size(); ++id) distances[id] = source.DistanceTo(query, id);
    std::nth_element(distances.begin(), distances.begin() + 9, distances.end());
    for (const auto& row : graph.Search(query, {.k = 10, .ef = 40}, source).ValueOrDie()) {
      found += row.distance <= distances[9];
    }
  }
  EXPECT_GE(found, 980u);
  // It grows, and what is written is well formed again.
  const Vectors more = Normal(100, 8, 2);
  ASSERT_TRUE(store.AppendBatch(ToArray(more, 8), 400).ok());
  ASSERT_TRUE(graph.InsertBatch(400, 500, store.GetSnapshot()).ok());
  EXPECT_TRUE(graph.Verify().ok()) << graph.Verify().ToString();
  const auto again = graph.ToLanceHnswBatch(store.GetSnapshot()).ValueOrDie();
  EXPECT_TRUE(HnswGraph::FromLanceHnswBatch(*again).ValueOrDie().Verify().ok());
}

// Whatever a batch says, the answer is an error or a sound graph.
TEST(HnswGraph, DamagedBatches) {
  std::mt19937_64 random(1);
  const auto good = ReadFixture("lance-hnsw.arrow");
  const std::string json = good->schema()->metadata()->Get("lance:hnsw").ValueOrDie();
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    arrow::ArrayVector columns = good->columns();
    std::string metadata = json;
    const uint64_t where = random() % 6;
    if (where == 5) {
      metadata[random() % metadata.size()] = "0123456789-,[]{}\"e"[random() % 18];
    } else {
      // Ids, offsets and items of neighbours, offsets and items of distances.
      const size_t column = (where + 1) / 2;
      const auto data = columns[column]->data()->Copy();
      const bool items = where == 2 || where == 4;
      const auto part = items ? data->child_data[0]->Copy() : data;
      part->buffers[1] = arrow::Buffer::FromString(part->buffers[1]->ToString());
      auto* words = reinterpret_cast<uint32_t*>(part->buffers[1]->mutable_data());
      const int64_t count = part->length + (column > 0 && !items ? 1 : 0);
      const uint32_t values[] = {0, 1, 399, 400, 0x7FC00000, 0x80000000, 0xFFFFFFFF, words[random() % count]};
      words[random() % count] = values[random() % std::size(values)];
      if (items) data->child_data[0] = part;
      columns[column] = arrow::MakeArray(data);
    }
    const auto batch = arrow::RecordBatch::Make(good->schema(), good->num_rows(), columns);
    const auto graph = HnswGraph::FromLanceHnswBatch(*WithMetadata(*batch, metadata));
    if (!graph.ok()) {
      EXPECT_TRUE(graph.status().IsInvalid()) << graph.status().ToString();
      ++refused;
    } else {
      EXPECT_TRUE(graph->Verify().ok()) << graph->Verify().ToString();
    }
  }
  EXPECT_GT(refused, 200);
}

struct Troubled {
  enum Kind { kThrows, kNaN } kind;
  uint32_t rows;
  size_t size() const { return rows; }
  size_t dim() const { return 1; }
  uint64_t row_id(uint32_t id) const { return id; }
  float DistanceTo(std::span<const float>, uint32_t id) const { return DistanceBetween(id, 0); }
  float DistanceBetween(uint32_t a, uint32_t b) const {
    if (a == 150 || b == 150) {
      if (kind == kThrows) throw std::runtime_error("no such row");
      return std::numeric_limits<float>::quiet_NaN();
    }
    return static_cast<float>(a > b ? a - b : b - a);
  }
};

TEST(HnswGraph, ATroubledSourceLeavesTheGraphAsItWas) {
  for (const auto kind : {Troubled::kThrows, Troubled::kNaN}) {
    HnswGraph graph = Graph(4, 16);
    const Troubled source{kind, 300};
    ASSERT_TRUE(graph.InsertBatch(0, 100, source, 2).ok());
    EXPECT_FALSE(graph.InsertBatch(100, 200, source, 2).ok());
    EXPECT_EQ(graph.size(), 100u);
    EXPECT_EQ(graph.indexed_size(), 100u);
    EXPECT_TRUE(graph.Verify().ok());
    ASSERT_TRUE(graph.InsertBatch(100, 140, source, 2).ok());
    EXPECT_EQ(graph.size(), 140u);
  }
}

TEST(HnswGraph, BadInput) {
  const auto source = Store(Ramp(10, 2), 2);
  HnswGraph graph = HnswGraph::Make(BuildParams::MemWalDefault(), {.capacity = 8}).ValueOrDie();
  EXPECT_TRUE(HnswGraph::Make({}, {.capacity = 0}).status().IsInvalid());
  EXPECT_TRUE(graph.Insert(1, source).IsInvalid());
  ASSERT_TRUE(graph.Insert(0, source).ok());
  EXPECT_TRUE(graph.InsertBatch(2, 5, source).IsInvalid());
  EXPECT_TRUE(graph.InsertBatch(1, 9, source).IsCapacityError());
  EXPECT_TRUE(graph.InsertBatch(1, 5, Store(Ramp(4, 2), 2)).IsInvalid());
  EXPECT_TRUE(graph.Search(std::vector<float>{1, 2, 3}, {}, source).status().IsInvalid());
  EXPECT_EQ(graph.Search(std::vector<float>{1, 2}, {.k = 0}, source).ValueOrDie().size(), 0u);
  EXPECT_EQ(graph.size(), 1u);
}

TEST(VectorStore, FloatsAndHalvesSlicesAndNulls) {
  const int dim = 3;
  const auto rows = Ramp(20, dim);
  VectorStore store = VectorStore::Make(dim, Metric::kL2).ValueOrDie();
  ASSERT_TRUE(store.AppendBatch(ToArray(rows, dim, {4})->Slice(2, 10), 1000).ok());
  const auto first = store.GetSnapshot();
  EXPECT_EQ(first.size(), 9u);
  EXPECT_EQ(first.row_id(2), 1003u);
  auto halves = std::make_shared<arrow::HalfFloatBuilder>();
  arrow::FixedSizeListBuilder builder(arrow::default_memory_pool(), halves, dim);
  for (uint16_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(builder.Append().ok());
    for (int d = 0; d < dim; ++d) ASSERT_TRUE(halves->Append(static_cast<uint16_t>(0x3C00 + 0x400 * i)).ok());
  }
  const auto range = store.AppendBatch(builder.Finish().ValueOrDie()->Slice(1, 2), 5).ValueOrDie();
  EXPECT_EQ(range.first, 9u);
  EXPECT_EQ(range.last, 11u);
  const auto second = store.GetSnapshot();
  EXPECT_EQ(first.size(), 9u);
  EXPECT_FLOAT_EQ(second.DistanceBetween(9, 10), 3 * 4.0f);
  std::vector<float> vector(dim);
  ASSERT_TRUE(second.CopyVector(10, vector).ok());
  EXPECT_EQ(vector, std::vector<float>(dim, 4.0f));
  ASSERT_TRUE(second.CopyVector(2, vector).ok());
  EXPECT_EQ(vector, rows[5]);
  const auto batch = second.ToRecordBatch().ValueOrDie();
  EXPECT_EQ(batch->num_rows(), 11);
  EXPECT_EQ(batch->schema()->ToString(false), "_rowid: uint64\nflat: fixed_size_list<item: float>[3]");
  const auto reversed = second.ToRecordBatch(2000).ValueOrDie();
  EXPECT_EQ(static_cast<const arrow::UInt64Array&>(*reversed->column(0)).Value(0), 999u);
  EXPECT_TRUE(second.ToRecordBatch(1000).status().IsInvalid());
}

}  // namespace
}  // namespace pennon
