#include "systems.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/builder.h>
#include <arrow/io/file.h>
#include <arrow/io/memory.h>
#include <arrow/table.h>
#include <parquet/arrow/reader.h>
#include <parquet/column_reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/page_index.h>
#include <parquet/schema.h>

#include "pennon/lance.h"

namespace pennon::access {
namespace {

using arrow::Result;
using arrow::Status;
using BatchPtr = std::shared_ptr<arrow::RecordBatch>;

Result<int64_t> CountRows(arrow::RecordBatchReader& batches) {
  int64_t rows = 0;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto batch, batches.Next());
    if (!batch) return rows;
    rows += batch->num_rows();
  }
}

class Lance : public System {
 public:
  explicit Lance(lance::Dataset dataset) : dataset_(std::move(dataset)) {}

  Result<BatchPtr> Take(std::span<const uint64_t> rows, bool vectors) override {
    return dataset_.TakePositions(rows, vectors ? std::vector<std::string>{"vector"} : std::vector<std::string>{});
  }
  Result<int64_t> Scan() override {
    ARROW_ASSIGN_OR_RAISE(const auto batches, dataset_.Scan());
    return CountRows(*batches);
  }

 private:
  lance::Dataset dataset_;
};

Result<int64_t> ScanParquet(parquet::arrow::FileReader& file) {
  ARROW_ASSIGN_OR_RAISE(const auto batches, file.GetRecordBatchReader());
  return CountRows(*batches);
}

class RowGroups : public System {
 public:
  explicit RowGroups(std::unique_ptr<parquet::arrow::FileReader> file) : file_(std::move(file)) {
    const auto metadata = file_->parquet_reader()->metadata();
    for (int i = 0; i < metadata->num_row_groups(); ++i) {
      first_.push_back(first_.back() + static_cast<uint64_t>(metadata->RowGroup(i)->num_rows()));
    }
  }

  Result<BatchPtr> Take(std::span<const uint64_t> rows, bool vectors) override {
    std::vector<int> groups;
    std::vector<int64_t> places;  // in them
    int64_t before = 0;
    for (const uint64_t row : rows) {
      const auto group = static_cast<int>(std::upper_bound(first_.begin(), first_.end(), row) - first_.begin() - 1);
      if (groups.empty() || groups.back() != group) {
        if (!groups.empty()) before += RowsOf(groups.back());
        groups.push_back(group);
      }
      places.push_back(before + static_cast<int64_t>(row - first_[static_cast<size_t>(group)]));
    }
    const std::vector<int> columns = vectors ? std::vector<int>{2} : std::vector<int>{0, 1, 2};
    ARROW_ASSIGN_OR_RAISE(const auto table, file_->ReadRowGroups(groups, columns));
    arrow::ArrayVector arrays;
    for (const auto& column : table->columns()) {
      arrow::ArrayVector pieces;
      for (const int64_t place : places) pieces.push_back(column->Slice(place, 1)->chunk(0));
      ARROW_ASSIGN_OR_RAISE(arrays.emplace_back(), arrow::Concatenate(pieces));
    }
    return arrow::RecordBatch::Make(table->schema(), static_cast<int64_t>(rows.size()), std::move(arrays));
  }
  Result<int64_t> Scan() override { return ScanParquet(*file_); }

 private:
  int64_t RowsOf(int group) const {
    return static_cast<int64_t>(first_[static_cast<size_t>(group) + 1] - first_[static_cast<size_t>(group)]);
  }

  const std::unique_ptr<parquet::arrow::FileReader> file_;
  std::vector<uint64_t> first_ = {0};  // row of each group, and how many there are
};

// Of one row group.
class Pages : public System {
 public:
  Pages(std::shared_ptr<arrow::io::ReadableFile> file, std::unique_ptr<parquet::arrow::FileReader> reader, bool binary)
      : file_(std::move(file)), reader_(std::move(reader)), binary_(binary) {}

  Status Init() {
    auto* parquet = reader_->parquet_reader();
    metadata_ = parquet->metadata();
    ARROW_RETURN_NOT_OK(reader_->GetSchema(&schema_));
    const auto index = parquet->GetPageIndexReader()->RowGroup(0);
    for (int column = 0; column < metadata_->num_columns(); ++column) {
      pages_.push_back(index->GetOffsetIndex(column)->page_locations());
    }
    rows_ = metadata_->num_rows();
    bytes_a_vector_ = binary_
                          ? metadata_->schema()->Column(2)->type_length()
                          : 2 * static_cast<const arrow::FixedSizeListType&>(*schema_->field(2)->type()).list_size();
    values_a_vector_ = binary_ ? 1 : bytes_a_vector_ / 2;
    return Status::OK();
  }

  Result<BatchPtr> Take(std::span<const uint64_t> rows, bool vectors) override {
    std::vector<arrow::io::ReadRange> ranges;
    for (int column = vectors ? 2 : 0; column < 3; ++column) {
      for (const Touched& page : PagesOf(column, rows))
        ranges.push_back({page.at->offset, page.at->compressed_page_size});
    }
    if (ranges.size() > 1) ARROW_RETURN_NOT_OK(file_->WillNeed(ranges));
    arrow::ArrayVector arrays;
    arrow::FieldVector fields;
    const auto count = static_cast<int64_t>(rows.size());
    if (!vectors) {
      std::vector<int64_t> ids(rows.size());
      ARROW_RETURN_NOT_OK((Read<parquet::Int64Type>(0, 1, rows, [&](int64_t row, const int64_t* value) {
        ids[static_cast<size_t>(row)] = *value;
        return Status::OK();
      })));
      arrays.push_back(std::make_shared<arrow::Int64Array>(count, arrow::Buffer::FromVector(std::move(ids))));
      arrow::StringBuilder texts;
      ARROW_RETURN_NOT_OK((Read<parquet::ByteArrayType>(1, 1, rows, [&](int64_t, const parquet::ByteArray* value) {
        return texts.Append(value->ptr, static_cast<int32_t>(value->len));
      })));
      ARROW_RETURN_NOT_OK(texts.Finish(&arrays.emplace_back()));
      fields = {schema_->field(0), schema_->field(1)};
    }
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> bytes, arrow::AllocateBuffer(count * bytes_a_vector_));
    // The numbers of a row lie one after the other in the page.
    ARROW_RETURN_NOT_OK(
        (Read<parquet::FLBAType>(2, values_a_vector_, rows, [&](int64_t row, const parquet::FLBA* value) {
          std::memcpy(bytes->mutable_data() + row * bytes_a_vector_, value->ptr, static_cast<size_t>(bytes_a_vector_));
          return Status::OK();
        })));
    const auto& type = schema_->field(2)->type();
    if (binary_) {
      arrays.push_back(arrow::MakeArray(arrow::ArrayData::Make(type, count, {nullptr, std::move(bytes)}, 0)));
    } else {
      arrays.push_back(arrow::MakeArray(arrow::ArrayData::Make(
          type, count, {nullptr},
          {arrow::ArrayData::Make(arrow::float16(), count * values_a_vector_, {nullptr, std::move(bytes)}, 0)}, 0)));
    }
    fields.push_back(schema_->field(2));
    return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), count, std::move(arrays));
  }
  Result<int64_t> Scan() override { return ScanParquet(*reader_); }

 private:
  struct Touched {
    const parquet::PageLocation* at;
    int64_t rows;        // of the page
    size_t first, last;  // of those that are wanted
  };

  std::vector<Touched> PagesOf(int column, std::span<const uint64_t> rows) const {
    const auto& pages = pages_[static_cast<size_t>(column)];
    std::vector<Touched> touched;
    for (size_t i = 0; i < rows.size();) {
      const auto after = std::upper_bound(pages.begin(), pages.end(), static_cast<int64_t>(rows[i]),
                                          [](int64_t row, const auto& page) { return row < page.first_row_index; });
      const int64_t end = after == pages.end() ? rows_ : after->first_row_index;
      size_t last = i + 1;
      while (last < rows.size() && static_cast<int64_t>(rows[last]) < end) ++last;
      touched.push_back({&*(after - 1), end - (after - 1)->first_row_index, i, last});
      i = last;
    }
    return touched;
  }

  // Calls use(place among the rows, values) for each row.
  template <typename Type, typename Use>
  Status Read(int column, int64_t values_a_row, std::span<const uint64_t> rows, Use&& use) {
    const auto* descriptor = metadata_->schema()->Column(column);
    std::vector<typename Type::c_type> values(static_cast<size_t>(values_a_row));
    std::vector<int16_t> definition(values.size());
    std::vector<int16_t> repetition(values.size());
    for (const Touched& page : PagesOf(column, rows)) {
      ARROW_ASSIGN_OR_RAISE(const auto bytes, file_->ReadAt(page.at->offset, page.at->compressed_page_size));
      auto pager = parquet::PageReader::Open(std::make_shared<arrow::io::BufferReader>(bytes), page.rows * values_a_row,
                                             parquet::Compression::UNCOMPRESSED, parquet::default_reader_properties(),
                                             *descriptor);
      const auto reader = parquet::ColumnReader::Make(descriptor, std::move(pager));
      auto& typed = static_cast<parquet::TypedColumnReader<Type>&>(*reader);
      int64_t next = page.at->first_row_index;
      for (size_t i = page.first; i < page.last; ++i) {
        const int64_t skipped = (static_cast<int64_t>(rows[i]) - next) * values_a_row;
        int64_t got = 0;
        if ((skipped > 0 && typed.Skip(skipped) != skipped) ||
            typed.ReadBatch(values_a_row, definition.data(), repetition.data(), values.data(), &got) != values_a_row ||
            got != values_a_row) {
          return Status::Invalid("expected row ", rows[i], " of column ", column, " in its page");
        }
        next = static_cast<int64_t>(rows[i]) + 1;
        ARROW_RETURN_NOT_OK(use(static_cast<int64_t>(i), values.data()));
      }
    }
    return Status::OK();
  }

  const std::shared_ptr<arrow::io::ReadableFile> file_;
  const std::unique_ptr<parquet::arrow::FileReader> reader_;
  const bool binary_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::vector<parquet::PageLocation>> pages_;  // of each column
  int64_t rows_ = 0;
  int64_t bytes_a_vector_ = 0;
  int64_t values_a_vector_ = 0;
};

Result<std::unique_ptr<parquet::arrow::FileReader>> OpenParquet(
    const std::shared_ptr<arrow::io::RandomAccessFile>& file) {
  parquet::arrow::FileReaderBuilder builder;
  ARROW_RETURN_NOT_OK(builder.Open(file));
  parquet::ArrowReaderProperties properties = parquet::default_arrow_reader_properties();
  properties.set_use_threads(true);
  return builder.properties(properties)->Build();
}

}  // namespace

Result<std::unique_ptr<System>> OpenLance(const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(auto dataset, lance::Dataset::Open(path));
  return std::make_unique<Lance>(std::move(dataset));
}

Result<std::unique_ptr<System>> OpenRowGroups(const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::ReadableFile::Open(path));
  ARROW_ASSIGN_OR_RAISE(auto reader, OpenParquet(file));
  return std::make_unique<RowGroups>(std::move(reader));
}

Result<std::unique_ptr<System>> OpenPages(const std::string& path, const ParquetFormat& format) {
  ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::ReadableFile::Open(path));
  ARROW_ASSIGN_OR_RAISE(auto reader, OpenParquet(file));
  auto pages = std::make_unique<Pages>(file, std::move(reader), format.binary);
  ARROW_RETURN_NOT_OK(pages->Init());
  return pages;
}

}  // namespace pennon::access
