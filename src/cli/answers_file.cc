#include "cli/answers_file.h"

#include <arrow/array/util.h>
#include <arrow/scalar.h>

#include "cli/report.h"

namespace pennon::cli {

using arrow::Status;

namespace {

std::shared_ptr<arrow::Schema> Schema() {
  return arrow::schema({arrow::field("call", arrow::utf8(), false), arrow::field("ef", arrow::int64(), false),
                        arrow::field("query", arrow::uint32(), false), arrow::field("row_id", arrow::uint64(), false),
                        arrow::field("distance", arrow::float32(), false)});
}

}  // namespace

arrow::Result<AnswersFile> AnswersFile::Open(const std::string& path) {
  AnswersFile answers;
  answers.path_ = path;
  if (path.empty()) return answers;
  ARROW_ASSIGN_OR_RAISE(answers.file_, arrow::io::FileOutputStream::Open(path));
  auto writer = arrow::ipc::MakeFileWriter(answers.file_, Schema());
  ARROW_RETURN_NOT_OK(NameFile(path, writer.status()));
  answers.writer_ = *std::move(writer);
  return answers;
}

Status AnswersFile::Write(const std::string& call, int64_t ef, std::span<const Answer> answers) {
  if (!writer_) return Status::OK();
  ARROW_ASSIGN_OR_RAISE(auto batch, ToRecordBatch(answers));
  const int64_t rows = batch->num_rows();
  ARROW_ASSIGN_OR_RAISE(auto calls, arrow::MakeArrayFromScalar(arrow::StringScalar(call), rows));
  ARROW_ASSIGN_OR_RAISE(auto efs, arrow::MakeArrayFromScalar(arrow::Int64Scalar(ef), rows));
  batch = arrow::RecordBatch::Make(Schema(), rows, {calls, efs, batch->column(0), batch->column(1), batch->column(2)});
  return NameFile(path_, writer_->WriteRecordBatch(*batch));
}

Status AnswersFile::Close() {
  if (!writer_) return Status::OK();
  ARROW_RETURN_NOT_OK(NameFile(path_, writer_->Close()));
  return NameFile(path_, file_->Close());
}

}  // namespace pennon::cli
