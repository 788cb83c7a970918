// What a file that came from anywhere must give: an error that names it, or sound vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <arrow/buffer.h>
#include <arrow/io/memory.h>

#include "cli/data_file.h"
#include "require.h"

namespace pennon::fuzz {

inline void CheckFile(const uint8_t* bytes, size_t size, const std::string& path) {
  const auto buffer = std::make_shared<arrow::Buffer>(bytes, static_cast<int64_t>(size));
  const auto data = cli::DataFile::Read(std::make_shared<arrow::io::BufferReader>(buffer), path);
  if (!data.ok()) return Require(data.status().message().find(path) != std::string::npos, "an error names the file");
  for (const char* name : {"", "vector", "row_id"}) {
    if (const auto column = data->Column(name); column.ok()) (*column)->ToString();
    if (const auto ids = data->RowIds(name); ids.ok()) Require((*ids)->ValidateFull().ok(), "row ids are sound");
    const auto vectors = data->Vectors(name);
    if (!vectors.ok()) continue;
    const auto sound = (*vectors)->ValidateFull();
    Require(sound.ok(), sound.ToString().c_str());
    if (const auto queries = cli::Queries::Decode(**vectors); queries.ok()) {
      Require(static_cast<int64_t>(queries->vectors.size()) == (*vectors)->length() - (*vectors)->null_count(),
              "every vector is a query");
    }
  }
}

}  // namespace pennon::fuzz
