#include "lance/column_reader.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>

namespace pennon::lance_format {
namespace {

using arrow::DataType;
using arrow::Result;
using arrow::Status;
using ArrayPtr = std::shared_ptr<arrow::Array>;

bool IsList(const DataType& type) { return arrow::is_var_length_list(type.id()); }  // maps, too: of structs
bool IsLeaf(const DataType& type) { return !IsList(type) && type.id() != arrow::Type::STRUCT; }

Result<ArrayPtr> Join(arrow::ArrayVector pieces, const std::shared_ptr<DataType>& type, arrow::MemoryPool* pool) {
  if (pieces.size() == 1) return std::move(pieces[0]);
  if (pieces.empty()) return arrow::MakeEmptyArray(type, pool);
  return arrow::Concatenate(pieces, pool);
}

// One after the other.
Result<arrow::ArrayVector> Take(const PageSource& source, Steps steps, Reads reads) {
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const auto read, io::ReadRanges(*source.file, reads, source.pool));
    if (steps.last()) return steps.Decode(read);
    reads.clear();
    ARROW_RETURN_NOT_OK(steps.Next(read, reads));
  }
}

using ColumnReaders = std::vector<std::unique_ptr<ColumnReader>>;

// The pages of a file's column, and decoders of those that were needed.
template <typename Decoder>
class Pages {
 public:
  using Make = std::function<Result<std::unique_ptr<Decoder>>(const PageInfo& page)>;

  Pages(const std::vector<PageInfo>& pages, Make make)
      : pages_(pages), make_(std::move(make)), decoders_(pages.size()) {
    for (const PageInfo& page : pages) first_.push_back(first_.back() + page.rows);
  }

  uint64_t rows() const { return first_.back(); }
  size_t size() const { return pages_.size(); }
  // Calls visit(page, rows of the page) for each page that has some of the rows.
  template <typename Visit>
  Status ForEach(const Ranges& rows, Visit&& visit) const {
    size_t page = 0;
    Ranges of_page;
    const auto flush = [&] { return of_page.empty() ? Status::OK() : visit(page, std::exchange(of_page, {})); };
    for (Range left : rows) {
      if (left.end() > this->rows()) {
        return Status::Invalid("expected rows up to ", std::to_string(left.end()), ", got pages of ",
                               std::to_string(this->rows()));
      }
      while (left.count > 0) {
        if (left.first >= first_[page + 1]) {
          ARROW_RETURN_NOT_OK(flush());
          page = static_cast<size_t>(std::upper_bound(first_.begin(), first_.end(), left.first) - first_.begin()) - 1;
        }
        const uint64_t count = std::min(left.end(), first_[page + 1]) - left.first;
        of_page.push_back({left.first - first_[page], count});
        left = {left.first + count, left.count - count};
      }
    }
    return flush();
  }
  Result<Decoder*> Get(size_t page) {
    if (!decoders_[page]) {
      ARROW_ASSIGN_OR_RAISE(decoders_[page], make_(pages_[page]));
    }
    return decoders_[page].get();
  }

 private:
  const std::vector<PageInfo>& pages_;  // the file's
  const Make make_;
  std::vector<uint64_t> first_ = {0};  // row of each page, and how many there are
  std::vector<std::unique_ptr<Decoder>> decoders_;
};

// A column whose pages hold all of its values.
class PagedReader : public ColumnReader {
 public:
  PagedReader(const FileReader& file, const std::vector<PageInfo>& pages, std::shared_ptr<DataType> type,
              Pages<PageDecoder>::Make make)
      : ColumnReader(file), type_(std::move(type)), pages_(pages, std::move(make)) {}

  Result<Step> Request(const Ranges& rows, Reads& reads) override {
    Steps pieces;
    ARROW_RETURN_NOT_OK(pages_.ForEach(rows, [&](size_t page, Ranges of_page) -> Status {
      ARROW_ASSIGN_OR_RAISE(auto* decoder, pages_.Get(page));
      return pieces.Add(reads, [&](Reads& to) { return decoder->Request(std::move(of_page), to); });
    }));
    if (pieces.size() == 1) return std::move(pieces).Only();
    return std::move(pieces).Joined(
        [this](arrow::ArrayVector arrays) { return Join(std::move(arrays), type_, file().source().pool); });
  }

 private:
  const std::shared_ptr<DataType> type_;
  Pages<PageDecoder> pages_;
};

// Lists of version 2.0: a column of ends, and the items' own.
class ListReader : public ColumnReader {
 public:
  ListReader(const FileReader& file, const std::vector<PageInfo>& pages, std::shared_ptr<DataType> type,
             std::unique_ptr<ColumnReader> items)
      : ColumnReader(file),
        type_(std::move(type)),
        pages_(pages, [source = file.source()](const PageInfo& page) { return MakeListPage(source, page); }),
        items_(std::move(items)) {}

  Result<Step> Request(const Ranges& rows, Reads& reads) override {
    std::vector<Piece> pieces;
    ARROW_RETURN_NOT_OK(pages_.ForEach(rows, [&](size_t page, Ranges of_page) -> Status {
      ARROW_ASSIGN_OR_RAISE(const auto* decoder, pages_.Get(page));
      const size_t before = reads.size();
      decoder->Request(of_page, reads);
      pieces.push_back({page, std::move(of_page), reads.size() - before});
      return Status::OK();
    }));
    return Step{.next = [this, pieces = std::move(pieces)](BuffersRead read, Reads& more) {
      return RequestItems(pieces, read, more);
    }};
  }

 private:
  struct Piece {
    size_t page;
    Ranges rows;
    size_t reads;
  };

  Result<Step> RequestItems(const std::vector<Piece>& pieces, BuffersRead read, Reads& more) {
    Ranges wanted;
    std::vector<Lists> lists;
    for (const Piece& piece : pieces) {
      ARROW_ASSIGN_OR_RAISE(const auto* decoder, pages_.Get(piece.page));
      ARROW_ASSIGN_OR_RAISE(lists.emplace_back(), decoder->Take(piece.rows, read.first(piece.reads)));
      read = read.subspan(piece.reads);
      ARROW_ASSIGN_OR_RAISE(const uint64_t first, FirstItem(piece.page));
      ARROW_RETURN_NOT_OK(FirstItem(piece.page + 1).status());  // so that its items are counted in 63 bits
      for (const Range& range : lists.back().items) {
        if (!wanted.empty() && wanted.back().end() == first + range.first) {
          wanted.back().count += range.count;
        } else {
          wanted.push_back({first + range.first, range.count});
        }
      }
    }
    Steps items;
    ARROW_RETURN_NOT_OK(items.Add(more, [&](Reads& to) { return items_->Request(wanted, to); }));
    return std::move(items).Joined(
        [this, lists = std::move(lists)](const arrow::ArrayVector& arrays) { return Around(*arrays[0], lists); });
  }

  Result<ArrayPtr> Around(const arrow::Array& items, const std::vector<Lists>& pieces) const {
    arrow::MemoryPool* pool = file().source().pool;
    arrow::ArrayVector lists;
    int64_t used = 0;
    for (const Lists& piece : pieces) {
      const int64_t count = piece.offsets.back();
      ARROW_ASSIGN_OR_RAISE(auto offsets, MakeOffsets(piece.offsets, type_->id() == arrow::Type::LARGE_LIST, pool));
      lists.push_back(arrow::MakeArray(arrow::ArrayData::Make(type_, static_cast<int64_t>(piece.offsets.size()) - 1,
                                                              {piece.validity, offsets},
                                                              {items.Slice(used, count)->data()}, piece.null_count)));
      used += count;
    }
    return Join(std::move(lists), type_, pool);
  }

  // How many items the pages before have.
  Result<uint64_t> FirstItem(size_t page) {
    while (first_items_.size() <= page) {
      ARROW_ASSIGN_OR_RAISE(const auto* decoder, pages_.Get(first_items_.size() - 1));
      if (decoder->items() > INT64_MAX - first_items_.back()) return Status::Invalid("expected fewer than 2^63 items");
      first_items_.push_back(first_items_.back() + decoder->items());
    }
    return first_items_[page];
  }

  const std::shared_ptr<DataType> type_;
  Pages<ListPage> pages_;
  const std::unique_ptr<ColumnReader> items_;
  std::vector<uint64_t> first_items_ = {0};  // of the pages so far
};

// Structs of version 2.0, which are never null: their fields' columns.
class StructReader : public ColumnReader {
 public:
  StructReader(const FileReader& file, std::shared_ptr<DataType> type, ColumnReaders fields)
      : ColumnReader(file), type_(std::move(type)), fields_(std::move(fields)) {}

  Result<Step> Request(const Ranges& rows, Reads& reads) override {
    Steps steps;
    for (const auto& field : fields_) {
      ARROW_RETURN_NOT_OK(steps.Add(reads, [&](Reads& to) { return field->Request(rows, to); }));
    }
    return std::move(steps).Joined([this, count = CountOf(rows)](const arrow::ArrayVector& arrays) -> Result<ArrayPtr> {
      std::vector<std::shared_ptr<arrow::ArrayData>> fields;
      for (const auto& array : arrays) fields.push_back(array->data());
      return arrow::MakeArray(
          arrow::ArrayData::Make(type_, static_cast<int64_t>(count), {nullptr}, std::move(fields), 0));
    });
  }

 private:
  const std::shared_ptr<DataType> type_;
  const ColumnReaders fields_;
};

// Version 2.1 on: each leaf's pages tell of all that is around it, so that the parts agree where they are the same.
class LeavesReader : public ColumnReader {
 public:
  LeavesReader(const FileReader& file, std::shared_ptr<DataType> type, ColumnReaders leaves)
      : ColumnReader(file), type_(std::move(type)), leaves_(std::move(leaves)) {}

  Result<Step> Request(const Ranges& rows, Reads& reads) override {
    Steps steps;
    for (const auto& leaf : leaves_) {
      ARROW_RETURN_NOT_OK(steps.Add(reads, [&](Reads& to) { return leaf->Request(rows, to); }));
    }
    return std::move(steps).Joined([this](const arrow::ArrayVector& arrays) -> Result<ArrayPtr> {
      std::vector<Data> leaves;
      for (const auto& array : arrays) leaves.push_back(array->data());
      auto next = leaves.begin();
      ARROW_ASSIGN_OR_RAISE(auto merged, Merge(type_, next, Leaves(*type_)));
      return arrow::MakeArray(merged);
    });
  }

  static size_t Leaves(const DataType& type) {
    if (IsLeaf(type)) return 1;
    size_t leaves = 0;
    for (const auto& field : type.fields()) leaves += Leaves(*field->type());
    return leaves;
  }

 private:
  using Data = std::shared_ptr<arrow::ArrayData>;

  // Of `count` arrays from next on, which is moved behind them.
  static Result<Data> Merge(const std::shared_ptr<DataType>& type, std::vector<Data>::iterator& next, size_t count) {
    const Data first = *next;
    if (IsLeaf(*type)) return ++next, first;
    std::vector<Data> inner;
    for (auto array = next; array != next + static_cast<ptrdiff_t>(count); ++array) {
      if ((*array)->length != first->length) return Status::Invalid("expected fields of the same length");
      // What is null, and where lists end, is taken from the first.
      inner.push_back((*array)->child_data[0]);
    }
    next += static_cast<ptrdiff_t>(count);
    auto at = inner.begin();
    auto merged = std::make_shared<arrow::ArrayData>(*first);
    merged->type = type;
    merged->child_data.clear();
    for (const auto& field : type->fields()) {
      ARROW_ASSIGN_OR_RAISE(auto child, Merge(field->type(), at, Leaves(*field->type())));
      if (child->length != inner[0]->length) return Status::Invalid("expected fields of the same length");
      merged->child_data.push_back(std::move(child));
    }
    if (type->id() == arrow::Type::MAP) {
      const arrow::ArrayData& pairs = *merged->child_data[0];
      if (pairs.GetNullCount() > 0 || pairs.child_data[0]->GetNullCount() > 0) {  // Arrow would end the process
        return Status::Invalid("expected no null keys in a map");
      }
    }
    return merged;
  }

  const std::shared_ptr<DataType> type_;
  const ColumnReaders leaves_;
};

// Names the file and the column in errors, and keeps the file.
class NamedReader : public ColumnReader {
 public:
  NamedReader(std::shared_ptr<const FileReader> file, std::string column, std::unique_ptr<ColumnReader> reader)
      : ColumnReader(*file), file_(std::move(file)), column_(std::move(column)), reader_(std::move(reader)) {}

  Result<Step> Request(const Ranges& rows, Reads& reads) override {
    return Named(reader_->Request(rows, reads), CountOf(rows));
  }
  static Status Named(const FileReader& file, const std::string& column, const Status& status) {
    if (status.IsIOError()) return status;
    return status.WithMessage(file.path(), ": column ", column, ": ", status.message());
  }

 private:
  Result<Step> Named(Result<Step> step, uint64_t count) const {
    if (!step.ok()) return Named(*file_, column_, step.status());
    if (step->next) {
      return Step{.next = [this, next = std::move(step->next), count](BuffersRead read, Reads& more) {
        return Named(next(read, more), count);
      }};
    }
    return Step{[this, decode = std::move(step->decode), count](BuffersRead read) -> Result<ArrayPtr> {
      auto array = decode(read);
      if (array.ok() && (*array)->length() != static_cast<int64_t>(count)) {
        return Named(
            *file_, column_,
            Status::Invalid("expected ", std::to_string(count), " rows, got ", std::to_string((*array)->length())));
      }
      return array.ok() ? std::move(array) : Named(*file_, column_, array.status());
    }};
  }

  const std::shared_ptr<const FileReader> file_;
  const std::string column_;
  const std::unique_ptr<ColumnReader> reader_;
};

class Maker {
 public:
  Maker(const FileReader& file, const std::vector<Field>& fields, const ColumnsOfFields& columns)
      : file_(file), columns_(columns) {
    for (const Field& field : fields) fields_[field.parent].push_back(&field);
  }

  // Of a top-level field.
  Result<std::unique_ptr<ColumnReader>> Make(int number, const std::shared_ptr<DataType>& type) {
    const Field& field = *fields_[-1][static_cast<size_t>(number)];
    std::unique_ptr<ColumnReader> reader;
    if (file_.field_has_column()) {
      ARROW_ASSIGN_OR_RAISE(reader, MakeField(field, type));
    } else {
      ColumnReaders leaves;
      ARROW_RETURN_NOT_OK(AddLeaves(field, type, [](auto leaf) { return leaf; }, leaves));
      const bool one = IsLeaf(*type);
      reader = one ? std::move(leaves[0]) : std::make_unique<LeavesReader>(file_, type, std::move(leaves));
    }
    if (top_rows_ != file_.rows()) {
      return Status::Invalid("expected pages of ", std::to_string(file_.rows()), " rows, got ",
                             std::to_string(top_rows_));
    }
    return reader;
  }

 private:
  using TypePtr = std::shared_ptr<DataType>;

  Result<const std::vector<PageInfo>*> PagesOf(const Field& field) {
    const auto column = columns_.find(field.id);
    if (column == columns_.end() || column->second < 0 ||
        static_cast<size_t>(column->second) >= file_.columns().size()) {
      return Status::Invalid("expected a column of the file for field ", std::to_string(field.id), " (", field.name,
                             "), got none of ", std::to_string(file_.columns().size()));
    }
    const auto* pages = &file_.columns()[static_cast<size_t>(column->second)];
    // The first column that is asked for is that of the rows themselves, or of a leaf below, which has as many.
    if (!top_counted_) {
      for (const PageInfo& page : *pages) top_rows_ += page.rows;
    }
    top_counted_ = true;
    return pages;
  }

  // Children of the field; as many as the type has.
  const std::vector<const Field*>& Children(const Field& field) { return fields_[field.id]; }

  Result<std::unique_ptr<ColumnReader>> MakeField(const Field& field, const TypePtr& type) {
    ARROW_ASSIGN_OR_RAISE(const auto* pages, PagesOf(field));
    const PageSource source = file_.source();
    if (type->id() == arrow::Type::MAP) return Status::NotImplemented("a map in a file of version 2.0");
    if (IsList(*type)) {
      ARROW_ASSIGN_OR_RAISE(auto items, MakeField(*Children(field)[0], type->field(0)->type()));
      return std::make_unique<ListReader>(file_, *pages, type, std::move(items));
    }
    if (type->id() == arrow::Type::STRUCT) {
      for (const PageInfo& page : *pages) ARROW_RETURN_NOT_OK(CheckStructPage(page));
      ColumnReaders fields;
      for (int i = 0; i < type->num_fields(); ++i) {
        ARROW_ASSIGN_OR_RAISE(auto child, MakeField(*Children(field)[static_cast<size_t>(i)], type->field(i)->type()));
        fields.push_back(std::move(child));
      }
      return std::make_unique<StructReader>(file_, type, std::move(fields));
    }
    return std::make_unique<PagedReader>(file_, *pages, type,
                                         [source, type, of_dictionary = IsDictionary(field)](const PageInfo& page) {
                                           return MakeArrayPage(source, page, type, of_dictionary);
                                         });
  }

  // wrap(type) gives what is around a leaf of that type, with nothing beside it.
  Status AddLeaves(const Field& field, const TypePtr& type, const std::function<TypePtr(const TypePtr&)>& wrap,
                   ColumnReaders& leaves) {
    if (IsLeaf(*type)) {
      ARROW_ASSIGN_OR_RAISE(const auto* pages, PagesOf(field));
      const TypePtr path = wrap(type);
      leaves.push_back(std::make_unique<PagedReader>(
          file_, *pages, path,
          [source = file_.source(), path](const PageInfo& page) { return MakeLayoutPage(source, page, path); }));
      return Status::OK();
    }
    if (type->num_fields() == 0) return Status::NotImplemented("a struct without fields in a file of version 2.1 on");
    for (int i = 0; i < type->num_fields(); ++i) {
      const auto around = [&](const TypePtr& inner) {
        const auto only = type->field(i)->WithType(inner);
        return wrap(type->id() == arrow::Type::STRUCT       ? arrow::struct_({only})
                    : type->id() == arrow::Type::LARGE_LIST ? arrow::large_list(only)
                                                            : arrow::list(only));
      };
      ARROW_RETURN_NOT_OK(AddLeaves(*Children(field)[static_cast<size_t>(i)], type->field(i)->type(), around, leaves));
    }
    return Status::OK();
  }

  const FileReader& file_;
  const ColumnsOfFields& columns_;
  std::map<int32_t, std::vector<const Field*>> fields_;  // by parent, in order
  bool top_counted_ = false;
  uint64_t top_rows_ = 0;
};

}  // namespace

Result<ArrayPtr> ColumnReader::Read(const Ranges& rows) {
  Steps steps;
  Reads reads;
  ARROW_RETURN_NOT_OK(steps.Add(reads, [&](Reads& to) { return Request(rows, to); }));
  ARROW_ASSIGN_OR_RAISE(const auto arrays, Take(file_.source(), std::move(steps), std::move(reads)));
  return arrays[0];
}

Result<arrow::ArrayVector> ReadColumns(const FileReader& file, std::span<const std::unique_ptr<ColumnReader>> columns,
                                       const Ranges& rows) {
  Steps steps;
  Reads reads;
  for (const auto& column : columns) {
    ARROW_RETURN_NOT_OK(steps.Add(reads, [&](Reads& to) { return column->Request(rows, to); }));
  }
  return Take(file.source(), std::move(steps), std::move(reads));
}

ColumnsOfFields ColumnsInOrder(const FileReader& file) {
  std::set<int32_t> parents;
  for (const Field& field : file.fields()) parents.insert(field.parent);
  ColumnsOfFields columns;
  int32_t next = 0;
  for (const Field& field : file.fields()) {
    if (file.field_has_column() || !parents.contains(field.id)) columns.emplace(field.id, next++);
  }
  return columns;
}

Result<std::unique_ptr<ColumnReader>> MakeColumnReader(std::shared_ptr<const FileReader> file,
                                                       const std::vector<Field>& fields, const ColumnsOfFields& columns,
                                                       const arrow::Schema& schema, int column) {
  const arrow::Field& field = *schema.field(column);
  auto reader = Maker(*file, fields, columns).Make(column, field.type());
  if (!reader.ok()) return NamedReader::Named(*file, field.name(), reader.status());
  return std::make_unique<NamedReader>(std::move(file), field.name(), *std::move(reader));
}

}  // namespace pennon::lance_format
