// ctest: labels=contract-5,asan timeout=60
#include "vectors/code_store.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <arrow/memory_pool.h>
#include <gtest/gtest.h>

#include "graph/moments.h"
#include "index/pool_allocator.h"
#include "support/failing_pool.h"
#include "support/vectors.h"

namespace pennon {
namespace {

using graph::Moments;

constexpr uint32_t kRows = CodeStore::kFrom + 100;
constexpr std::array kKinds = {DistanceKind::kL2, DistanceKind::kCosine, DistanceKind::kDot};

struct Stores {
  Stores(int dimension, DistanceKind distance)
      : dim(dimension), kind(distance), rows(dim, kind, rows_memory), codes(dim, kind, codes_memory) {}
  Stores(const Vectors& vectors, DistanceKind distance) : Stores(static_cast<int>(vectors[0].size()), distance) {
    Add(vectors);
    EXPECT_TRUE(codes.Append(rows));
  }
  void Add(const Vectors& vectors) {
    const auto array = ToArray(vectors, dim);
    EXPECT_TRUE(rows.Check(*array, "vectors").ok());
    EXPECT_TRUE(rows.Append(static_cast<const arrow::FixedSizeListArray&>(*array),
                            [](int64_t i) { return static_cast<uint64_t>(i); })
                    .ok());
  }

  FailingPool pool;  // of the codes
  PoolAllocator::Totals totals;
  PoolAllocator rows_memory{arrow::default_memory_pool(), totals};
  PoolAllocator codes_memory{&pool, totals};
  int32_t dim;
  DistanceKind kind;
  RowStore rows;
  CodeStore codes;
};

// A coded query or row.
class Coded {
 public:
  Coded(const Stores& stores, const ScoredVector& query) : Coded(stores) {
    std::vector<float> floats(static_cast<size_t>(stores.dim));
    coded_ = stores.codes.Encode(query, floats.data(), scratch_.data());
    stores.codes.PrepareLeast(*coded_, query, floats.data());
  }
  Coded(const Stores& stores, uint32_t row) : Coded(stores) { coded_ = stores.codes.Load(row, scratch_.data()); }

  const CodedVector& operator*() const { return *coded_; }
  const CodedVector* operator->() const { return coded_; }
  void PrepareSketch(float slack) { codes_.PrepareSketch(*coded_, slack); }

  std::vector<float> Score(const std::vector<uint32_t>& ids) const {
    std::vector<float> out(ids.size());
    codes_.Score(*coded_, ids.data(), ids.size(), out.data());
    return out;
  }
  std::vector<float> Least(const std::vector<uint32_t>& ids) const {
    std::vector<float> out(ids.size());
    codes_.Least(*coded_, ids.data(), ids.size(), out.data());
    return out;
  }
  std::vector<float> SketchErrors(const std::vector<uint32_t>& ids, const std::vector<float>& distances) const {
    std::vector<float> out(ids.size());
    codes_.SketchErrors(*coded_, ids.data(), ids.size(), distances.data(), out.data());
    return out;
  }
  std::vector<uint32_t> Sift(const std::vector<uint32_t>& ids, float distance) const {
    std::vector<uint32_t> left(ids.size() + 3);
    left.resize(codes_.Sift(*coded_, ids.data(), ids.size(), distance, left.data()));
    return left;
  }

 private:
  explicit Coded(const Stores& stores)
      : codes_(stores.codes), scratch_(stores.codes.query_bytes() / sizeof(CodedVector) + 1) {}

  const CodeStore& codes_;
  std::vector<CodedVector> scratch_;
  CodedVector* coded_ = nullptr;
};

std::vector<uint32_t> AllIds(uint32_t rows = kRows) {
  std::vector<uint32_t> ids(rows);
  std::iota(ids.begin(), ids.end(), 0u);
  return ids;
}

std::vector<float> ExactDistances(const Stores& stores, const ScoredVector& query) {
  std::vector<float> out(stores.rows.size());
  stores.rows.Score(query, AllIds(stores.rows.size()).data(), out.size(), out.data());
  return out;
}

double Norm(const std::vector<float>& vector) {
  return std::sqrt(std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0));
}

std::vector<float> Minus(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

float Farthest(const std::vector<float>& vector) {
  float most = 0;
  for (float value : vector) most = std::max(most, std::fabs(value));
  return most;
}

// As it is encoded.
std::vector<float> Prepared(std::vector<float> vector, DistanceKind kind) {
  if (kind != DistanceKind::kCosine) return vector;
  const double norm = Norm(vector);
  for (float& value : vector) value = static_cast<float>(value / norm);
  return vector;
}

std::vector<float> CentreOf(const Vectors& vectors, DistanceKind kind) {
  Vectors first;
  for (uint32_t row = 0; row < CodeStore::kFrom; ++row) first.push_back(Prepared(vectors[row], kind));
  std::vector<float> centre;
  for (size_t d = 0; d < first[0].size(); ++d) {
    std::vector<float> column;
    for (const auto& vector : first) column.push_back(vector[d]);
    std::sort(column.begin(), column.end());
    centre.push_back(column[column.size() / 2]);
  }
  return centre;
}

Vectors Moved(Vectors vectors, float by) {
  for (auto& vector : vectors) {
    for (float& value : vector) value += by;
  }
  return vectors;
}

// Rounding moves a coordinate by half a step at most, of max / 16 for a row and max / 127 for a query.
TEST(CodeStore, DistancesAreAsFarOffAsRoundingAllows) {
  for (const int dim : {1, 24, 65, 130, 384}) {
    for (const DistanceKind kind : kKinds) {
      Vectors vectors = Normal(kRows, dim, 7);
      vectors[3].back() = 1000;  // an outlier
      for (float& value : vectors[4]) value *= 1e-3f;
      const Stores stores(vectors, kind);
      const std::vector<float> centre = CentreOf(vectors, kind);
      for (const auto& values : Normal(5, dim, 8)) {
        const ScoredVector query = stores.rows.MakeQuery(values.data());
        const std::vector<float> exact = ExactDistances(stores, query);
        const std::vector<float> coded = Coded(stores, query).Score(AllIds());
        const std::vector<float> prepared = Prepared(values, kind);
        const std::vector<float> query_code = Minus(prepared, centre);
        for (uint32_t row = 0; row < kRows; ++row) {
          const std::vector<float> other = Prepared(vectors[row], kind);
          const std::vector<float> row_code = Minus(other, centre);
          const double root = std::sqrt(static_cast<double>(dim));
          const double query_off = root * Farthest(query_code) / 127 / 2;
          const double row_off = root * Farthest(row_code) / 16 / 2;
          const double off = query_off + row_off;
          // Dot products of codes stand for those of vectors less the centre, the biases for those with the centre.
          double bound =
              Norm(query_code) * row_off + Norm(row_code) * query_off + query_off * row_off + Norm(centre) * off;
          if (kind != DistanceKind::kDot) {
            const double times = kind == DistanceKind::kL2 ? 1 : 0.5;
            bound = times * (2 * Norm(Minus(prepared, other)) * off + off * off);
          }
          const double size = Norm(query_code) + Norm(row_code);
          ASSERT_NEAR(coded[row], exact[row], bound + 1e-5 * (1 + size * size))
              << "dim " << dim << " kind " << static_cast<int>(kind) << " row " << row;
        }
      }
    }
  }
}

// What a row's code stands for, in the row's own length.
std::vector<float> Decoded(const Stores& stores, uint32_t row, const std::vector<float>& centre) {
  std::vector<uint64_t> scratch(stores.codes.query_bytes() / 8 + 16);
  void* memory = scratch.data();
  size_t room = scratch.size() * 8;
  CodedVector* coded = stores.codes.Load(row, std::align(64, stores.codes.query_bytes(), memory, room));
  const float step = coded->query.scale / (stores.kind == DistanceKind::kL2 ? -2.0f : -1.0f);
  std::vector<float> decoded = centre;
  for (size_t d = 0; d < decoded.size(); ++d) decoded[d] += step * static_cast<float>(coded->codes()[d]);
  return decoded;
}

// The hardest queries lie where a row's own code points away from: all of what it leaves out counts.
TEST(CodeStore, NoDistanceIsBelowTheLeastThatItsCodeProves) {
  struct Data {
    const char* name;
    float times;
    float plus;
    bool whole;
  };
  for (const Data& data :
       {Data{"normal", 1, 0, false}, Data{"far from zero", 1, 1000, false}, Data{"whole", 40, 60, true},
        Data{"denormal", 1e-21f, 0, false}, Data{"tiny", 1e-38f, 0, false}, Data{"huge", 1e17f, 0, false}}) {
    for (const int dim : {1, 2, 24, 65, 130, 384, 1100}) {
      for (const DistanceKind kind : kKinds) {
        Vectors vectors = Normal(kRows, dim, 7);
        for (size_t i = 0; i < vectors.size(); ++i) {
          const float norm = i % 3 == 0 ? 0.01f : 1;
          for (float& value : vectors[i]) {
            value = value * data.times * norm + data.plus;
            if (data.whole) value = std::clamp(std::round(value), 0.0f, 218.0f);
          }
        }
        vectors[3].back() = 30 * data.times + data.plus;
        vectors[5] = vectors[6];
        std::fill(vectors[7].begin(), vectors[7].end(), 0.0f);
        const Stores stores(vectors, kind);
        const std::vector<float> centre = CentreOf(vectors, kind);
        Vectors queries = {vectors[0], vectors[7], centre};
        for (const uint32_t row : {1u, 9u, 30u, kRows - 1}) {
          const std::vector<float> vector = Prepared(vectors[row], kind);
          const std::vector<float> left_out = Minus(vector, Decoded(stores, row, centre));
          for (const float times : {-1.0f, 1e-3f, 0.5f, 3.0f, 100.0f}) {
            queries.push_back(vector);
            for (size_t d = 0; d < vector.size(); ++d) queries.back()[d] += times * left_out[d];
            if (kind == DistanceKind::kDot) {
              queries.push_back(left_out);
              for (float& value : queries.back()) value *= times;
            }
          }
        }
        for (const auto& values : queries) {
          if (!stores.rows.CheckQuery(values).ok()) continue;
          const ScoredVector query = stores.rows.MakeQuery(values.data());
          const std::vector<float> exact = ExactDistances(stores, query);
          const std::vector<float> least = Coded(stores, query).Least(AllIds());
          for (uint32_t row = 0; row < kRows; ++row) {
            ASSERT_LE(least[row], exact[row])
                << data.name << " dim " << dim << " kind " << static_cast<int>(kind) << " row " << row;
          }
        }
      }
    }
  }
}

TEST(CodeStore, TheLeastThatCodesProveIsNear) {
  for (const DistanceKind kind : kKinds) {
    const Vectors vectors = Normal(kRows, 384, 7);
    const Stores stores(vectors, kind);
    for (const auto& values : Normal(5, 384, 8)) {
      const ScoredVector query = stores.rows.MakeQuery(values.data());
      const std::vector<float> exact = ExactDistances(stores, query);
      const std::vector<float> least = Coded(stores, query).Least(AllIds());
      const double whole = kind == DistanceKind::kCosine ? 1 : 2 * 384 / (kind == DistanceKind::kDot ? 2.0 : 1.0);
      for (uint32_t row = 0; row < kRows; ++row) ASSERT_GT(least[row], exact[row] - 0.2 * whole) << row;
    }
  }
}

// Roundings are as good as independent: errors of a step's deviation, 1 / sqrt(12), in every coordinate.
TEST(CodeStore, DistancesAreOffByLittleOnTheAverage) {
  constexpr int kDim = 384;
  constexpr int kQueries = 20;
  // The queries lie to one side of the centre, and the centre to one side of the origin.
  const Vectors vectors = Moved(Normal(kRows, kDim, 7), 2);
  const Vectors queries = Moved(Normal(kQueries, kDim, 9), 3);
  for (const DistanceKind kind : kKinds) {
    const Stores stores(vectors, kind);
    const std::vector<float> centre = CentreOf(vectors, kind);
    Moments in_spreads;
    Moments in_deviations;
    for (const auto& values : queries) {
      const ScoredVector query = stores.rows.MakeQuery(values.data());
      const std::vector<float> exact = ExactDistances(stores, query);
      const std::vector<float> coded = Coded(stores, query).Score(AllIds());
      const std::vector<float> prepared = Prepared(values, kind);
      Moments spread;
      for (float distance : exact) spread.Add(distance);
      for (uint32_t row = 0; row < kRows; ++row) {
        const std::vector<float> other = Prepared(vectors[row], kind);
        const double row_off = Farthest(Minus(other, centre)) / 16 / std::sqrt(12.0);
        const double query_off = Farthest(Minus(prepared, centre)) / 127 / std::sqrt(12.0);
        const double apart = Norm(Minus(prepared, other)) * (kind == DistanceKind::kL2 ? 2 : 1);
        const double deviation = kind == DistanceKind::kDot
                                     ? std::hypot(Norm(prepared) * row_off, Norm(other) * query_off)
                                     : apart * std::hypot(row_off, query_off);
        const double off = double{coded[row]} - exact[row];
        in_spreads.Add(off / spread.deviation());
        in_deviations.Add(off / deviation);
      }
    }
    EXPECT_LT(std::fabs(in_spreads.mean()), 0.05) << "kind " << static_cast<int>(kind);
    EXPECT_LT(in_spreads.deviation(), 0.1) << "kind " << static_cast<int>(kind);
    EXPECT_NEAR(in_deviations.deviation(), 1, 0.1) << "kind " << static_cast<int>(kind);
  }
}

TEST(CodeStore, RowsAreScoredAgainstRowsByTheCodesOfBoth) {
  for (const int dim : {2, 65, 384}) {
    for (const DistanceKind kind : kKinds) {
      const Vectors vectors = Moved(Normal(kRows, dim, 7), 1);
      const Stores stores(vectors, kind);
      const double root = std::sqrt(static_cast<double>(dim));
      const std::vector<float> centre = CentreOf(vectors, kind);
      for (const uint32_t row : {0u, 77u, kRows - 1}) {
        const ScoredVector vector = stores.rows.MakeQuery(vectors[row].data());
        const std::vector<float> exact = ExactDistances(stores, vector);
        const Coded coded(stores, row);
        const std::vector<float> scores = coded.Score(AllIds());
        const std::vector<float> prepared = Prepared(vectors[row], kind);
        for (uint32_t id = 0; id < kRows; ++id) {
          const std::vector<float> other = Prepared(vectors[id], kind);
          const double row_off = root * Farthest(Minus(prepared, centre)) / 16 / 2;
          const double id_off = root * Farthest(Minus(other, centre)) / 16 / 2;
          const double off = row_off + id_off;
          double bound = Norm(prepared) * id_off + Norm(other) * row_off + row_off * id_off;
          if (kind != DistanceKind::kDot) {
            const double times = kind == DistanceKind::kL2 ? 1 : 0.5;
            bound = times * (2 * Norm(Minus(prepared, other)) * off + off * off);
          }
          ASSERT_NEAR(scores[id], exact[id], bound + 1e-4) << dim << " " << static_cast<int>(kind) << " " << id;
        }
        if (kind == DistanceKind::kDot) continue;
        EXPECT_NEAR(scores[row], 0, 1e-5 * dim) << static_cast<int>(kind);
        EXPECT_GT(coded->rounding, 0);
      }
    }
  }
}

TEST(CodeStore, SketchesEstimateDistancesWithinTheirErrors) {
  constexpr int kDim = 300;  // the last block has room
  constexpr int kQueries = 20;
  const Vectors vectors = Moved(Normal(kRows, kDim, 7), 2);
  const Vectors queries = Moved(Normal(kQueries, kDim, 9), 2);
  for (const DistanceKind kind : kKinds) {
    const Stores stores(vectors, kind);
    Moments of_queries;
    Moments of_rows;
    Moments of_near_rows;  // whose distance is small beside the terms that it is the rest of
    for (uint32_t i = 0; i < kRows; ++i) {
      std::vector<float> near = vectors[i];
      for (size_t d = 0; d < near.size(); ++d) near[d] += (queries[i % kQueries][d] - 2) / 4;
      const ScoredVector query = stores.rows.MakeQuery(near.data());
      Coded coded(stores, query);
      coded.PrepareSketch(0);
      of_near_rows.Add(coded.SketchErrors({i}, {ExactDistances(stores, query)[i]})[0]);
    }
    for (uint32_t i = 0; i < kQueries; ++i) {
      const ScoredVector query = stores.rows.MakeQuery(queries[i].data());
      Coded coded(stores, query);
      coded.PrepareSketch(0);
      for (float error : coded.SketchErrors(AllIds(), ExactDistances(stores, query))) of_queries.Add(error);
      Coded row(stores, i);
      row.PrepareSketch(0);
      const std::vector<float> errors =
          row.SketchErrors(AllIds(), ExactDistances(stores, stores.rows.MakeQuery(vectors[i].data())));
      for (uint32_t id = 0; id < kRows; ++id) {
        if (id != i) of_rows.Add(errors[id]);
      }
    }
    EXPECT_LT(std::fabs(of_near_rows.mean()), 0.2) << "kind " << static_cast<int>(kind);
    EXPECT_LT(of_near_rows.deviation(), 1) << "kind " << static_cast<int>(kind);
    for (const Moments& errors : {of_queries, of_rows}) {
      EXPECT_LT(std::fabs(errors.mean()), 0.5) << "kind " << static_cast<int>(kind);
      EXPECT_GT(errors.deviation(), 0.5) << "kind " << static_cast<int>(kind);
      EXPECT_LT(errors.deviation(), 2.5) << "kind " << static_cast<int>(kind);
    }
  }
}

TEST(CodeStore, SiftKeepsWhatIsWithinTheDistanceLessTheSlack) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const int dim : {24, 65, 130, 384, 640}) {
    const Vectors vectors = Normal(kRows, dim, 7);
    const Vectors queries = Normal(2, dim, 9);
    for (const DistanceKind kind : kKinds) {
      const Stores stores(vectors, kind);
      for (const auto& values : queries) {
        const ScoredVector query = stores.rows.MakeQuery(values.data());
        std::vector<float> sorted = ExactDistances(stores, query);
        std::sort(sorted.begin(), sorted.end());
        Coded coded(stores, query);
        for (const float slack : {0.0f, 1.0f, 2.5f}) {
          coded.PrepareSketch(slack);
          for (const size_t rank : {size_t{10}, size_t{kRows / 2}}) {
            const float distance = sorted[rank];
            const std::vector<float> errors = coded.SketchErrors(AllIds(), std::vector<float>(kRows, distance));
            const std::vector<uint32_t> left = coded.Sift(AllIds(), distance);
            ASSERT_TRUE(std::is_sorted(left.begin(), left.end()));
            ASSERT_LT(left.size(), kRows);
            for (uint32_t row = 0; row < kRows; ++row) {
              if (std::fabs(errors[row] - slack) < 1e-3f) continue;  // roundings decide
              ASSERT_EQ(std::binary_search(left.begin(), left.end(), row), errors[row] < slack)
                  << "dim " << dim << " kind " << static_cast<int>(kind) << " row " << row << " slack " << slack
                  << " error " << errors[row];
            }
          }
          EXPECT_EQ(coded.Sift(AllIds(), kInfinity), AllIds());
        }
      }
    }
  }
}

TEST(CodeStore, EqualVectorsAreAtDistanceZero) {
  for (const int dim : {1, 16, 80}) {
    for (const float value : {0.25f, 1e-40f, 1e18f}) {
      const Stores stores(Vectors(kRows, std::vector<float>(static_cast<size_t>(dim), value)), DistanceKind::kL2);
      const std::vector<float> query(static_cast<size_t>(dim), value);
      Coded coded(stores, stores.rows.MakeQuery(query.data()));
      coded.PrepareSketch(0);
      EXPECT_EQ(coded.Score(AllIds()), std::vector<float>(kRows, 0)) << value;
      EXPECT_EQ(coded.Sift(AllIds(), 0), AllIds()) << value;
      EXPECT_EQ(coded.Sift(AllIds(), -std::numeric_limits<float>::denorm_min()).size(), 0u) << value;
    }
  }
}

// All that there is of the rows' codes.
struct Contents {
  explicit Contents(const Stores& stores) {
    const uint32_t rows = stores.codes.size();
    for (uint32_t row = 0; row < rows; ++row) {
      const Coded coded(stores, row);
      codes.insert(codes.end(), coded->codes(), coded->codes() + stores.dim);
      terms.insert(terms.end(), {coded->query.scale, coded->query.bias, coded->norm});
    }
    if (rows == 0) return;
    const std::vector<float> query(static_cast<size_t>(stores.dim), 0.3f);
    Coded coded(stores, stores.rows.MakeQuery(query.data()));
    coded.PrepareSketch(0);
    distances = coded.Score(AllIds(rows));
    errors = coded.SketchErrors(AllIds(rows), std::vector<float>(rows, -1));
  }
  bool operator==(const Contents&) const = default;

  std::vector<int8_t> codes;
  std::vector<float> terms;
  std::vector<float> distances;
  std::vector<float> errors;
};

TEST(CodeStore, WhatIsForgottenComesBackTheSame) {
  for (const int dim : {65, 384}) {
    for (const DistanceKind kind : kKinds) {
      const Vectors vectors = Normal(kRows, dim, 7);
      Stores stores(vectors, kind);
      const Contents all(stores);
      const int64_t bytes = stores.codes_memory.bytes();
      EXPECT_EQ(all.codes.size(), kRows * static_cast<size_t>(dim));
      for (const uint32_t size : {kRows - 1, CodeStore::kFrom, 1u, 0u}) {
        stores.codes.Restore(size);
        EXPECT_EQ(stores.codes.size(), size);
        EXPECT_EQ(stores.codes_memory.bytes() == 0, size == 0);
        ASSERT_TRUE(stores.codes.Append(stores.rows));
        EXPECT_EQ(stores.codes.size(), kRows);
        EXPECT_EQ(Contents(stores), all) << dim << " " << static_cast<int>(kind) << " " << size;
        EXPECT_EQ(stores.codes_memory.bytes(), bytes) << dim << " " << static_cast<int>(kind) << " " << size;
      }
    }
  }
}

TEST(CodeStore, RowsHaveNoCodesUntilThereAreEnough) {
  Stores stores(8, DistanceKind::kL2);
  const Vectors vectors = Normal(kRows, 8, 7);
  stores.Add({vectors.begin(), vectors.begin() + CodeStore::kFrom - 1});
  ASSERT_TRUE(stores.codes.Append(stores.rows));
  EXPECT_EQ(stores.codes.size(), 0u);
  EXPECT_EQ(stores.codes_memory.bytes(), 0);
  stores.Add({vectors.begin() + CodeStore::kFrom - 1, vectors.end()});
  ASSERT_TRUE(stores.codes.Append(stores.rows));
  EXPECT_EQ(stores.codes.size(), kRows);
  EXPECT_EQ(Contents(stores), Contents(Stores(vectors, DistanceKind::kL2)));
}

// Rows of one dimension, some 16000 of which fill a segment and 260000 the first table of segments.
TEST(CodeStore, FormerRowsStayWhileSegmentsAreAddedAndForgotten) {
  constexpr uint32_t kFew = 20000;
  constexpr uint32_t kMany = 280000;
  const Vectors vectors = Normal(kMany, 1, 7);
  Stores stores({vectors.begin(), vectors.begin() + kFew}, DistanceKind::kL2);
  const Contents few(stores);
  const int64_t bytes = stores.codes_memory.bytes();
  stores.Add({vectors.begin() + kFew, vectors.end()});
  for (const int failing : {0, 1}) {  // the table, a segment
    stores.pool.left = failing;
    EXPECT_FALSE(stores.codes.Append(stores.rows));
    EXPECT_EQ(Contents(stores), few);
  }
  stores.pool.left = -1;
  ASSERT_TRUE(stores.codes.Append(stores.rows));
  const Contents all(stores);
  EXPECT_GT(stores.codes_memory.bytes(), 8 * bytes);
  EXPECT_TRUE(std::equal(few.codes.begin(), few.codes.end(), all.codes.begin()));
  EXPECT_TRUE(std::equal(few.distances.begin(), few.distances.end(), all.distances.begin()));
  const int64_t all_bytes = stores.codes_memory.bytes();
  stores.codes.Restore(kFew);
  EXPECT_EQ(Contents(stores), few);
  EXPECT_LT(stores.codes_memory.bytes(), bytes + 4096);  // but for the table
  ASSERT_TRUE(stores.codes.Append(stores.rows));
  EXPECT_EQ(Contents(stores), all);
  EXPECT_EQ(stores.codes_memory.bytes(), all_bytes);
  stores.codes.Restore(0);
  EXPECT_EQ(stores.codes_memory.bytes(), 0);
}

TEST(CodeStore, AFailingAllocationChangesNothing) {
  const Vectors vectors = Normal(60000, 1, 7);
  Stores stores(1, DistanceKind::kDot);
  stores.Add({vectors.begin(), vectors.begin() + 2000});
  // Until there is enough for the first codes, and for the next.
  for (const bool first : {true, false}) {
    const Contents before(stores);
    const uint32_t size = stores.codes.size();
    const int64_t bytes = stores.codes_memory.bytes();
    int failures = 0;
    for (;; ++failures) {
      ASSERT_LT(failures, 20);
      stores.pool.left = failures;
      const bool done = stores.codes.Append(stores.rows);
      stores.pool.left = -1;
      if (done) break;
      ASSERT_EQ(stores.codes.size(), size);
      EXPECT_EQ(stores.codes_memory.bytes(), bytes) << failures;
      EXPECT_EQ(Contents(stores), before) << failures;
    }
    EXPECT_GE(failures, first ? 6 : 3);
    EXPECT_EQ(stores.codes.size(), stores.rows.size());
    const Stores other({vectors.begin(), vectors.begin() + stores.rows.size()}, DistanceKind::kDot);
    EXPECT_EQ(stores.codes_memory.bytes(), other.codes_memory.bytes());
    EXPECT_EQ(Contents(stores), Contents(other));
    if (first) stores.Add({vectors.begin() + 2000, vectors.end()});
  }
}

}  // namespace
}  // namespace pennon
