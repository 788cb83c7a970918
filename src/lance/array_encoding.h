// How a page of a 2.0 file says what its buffers hold: the message ArrayEncoding of Lance's encodings_v2_0.proto,
// serialised. Buffers are named by their place in the page.
#pragma once

#include <cstdint>
#include <string>

namespace pennon::lance_format {

std::string Flat(uint64_t bits_per_value, uint32_t buffer);
std::string NoNulls(const std::string& values);
// validity: a bit a row, lowest first, 1 = valid.
std::string SomeNulls(const std::string& validity, const std::string& values);
std::string FixedSizeList(uint32_t dimension, const std::string& items);
// Both hold ends, u64, counted from the page's start. An end of at least the adjustment is a null row's, and that
// much too large.
std::string Binary(const std::string& ends, const std::string& bytes, uint64_t null_adjustment);
std::string List(const std::string& ends, uint64_t null_adjustment, uint64_t items);
std::string Struct();

// The message Encoding of file2.proto around one of them, or around a PageLayout of 2.2; and the only one there is for
// a column as a whole.
std::string PageEncoding(const std::string& array_encoding);
std::string LayoutEncoding(const std::string& page_layout);
std::string ColumnEncoding();

}  // namespace pennon::lance_format
