#include "tables.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/io/file.h>
#include <arrow/table.h>
#include <fmt/format.h>
#include <parquet/arrow/writer.h>
#include <parquet/properties.h>

#include "cli/data_file.h"
#include "pennon/lance.h"

namespace pennon::access {
namespace {

using arrow::Result;
using arrow::Status;

constexpr int64_t kBatch = 8192;

// splitmix64.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// The sample over and over: texts end in their row's number, and of each number in a vector the lowest bits are random.
class Rows : public arrow::RecordBatchReader {
 public:
  Rows(std::shared_ptr<arrow::StringArray> texts, std::shared_ptr<arrow::FixedSizeListArray> vectors, int64_t rows)
      : texts_(std::move(texts)), vectors_(std::move(vectors)), rows_(rows) {
    schema_ = arrow::schema({arrow::field("id", arrow::int64(), false), arrow::field("text", arrow::utf8(), false),
                             arrow::field("vector", vectors_->type(), false)});
  }

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    *batch = nullptr;
    const int64_t count = std::min(kBatch, rows_ - next_);
    if (count == 0) return Status::OK();
    arrow::Int64Builder ids;
    arrow::StringBuilder texts;
    const int32_t dim = vectors_->value_length();
    const auto* halves = static_cast<const arrow::HalfFloatArray&>(*vectors_->values()).raw_values();
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(count * dim * 2));
    auto* to = reinterpret_cast<uint16_t*>(values->mutable_data());
    for (int64_t i = 0; i < count; ++i, to += dim) {
      const int64_t row = next_ + i;
      const int64_t of = row % texts_->length();
      ARROW_RETURN_NOT_OK(ids.Append(row));
      ARROW_RETURN_NOT_OK(texts.Append(fmt::format("{} {}", texts_->GetView(of), row)));
      uint64_t random = 0;
      const uint16_t* from = halves + vectors_->value_offset(of);
      for (int32_t j = 0; j < dim; ++j) {
        constexpr int32_t kBits = 3;
        constexpr int32_t kNumbers = 21;  // that a random word is enough for
        if (j % kNumbers == 0) random = Mix(static_cast<uint64_t>(row) * 1000 + static_cast<uint64_t>(j));
        to[j] = static_cast<uint16_t>(from[j] ^ (random >> (j % kNumbers * kBits) & 7));
      }
    }
    arrow::ArrayVector arrays(2);
    ARROW_RETURN_NOT_OK(ids.Finish(&arrays[0]));
    ARROW_RETURN_NOT_OK(texts.Finish(&arrays[1]));
    arrays.push_back(arrow::MakeArray(arrow::ArrayData::Make(
        vectors_->type(), count, {nullptr},
        {arrow::ArrayData::Make(arrow::float16(), count * dim, {nullptr, std::move(values)}, 0)}, 0)));
    *batch = arrow::RecordBatch::Make(schema_, count, std::move(arrays));
    next_ += count;
    return Status::OK();
  }

 private:
  const std::shared_ptr<arrow::StringArray> texts_;
  const std::shared_ptr<arrow::FixedSizeListArray> vectors_;
  const int64_t rows_;
  std::shared_ptr<arrow::Schema> schema_;
  int64_t next_ = 0;
};

}  // namespace

Result<std::shared_ptr<arrow::RecordBatchReader>> MakeRows(const std::string& sample, int64_t rows) {
  ARROW_ASSIGN_OR_RAISE(const auto file, cli::DataFile::Read(sample));
  ARROW_ASSIGN_OR_RAISE(const auto texts, file.Column("summary"));
  ARROW_ASSIGN_OR_RAISE(const auto vectors, file.Vectors("embedding"));
  if (texts->type_id() != arrow::Type::STRING || vectors->value_type()->id() != arrow::Type::HALF_FLOAT) {
    return Status::Invalid(sample, ": expected columns summary of utf8 and embedding of halffloat");
  }
  const auto item = arrow::fixed_size_list(arrow::float16(), vectors->value_length());
  return std::make_shared<Rows>(std::static_pointer_cast<arrow::StringArray>(texts),
                                std::make_shared<arrow::FixedSizeListArray>(item, vectors->length(), vectors->values(),
                                                                            nullptr, 0, vectors->offset()),
                                rows);
}

Status WriteLance(const std::string& directory, arrow::RecordBatchReader& rows) {
  ARROW_ASSIGN_OR_RAISE(auto dataset, lance::Dataset::Create(directory + "/pennon.lance", rows.schema()));
  return dataset.Append(rows).status();
}

Status WriteParquet(const std::string& path, const ParquetFormat& format, arrow::RecordBatchReader& rows) {
  auto schema = rows.schema();
  const auto& list = static_cast<const arrow::FixedSizeListType&>(*schema->field(2)->type());
  const auto binary = arrow::fixed_size_binary(2 * list.list_size());
  if (format.binary) {
    ARROW_ASSIGN_OR_RAISE(schema, schema->SetField(2, schema->field(2)->WithType(binary)));
  }
  parquet::WriterProperties::Builder properties;
  properties.max_row_group_length(format.rows_a_group);
  if (format.pages) properties.disable_dictionary();
  if (format.rows_a_page > 0) properties.max_rows_per_page(format.rows_a_page)->write_batch_size(format.rows_a_page);
  ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::FileOutputStream::Open(path));
  ARROW_ASSIGN_OR_RAISE(const auto writer, parquet::arrow::FileWriter::Open(
                                               *schema, arrow::default_memory_pool(), file, properties.build(),
                                               parquet::ArrowWriterProperties::Builder().store_schema()->build()));
  while (true) {
    ARROW_ASSIGN_OR_RAISE(auto batch, rows.Next());
    if (!batch) break;
    if (format.binary) {
      const auto& values = *batch->column(2)->data()->child_data[0];
      const auto column =
          arrow::MakeArray(arrow::ArrayData::Make(binary, batch->num_rows(), {nullptr, values.buffers[1]}, 0));
      ARROW_ASSIGN_OR_RAISE(batch, batch->SetColumn(2, schema->field(2), column));
    }
    ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  }
  ARROW_RETURN_NOT_OK(writer->Close());
  return file->Close();
}

}  // namespace pennon::access
