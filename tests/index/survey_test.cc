// ctest: labels=contract-10,asan timeout=60
// What is kept of a graph beside a Lance index: what no graph can have is refused, as it decides how searches walk.
#include <gtest/gtest.h>

#include "index/survey_json.h"

namespace pennon {
namespace {

const std::string kRest = R"("seed":1,"largest_norm":0,"largest_norm_then":0,"reach":0)";

StoredSurvey Read(const std::string& json) { return StoredSurvey::FromJson(json, 100).ValueOrDie(); }
bool Refused(const std::string& fields) {
  return StoredSurvey::FromJson("{" + fields + "," + kRest + "}", 100).status().IsInvalid();
}

TEST(Survey, ComesBack) {
  StoredSurvey stored;
  stored.survey = {.rows = 90, .largest_norm = 2, .reach = 1.5, .mode = {.coded = true, .slack = 0.25}};
  stored.largest_norm = 3;
  stored.codes = true;
  stored.seed = 7;
  const StoredSurvey read = Read(stored.ToJson());
  EXPECT_EQ(read.ToJson(), stored.ToJson());
  EXPECT_EQ(read.survey.mode.slack, 0.25f);
}

TEST(Survey, WithoutCodesWalksByNone) {
  EXPECT_FALSE(Refused(R"("codes":false,"coded":false,"rows":90)"));
  EXPECT_TRUE(Refused(R"("codes":false,"coded":true,"rows":90)"));
  EXPECT_TRUE(Refused(R"("codes":false,"coded":false,"rows":90,"slack":1)"));
}

TEST(Survey, ThatNoGraphHas) {
  EXPECT_TRUE(Refused(R"("codes":true,"coded":false,"rows":101)"));
  EXPECT_TRUE(Refused(R"("codes":true,"coded":false,"rows":-1)"));
  EXPECT_TRUE(Refused(R"("codes":true,"coded":false,"rows":90,"slack":-1)"));
  EXPECT_TRUE(Refused(R"("codes":1,"coded":false,"rows":90)"));
  EXPECT_TRUE(StoredSurvey::FromJson("[", 100).status().IsInvalid());
}

}  // namespace
}  // namespace pennon
