#include "lance/table_reader.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include <arrow/array/builder_primitive.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/builder.h>

#include "lance/deletions.h"
#include "lance/file_reader.h"

namespace pennon::lance_format {
namespace {

using arrow::Result;
using arrow::Status;
using ArrayPtr = std::shared_ptr<arrow::Array>;

constexpr uint64_t kBatchBytes = 16 << 20;
constexpr size_t kMostOpen = 256;  // files that are kept open, unless a fragment has more
constexpr char kRowId[] = "_rowid";

// Of the array's elements those at these places.
Result<ArrayPtr> Reorder(const ArrayPtr& array, const std::vector<int64_t>& places, arrow::MemoryPool* pool) {
  ARROW_ASSIGN_OR_RAISE(const auto builder, arrow::MakeBuilder(array->type(), pool));
  ARROW_RETURN_NOT_OK(builder->Reserve(static_cast<int64_t>(places.size())));
  const arrow::ArraySpan span(*array->data());
  for (size_t i = 0; i < places.size();) {
    size_t end = i + 1;  // of a run
    while (end < places.size() && places[end] == places[end - 1] + 1) ++end;
    ARROW_RETURN_NOT_OK(builder->AppendArraySlice(span, places[i], static_cast<int64_t>(end - i)));
    i = end;
  }
  return builder->Finish();
}

}  // namespace

struct TableReader::State {
  io::FileSystem& files;
  const std::string directory;
  const Manifest manifest;
  const std::shared_ptr<arrow::Schema> schema;
  arrow::MemoryPool* const pool;
  // Places of fields: of columns by name, and of others by their parent's id.
  std::map<std::string, std::vector<size_t>> tops = {};
  std::map<int32_t, std::vector<size_t>> children = {};

  void Sort();
  Result<std::shared_ptr<arrow::Schema>> Project(const std::vector<std::string>& columns) const;
  // Those of a column, parents first.
  std::vector<Field> FieldsOf(const std::string& column) const;
};

void TableReader::State::Sort() {
  for (size_t i = 0; i < manifest.fields.size(); ++i) {
    const Field& field = manifest.fields[i];
    (field.parent == -1 ? tops[field.name] : children[field.parent]).push_back(i);
  }
}

Result<std::shared_ptr<arrow::Schema>> TableReader::State::Project(const std::vector<std::string>& columns) const {
  if (columns.empty()) return schema;
  arrow::FieldVector fields;
  for (const std::string& name : columns) {
    if (std::count(columns.begin(), columns.end(), name) > 1) {
      return Status::Invalid(directory, ": column '", name, "': expected it once");
    }
    fields.push_back(schema->GetFieldByName(name));
    if (fields.back()) continue;
    std::string names;
    for (const std::string& other : schema->field_names()) names += (names.empty() ? "" : ", ") + other;
    return Status::Invalid(directory, ": no column '", name, "'; there are: ", names);
  }
  return arrow::schema(std::move(fields));
}

std::vector<Field> TableReader::State::FieldsOf(const std::string& column) const {
  std::vector<Field> fields;
  const auto add = [&](const std::vector<size_t>& places) {
    for (const size_t place : places) fields.push_back(manifest.fields[place]);
  };
  if (const auto top = tops.find(column); top != tops.end()) add(top->second);
  for (size_t i = 0; i < fields.size(); ++i) {
    if (const auto below = children.find(fields[i].id); below != children.end()) add(below->second);
  }
  return fields;
}

// What was read at a time, and what became of it.
struct Expansion {
  uint64_t read = 0;
  uint64_t values = 0;

  Status Add(BuffersRead buffers, const arrow::Array& array) {
    for (const auto& buffer : buffers) read += static_cast<uint64_t>(buffer->size());
    values += BytesOf(*array.data());
    return CheckExpansion(read, values);
  }
};

// What rows take, about, up to each of some: of a column's pages.
struct UpTo {
  uint64_t row = 0;
  uint64_t bytes_a_row = 0;
};
using Sizes = std::vector<UpTo>;

// A fragment's files and those of its columns that were needed.
struct TableReader::OpenFragment {
  static Result<std::shared_ptr<OpenFragment>> Make(std::shared_ptr<const State> state, const Fragment& fragment) {
    ARROW_ASSIGN_OR_RAISE(auto deletions, Deletions::Read(state->files, state->directory, fragment));
    return std::make_shared<OpenFragment>(std::move(state), fragment, std::move(deletions));
  }
  OpenFragment(std::shared_ptr<const State> s, const Fragment& f, Deletions d)
      : state(std::move(s)), fragment(f), deletions(std::move(d)), files(f.files.size()) {
    for (size_t i = 0; i < files.size(); ++i) {
      const DataFile& file = fragment.files[i];
      for (size_t j = 0; j < file.field_ids.size(); ++j) {
        if (file.columns[j] >= 0) places.emplace(file.field_ids[j], Place{i, file.columns[j]});
      }
    }
  }

  // Null if the fragment is older than the column, which is null there.
  Result<ColumnReader*> Reader(const arrow::Field& column);
  // Of the column, or of its parts, which have pages each.
  Status AddSizes(const arrow::Field& column, std::vector<Sizes>& sizes);
  // Which file has some of a column's fields, and columns of that by field.
  Result<std::shared_ptr<const FileReader>> FileOf(const std::vector<Field>& fields, ColumnsOfFields& columns);

  const std::shared_ptr<const State> state;
  const Fragment& fragment;
  const Deletions deletions;
  struct Place {
    size_t file;
    int32_t column;
  };
  std::map<int32_t, Place> places;  // of fields, by id
  std::vector<std::shared_ptr<const FileReader>> files;
  std::map<std::string, std::unique_ptr<ColumnReader>> readers;
};

Result<std::shared_ptr<const FileReader>> TableReader::OpenFragment::FileOf(const std::vector<Field>& fields,
                                                                            ColumnsOfFields& columns) {
  size_t first = files.size();
  for (const Field& field : fields) {
    if (const auto place = places.find(field.id); place != places.end()) first = std::min(first, place->second.file);
  }
  if (first == files.size()) return nullptr;
  for (const Field& field : fields) {
    const auto place = places.find(field.id);
    if (place != places.end() && place->second.file == first) columns.emplace(field.id, place->second.column);
  }
  auto& file = files[first];
  if (!file) {
    ARROW_ASSIGN_OR_RAISE(auto input, state->files.Open(state->directory + "/data/" + fragment.files[first].path));
    ARROW_ASSIGN_OR_RAISE(file, FileReader::Open(std::move(input), state->pool));
  }
  if (file->rows() != fragment.rows) {
    return Status::Invalid(file->path(), ": expected the fragment's ", std::to_string(fragment.rows), " rows, got ",
                           std::to_string(file->rows()));
  }
  return file;
}

Result<ColumnReader*> TableReader::OpenFragment::Reader(const arrow::Field& column) {
  const auto found = readers.find(column.name());
  if (found != readers.end()) return found->second.get();
  ColumnsOfFields columns;
  const std::vector<Field> fields = state->FieldsOf(column.name());
  ARROW_ASSIGN_OR_RAISE(const auto file, FileOf(fields, columns));
  std::unique_ptr<ColumnReader> reader;
  if (file) {
    const auto field = state->schema->GetFieldByName(column.name());
    if (!field) return Status::Invalid(state->directory, ": expected one column ", column.name(), ", got several");
    ARROW_ASSIGN_OR_RAISE(reader, MakeColumnReader(file, fields, columns, arrow::Schema({field}), 0));
  }
  return (readers[column.name()] = std::move(reader)).get();
}

// Rows of a fragment, on their way: all reads of a file go out together when it starts.
class TableReader::FragmentRead {
 public:
  static Result<FragmentRead> Start(std::shared_ptr<OpenFragment> fragment, std::shared_ptr<arrow::Schema> schema,
                                    const Ranges& rows) {
    FragmentRead read(std::move(fragment), std::move(schema), CountOf(rows));
    uint64_t null_bytes = 0;
    for (const auto& field : read.schema_->fields()) {
      ARROW_ASSIGN_OR_RAISE(auto* reader, read.fragment_->Reader(*field));
      Column& column = read.columns_.emplace_back();
      if (reader == nullptr) {
        const uint64_t width = LeastWidthOf(*field->type());
        ARROW_RETURN_NOT_OK(CheckSize(read.rows_, width));
        null_bytes += read.rows_ * width / 8;
        ARROW_RETURN_NOT_OK(CheckExpansion(0, null_bytes));
        continue;
      }
      column.file = read.FileOf(*reader);
      auto& ranges = read.files_[column.file].ranges;
      const size_t before = ranges.size();
      ARROW_ASSIGN_OR_RAISE(column.decode, reader->Request(rows, ranges));
      column.reads = ranges.size() - before;
    }
    for (OfFile& of : read.files_) {
      ARROW_ASSIGN_OR_RAISE(of.read,
                            io::RangesRead::Start(*of.file->source().file, of.ranges, read.fragment_->state->pool));
    }
    return read;
  }

  // The columns' arrays, once.
  Result<arrow::ArrayVector> Finish(Expansion& expansion) {
    std::vector<io::Buffers> buffers(files_.size());
    std::vector<BuffersRead> left;
    for (size_t i = 0; i < files_.size(); ++i) {
      ARROW_ASSIGN_OR_RAISE(buffers[i], files_[i].read.Finish());
      left.emplace_back(buffers[i]);
    }
    const State& state = *fragment_->state;
    arrow::ArrayVector arrays;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const auto& [decode, file, reads] = columns_[i];
      const arrow::Field& field = *schema_->field(static_cast<int>(i));
      ArrayPtr array;
      if (decode) {
        const BuffersRead of_column = left[file].first(reads);
        ARROW_ASSIGN_OR_RAISE(array, decode(of_column));
        ARROW_RETURN_NOT_OK(expansion.Add(of_column, *array));
        left[file] = left[file].subspan(reads);
      } else {
        ARROW_ASSIGN_OR_RAISE(array, Nulls(field.type(), rows_, state.pool));
        ARROW_RETURN_NOT_OK(expansion.Add({}, *array));
      }
      if (!field.nullable() && array->null_count() > 0) {
        return Status::Invalid(state.directory, ": column ", field.name(),
                               ": expected no nulls, as its field says, got ", std::to_string(array->null_count()));
      }
      arrays.push_back(std::move(array));
    }
    return arrays;
  }

 private:
  struct OfFile {
    const FileReader* file;
    std::vector<io::ByteRange> ranges = {};
    io::RangesRead read = {};
  };
  struct Column {
    Decode decode = {};  // none: of nulls
    size_t file = 0;
    size_t reads = 0;
  };

  FragmentRead(std::shared_ptr<OpenFragment> fragment, std::shared_ptr<arrow::Schema> schema, uint64_t rows)
      : fragment_(std::move(fragment)), schema_(std::move(schema)), rows_(rows) {}
  size_t FileOf(const ColumnReader& reader) {
    const auto found =
        std::find_if(files_.begin(), files_.end(), [&](const OfFile& of) { return of.file == &reader.file(); });
    if (found != files_.end()) return static_cast<size_t>(found - files_.begin());
    files_.push_back({.file = &reader.file()});
    return files_.size() - 1;
  }

  std::shared_ptr<OpenFragment> fragment_;
  std::shared_ptr<arrow::Schema> schema_;
  uint64_t rows_;
  std::vector<Column> columns_;
  std::vector<OfFile> files_;
};

Status TableReader::OpenFragment::AddSizes(const arrow::Field& column, std::vector<Sizes>& sizes) {
  ColumnsOfFields columns;
  ARROW_ASSIGN_OR_RAISE(const auto file, FileOf(state->FieldsOf(column.name()), columns));
  // What takes no place in the file does in memory.
  const uint64_t least = LeastWidthOf(*column.type()) / 8;
  const uint64_t of_parts = columns.size() == 1 ? least : 0;  // that is in its pages, too
  sizes.push_back({{fragment.rows, least}});
  for (const auto& [field, place] : columns) {
    if (!file || static_cast<size_t>(place) >= file->columns().size()) continue;
    Sizes of_part;
    uint64_t rows = 0;
    uint64_t bytes = 0;
    for (const PageInfo& page : file->columns()[static_cast<size_t>(place)]) {
      uint64_t of_page = 0;
      for (const io::ByteRange& buffer : page.buffers) of_page += buffer.length;
      rows += page.rows;
      bytes += of_page;
      const uint64_t a_row = of_page / std::max<uint64_t>(page.rows, 1);
      of_part.push_back({rows, a_row - std::min(a_row, of_parts)});
    }
    // Pages of items are of other rows.
    if (rows != fragment.rows) of_part = {{fragment.rows, bytes / std::max<uint64_t>(fragment.rows, 1)}};
    sizes.push_back(std::move(of_part));
  }
  return Status::OK();
}

// From file to file.
class TableReader::Scanner : public arrow::RecordBatchReader {
 public:
  Scanner(std::shared_ptr<const State> state, std::shared_ptr<arrow::Schema> columns, const ScanSettings& settings)
      : state_(std::move(state)), columns_(std::move(columns)), settings_(settings) {
    arrow::FieldVector fields = columns_->fields();
    if (settings.row_ids) fields.push_back(arrow::field(kRowId, arrow::uint64()));
    schema_ = arrow::schema(std::move(fields));
  }

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  // Once it has failed it fails.
  Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    *batch = nullptr;
    ARROW_RETURN_NOT_OK(failed_);
    failed_ = Status::Invalid(state_->directory, ": expected no more of a scan that failed");  // if what follows throws
    return failed_ = Next(batch);
  }

 private:
  Status Next(std::shared_ptr<arrow::RecordBatch>* batch) {
    while (true) {
      while (!ahead_) {
        while (!open_ || row_ == open_->fragment.rows) {
          if (next_ == state_->manifest.fragments.size()) return open_ = nullptr, Status::OK();
          ARROW_RETURN_NOT_OK(OpenNext());
        }
        ARROW_RETURN_NOT_OK(Start());
      }
      Step step = *std::exchange(ahead_, std::nullopt);
      // While these rows are decoded the next ones are read. If that fails, it does so again in its turn.
      static_cast<void>(Start());
      const Status status = FinishStep(step, batch);
      if (status.ok()) return status;
      ahead_.reset();
      row_ = step.rows.first;
      pages_.assign(sizes_.size(), 0);
      // How large rows are is known only when they are read.
      if (!status.IsCapacityError() || step.rows.count == 1) return status;
      most_ = step.rows.count / 2;
    }
  }

  // Rows of open_, on their way.
  struct Step {
    Range rows;
    Ranges left;  // of them
    FragmentRead read;
  };

  // The next rows of open_ that are left, if there are any.
  Status Start() {
    while (row_ < open_->fragment.rows) {
      const Range rows{row_, std::min(most_, RowsThatFit())};
      Ranges left = open_->deletions.Left(rows);
      if (!left.empty()) {
        ARROW_ASSIGN_OR_RAISE(auto read, FragmentRead::Start(open_, columns_, left));
        ahead_ = Step{rows, std::move(left), std::move(read)};
      }
      row_ = rows.end();
      if (ahead_) break;
    }
    return Status::OK();
  }
  Status FinishStep(Step& step, std::shared_ptr<arrow::RecordBatch>* batch) {
    const Ranges& rows = step.left;
    Expansion expansion;
    ARROW_ASSIGN_OR_RAISE(auto arrays, step.read.Finish(expansion));
    if (settings_.row_ids) {
      arrow::UInt64Builder ids(state_->pool);
      ARROW_RETURN_NOT_OK(ids.Reserve(static_cast<int64_t>(CountOf(rows))));
      for (const Range& range : rows) {
        for (uint64_t row = range.first; row < range.end(); ++row) ids.UnsafeAppend(open_->fragment.id << 32 | row);
      }
      ARROW_RETURN_NOT_OK(ids.Finish(&arrays.emplace_back()));
    }
    *batch = arrow::RecordBatch::Make(schema_, static_cast<int64_t>(CountOf(rows)), std::move(arrays));
    return Status::OK();
  }
  Status OpenNext() {
    ARROW_ASSIGN_OR_RAISE(open_, OpenFragment::Make(state_, state_->manifest.fragments[next_++]));
    row_ = 0;
    most_ = UINT64_MAX;
    sizes_.clear();
    for (const auto& column : columns_->fields()) ARROW_RETURN_NOT_OK(open_->AddSizes(*column, sizes_));
    pages_.assign(sizes_.size(), 0);
    return Status::OK();
  }

  // From row_ on, in a batch; one at least.
  uint64_t RowsThatFit() {
    const uint64_t last = std::min(open_->fragment.rows, row_ + std::min<uint64_t>(settings_.batch_rows, UINT32_MAX));
    uint64_t bytes = 0;
    for (uint64_t end = row_; end < last;) {
      uint64_t next = last;
      uint64_t a_row = 1;
      for (size_t i = 0; i < sizes_.size(); ++i) {
        while (sizes_[i][pages_[i]].row <= end) ++pages_[i];
        next = std::min(next, sizes_[i][pages_[i]].row);
        a_row += sizes_[i][pages_[i]].bytes_a_row;
      }
      const uint64_t fit = (kBatchBytes - bytes) / a_row;
      if (fit < next - end) return std::max<uint64_t>(end + fit - row_, 1);
      bytes += (next - end) * a_row;
      end = next;
    }
    return last - row_;
  }

  const std::shared_ptr<const State> state_;
  const std::shared_ptr<arrow::Schema> columns_;
  const ScanSettings settings_;
  std::shared_ptr<arrow::Schema> schema_;
  Status failed_;
  size_t next_ = 0;  // fragment
  std::shared_ptr<OpenFragment> open_;
  uint64_t row_ = 0;   // of it, that is to be asked for next
  uint64_t most_ = 0;  // rows a batch, by what turned out too large
  std::vector<Sizes> sizes_;
  std::optional<Step> ahead_;
  std::vector<size_t> pages_;  // where row_ is in each of sizes_, or what was looked at after it
};

TableReader::TableReader(io::FileSystem& files, std::string directory, Manifest manifest,
                         std::shared_ptr<arrow::Schema> schema, arrow::MemoryPool* pool) {
  const auto state =
      std::make_shared<State>(State{files, std::move(directory), std::move(manifest), std::move(schema), pool});
  state->Sort();
  state_ = state;
}

Result<std::shared_ptr<arrow::RecordBatchReader>> TableReader::Scan(const ScanSettings& settings) const {
  if (settings.batch_rows < 1) {
    return Status::Invalid("batch_rows: expected at least 1, got ", std::to_string(settings.batch_rows));
  }
  ARROW_ASSIGN_OR_RAISE(auto columns, state_->Project(settings.columns));
  return std::make_shared<Scanner>(state_, std::move(columns), settings);
}

bool TableReader::HasRoomFor(const Fragment& fragment) const {
  return open_.empty() || most_files_ + fragment.files.size() < kMostOpen;
}

Result<std::shared_ptr<TableReader::OpenFragment>> TableReader::Open(const Fragment& fragment) {
  if (!HasRoomFor(fragment)) {
    open_.clear();
    most_files_ = 0;
  }
  ARROW_ASSIGN_OR_RAISE(auto open, OpenFragment::Make(state_, fragment));
  most_files_ += std::max<size_t>(fragment.files.size(), 1);
  return open_[fragment.id] = std::move(open);
}

Result<std::shared_ptr<arrow::RecordBatch>> TableReader::Take(std::span<const uint64_t> row_ids,
                                                              const std::vector<std::string>& columns) {
  ARROW_ASSIGN_OR_RAISE(const auto schema, state_->Project(columns));
  std::vector<uint64_t> wanted(row_ids.begin(), row_ids.end());
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  std::vector<arrow::ArrayVector> parts(static_cast<size_t>(schema->num_fields()));  // of each column
  std::vector<FragmentRead> reads;
  Expansion expansion;
  const auto finish = [&]() -> Status {
    for (FragmentRead& read : reads) {
      ARROW_ASSIGN_OR_RAISE(auto arrays, read.Finish(expansion));
      for (size_t column = 0; column < parts.size(); ++column) parts[column].push_back(std::move(arrays[column]));
    }
    reads.clear();
    return Status::OK();
  };
  for (size_t i = 0; i < wanted.size();) {
    const uint64_t id = wanted[i] >> 32;
    const auto known = open_.find(id);
    auto open = known == open_.end() ? nullptr : known->second;
    if (!open) {
      const auto& fragments = state_->manifest.fragments;
      const auto found = std::find_if(fragments.begin(), fragments.end(), [&](const auto& f) { return f.id == id; });
      if (found == fragments.end()) {
        return Status::Invalid("row id ", std::to_string(wanted[i]), ": no fragment ", std::to_string(id));
      }
      if (!HasRoomFor(*found)) ARROW_RETURN_NOT_OK(finish());
      ARROW_ASSIGN_OR_RAISE(open, Open(*found));
    }
    Ranges rows;
    for (; i < wanted.size() && wanted[i] >> 32 == id; ++i) {
      const uint64_t row = wanted[i] & 0xFFFFFFFFu;
      if (row >= open->fragment.rows) {
        return Status::Invalid("row id ", std::to_string(wanted[i]), ": fragment ", std::to_string(id), " has ",
                               std::to_string(open->fragment.rows), " rows");
      }
      if (open->deletions.Contains(row)) {
        return Status::Invalid("row id ", std::to_string(wanted[i]), ": the row is deleted");
      }
      if (!rows.empty() && rows.back().end() == row) {
        ++rows.back().count;
      } else {
        rows.push_back({row, 1});
      }
    }
    ARROW_ASSIGN_OR_RAISE(auto read, FragmentRead::Start(open, schema, rows));
    reads.push_back(std::move(read));
  }
  ARROW_RETURN_NOT_OK(finish());
  const bool in_order = std::equal(wanted.begin(), wanted.end(), row_ids.begin(), row_ids.end());
  std::vector<int64_t> places;
  for (size_t i = 0; !in_order && i < row_ids.size(); ++i) {
    places.push_back(std::lower_bound(wanted.begin(), wanted.end(), row_ids[i]) - wanted.begin());
  }
  arrow::ArrayVector arrays;
  for (size_t column = 0; column < parts.size(); ++column) {
    ArrayPtr array;
    if (parts[column].empty()) {
      ARROW_ASSIGN_OR_RAISE(array,
                            arrow::MakeEmptyArray(schema->field(static_cast<int>(column))->type(), state_->pool));
    } else if (parts[column].size() == 1) {
      array = parts[column][0];
    } else {
      ARROW_ASSIGN_OR_RAISE(array, arrow::Concatenate(parts[column], state_->pool));
    }
    if (!in_order) {
      ARROW_ASSIGN_OR_RAISE(array, Reorder(array, places, state_->pool));
    }
    arrays.push_back(std::move(array));
  }
  return arrow::RecordBatch::Make(schema, static_cast<int64_t>(row_ids.size()), std::move(arrays));
}

Result<std::vector<uint64_t>> TableReader::RowIdsAt(std::span<const uint64_t> positions) {
  const auto& fragments = state_->manifest.fragments;
  std::vector<uint64_t> first = {0};
  for (const Fragment& fragment : fragments) first.push_back(first.back() + fragment.live_rows());
  // In order, so that each fragment is opened once, however few may be open.
  std::vector<size_t> order(positions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return positions[a] < positions[b]; });
  std::vector<uint64_t> ids(positions.size());
  for (const size_t i : order) {
    const uint64_t position = positions[i];
    if (position >= first.back()) {
      return Status::Invalid("position ", std::to_string(position), ": the table has ", std::to_string(first.back()),
                             " rows");
    }
    const auto place = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), position) - first.begin() - 1);
    const Fragment& fragment = fragments[place];
    const auto known = open_.find(fragment.id);
    auto open = known == open_.end() ? nullptr : known->second;
    if (!open) {
      ARROW_ASSIGN_OR_RAISE(open, Open(fragment));
    }
    ids[i] = fragment.id << 32 | open->deletions.RowAt(position - first[place]);
  }
  return ids;
}

}  // namespace pennon::lance_format
