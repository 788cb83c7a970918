// ctest: labels=contract-10,asan timeout=300
// Indices in tables that have changed since: what is deleted is not found, what was added is.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <arrow/api.h>
#include <arrow/filesystem/localfs.h>
#include <arrow/util/uri.h>
#include <gtest/gtest.h>

#include "io/file_system.h"
#include "lance/hnsw_index_reader.h"
#include "lance/manifest.h"
#include "lance/roaring.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "pennon/pager.h"
#include "support/vectors.h"

namespace pennon {
namespace {

constexpr int kDim = 16;
constexpr uint64_t kFragment = 700;

uint64_t RowIdOf(uint64_t row) { return (row / kFragment) << 32 | row % kFragment; }

std::vector<uint64_t> RowIds(const Answer& answer) {
  std::vector<uint64_t> ids;
  for (const SearchResult& row : answer.rows) ids.push_back(row.row_id);
  return ids;
}

class SearcherTest : public testing::Test {
 protected:
  SearcherTest() : path_(std::filesystem::temp_directory_path() / ("pennon-searcher-" + std::to_string(getpid()))) {}
  ~SearcherTest() override { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

  // Rows 0 to n - 1, those of a multiple of 50 null, of which the first are in an index.
  lance::Dataset MakeTable(const std::string& name, size_t n, size_t indexed, Metric metric, lance::IndexType type,
                           bool half = false) {
    vectors_ = Normal(n, kDim, 3);
    std::set<size_t> nulls;
    for (size_t i = 0; i < n; i += 50) nulls.insert(i);
    array_ = ToArray(vectors_, kDim, nulls, half);
    if (half) std::transform(vectors_.begin(), vectors_.end(), vectors_.begin(), Halved);
    schema_ = arrow::schema({arrow::field("v", array_->type())});
    auto dataset = lance::Dataset::Create(path(name), schema_, {.rows_a_fragment = kFragment}).ValueOrDie();
    const auto first = array_->Slice(0, static_cast<int64_t>(indexed));
    Append(dataset, first);
    auto index =
        LiveIndex::Make({.dim = kDim, .metric = metric, .build = {.m = 8, .ef_construction = 60}}).ValueOrDie();
    EXPECT_TRUE(index.Append(first).ok());
    EXPECT_TRUE(index.GetSnapshot().ValueOrDie().ToLance(dataset, {.type = type}).ok());
    if (n > indexed) Append(dataset, array_->Slice(static_cast<int64_t>(indexed)));
    return dataset;
  }

  void Append(lance::Dataset& dataset, const std::shared_ptr<arrow::Array>& rows) {
    const auto batch = arrow::RecordBatch::Make(schema_, rows->length(), {rows});
    const auto status = dataset.Append(*arrow::RecordBatchReader::Make({batch}).ValueOrDie()).status();
    ASSERT_TRUE(status.ok()) << status;
  }

  // A version without these rows.
  lance::Dataset Delete(const std::string& name, const std::set<uint64_t>& rows) {
    io::FileSystem& files = io::LocalFileSystem();
    const auto now = lance::Dataset::Open(path(name)).ValueOrDie();
    const auto file = [&](uint64_t version) {
      return path(name) + "/_versions/" + std::to_string(UINT64_MAX - version) + ".manifest";
    };
    auto manifest = lance_format::ReadManifest(files.Read(file(now.version())).ValueOrDie()).ValueOrDie();
    std::map<uint64_t, std::vector<uint32_t>> deleted;
    for (const uint64_t row : rows) deleted[RowIdOf(row) >> 32].push_back(static_cast<uint32_t>(RowIdOf(row)));
    for (auto& fragment : manifest.fragments) {
      if (!deleted.contains(fragment.id)) continue;
      fragment.deletions = {.type = lance_format::DeletionFile::kBitmap, .rows = deleted[fragment.id].size()};
      EXPECT_TRUE(files.MakeDirectory(path(name) + "/_deletions").ok());
      EXPECT_TRUE(files
                      .PutIfAbsent(path(name) + "/_deletions/" + fragment.deletions->Name(fragment.id),
                                   lance_format::RoaringBitmap(deleted[fragment.id]))
                      .ok());
    }
    ++manifest.version;
    manifest.reader_flags |= lance_format::kDeletionFiles;
    manifest.writer_flags |= lance_format::kDeletionFiles;
    manifest.transaction_file.clear();
    EXPECT_TRUE(files.PutIfAbsent(file(manifest.version), lance_format::ManifestFile(manifest)).ok());
    return lance::Dataset::Open(path(name)).ValueOrDie();
  }

  // What is in the table, to be scanned.
  LiveIndex Truth(Metric metric, const std::set<uint64_t>& without) const {
    auto index = LiveIndex::Make({.dim = kDim, .metric = metric, .build = {.m = 2, .ef_construction = 2}}).ValueOrDie();
    arrow::UInt64Builder ids;
    std::set<size_t> nulls(without.begin(), without.end());
    for (size_t row = 0; row < vectors_.size(); ++row) {
      EXPECT_TRUE(ids.Append(RowIdOf(row)).ok());
      if (row % 50 == 0) nulls.insert(row);
    }
    EXPECT_TRUE(index.Append(ToArray(vectors_, kDim, nulls), {.row_ids = ids.Finish().ValueOrDie()}).ok());
    return index;
  }

  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::Array> array_;
  Vectors vectors_;

 private:
  const std::filesystem::path path_;
};

std::set<uint64_t> EveryThird(uint64_t first, uint64_t last) {
  std::set<uint64_t> rows;
  for (uint64_t row = first; row < last; row += 3) rows.insert(row);
  return rows;
}

constexpr lance::IndexType kTypes[] = {lance::IndexType::kHnswFlat, lance::IndexType::kHnswSq};
constexpr Metric kMetrics[] = {Metric::kL2, Metric::kCosine, Metric::kDot};

TEST_F(SearcherTest, DeletedRowsAreHiddenInALoadedIndex) {
  int number = 0;
  for (const auto type : kTypes) {
    for (const Metric metric : kMetrics) {
      const bool half = metric == Metric::kCosine;
      SCOPED_TRACE(std::string(ToString(metric)) + (type == lance::IndexType::kHnswSq ? " sq" : " flat") +
                   (half ? " half" : ""));
      const std::string name = std::to_string(++number);
      MakeTable(name, 2000, 2000, metric, type, half);
      const auto deleted = EveryThird(1, 1500);
      const auto dataset = Delete(name, deleted);
      auto loaded = dataset.LoadIndex();
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      EXPECT_EQ(loaded->size(), 1960);
      EXPECT_TRUE(loaded->Verify().ValueOrDie().ok);
      size_t found = 0;
      const LiveIndex truth = Truth(metric, deleted);
      const Vectors queries = Normal(20, kDim, 7);
      for (const auto& query : queries) {
        const Answer expected = truth.Search(query, {.exact = true}).ValueOrDie();
        EXPECT_EQ(RowIds(loaded->Search(query, {.exact = true}).ValueOrDie()), RowIds(expected));
        const Answer walked = loaded->Search(query, {.ef = 100}).ValueOrDie();
        ASSERT_EQ(walked.rows.size(), 10);
        for (const uint64_t id : RowIds(walked)) {
          EXPECT_FALSE(deleted.contains((id >> 32) * kFragment + (id & 0xFFFFFFFF)));
          const auto ids = RowIds(expected);
          found += static_cast<size_t>(std::count(ids.begin(), ids.end(), id));
        }
      }
      EXPECT_GT(found, 190u);
      EXPECT_EQ(loaded->Search(queries[0], {.k = 3000}).ValueOrDie().rows.size(),
                1960 - std::count_if(deleted.begin(), deleted.end(), [](uint64_t row) { return row % 50 != 0; }));
    }
  }
}

TEST_F(SearcherTest, HiddenRowsStayHiddenWhateverIsAsked) {
  MakeTable("t", 2000, 2000, Metric::kL2, lance::IndexType::kHnswFlat);
  const auto deleted = EveryThird(1, 1999);  // not the last one
  auto dataset = Delete("t", deleted);
  LiveIndex loaded = dataset.LoadIndex().ValueOrDie();
  const auto snapshot = loaded.GetSnapshot().ValueOrDie();
  EXPECT_TRUE(snapshot.ToLance(dataset, {.name = "again"}).status().IsNotImplemented());

  std::set<uint64_t> gone;
  for (const uint64_t row : deleted) gone.insert(RowIdOf(row));
  arrow::UInt64Builder ids;
  arrow::BooleanBuilder all;
  for (uint64_t row = 0; row < 2000; ++row) {
    ASSERT_TRUE(ids.Append(RowIdOf(row)).ok());
    ASSERT_TRUE(all.Append(true).ok());
  }
  const auto bits = std::static_pointer_cast<arrow::BooleanArray>(all.Finish().ValueOrDie());
  const RowFilter filters[] = {RowFilter(), RowFilter::RowIds(*ids.Finish().ValueOrDie()).ValueOrDie(),
                               RowFilter::IdBitmap(bits), RowFilter::Predicate([](uint64_t) { return true; })};
  const auto query = vectors_[1];  // that of a deleted row
  const auto there = [&](const Answer& answer) {
    const auto found = RowIds(answer);
    return std::none_of(found.begin(), found.end(), [&](uint64_t id) { return gone.contains(id); });
  };
  const Answer plain = loaded.Search(query, {.k = 30, .exact = true}).ValueOrDie();
  for (const RowFilter& filter : filters) {
    EXPECT_TRUE(there(loaded.Search(query, {.k = 10, .ef = 20, .filter = filter}).ValueOrDie()));
    EXPECT_EQ(loaded.Search(query, {.k = 30, .filter = filter, .exact = true}).ValueOrDie().rows, plain.rows);
    EXPECT_TRUE(there(loaded.SearchRange(query, 20, {.filter = filter}).ValueOrDie()));
    EXPECT_TRUE(there(loaded.SearchRange(query, INFINITY, {.filter = filter, .exact = true}).ValueOrDie()));
    const auto queries = ToArray({query, query}, kDim);
    EXPECT_TRUE(there(loaded.SearchBatch(*queries, {.k = 20, .filter = filter}).ValueOrDie()[1]));
    EXPECT_TRUE(there(loaded.SearchBatch(*queries, {.k = 20}, {.filters = {filter, filter}}).ValueOrDie()[1]));
  }
  auto pager = Pager::Make(snapshot, query).ValueOrDie();
  size_t paged = 0;
  for (Answer page; !(page = pager.Next(100).ValueOrDie()).rows.empty(); paged += page.rows.size()) {
    EXPECT_TRUE(there(page));
  }
  EXPECT_EQ(paged, loaded.Search(query, {.k = 2000}).ValueOrDie().rows.size());

  // What comes then is found.
  ASSERT_TRUE(loaded.Append(ToArray({query}, kDim)).ok());
  const Answer found = loaded.Search(query, {.k = 1}).ValueOrDie();
  EXPECT_EQ(found.rows[0].row_id, uint64_t{3} << 32);
  EXPECT_EQ(found.rows[0].distance, 0);
}

TEST_F(SearcherTest, RebuildsOfAllRows) {
  auto dataset = MakeTable("t", 2500, 2000, Metric::kCosine, lance::IndexType::kHnswSq);
  std::vector<std::string> warned;
  const auto warn = [&](LogLevel level, std::string_view line) {
    if (level == LogLevel::kWarning) warned.emplace_back(line);
  };
  const LiveIndex as_it_was = dataset.LoadIndex({.logger = warn}).ValueOrDie();
  EXPECT_EQ(as_it_was.size(), 1960);
  ASSERT_EQ(warned.size(), 1);
  EXPECT_NE(warned[0].find("500 rows of the table are in fragments that the index v_idx is not of"), std::string::npos);
  LiveIndex rebuilt = dataset.LoadIndex({.rebuild = true}).ValueOrDie();
  EXPECT_EQ(rebuilt.size(), 2450);
  EXPECT_EQ(rebuilt.options().build.m, 8);
  EXPECT_TRUE(rebuilt.Verify().ValueOrDie().ok);
  const auto row_id = [](size_t row) { return row < 2000 ? RowIdOf(row) : uint64_t{3} << 32 | (row - 2000); };
  for (size_t row = 1; row < 2500; row += 50) {
    EXPECT_EQ(rebuilt.Search(vectors_[row], {.k = 1}).ValueOrDie().rows[0].row_id, row_id(row));
  }
  // It is of the table's rows, and goes on as that does.
  const Vectors more = Normal(9, kDim, 11);
  Append(dataset, ToArray(more, kDim));
  ASSERT_TRUE(rebuilt.Append(ToArray(more, kDim)).ok());
  const auto again = rebuilt.GetSnapshot().ValueOrDie().ToLance(dataset, {.name = "again"});
  ASSERT_TRUE(again.ok()) << again.status();
  const LiveIndex of_again = dataset.LoadIndex({.name = "again"}).ValueOrDie();
  EXPECT_EQ(of_again.size(), 2459);
  EXPECT_EQ(of_again.Search(more[5], {.k = 1}).ValueOrDie().rows[0].row_id, (uint64_t{4} << 32) + 5);

  // What knows all rows is taken as it is.
  std::vector<std::string> said;
  const auto logger = [&](LogLevel, std::string_view line) { said.emplace_back(line); };
  EXPECT_EQ(dataset.LoadIndex({.name = "again", .rebuild = true, .logger = logger}).ValueOrDie().size(), 2459);
  ASSERT_EQ(said.size(), 1);
  EXPECT_NE(said[0].find("loaded 2459 rows"), std::string::npos);
  const auto after = Delete("t", {2, 3});
  EXPECT_EQ(after.LoadIndex({.name = "again", .rebuild = true}).ValueOrDie().size(), 2457);
  EXPECT_TRUE(after.LoadIndex({.name = "again", .rebuild = true, .max_rows = 100}).status().IsCapacityError());
}

TEST_F(SearcherTest, FindsWhatTheTableHas) {
  int number = 0;
  for (const auto type : kTypes) {
    for (const Metric metric : kMetrics) {
      SCOPED_TRACE(std::string(ToString(metric)) + (type == lance::IndexType::kHnswSq ? " sq" : " flat"));
      const std::string name = std::to_string(++number);
      MakeTable(name, 2100, 1400, metric, type);
      const auto deleted = EveryThird(2, 2100);
      const auto dataset = Delete(name, deleted);
      const auto searcher = dataset.OpenSearcher().ValueOrDie();
      EXPECT_EQ(searcher.GetStats().open_partitions, 0);
      size_t found = 0;
      const LiveIndex truth = Truth(metric, deleted);
      for (const auto& query : Normal(20, kDim, 5)) {
        const Answer expected = truth.Search(query, {.exact = true}).ValueOrDie();
        const Answer exact = searcher.Search(query, {.exact = true}).ValueOrDie();
        ASSERT_EQ(exact.rows.size(), 10);
        for (size_t i = 0; i < 10; ++i) {
          EXPECT_EQ(exact.rows[i].row_id, expected.rows[i].row_id);
          EXPECT_EQ(exact.rows[i].distance, expected.rows[i].distance);
        }
        const auto ids = RowIds(expected);
        for (const uint64_t id : RowIds(searcher.Search(query, {.ef = 100}).ValueOrDie())) {
          found += static_cast<size_t>(std::count(ids.begin(), ids.end(), id));
        }
      }
      EXPECT_GT(found, 190u);
      const lance::SearcherStats stats = searcher.GetStats();
      EXPECT_EQ(stats.segments, 1);
      EXPECT_EQ(stats.partitions, 1);
      EXPECT_EQ(stats.open_partitions, 1);
      EXPECT_EQ(stats.indexed_rows, 1372);
      EXPECT_EQ(stats.scanned_rows, 700 - 234);
      EXPECT_GT(stats.bytes, 2000 * kDim * 4);
    }
  }
}

std::string TestTable(const char* name) { return std::string(PENNON_TEST_DATA) + "/pylance14-" + name + ".lance"; }

// By a scan, with distances.
std::map<uint64_t, std::vector<float>> VectorsOf(const lance::Dataset& dataset) {
  std::map<uint64_t, std::vector<float>> vectors;
  const auto scan = dataset.Scan({.columns = {"v"}, .row_ids = true}).ValueOrDie();
  for (const auto& batch : scan->ToRecordBatches().ValueOrDie()) {
    const auto& column = static_cast<const arrow::FixedSizeListArray&>(*batch->column(0));
    const auto& ids = static_cast<const arrow::UInt64Array&>(*batch->column(1));
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      if (column.IsNull(row)) continue;
      const auto values = column.value_slice(row);
      std::vector<float>& vector = vectors[ids.Value(row)];
      for (int64_t i = 0; i < values->length(); ++i) {
        vector.push_back(
            values->type_id() == arrow::Type::FLOAT
                ? static_cast<const arrow::FloatArray&>(*values).Value(i)
                : arrow::util::Float16::FromBits(static_cast<const arrow::HalfFloatArray&>(*values).Value(i))
                      .ToFloat());
      }
    }
  }
  return vectors;
}

// Of three partitions, and a segment of one more fragment; another fragment is in none, and a row in seven is deleted.
TEST_F(SearcherTest, SearchesPartitionsAndSegmentsOfLances) {
  for (const char* name : {"partitions-sq", "partitions-flat"}) {
    SCOPED_TRACE(name);
    const auto dataset = lance::Dataset::Open(TestTable(name)).ValueOrDie();
    const auto vectors = VectorsOf(dataset);
    const auto searcher = dataset.OpenSearcher({.codes = Codes::kNone}).ValueOrDie();
    lance::SearcherStats stats = searcher.GetStats();
    EXPECT_EQ(stats.segments, 2);
    EXPECT_GT(stats.partitions, 3);
    EXPECT_EQ(stats.indexed_rows, 342);
    EXPECT_EQ(stats.scanned_rows, 34);
    size_t found = 0;
    size_t by_one = 0;
    for (const auto& [id, vector] : vectors) {
      const Answer exact = searcher.Search(vector, {.exact = true}).ValueOrDie();
      ASSERT_EQ(exact.rows.size(), 10);
      EXPECT_EQ(exact.rows[0].row_id, id);
      const auto ids = RowIds(exact);
      for (const int64_t nprobes : {1, 9}) {
        const Answer answer = searcher.Search(vector, {}, nprobes).ValueOrDie();
        ASSERT_EQ(answer.rows.size(), 10);
        for (size_t i = 0; i < 10; ++i) {
          const auto at = std::find(ids.begin(), ids.end(), answer.rows[i].row_id);
          if (at == ids.end()) continue;
          EXPECT_EQ(exact.rows[static_cast<size_t>(at - ids.begin())], answer.rows[i]);
          ++(nprobes == 1 ? by_one : found);
        }
      }
      // k means k, whatever is near.
      EXPECT_EQ(searcher.Search(vector, {.k = 1000}, 1).ValueOrDie().rows.size(), vectors.size());
    }
    EXPECT_GT(found, vectors.size() * 99 / 10);
    EXPECT_GT(by_one, vectors.size() * 6);
    EXPECT_LT(by_one, found);  // it looks into one
    stats = searcher.GetStats();
    EXPECT_EQ(stats.open_partitions, stats.partitions);

    EXPECT_TRUE(dataset.LoadIndex().status().IsNotImplemented());
    const LiveIndex rebuilt = dataset.LoadIndex({.rebuild = true}).ValueOrDie();
    EXPECT_EQ(rebuilt.size(), vectors.size());
    for (const auto& [id, vector] : vectors) {
      EXPECT_EQ(rebuilt.Search(vector, {.k = 1}).ValueOrDie().rows[0].row_id, id);
    }
  }
}

// A copy of a table, whose index says that it is of a type that is not read, and has another column of vectors.
std::string CopyOfOtherType(const char* name, const std::string& path) {
  std::filesystem::create_directories(path);
  std::filesystem::copy(TestTable(name), path, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path + "/_indices")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::string bytes(std::istreambuf_iterator<char>(in), {});
    const bool graph = entry.path().filename() == "index.idx";
    const size_t at = bytes.find(graph ? "IVF_HNSW_" : "flat");
    EXPECT_NE(at, std::string::npos);
    bytes[at + (graph ? 4 : 0)] = 'X';
    std::ofstream(entry.path(), std::ios::binary) << bytes;
  }
  return path;
}

TEST_F(SearcherTest, ScansOrLinksRowsOfAnIndexOfAnotherType) {
  const std::string copy = CopyOfOtherType("partitions-flat", path("other"));
  const auto dataset = lance::Dataset::Open(copy).ValueOrDie();
  const auto vectors = VectorsOf(dataset);
  const auto searcher = dataset.OpenSearcher().ValueOrDie();
  const Metric metric = *dataset.Indices().ValueOrDie()[0].metric;
  const auto without = dataset.OpenSearcher({.column = "v", .metric = metric}).ValueOrDie();
  for (const auto* of : {&searcher, &without}) {
    const lance::SearcherStats stats = of->GetStats();
    EXPECT_EQ(stats.partitions, 0);
    EXPECT_EQ(stats.indexed_rows, 0);
    EXPECT_EQ(stats.scanned_rows, dataset.rows());
  }
  const auto walked = lance::Dataset::Open(TestTable("partitions-flat")).ValueOrDie().OpenSearcher().ValueOrDie();
  for (const auto& [id, vector] : vectors) {
    const auto exact = walked.Search(vector, {.exact = true}).ValueOrDie().rows;
    EXPECT_EQ(searcher.Search(vector).ValueOrDie().rows, exact);
    EXPECT_EQ(without.Search(vector, {}, 1).ValueOrDie().rows, exact);
  }
  const arrow::Status status = dataset.LoadIndex().status();
  EXPECT_TRUE(status.IsNotImplemented());
  EXPECT_NE(status.message().find("IVF_XNSW_FLAT"), std::string::npos) << status;
  const LiveIndex rebuilt = dataset.LoadIndex({.rebuild = true}).ValueOrDie();
  EXPECT_EQ(rebuilt.size(), vectors.size());
  EXPECT_EQ(rebuilt.options().metric, metric);
  for (const auto& [id, vector] : vectors) {
    EXPECT_EQ(rebuilt.Search(vector, {.k = 1}).ValueOrDie().rows[0].row_id, id);
  }

  EXPECT_TRUE(dataset.OpenSearcher({.name = "v_idx", .column = "v"}).status().IsInvalid());
  EXPECT_TRUE(dataset.OpenSearcher({.column = "id"}).status().IsInvalid());
  EXPECT_TRUE(dataset.OpenSearcher({.column = "w"}).status().IsInvalid());
}

TEST_F(SearcherTest, KeepsWithinItsLimit) {
  const auto dataset = lance::Dataset::Open(TestTable("partitions-sq")).ValueOrDie();
  const auto vectors = VectorsOf(dataset);
  const auto all = dataset.OpenSearcher().ValueOrDie();
  const auto limited = dataset.OpenSearcher({.cache_limit = 1}).ValueOrDie();
  for (const auto& [id, vector] : vectors) {
    EXPECT_EQ(limited.Search(vector).ValueOrDie().rows, all.Search(vector).ValueOrDie().rows);
    EXPECT_EQ(limited.GetStats().bytes, 0);
  }
  const int64_t bytes = all.GetStats().bytes;
  const auto half = dataset.OpenSearcher({.cache_limit = bytes / 2}).ValueOrDie();
  for (const auto& [id, vector] : vectors) {
    EXPECT_EQ(half.Search(vector, {}, 1).ValueOrDie().rows, all.Search(vector, {}, 1).ValueOrDie().rows);
    EXPECT_LE(half.GetStats().bytes, bytes / 2);
  }
  EXPECT_GT(half.GetStats().bytes, 0);
}

TEST_F(SearcherTest, FiltersAndEnds) {
  const auto dataset = lance::Dataset::Open(TestTable("partitions-flat")).ValueOrDie();
  const auto vectors = VectorsOf(dataset);
  const auto searcher = dataset.OpenSearcher().ValueOrDie();
  const std::vector<float>& query = vectors.begin()->second;
  const auto odd = RowFilter::Predicate([](uint64_t id) { return id % 2 == 1; });
  const auto count = std::count_if(vectors.begin(), vectors.end(), [](const auto& row) { return row.first % 2 == 1; });
  const Answer found = searcher.Search(query, {.k = 500, .filter = odd}, 1).ValueOrDie();
  EXPECT_EQ(static_cast<int64_t>(found.rows.size()), count);
  EXPECT_TRUE(std::all_of(found.rows.begin(), found.rows.end(), [](const auto& row) { return row.row_id % 2 == 1; }));
  EXPECT_EQ(searcher.Search(query, {.k = 500, .filter = odd, .exact = true}).ValueOrDie().rows, found.rows);
  EXPECT_TRUE(searcher.Search(query, {.k = 0}).ValueOrDie().rows.empty());

  const Answer late = searcher.Search(query, {.deadline = std::chrono::steady_clock::now()}).ValueOrDie();
  EXPECT_FALSE(late.complete);
  EXPECT_EQ(late.reason, "the deadline has passed");
  EXPECT_FALSE(
      searcher.Search(query, {.exact = true, .deadline = std::chrono::steady_clock::now()}).ValueOrDie().complete);

  const auto expect = [&](const arrow::Status& status, const char* words) {
    EXPECT_TRUE(status.IsInvalid());
    EXPECT_NE(status.message().find(words), std::string::npos) << status;
  };
  expect(searcher.Search(query, {.k = -1}).status(), "k: expected 0 or more, got -1");
  expect(searcher.Search(query, {}, 0).status(), "nprobes: expected at least 1, got 0");
  expect(searcher.Search(query, {.filter = RowFilter::IdBitmap(nullptr)}).status(), "filter: expected one of row ids");
  expect(searcher.Search(std::vector<float>(3)).status(), "query: expected dimension 8, got 3");
  expect(dataset.OpenSearcher({.cache_limit = -1}).status(), "cache_limit: expected 0 or more, got -1");
  expect(dataset.OpenSearcher({.threads = -1}).status(), "threads: expected 0 or more, got -1");
  expect(dataset.OpenSearcher({.name = "none"}).status(), "there are: v_idx");
}

TEST_F(SearcherTest, GoesOnAfterADatasetThatIsElsewhere) {
  MakeTable("t", 1500, 1400, Metric::kCosine, lance::IndexType::kHnswSq);
  const auto open = [](const arrow::util::Uri& uri, const arrow::io::IOContext&,
                       std::string* path) -> arrow::Result<std::shared_ptr<arrow::fs::FileSystem>> {
    *path = uri.path().substr(1);
    return std::make_shared<arrow::fs::SubTreeFileSystem>("/", std::make_shared<arrow::fs::LocalFileSystem>());
  };
  const auto registered = arrow::fs::RegisterFileSystemFactory("elsewhere", {open, __FILE__, __LINE__});
  ASSERT_TRUE(registered.ok()) << registered;
  const auto searcher = lance::Dataset::Open("elsewhere://" + path("t")).ValueOrDie().OpenSearcher().ValueOrDie();
  for (const bool exact : {false, true}) {
    const auto answer = searcher.Search(vectors_[1234], {.k = 1, .exact = exact});
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(RowIds(*answer), std::vector<uint64_t>{RowIdOf(1234)});
  }
}

TEST_F(SearcherTest, IsForManyThreads) {
  const auto dataset = lance::Dataset::Open(TestTable("partitions-sq")).ValueOrDie();
  const auto vectors = VectorsOf(dataset);
  const auto searcher = dataset.OpenSearcher({.cache_limit = 100000}).ValueOrDie();
  const auto alone = dataset.OpenSearcher().ValueOrDie();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      for (const auto& [id, vector] : vectors) {
        EXPECT_EQ(searcher.Search(vector, {}, 2).ValueOrDie().rows, alone.Search(vector, {}, 2).ValueOrDie().rows);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// The end of the files is where what they hold is told.
TEST_F(SearcherTest, DamagedFilesAreErrors) {
  for (const char* name : {"partitions-sq", "partitions-flat"}) {
    std::filesystem::create_directories(path(""));
    std::filesystem::copy(TestTable(name), path(name), std::filesystem::copy_options::recursive);
    const std::vector<float> query(8, 0.5f);
    size_t errors = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path(name) + "/_indices")) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string bytes(std::istreambuf_iterator<char>(in), {});
      const auto attempt = [&](const std::string& changed) {
        std::ofstream(entry.path(), std::ios::binary) << changed;
        const auto dataset = lance::Dataset::Open(path(name)).ValueOrDie();
        const auto searcher = dataset.OpenSearcher();
        arrow::Status status = searcher.status();
        for (int i = 0; i < 10 && status.ok(); ++i) status = searcher->Search(query, {.k = 400}).status();
        EXPECT_TRUE(status.ok() || !status.message().empty());
        errors += status.ok() ? 0 : 1;
      };
      for (size_t at = 0; at < bytes.size(); at += at + 1500 < bytes.size() ? 151 : 23) {
        std::string changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ (1 << at % 8));
        attempt(changed);
      }
      for (size_t length = 0; length < bytes.size(); length += 1997) attempt(bytes.substr(0, length));
      std::ofstream(entry.path(), std::ios::binary) << bytes;
    }
    EXPECT_GT(errors, 50u);
  }
}

TEST_F(SearcherTest, TakesNoMemoryForWhatTheFileDoesNotHold) {
  std::filesystem::create_directories(path("i"));
  std::filesystem::copy(std::string(PENNON_TEST_DATA) + "/pylance14-constant.idx", path("i") + "/index.idx");
  std::filesystem::copy(std::string(PENNON_TEST_DATA) + "/pylance14-constant.idx", path("i") + "/auxiliary.idx");
  arrow::ProxyMemoryPool pool(arrow::default_memory_pool());
  const auto reader =
      lance_format::HnswIndexReader::Start(io::LocalFileSystem(), path("i"), {}, &pool).ValueOrDie()().ValueOrDie();
  ASSERT_EQ(reader.rows(), 400'000);
  const auto status = reader.ReadGraph({.graph = {0, 400'000}, .vectors = {0, 400'000}}).status();
  EXPECT_TRUE(status.IsInvalid());
  EXPECT_NE(status.message().find("row 1: expected that id on level 0, got 0"), std::string::npos) << status;
  EXPECT_LT(pool.max_memory(), 1'000'000);
}

}  // namespace
}  // namespace pennon
