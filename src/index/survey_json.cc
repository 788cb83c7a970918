#include "index/survey_json.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "vectors/status.h"

namespace pennon {

using arrow::Result;

std::string StoredSurvey::ToJson() const {
  nlohmann::ordered_json json;
  json["seed"] = seed;
  json["codes"] = codes;
  json["largest_norm"] = largest_norm;
  json["rows"] = survey.rows;
  json["largest_norm_then"] = survey.largest_norm;
  json["reach"] = survey.reach;
  json["coded"] = survey.mode.coded;
  if (survey.mode.sifted()) json["slack"] = survey.mode.slack;
  return json.dump();
}

Result<StoredSurvey> StoredSurvey::FromJson(const std::string& text, uint32_t rows) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto is = [&](const char* name, auto (nlohmann::json::*check)() const) {
    return json.contains(name) && (json[name].*check)();
  };
  using Json = nlohmann::json;
  bool fits = json.is_object() && is("seed", &Json::is_number_unsigned) && is("codes", &Json::is_boolean) &&
              is("coded", &Json::is_boolean) && is("rows", &Json::is_number_unsigned);
  const auto number = [&](const char* name) {
    fits = fits && is(name, &Json::is_number);
    const auto value = fits ? json[name].get<float>() : 0.0f;
    fits = fits && std::isfinite(value);
    return value;
  };
  StoredSurvey stored;
  stored.largest_norm = number("largest_norm");
  stored.survey.largest_norm = number("largest_norm_then");
  stored.survey.reach = number("reach");
  if (fits && json.contains("slack")) stored.survey.mode.slack = number("slack");
  fits = fits && stored.largest_norm >= 0 && stored.survey.largest_norm >= 0 && json["rows"].get<uint64_t>() <= rows &&
         (stored.survey.reach == 0 || (stored.survey.reach >= 1 && stored.survey.reach <= 64));
  if (!fits) return Invalid(kSurveyKey, ": expected what Pennon writes, got ", text);
  stored.seed = json["seed"].get<uint64_t>();
  stored.codes = json["codes"].get<bool>();
  stored.survey.rows = json["rows"].get<uint32_t>();
  stored.survey.mode.coded = json["coded"].get<bool>();
  if (stored.survey.mode.coded && !stored.codes) return Invalid(kSurveyKey, ": expected codes to walk by, got none");
  return stored;
}

}  // namespace pennon
