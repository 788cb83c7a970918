// ctest: labels=contract-10,asan timeout=300
// At every step of a write and a commit an operation fails, or the machine stops and comes back with what was durable,
// or with more. Then the table is at one of the versions that an undisturbed run passes, and whole.
#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "lance/cleanup.h"
#include "lance/hnsw_index.h"
#include "lance/roaring.h"
#include "lance/row_ids.h"
#include "lance/table.h"
#include "pennon/live_index.h"
#include "support/faulty_file_system.h"
#include "support/vectors.h"

namespace pennon::lance_format {
namespace {

using arrow::Status;
using Files = io::FaultyFileSystem;

constexpr int kDim = 4;
constexpr TableOptions kOptions = {.rows_a_fragment = 20, .pages = {.budget = 1 << 11}};

std::shared_ptr<arrow::Array> Vectors(uint64_t seed) { return ToArray(Normal(30, kDim, seed), kDim); }

std::shared_ptr<arrow::RecordBatchReader> Rows(uint64_t seed) {
  const auto vectors = Vectors(seed);
  const auto schema = arrow::schema({arrow::field("v", vectors->type())});
  return arrow::RecordBatchReader::Make({arrow::RecordBatch::Make(schema, vectors->length(), {vectors})}, schema)
      .ValueOrDie();
}

arrow::Result<Table> OpenOrCreate(Files& files) {
  ARROW_ASSIGN_OR_RAISE(const auto versions, ListVersions(files, "t"));
  if (versions.empty()) return Table::Create(files, "t", Rows(0)->schema(), kOptions);
  return Table::Open(files, "t", {}, kOptions);
}

// As AddLanceIndex does it.
Status AddIndex(Table& table, const std::string& name) {
  static const auto graph = [] {
    auto index = LiveIndex::Make({.dim = kDim}).ValueOrDie();
    EXPECT_TRUE(index.Append(Vectors(0)).ok());
    return index.GetSnapshot().ValueOrDie().ToLanceHnswBatch().ValueOrDie();
  }();
  const auto vectors = Normal(30, kDim, 0);
  ARROW_ASSIGN_OR_RAISE(const auto rows, RowsInOrder::Read(table.files(), table.directory(), table.manifest()));
  const HnswIndex hnsw{.graph = *graph,
                       .m = 16,
                       .ef_construction = 100,
                       .max_level = 7,
                       .rows = 30,
                       .dim = kDim,
                       .read = [&](uint32_t row, float*) { return vectors[row].data(); },
                       .row_id = [&](uint32_t row) { return rows.IdAt(row); },
                       .both = [](const auto& one, const auto& other) { one(), other(); }};
  const auto uuid = Uuid::Random();
  ARROW_ASSIGN_OR_RAISE(const auto directory, table.MakeIndexDirectory(uuid));
  ARROW_ASSIGN_OR_RAISE(auto index_files, WriteHnswIndex(table.files(), directory, hnsw, kOptions.pages));
  return table.AddIndex({.uuid = uuid,
                         .field_ids = {table.FieldId(0)},
                         .name = name,
                         .fragments = RoaringBitmap({0, 1}),
                         .details = HnswIndexDetails(hnsw),
                         .version = 1,
                         .files = std::move(index_files)});
}

Status Append(Files& files, uint64_t seed) {
  ARROW_ASSIGN_OR_RAISE(auto table, OpenOrCreate(files));
  return table.Append(*Rows(seed)).status();
}

Status Index(Files& files, const std::string& name) {
  ARROW_ASSIGN_OR_RAISE(auto table, OpenOrCreate(files));
  return AddIndex(table, name);
}

struct Scenario {
  const char* name;
  std::function<Status(Files&)> before;
  std::function<Status(Files&)> run;
};

const std::vector<Scenario>& Scenarios() {
  static const auto none = [](Files&) { return Status::OK(); };
  static const auto first = [](Files& files) { return Append(files, 0); };
  static const auto second = [](Files& files) {
    ARROW_RETURN_NOT_OK(Append(files, 0));
    return Append(files, 1);
  };
  // A second Dataset, opened before the first has committed.
  static const auto race = [](Files& files, const std::function<Status(Table&)>& winner,
                              const std::function<Status(Table&)>& loser) {
    ARROW_ASSIGN_OR_RAISE(auto one, OpenOrCreate(files));
    ARROW_ASSIGN_OR_RAISE(auto other, OpenOrCreate(files));
    ARROW_RETURN_NOT_OK(winner(one));
    return loser(other);
  };
  static const auto append = [](Table& table) { return table.Append(*Rows(2)).status(); };
  static const auto index = [](Table& table) { return AddIndex(table, "late"); };
  static const std::vector<Scenario> scenarios = {
      {"first append", none, first},
      {"second append", first, [](Files& files) { return Append(files, 1); }},
      {"index", second, [](Files& files) { return Index(files, "v_idx"); }},
      {"append after an append", first, [](Files& files) { return race(files, append, append); }},
      {"append after an index", first, [](Files& files) { return race(files, index, append); }},
      {"index after an append", first, [](Files& files) { return race(files, append, index); }},
      {"cleanup",
       [](Files& files) {
         ARROW_RETURN_NOT_OK(second(files));
         for (const char* orphan : {"data/0.lance", "data/1.lance", "_indices/u/index.idx", "_transactions/1-u.txn",
                                    "_deletions/0-1-2.bin", "_versions/18446744073709551614.manifest.7.tmp"}) {
           ARROW_RETURN_NOT_OK(files.PutIfAbsent(std::string("t/") + orphan, "left"));
         }
         return Status::OK();
       },
       [](Files& files) {
         ARROW_ASSIGN_OR_RAISE(const auto orphans, FindOrphans(files, "t", 1));
         EXPECT_EQ(orphans.size(), 6);
         return RemoveFiles(files, "t", orphans);
       }},
  };
  return scenarios;
}

// All that a version says and names, but for names and times.
arrow::Result<std::string> Contents(Files& files, const Table& table) {
  std::string contents;
  const auto add = [&](const std::string& path, std::optional<uint64_t> size) -> Status {
    ARROW_ASSIGN_OR_RAISE(const auto bytes, files.Read("t/" + path));
    if (bytes.size() != size.value_or(bytes.size())) return Status::Invalid(path, " has ", bytes.size(), " bytes");
    contents += std::to_string(bytes.size()) + ":" + bytes;
    return Status::OK();
  };
  for (const Fragment& fragment : table.manifest().fragments) {
    contents += "fragment " + std::to_string(fragment.id) + ", " + std::to_string(fragment.rows) + "\n";
    for (const DataFile& file : fragment.files) ARROW_RETURN_NOT_OK(add("data/" + file.path, file.size));
  }
  for (const lance_format::Index& index : table.manifest().indices) {
    contents += "index " + index.name + ", " + *index.fragments + "\n";
    for (const IndexFile& file : index.files) {
      ARROW_RETURN_NOT_OK(add("_indices/" + index.uuid.ToString() + "/" + file.name, file.size));
    }
  }
  ARROW_ASSIGN_OR_RAISE(const auto bytes, files.Read("t/_transactions/" + table.manifest().transaction_file));
  ARROW_ASSIGN_OR_RAISE(const auto transaction, ReadTransaction(bytes));
  return contents + transaction.Name();
}

using Versions = std::map<uint64_t, std::string>;

// Of all versions that there are.
Versions ReadAll(Files& files) {
  Versions versions = {{0, ""}};
  const auto names = ListVersions(files, "t");
  EXPECT_TRUE(names.ok());
  for (const VersionName& name : *names) {
    const auto table = Table::Open(files, "t", name.version, kOptions);
    EXPECT_TRUE(table.ok()) << table.status();
    if (!table.ok()) continue;
    const auto contents = Contents(files, *table);
    EXPECT_TRUE(contents.ok()) << contents.status();
    versions[name.version] = contents.ValueOr("");
  }
  return versions;
}

class Crash {
 public:
  explicit Crash(const Scenario& scenario) : scenario_(scenario) {
    Files files;
    EXPECT_TRUE(scenario.before(files).ok());
    before_ = ReadAll(files).rbegin()->first;
    files.Arm(Files::Fault::kNone, 0);
    const Status status = scenario.run(files);
    EXPECT_TRUE(status.ok()) << status;
    steps_ = files.steps();
    undisturbed_ = ReadAll(files);
  }

  int steps() const { return steps_; }

  void Try(Files::Fault fault, int step, Files::Kept kept) const {
    SCOPED_TRACE(std::string(scenario_.name) + ", step " + std::to_string(step) +
                 (fault == Files::Fault::kError ? " fails" : " stops, kept ") + std::to_string(static_cast<int>(kept)));
    Files files;
    ASSERT_TRUE(scenario_.before(files).ok());
    files.Arm(fault, step);
    EXPECT_FALSE(scenario_.run(files).ok());
    if (fault == Files::Fault::kStop) files.Restart(kept);
    files.Arm(Files::Fault::kNone, 0);

    const Versions left = ReadAll(files);
    EXPECT_GE(left.rbegin()->first, before_);
    for (const auto& [version, contents] : left) {
      ASSERT_TRUE(undisturbed_.contains(version)) << version;
      EXPECT_TRUE(contents == undisturbed_.at(version)) << "version " << version << " has other contents";
    }
    // Another process goes on.
    ASSERT_TRUE(Append(files, 3).ok());
    const auto orphans = FindOrphans(files, "t", 1);
    ASSERT_TRUE(orphans.ok()) << orphans.status();
    ASSERT_TRUE(RemoveFiles(files, "t", *orphans).ok());
    EXPECT_TRUE(FindOrphans(files, "t", 1).ValueOrDie().empty());
    Versions after = ReadAll(files);
    EXPECT_EQ(after.rbegin()->first, left.rbegin()->first + 1);
    EXPECT_EQ(Table::Open(files, "t").ValueOrDie().rows() % 30, 0);
    after.erase(after.rbegin()->first);
    EXPECT_TRUE(after == left);
  }

 private:
  const Scenario& scenario_;
  uint64_t before_ = 0;
  int steps_ = 0;
  Versions undisturbed_;
};

TEST(Crash, AtEveryStep) {
  int points = 0;
  for (const Scenario& scenario : Scenarios()) {
    const Crash crash(scenario);
    std::printf("%-24s %4d steps\n", scenario.name, crash.steps());
    for (int step = 0; step < crash.steps(); ++step) {
      crash.Try(Files::Fault::kError, step, Files::Kept::kAll);
      for (const auto kept : {Files::Kept::kNothing, Files::Kept::kHalf, Files::Kept::kAll}) {
        crash.Try(Files::Fault::kStop, step, kept);
      }
      points += 4;
      if (HasFatalFailure() || HasNonfatalFailure()) return;
    }
  }
  std::printf("%d points\n", points);
  EXPECT_GT(points, 1500);
}

}  // namespace
}  // namespace pennon::lance_format
