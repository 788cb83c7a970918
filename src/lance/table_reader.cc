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

// What rows take, about, up to each of some: of a column's pages.
struct UpTo {
  uint64_t row = 0;
  uint64_t bytes_a_row = 0;
};
using Sizes = std::vector<UpTo>;

// A fragment's files and those of its columns that were needed.
struct TableReader::OpenFragment {
  OpenFragment(std::shared_ptr<const State> s, const Fragment& f)
      : state(std::move(s)), fragment(f), files(f.files.size()) {
    for (size_t i = 0; i < files.size(); ++i) {
      const DataFile& file = fragment.files[i];
      for (size_t j = 0; j < std::min(file.field_ids.size(), file.columns.size()); ++j) {
        if (file.columns[j] >= 0) places.emplace(file.field_ids[j], Place{i, file.columns[j]});
      }
    }
  }

  // Begins to read what will be needed for rows of these columns.
  Status Start(const arrow::Schema& columns);
  Result<const Deletions*> GetDeletions();
  // By their ids, which ascend. Invalid for one that is not there.
  Result<Ranges> RowsOf(std::span<const uint64_t> ids);
  // Null if the fragment is older than the column, which is null there.
  Result<ColumnReader*> Reader(const arrow::Field& column);
  // Of the column, or of its parts, which have pages each.
  Status AddSizes(const arrow::Field& column, std::vector<Sizes>& sizes);
  // Which file has some of a column's fields, and columns of that by field. Null: none.
  Result<std::shared_ptr<const FileReader>> FileOf(const std::vector<Field>& fields, ColumnsOfFields& columns);

  const std::shared_ptr<const State> state;
  const Fragment& fragment;

 private:
  struct Place {
    size_t file;
    int32_t column;
  };
  struct File {
    std::shared_ptr<const FileReader> reader = nullptr;
    FileReader::Opening opening = {};  // until then, if it was begun
  };

  // Its number; that of the files: none.
  size_t FindFile(const std::vector<Field>& fields, ColumnsOfFields& columns) const;
  Status StartFile(size_t number);

  std::optional<Deletions> deletions;
  Deletions::Reading reading_deletions;
  std::map<int32_t, Place> places;  // of fields, by id
  std::vector<File> files;
  std::map<std::string, std::unique_ptr<ColumnReader>> readers;
};

Status TableReader::OpenFragment::Start(const arrow::Schema& columns) {
  if (!deletions && !reading_deletions) {
    reading_deletions = Deletions::Start(state->files, state->directory, fragment);
  }
  if (readers.size() == static_cast<size_t>(state->schema->num_fields())) return Status::OK();  // all are there
  for (const auto& column : columns.fields()) {
    if (readers.contains(column->name())) continue;
    ColumnsOfFields of_file;
    const size_t number = FindFile(state->FieldsOf(column->name()), of_file);
    if (number < files.size()) ARROW_RETURN_NOT_OK(StartFile(number));
  }
  return Status::OK();
}

Status TableReader::OpenFragment::StartFile(size_t number) {
  File& file = files[number];
  if (file.reader || file.opening) return Status::OK();
  const DataFile& of = fragment.files[number];
  ARROW_ASSIGN_OR_RAISE(auto input, state->files.OpenKnown(state->directory + "/data/" + of.path, of.size));
  file.opening = FileReader::Start(std::move(input), state->pool);
  return Status::OK();
}

Result<const Deletions*> TableReader::OpenFragment::GetDeletions() {
  if (!deletions) {
    auto reading = std::exchange(reading_deletions, {});
    if (!reading) reading = Deletions::Start(state->files, state->directory, fragment);
    ARROW_ASSIGN_OR_RAISE(deletions, reading());
  }
  return &*deletions;
}

Result<Ranges> TableReader::OpenFragment::RowsOf(std::span<const uint64_t> ids) {
  ARROW_ASSIGN_OR_RAISE(const Deletions* gone, GetDeletions());
  Ranges rows;
  for (const uint64_t id : ids) {
    const uint64_t row = id & 0xFFFFFFFFu;
    if (row >= fragment.rows) {
      return Status::Invalid("row id ", std::to_string(id), ": fragment ", std::to_string(fragment.id), " has ",
                             std::to_string(fragment.rows), " rows");
    }
    if (gone->Contains(row)) return Status::Invalid("row id ", std::to_string(id), ": the row is deleted");
    if (!rows.empty() && rows.back().end() == row) {
      ++rows.back().count;
    } else {
      rows.push_back({row, 1});
    }
  }
  return rows;
}

size_t TableReader::OpenFragment::FindFile(const std::vector<Field>& fields, ColumnsOfFields& columns) const {
  size_t first = files.size();
  for (const Field& field : fields) {
    if (const auto place = places.find(field.id); place != places.end()) first = std::min(first, place->second.file);
  }
  for (const Field& field : fields) {
    const auto place = places.find(field.id);
    if (place != places.end() && place->second.file == first) columns.emplace(field.id, place->second.column);
  }
  return first;
}

Result<std::shared_ptr<const FileReader>> TableReader::OpenFragment::FileOf(const std::vector<Field>& fields,
                                                                            ColumnsOfFields& columns) {
  const size_t number = FindFile(fields, columns);
  if (number == files.size()) return nullptr;
  ARROW_RETURN_NOT_OK(StartFile(number));
  File& file = files[number];
  if (!file.reader) {
    const auto opening = std::exchange(file.opening, {});
    ARROW_ASSIGN_OR_RAISE(file.reader, opening());
  }
  if (file.reader->rows() != fragment.rows) {
    return Status::Invalid(file.reader->path(), ": expected the fragment's ", std::to_string(fragment.rows),
                           " rows, got ", std::to_string(file.reader->rows()));
  }
  return file.reader;
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

// Rows of a fragment, on their way: all reads of a file go out together.
class TableReader::FragmentRead {
 public:
  FragmentRead(std::shared_ptr<OpenFragment> fragment, std::shared_ptr<arrow::Schema> schema)
      : fragment_(std::move(fragment)), schema_(std::move(schema)) {}

  // First, and once.
  Status Start(const Ranges& rows) {
    rows_ = CountOf(rows);
    uint64_t null_bytes = 0;
    for (const auto& field : schema_->fields()) {
      ARROW_ASSIGN_OR_RAISE(auto* reader, fragment_->Reader(*field));
      Column& column = columns_.emplace_back();
      if (reader == nullptr) {
        const uint64_t width = LeastWidthOf(*field->type());
        ARROW_RETURN_NOT_OK(CheckSize(rows_, width));
        null_bytes += rows_ * width / 8;
        ARROW_RETURN_NOT_OK(CheckExpansion(0, null_bytes));
        continue;
      }
      column.file = FileOf(*reader);
      OfFile& of = files_[*column.file];
      column.number = of.steps.size();
      ARROW_RETURN_NOT_OK(of.steps.Add(of.ranges, [&](Reads& to) { return reader->Request(rows, to); }));
    }
    for (OfFile& of : files_) ARROW_RETURN_NOT_OK(of.Start());
    return Status::OK();
  }

  OpenFragment& fragment() const { return *fragment_; }
  // All that is to be read has been asked for.
  bool last() const {
    return std::all_of(files_.begin(), files_.end(), [](const OfFile& of) { return of.steps.last(); });
  }
  // Else: waits for what has been, and asks for what that leads to.
  Status Next() {
    for (OfFile& of : files_) {
      if (of.steps.last()) continue;
      ARROW_ASSIGN_OR_RAISE(const auto buffers, of.read.Finish());
      of.ranges.clear();
      ARROW_RETURN_NOT_OK(of.steps.Next(buffers, of.ranges));
      ARROW_RETURN_NOT_OK(of.Start());
    }
    return Status::OK();
  }

  // The columns' arrays, once, and when that was the last.
  Result<arrow::ArrayVector> Finish(Expansion& expansion) {
    std::vector<arrow::ArrayVector> of_files;
    for (OfFile& of : files_) {
      ARROW_ASSIGN_OR_RAISE(const auto buffers, of.read.Finish());
      ARROW_ASSIGN_OR_RAISE(of_files.emplace_back(), of.steps.Decode(buffers, &expansion));
    }
    const State& state = *fragment_->state;
    arrow::ArrayVector arrays;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const Column& column = columns_[i];
      const arrow::Field& field = *schema_->field(static_cast<int>(i));
      ArrayPtr array;
      if (column.file) {
        array = std::move(of_files[*column.file][column.number]);
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
    Steps steps = {};
    Reads ranges = {};
    io::RangesRead read = {};

    Status Start() {
      const PageSource source = file->source();
      return io::RangesRead::Start(*source.file, ranges, source.pool).Value(&read);
    }
  };
  struct Column {
    std::optional<size_t> file = {};  // none: of nulls
    size_t number = 0;                // among those of the file
  };

  size_t FileOf(const ColumnReader& reader) {
    const auto found =
        std::find_if(files_.begin(), files_.end(), [&](const OfFile& of) { return of.file == &reader.file(); });
    if (found != files_.end()) return static_cast<size_t>(found - files_.begin());
    files_.push_back({.file = &reader.file()});
    files_.back().steps.Reserve(static_cast<size_t>(schema_->num_fields()));
    return files_.size() - 1;
  }

  std::shared_ptr<OpenFragment> fragment_;
  std::shared_ptr<arrow::Schema> schema_;
  uint64_t rows_ = 0;
  std::vector<Column> columns_;
  std::vector<OfFile> files_;
};

Status TableReader::OpenFragment::AddSizes(const arrow::Field& column, std::vector<Sizes>& sizes) {
  ColumnsOfFields columns;
  ARROW_ASSIGN_OR_RAISE(const auto file, FileOf(state->FieldsOf(column.name()), columns));
  // What takes no place in the file does in memory.
  const uint64_t least = std::min(LeastWidthOf(*column.type()) / 8, kBatchBytes);
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
      const uint64_t a_row = std::min(of_page / std::max<uint64_t>(page.rows, 1), kBatchBytes);
      of_part.push_back({rows, a_row - std::min(a_row, of_parts)});
    }
    // Pages of items are of other rows.
    if (rows != fragment.rows)
      of_part = {{fragment.rows, std::min(bytes / std::max<uint64_t>(fragment.rows, 1), kBatchBytes)}};
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
      Batch next = *std::exchange(ahead_, std::nullopt);
      // While these rows are decoded the next ones are read, as far as it is known by then where they are. If that
      // fails, it does so again in its turn.
      static_cast<void>(Start());
      const Status status = Finish(next, batch);
      if (status.ok()) {
        if (ahead_ && !RequestAll(*ahead_).ok()) GoBack(*ahead_);
        return status;
      }
      GoBack(next);
      // How large rows are is known only when they are read.
      if (!status.IsCapacityError() || next.rows.count == 1) return status;
      most_ = next.rows.count / 2;
    }
  }

  // Rows of open_, on their way.
  struct Batch {
    Range rows;
    Ranges left;  // of them
    FragmentRead read;
  };

  // The next rows of open_ that are left, if there are any.
  Status Start() {
    while (row_ < open_->fragment.rows) {
      const Range rows{row_, std::min(most_, RowsThatFit())};
      ARROW_ASSIGN_OR_RAISE(const Deletions* deletions, open_->GetDeletions());
      Ranges left = deletions->Left(rows);
      if (!left.empty()) {
        FragmentRead read(open_, columns_);
        ARROW_RETURN_NOT_OK(read.Start(left));
        ahead_ = Batch{rows, std::move(left), std::move(read)};
      }
      row_ = rows.end();
      if (ahead_) break;
    }
    return Status::OK();
  }
  static Status RequestAll(Batch& batch) {
    while (!batch.read.last()) ARROW_RETURN_NOT_OK(batch.read.Next());
    return Status::OK();
  }
  void GoBack(const Batch& to) {
    row_ = to.rows.first;
    pages_.assign(sizes_.size(), 0);
    ahead_.reset();
  }
  Status Finish(Batch& next, std::shared_ptr<arrow::RecordBatch>* batch) {
    const Ranges& rows = next.left;
    ARROW_RETURN_NOT_OK(RequestAll(next));
    Expansion expansion;
    ARROW_ASSIGN_OR_RAISE(auto arrays, next.read.Finish(expansion));
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
    const auto& fragments = state_->manifest.fragments;
    const auto start = [&] {
      auto started = std::make_shared<OpenFragment>(state_, fragments[next_]);
      static_cast<void>(started->Start(*columns_));  // if that fails, it does so again when it is needed
      return started;
    };
    open_ = coming_ ? std::exchange(coming_, nullptr) : start();
    if (++next_ < fragments.size()) coming_ = start();
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
  std::shared_ptr<OpenFragment> coming_;  // next_
  IdRuns ids_;                            // of open_, if they are asked for
  uint64_t row_ = 0;                      // of it, that is to be asked for next
  uint64_t most_ = 0;                     // rows a batch, by what turned out too large
  std::vector<Sizes> sizes_;
  std::optional<Batch> ahead_;
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
  Expansion expansion;
  for (size_t i = 0; i < wanted.size();) {
    // Of as many fragments as may be open.
    std::vector<FragmentRead> reads;
    size_t first = i;
    while (i < wanted.size()) {
      const uint64_t id = wanted[i] >> 32;
      ARROW_ASSIGN_OR_RAISE(const Fragment* fragment, Find(wanted[i]));
      if (!reads.empty() && !HasRoomFor(*fragment)) break;
      auto open = Open(*fragment);
      ARROW_RETURN_NOT_OK(open->Start(*schema));
      reads.emplace_back(std::move(open), schema);
      while (i < wanted.size() && wanted[i] >> 32 == id) ++i;
    }
    for (FragmentRead& read : reads) {
      const size_t begin = first;
      while (first < i && wanted[first] >> 32 == wanted[begin] >> 32) ++first;
      ARROW_ASSIGN_OR_RAISE(const Ranges rows, read.fragment().RowsOf(std::span(wanted).subspan(begin, first - begin)));
      ARROW_RETURN_NOT_OK(read.Start(rows));
    }
    for (bool all = false; !all;) {
      all = true;
      for (FragmentRead& read : reads) {
        if (read.last()) continue;
        all = false;
        ARROW_RETURN_NOT_OK(read.Next());
      }
    }
    for (FragmentRead& read : reads) {
      ARROW_ASSIGN_OR_RAISE(auto arrays, read.Finish(expansion));
      for (size_t column = 0; column < parts.size(); ++column) parts[column].push_back(std::move(arrays[column]));
    }
  }
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

Result<const Fragment*> TableReader::Find(uint64_t address) const {
  const uint64_t id = address >> 32;
  if (const auto open = open_.find(id); open != open_.end()) return &open->second->fragment;
  const auto& fragments = state_->manifest.fragments;
  const auto found = std::find_if(fragments.begin(), fragments.end(), [&](const auto& f) { return f.id == id; });
  if (found == fragments.end()) {
    return Status::Invalid("row address ", std::to_string(address), ": no fragment ", std::to_string(id));
  }
  return &*found;
}

bool TableReader::HasRoomFor(const Fragment& fragment) const {
  return open_.empty() || open_.contains(fragment.id) || most_files_ + fragment.files.size() < kMostOpen;
}

std::shared_ptr<TableReader::OpenFragment> TableReader::Open(const Fragment& fragment) {
  if (const auto open = open_.find(fragment.id); open != open_.end()) return open->second;
  if (!HasRoomFor(fragment)) {
    open_.clear();
    most_files_ = 0;
  }
  most_files_ += std::max<size_t>(fragment.files.size(), 1);
  return open_[fragment.id] = std::make_shared<OpenFragment>(state_, fragment);
}

Result<std::shared_ptr<arrow::RecordBatch>> TableReader::TakePositions(std::span<const uint64_t> positions,
                                                                       const std::vector<std::string>& columns) {
  const auto& fragments = state_->manifest.fragments;
  ARROW_ASSIGN_OR_RAISE(const auto schema, state_->Project(columns));
  std::vector<uint64_t> first = {0};
  for (const Fragment& fragment : fragments) first.push_back(first.back() + fragment.live_rows());
  // In order, so that each fragment is opened once, however few may be open. Of rows in fragments without deletions
  // addresses are right at once.
  std::vector<size_t> order(positions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return positions[a] < positions[b]; });
  std::vector<uint64_t> addresses(positions.size());
  std::vector<std::pair<size_t, std::shared_ptr<OpenFragment>>> others;
  const auto finish = [&]() -> Status {
    for (const auto& [i, open] : others) {
      ARROW_ASSIGN_OR_RAISE(const Deletions* deletions, open->GetDeletions());
      addresses[i] = open->fragment.id << 32 | deletions->RowAt(addresses[i] & 0xFFFFFFFFu);
    }
    others.clear();
    return Status::OK();
  };
  for (const size_t i : order) {
    const uint64_t position = positions[i];
    if (position >= first.back()) {
      return Status::Invalid("position ", std::to_string(position), ": the table has ", std::to_string(first.back()),
                             " rows");
    }
    const auto place = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), position) - first.begin() - 1);
    const Fragment& fragment = fragments[place];
    addresses[i] = fragment.id << 32 | (position - first[place]);
    if (!fragment.deletions) continue;
    if (!HasRoomFor(fragment)) ARROW_RETURN_NOT_OK(finish());
    auto open = Open(fragment);
    // Its deletions and files, so that the take finds these on their way.
    ARROW_RETURN_NOT_OK(open->Start(*schema));
    others.emplace_back(i, std::move(open));
  }
  ARROW_RETURN_NOT_OK(finish());
  return TakeAddresses(addresses, columns);
}

}  // namespace pennon::lance_format
