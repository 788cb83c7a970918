// ctest: labels=contract-11,asan timeout=300
// Files of vectors that were cut or damaged: an error, or sound vectors, and no memory that the file's size does not
// bear out.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <gtest/gtest.h>

#include "cli/data_file.h"

namespace pennon::cli {
namespace {

constexpr int kRows = 5;
constexpr int kDim = 3;

template <typename T>
std::string Bytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string Npy(const std::string& descr, char version) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (5, 3), }\n";
  const auto size = static_cast<uint32_t>(header.size());
  return std::string("\x93NUMPY") + version + '\0' + Bytes(size).substr(0, version == 1 ? 2 : 4) + header +
         std::string(size_t{kRows} * kDim * static_cast<size_t>(descr.back() - '0'), '\1');
}

template <typename T>
std::string Vecs() {
  std::string file;
  for (int row = 0; row < kRows; ++row) {
    file += Bytes(int32_t{kDim});
    for (int i = 0; i < kDim; ++i) file += Bytes(static_cast<T>(i));
  }
  return file;
}

class VectorFiles : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Whether it was read; what was is sound.
  bool Reads(const std::string& name, const std::string& bytes) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    const auto data = DataFile::Read(path);
    if (!data.ok()) {
      EXPECT_NE(data.status().message().find(path), std::string::npos) << data.status().ToString();
      return false;
    }
    const auto found = data->Vectors("");
    if (!found.ok()) return false;  // the damage made a column of another type
    const auto& vectors = *found;
    EXPECT_TRUE(vectors->ValidateFull().ok()) << vectors->ValidateFull().ToString();
    if (const auto queries = Queries::Decode(*vectors); queries.ok()) {
      EXPECT_EQ(queries->vectors.size(), static_cast<size_t>(vectors->length() - vectors->null_count()));
    }
    return true;
  }

  // Every prefix, and every byte as others.
  void Damage(const std::string& name, const std::string& good) {
    ASSERT_TRUE(Reads(name, good)) << name;
    for (size_t length = 0; length < good.size(); ++length) Reads(name, good.substr(0, length));
    for (size_t i = 0; i < good.size(); ++i) {
      for (const char value : std::string_view("\0\1\4\x7F\x80\xFF-0 9,'\"()\n\r", 17)) {
        std::string bad = good;
        bad[i] = value;
        Reads(name, bad);
      }
    }
  }

  const std::filesystem::path folder_ = [] {
    std::string path = testing::TempDir() + "/vectorsXXXXXX";
    return std::filesystem::path(mkdtemp(path.data()));
  }();
};

TEST_F(VectorFiles, DamagedBinaryFiles) {
  const int64_t before = arrow::default_memory_pool()->max_memory();
  for (const char version : {1, 2, 3}) Damage("v.npy", Npy("<f4", version));
  Damage("half.npy", Npy("<f2", 1));
  Damage("wide.npy", Npy("<f8", 1));
  Damage("v.fvecs", Vecs<float>());
  Damage("v.bvecs", Vecs<uint8_t>());
  EXPECT_LT(arrow::default_memory_pool()->max_memory() - before, 64 << 10);
}

TEST_F(VectorFiles, DamagedCsv) {
  Damage("v.csv", "a,b\n1,-2\n3.5,4e1\n");
  Damage("v.csv", "1,2\r\n\"3\",4");
}

std::string Ipc(const std::shared_ptr<arrow::Array>& vectors) {
  const auto batch =
      arrow::RecordBatch::Make(arrow::schema({arrow::field("vector", vectors->type())}), vectors->length(), {vectors});
  const auto out = arrow::io::BufferOutputStream::Create().ValueOrDie();
  const auto writer = arrow::ipc::MakeFileWriter(out, batch->schema()).ValueOrDie();
  EXPECT_TRUE(writer->WriteRecordBatch(*batch).ok() && writer->Close().ok());
  return out->Finish().ValueOrDie()->ToString();
}

// Arrow's reader takes lists that end beyond their values.
TEST_F(VectorFiles, DamagedArrowFiles) {
  arrow::FloatBuilder floats;
  ASSERT_TRUE(floats.AppendValues(std::vector<float>(kRows * kDim, 1)).ok());
  const auto values = floats.Finish().ValueOrDie();
  const auto of = [&](int64_t n) {
    return std::make_shared<arrow::FixedSizeListArray>(arrow::fixed_size_list(arrow::float32(), kDim), kRows,
                                                       values->Slice(0, n));
  };
  const std::string good = Ipc(of(kRows * kDim));
  EXPECT_TRUE(Reads("v.arrow", good));
  EXPECT_FALSE(Reads("v.arrow", Ipc(of(kRows * kDim - 1))));
  EXPECT_FALSE(Reads("v.arrow", Ipc(of(0))));
  const auto empty = arrow::fixed_size_list(arrow::float32(), 0);
  EXPECT_FALSE(Reads("v.arrow", Ipc(std::make_shared<arrow::FixedSizeListArray>(empty, kRows, values->Slice(0, 0)))));
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char value : std::string_view("\0\2\x7F\xFF", 4)) {
      std::string bad = good;
      bad[i] = value;
      Reads("v.arrow", bad);
    }
  }
}

// Each says more than the file holds.
TEST_F(VectorFiles, ShortFilesThatClaimMuch) {
  const int64_t before = arrow::default_memory_pool()->max_memory();
  const std::string npy = Npy("<f4", 2);
  std::string header = npy;
  header.replace(8, 4, Bytes(std::numeric_limits<uint32_t>::max()));
  EXPECT_FALSE(Reads("v.npy", header));
  for (const char* shape : {"(9223372036854775807, 1)", "(1, 2147483647)", "(2147483648, 2147483647)",
                            "(4611686018427387909, 3)", "(99999999999999999999, 3)"}) {
    std::string file = npy;
    file.replace(file.find("(5, 3)"), 6, shape);
    file.replace(8, 4, Bytes(static_cast<uint32_t>(file.find('\n') + 1 - 12)));
    EXPECT_FALSE(Reads("v.npy", file)) << shape;
  }
  for (const char* name : {"v.fvecs", "v.bvecs"}) {
    EXPECT_FALSE(Reads(name, Bytes(std::numeric_limits<int32_t>::max()) + "1234"));
  }
  EXPECT_LT(arrow::default_memory_pool()->max_memory() - before, 64 << 10);
}

}  // namespace
}  // namespace pennon::cli
