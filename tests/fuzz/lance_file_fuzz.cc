// Bytes of a Lance data file: footer, metadata, pages.
#include <memory>
#include <string>

#include "require.h"
#include "support/memory_file_system.h"
#include "support/read_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pennon;
  auto file = std::make_unique<io::MemoryFile>("v.lance", std::string(reinterpret_cast<const char*>(data), size));
  const auto status =
      lance_format::ReadFile(std::move(file), 100, 3, [](const arrow::Array& array, const lance_format::Range& rows) {
        fuzz::Require(array.length() == static_cast<int64_t>(rows.count), "as many values as rows");
        // Values may be what no writer gives, days of parts of a day say; what they are made of may not.
        const auto sound = array.Validate();
        fuzz::Require(sound.ok(), sound.ToString().c_str());
        array.ToString();
      });
  fuzz::Require(status.ok() || !status.message().empty(), "an error without words");
  return 0;
}
