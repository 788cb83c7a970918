// ctest: labels=manners,contract-11 timeout=60
// Under a locale with a comma for the decimal point and points between thousands, as in German, all words and numbers
// are what they are elsewhere.
#include <clocale>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <locale>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "pennon/hnsw_graph.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "pennon/vector_store.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

struct German : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

// C's side too, where the system has the locale or can make it.
class UnderGerman {
 public:
  UnderGerman() : before_(std::locale::global(std::locale(std::locale::classic(), new German))) {
    std::string folder = testing::TempDir() + "/localeXXXXXX";
    mkdtemp(folder.data());
    const std::string make = "localedef -i de_DE -f UTF-8 " + folder + "/de_DE.UTF-8 >/dev/null 2>&1";
    if (std::setlocale(LC_ALL, "de_DE.UTF-8") == nullptr && std::system(make.c_str()) == 0) {
      setenv("LOCPATH", folder.c_str(), 1);
      std::setlocale(LC_ALL, "de_DE.UTF-8");
    }
    std::filesystem::remove_all(folder);
    if (*std::localeconv()->decimal_point != ',') std::puts("no locale de_DE.UTF-8: only C++'s is German");
  }
  ~UnderGerman() {
    std::locale::global(before_);
    std::setlocale(LC_ALL, "C");
  }

 private:
  const std::locale before_;
};

std::string MessageOf(const arrow::Status& status) {
  EXPECT_FALSE(status.ok());
  return status.message();
}

std::vector<std::string> AllWords() {
  constexpr int kDim = 1200;
  const Vectors rows = Normal(1500, kDim, 1);
  LiveIndex index =
      LiveIndex::Make({.dim = kDim, .build = {.m = 4, .ef_construction = 8}, .max_rows = 2000}).ValueOrDie();
  EXPECT_TRUE(index.Append(ToArray(rows, kDim)).ok());
  const auto batch = index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
  const std::string json = batch->schema()->metadata()->Get("lance:hnsw").ValueOrDie();
  const HnswGraph read = HnswGraph::FromLanceHnswBatch(*batch).ValueOrDie();
  EXPECT_EQ(read.size(), 1500u);
  EXPECT_EQ(nlohmann::json::parse(json)["level_offsets"][1], 1500);

  std::vector<std::string> words = {json};
  const auto fails = [&](const arrow::Status& status) { words.push_back(MessageOf(status)); };
  const auto append = [&](const Vectors& vectors, const AppendOptions& options = {}) {
    fails(index.Append(ToArray(vectors, kDim), options).status());
  };
  append(rows);
  append(rows, {.threads = -1234});
  append(rows, {.row_ids = arrow::MakeArrayOfNull(arrow::uint64(), 1234).ValueOrDie()});
  append({rows[0], rows[1]}, {.first_row_id = std::numeric_limits<uint64_t>::max()});
  Vectors infinite(1100, rows[0]);
  infinite[1050][1020] = std::numeric_limits<float>::infinity();
  append(infinite);
  fails(index.Search(std::vector<float>(1234)).status());
  fails(index.Search(rows[0], {.k = -1234}).status());
  fails(index.SearchBatch(*ToArray(rows, kDim), {}, {.filters = std::vector<RowFilter>(1234)}).status());
  fails(index.GetSnapshot().ValueOrDie().ToRecordBatch(1234).status());
  fails(LiveIndex::Make({.dim = -1234}).status());
  fails(BuildParams{.max_level = 1234}.Validate());
  fails(BuildParams{.m = 12345}.Validate());
  fails(BuildParams{.m = 1234, .ef_construction = 1233}.Validate());
  std::string damaged = json;
  damaged.replace(damaged.find("1500"), 4, "1499");
  fails(
      HnswGraph::FromLanceHnswBatch(*batch->ReplaceSchemaMetadata(arrow::key_value_metadata({"lance:hnsw"}, {damaged})))
          .status());
  const VectorStore store = VectorStore::Make(kDim, Metric::kL2).ValueOrDie();
  std::vector<float> out(1234);
  fails(store.GetSnapshot().CopyVector(5678, out));
  FailingPool pool;
  LiveIndex poor = LiveIndex::Make({.dim = kDim, .pool = &pool}).ValueOrDie();
  pool.left = 0;
  fails(poor.Append(ToArray(rows, kDim)).status());
  return words;
}

TEST(Locale, ChangesNoWordAndNoNumber) {
  const std::vector<std::string> plain = AllWords();
  const UnderGerman german;
  EXPECT_EQ(AllWords(), plain);
}

TEST(Locale, NumbersAsTheyAre) {
  const UnderGerman german;
  EXPECT_EQ(MessageOf(BuildParams{.m = 12345}.Validate()), "m must be between 2 and 4096, got 12345");
  LiveIndex index = LiveIndex::Make({.dim = 1}).ValueOrDie();
  EXPECT_EQ(MessageOf(index.Append(ToArray({{1}}, 1), {.threads = -1234}).status()),
            "threads: expected 0 or more, got -1234");
  const std::string path = testing::TempDir() + "/locale.lance";
  std::filesystem::remove_all(path);
  const auto schema = arrow::schema({arrow::field("v", arrow::fixed_size_list(arrow::float32(), 1))});
  auto table = lance::Dataset::Create(path, schema).ValueOrDie();
  ASSERT_TRUE(table.Append(*arrow::RecordBatchReader::Make({}, schema).ValueOrDie()).ok());
  EXPECT_EQ(MessageOf(lance::Dataset::Open(path, {.version = 1234567}).status()),
            path + ": expected version 1234567, found 1 to 1");
  EXPECT_EQ(MessageOf(lance::Dataset::Open(path, {.write = {.page_bytes = int64_t{1} << 31}}).status()),
            "page_bytes: expected 1 to 2^30, got 2147483648");
}

}  // namespace
}  // namespace pennon
