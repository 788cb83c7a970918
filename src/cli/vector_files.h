// Files that hold vectors and nothing else, as a table with one column `vector`, FixedSizeList of float or halffloat.
// Nothing is allocated by what a file says before its size bears it out. Errors say what was expected; the caller
// names the file.
#pragma once

#include <memory>

#include <arrow/io/interfaces.h>
#include <arrow/result.h>
#include <arrow/table.h>

namespace pennon::cli {

// NumPy's format, versions 1 to 3: an array of two dimensions in C order, of <f2, <f4 or <f8, which becomes float.
arrow::Result<std::shared_ptr<arrow::Table>> ReadNpy(arrow::io::RandomAccessFile& file);
// Each row an int32, the dimension, and as many floats, or bytes, which become floats.
arrow::Result<std::shared_ptr<arrow::Table>> ReadFvecs(arrow::io::RandomAccessFile& file);
arrow::Result<std::shared_ptr<arrow::Table>> ReadBvecs(arrow::io::RandomAccessFile& file);
// Numbers separated by commas, a row a line. A first line that does not begin with a number is a header.
arrow::Result<std::shared_ptr<arrow::Table>> ReadCsv(const std::shared_ptr<arrow::io::RandomAccessFile>& file);

}  // namespace pennon::cli
