// Pages of version 2.1 on that are cut into chunks of a few KiB, each of which is decoded as a whole.
#pragma once

#include <memory>

#include <arrow/result.h>
#include <arrow/type.h>

#include "lance/page_decoder.h"
#include "lance/page_layout.h"

namespace pennon::lance_format {

// As MakeLayoutPage, of a layout that has a mini_block. A page's index of chunks and its dictionary are read once and
// kept: then rows cost the chunks they are in.
arrow::Result<std::unique_ptr<PageDecoder>> MakeMiniBlockPage(const PageSource& source, const PageInfo& page,
                                                              const LayoutInfo& layout,
                                                              const std::shared_ptr<arrow::DataType>& type);

}  // namespace pennon::lance_format
