// Writes an Arrow IPC file with a column `v` of vectors as a Lance table with an index, in small fragments and pages.
// write_table IN.arrow OUT.lance ROWS_A_FRAGMENT PAGE_BYTES flat|sq l2|cosine|dot 2.0|2.2 [ROWS_OF_A_SECOND_APPEND]
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>

#include "pennon/lance.h"
#include "pennon/live_index.h"

namespace {

arrow::Status Run(char** argv, int argc) {
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(argv[1]));
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchFileReader::Open(file));
  ARROW_ASSIGN_OR_RAISE(auto table, reader->ToTable());
  const int64_t later = argc > 8 ? std::atoll(argv[8]) : 0;
  const std::string metric = argv[6];
  ARROW_ASSIGN_OR_RAISE(
      auto dataset,
      pennon::lance::Dataset::Create(argv[2], table->schema(),
                                     {.file_version = std::string(argv[7]) == "2.0" ? pennon::lance::FileVersion::k2_0
                                                                                    : pennon::lance::FileVersion::k2_2,
                                      .rows_a_fragment = std::strtoull(argv[3], nullptr, 10),
                                      .page_bytes = std::atoll(argv[4])}));
  const auto indexed = table->Slice(0, table->num_rows() - later);
  arrow::TableBatchReader batches(*indexed);
  batches.set_chunksize(77);
  ARROW_RETURN_NOT_OK(dataset.Append(batches));

  const auto type = std::static_pointer_cast<arrow::FixedSizeListType>(table->GetColumnByName("v")->type());
  ARROW_ASSIGN_OR_RAISE(auto index, pennon::LiveIndex::Make({.dim = type->list_size(),
                                                             .metric = metric == "cosine" ? pennon::Metric::kCosine
                                                                       : metric == "dot"  ? pennon::Metric::kDot
                                                                                          : pennon::Metric::kL2,
                                                             .vector_column = "v"}));
  for (const auto& chunk : indexed->GetColumnByName("v")->chunks()) {
    ARROW_RETURN_NOT_OK(index.Append(chunk).status());
  }
  ARROW_ASSIGN_OR_RAISE(auto snapshot, index.GetSnapshot());
  ARROW_RETURN_NOT_OK(
      snapshot.ToLance(dataset, {.column = "v",
                                 .type = std::string(argv[5]) == "sq" ? pennon::lance::IndexType::kHnswSq
                                                                      : pennon::lance::IndexType::kHnswFlat}));
  if (later == 0) return arrow::Status::OK();
  const auto more = table->Slice(table->num_rows() - later);
  arrow::TableBatchReader rest(*more);
  return dataset.Append(rest).status();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 8) return 2;
  const arrow::Status status = Run(argv, argc);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
