#include "lance/table_reader.h"

#include <algorithm>
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
constexpr size_t kMostOpen = 256;  // fragments, whose files are kept open
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
  std::map<int32_t, std::vector<int32_t>> children;  // of fields, by id

  Result<std::shared_ptr<arrow::Schema>> Project(const std::vector<std::string>& columns) const;
  // The field of a column and all below.
  std::vector<int32_t> FieldsOf(const std::string& column) const;
};

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

std::vector<int32_t> TableReader::State::FieldsOf(const std::string& column) const {
  std::vector<int32_t> ids;
  for (const Field& field : manifest.fields) {
    if (field.parent == -1 && field.name == column) ids.push_back(field.id);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (const auto below = children.find(ids[i]); below != children.end()) {
      ids.insert(ids.end(), below->second.begin(), below->second.end());
    }
  }
  return ids;
}

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
      : state(std::move(s)), fragment(f), deletions(std::move(d)), files(f.files.size()) {}

  // Null if the fragment is older than the column, which is null there.
  Result<ColumnReader*> Reader(const arrow::Field& column);
  // Of the column, or of its parts, which have pages each.
  Status AddSizes(const arrow::Field& column, std::vector<Sizes>& sizes);
  // Which file has it, and columns of that by field.
  Result<std::shared_ptr<const FileReader>> FileOf(const std::string& column, ColumnsOfFields& columns);

  const std::shared_ptr<const State> state;
  const Fragment& fragment;
  const Deletions deletions;
  std::vector<std::shared_ptr<const FileReader>> files;
  std::map<std::string, std::unique_ptr<ColumnReader>> readers;
};

Result<std::shared_ptr<const FileReader>> TableReader::OpenFragment::FileOf(const std::string& column,
                                                                            ColumnsOfFields& columns) {
  const std::vector<int32_t> ids = state->FieldsOf(column);
  for (size_t i = 0; i < files.size(); ++i) {
    const DataFile& file = fragment.files[i];
    columns.clear();
    for (size_t j = 0; j < std::min(file.field_ids.size(), file.columns.size()); ++j) {
      const bool wanted = std::find(ids.begin(), ids.end(), file.field_ids[j]) != ids.end();
      if (wanted && file.columns[j] >= 0) columns.emplace(file.field_ids[j], file.columns[j]);
    }
    if (columns.empty()) continue;
    if (!files[i]) {
      ARROW_ASSIGN_OR_RAISE(auto input, state->files.Open(state->directory + "/data/" + file.path));
      ARROW_ASSIGN_OR_RAISE(files[i], FileReader::Open(std::move(input), state->pool));
    }
    if (files[i]->rows() != fragment.rows) {
      return Status::Invalid(files[i]->path(), ": expected the fragment's ", std::to_string(fragment.rows),
                             " rows, got ", std::to_string(files[i]->rows()));
    }
    return files[i];
  }
  return nullptr;
}

Result<ColumnReader*> TableReader::OpenFragment::Reader(const arrow::Field& column) {
  const auto found = readers.find(column.name());
  if (found != readers.end()) return found->second.get();
  ColumnsOfFields columns;
  ARROW_ASSIGN_OR_RAISE(const auto file, FileOf(column.name(), columns));
  std::unique_ptr<ColumnReader> reader;
  if (file) {
    const int number = state->schema->GetFieldIndex(column.name());
    if (number < 0) return Status::Invalid(state->directory, ": expected one column ", column.name(), ", got several");
    ARROW_ASSIGN_OR_RAISE(reader, MakeColumnReader(file, state->manifest.fields, columns, *state->schema, number));
  }
  return (readers[column.name()] = std::move(reader)).get();
}

// Rows of a fragment, on their way: all reads of a file go out together when it starts.
class TableReader::FragmentRead {
 public:
  static Result<FragmentRead> Start(std::shared_ptr<OpenFragment> fragment, std::shared_ptr<arrow::Schema> schema,
                                    const Ranges& rows) {
    FragmentRead read(std::move(fragment), std::move(schema), CountOf(rows));
    for (const auto& field : read.schema_->fields()) {
      ARROW_ASSIGN_OR_RAISE(auto* reader, read.fragment_->Reader(*field));
      Column& column = read.columns_.emplace_back();
      if (reader == nullptr) continue;
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
  Result<arrow::ArrayVector> Finish() {
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
        ARROW_ASSIGN_OR_RAISE(array, decode(left[file].first(reads)));
        left[file] = left[file].subspan(reads);
      } else {
        ARROW_ASSIGN_OR_RAISE(array, Nulls(field.type(), rows_, state.pool));
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
  ARROW_ASSIGN_OR_RAISE(const auto file, FileOf(column.name(), columns));
  // What takes no place in the file does in memory.
  const uint64_t least = WidthOf(*column.type()) / 8;
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
      of_part.push_back({rows, a_row - std::min(a_row, least)});
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
    ARROW_ASSIGN_OR_RAISE(auto arrays, step.read.Finish());
    if (settings_.row_ids) {
      arrow::UInt64Builder ids(state_->pool);
      ARROW_RETURN_NOT_OK(ids.Reserve(static_cast<int64_t>(CountOf(rows))));
      for (const Range& range : rows) {
        const uint64_t first = open_->fragment.id << 32 | range.first;
        const uint64_t end = first + range.count;
        auto run =
            std::partition_point(ids_.begin(), ids_.end(), [&](const IdRun& r) { return r.address + r.rows <= first; });
        for (uint64_t address = first; address < end; ++run) {
          const uint64_t run_end = std::min(end, run->address + run->rows);
          for (; address < run_end; ++address) ids.UnsafeAppend(run->id + (address - run->address));
        }
      }
      ARROW_RETURN_NOT_OK(ids.Finish(&arrays.emplace_back()));
    }
    *batch = arrow::RecordBatch::Make(schema_, static_cast<int64_t>(CountOf(rows)), std::move(arrays));
    return Status::OK();
  }
  Status OpenNext() {
    ARROW_ASSIGN_OR_RAISE(open_, OpenFragment::Make(state_, state_->manifest.fragments[next_++]));
    if (settings_.row_ids) {
      ARROW_ASSIGN_OR_RAISE(ids_, ReadRowIds(state_->files, state_->directory, state_->manifest, open_->fragment));
    }
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
  IdRuns ids_;         // of it, if they are asked for
  uint64_t row_ = 0;   // of it, that is to be asked for next
  uint64_t most_ = 0;  // rows a batch, by what turned out too large
  std::vector<Sizes> sizes_;
  std::optional<Step> ahead_;
  std::vector<size_t> pages_;  // where row_ is in each of sizes_, or what was looked at after it
};

TableReader::TableReader(io::FileSystem& files, std::string directory, Manifest manifest,
                         std::shared_ptr<arrow::Schema> schema, arrow::MemoryPool* pool) {
  std::map<int32_t, std::vector<int32_t>> children;
  for (const Field& field : manifest.fields) children[field.parent].push_back(field.id);
  state_ = std::make_shared<const State>(
      State{files, std::move(directory), std::move(manifest), std::move(schema), pool, std::move(children)});
}

Result<std::shared_ptr<arrow::RecordBatchReader>> TableReader::Scan(const ScanSettings& settings) const {
  if (settings.batch_rows < 1) {
    return Status::Invalid("batch_rows: expected at least 1, got ", std::to_string(settings.batch_rows));
  }
  ARROW_ASSIGN_OR_RAISE(auto columns, state_->Project(settings.columns));
  return std::make_shared<Scanner>(state_, std::move(columns), settings);
}

Result<std::shared_ptr<arrow::RecordBatch>> TableReader::Take(std::span<const uint64_t> row_ids,
                                                              const std::vector<std::string>& columns) {
  if (!row_ids_) {
    ARROW_ASSIGN_OR_RAISE(row_ids_, RowIds::Read(state_->files, state_->directory, state_->manifest));
  }
  std::vector<uint64_t> addresses;
  for (const uint64_t id : row_ids) {
    const auto address = row_ids_->AddressOf(id);
    if (!address) return Status::Invalid("row id ", std::to_string(id), ": no row has it");
    addresses.push_back(*address);
  }
  return TakeAddresses(addresses, columns);
}

Result<std::shared_ptr<arrow::RecordBatch>> TableReader::TakeAddresses(std::span<const uint64_t> addresses,
                                                                       const std::vector<std::string>& columns) {
  ARROW_ASSIGN_OR_RAISE(const auto schema, state_->Project(columns));
  std::vector<uint64_t> wanted(addresses.begin(), addresses.end());
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  std::vector<arrow::ArrayVector> parts(static_cast<size_t>(schema->num_fields()));  // of each column
  std::vector<FragmentRead> reads;
  const auto finish = [&]() -> Status {
    for (FragmentRead& read : reads) {
      ARROW_ASSIGN_OR_RAISE(auto arrays, read.Finish());
      for (size_t column = 0; column < parts.size(); ++column) parts[column].push_back(std::move(arrays[column]));
    }
    reads.clear();
    return Status::OK();
  };
  for (size_t i = 0; i < wanted.size();) {
    const uint64_t id = wanted[i] >> 32;
    if (open_.size() >= kMostOpen && !open_.contains(id)) {
      ARROW_RETURN_NOT_OK(finish());
      open_.clear();
    }
    auto& open = open_[id];
    if (!open) {
      const auto& fragments = state_->manifest.fragments;
      const auto found = std::find_if(fragments.begin(), fragments.end(), [&](const auto& f) { return f.id == id; });
      ARROW_ASSIGN_OR_RAISE(open, OpenFragment::Make(state_, *found));
    }
    Ranges rows;
    for (; i < wanted.size() && wanted[i] >> 32 == id; ++i) {
      const uint64_t row = wanted[i] & 0xFFFFFFFFu;
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
  const bool in_order = std::equal(wanted.begin(), wanted.end(), addresses.begin(), addresses.end());
  std::vector<int64_t> places;
  for (size_t i = 0; !in_order && i < addresses.size(); ++i) {
    places.push_back(std::lower_bound(wanted.begin(), wanted.end(), addresses[i]) - wanted.begin());
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
  return arrow::RecordBatch::Make(schema, static_cast<int64_t>(addresses.size()), std::move(arrays));
}

Result<std::vector<uint64_t>> TableReader::AddressesAt(std::span<const uint64_t> positions) {
  const auto& fragments = state_->manifest.fragments;
  std::vector<uint64_t> first = {0};
  for (const Fragment& fragment : fragments) first.push_back(first.back() + fragment.live_rows());
  std::vector<uint64_t> addresses;
  for (const uint64_t position : positions) {
    if (position >= first.back()) {
      return Status::Invalid("position ", std::to_string(position), ": the table has ", std::to_string(first.back()),
                             " rows");
    }
    const auto place = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), position) - first.begin() - 1);
    const Fragment& fragment = fragments[place];
    auto& open = open_[fragment.id];
    if (!open) {
      ARROW_ASSIGN_OR_RAISE(open, OpenFragment::Make(state_, fragment));
    }
    addresses.push_back(fragment.id << 32 | open->deletions.RowAt(position - first[place]));
  }
  return addresses;
}

}  // namespace pennon::lance_format
