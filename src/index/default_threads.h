// How many threads this process may use.
#pragma once

#include <string>

namespace pennon {

// Processors' worth of time that the process's control group and those above it have, of version 1 or 2; infinity: no
// limit. root: where /proc and /sys are, empty but in tests.
double ProcessorQuota(const std::string& root);

}  // namespace pennon
