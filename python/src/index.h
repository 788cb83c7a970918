// The index as Python holds it.
#pragma once

#include "search.h"

namespace pennon::python {

struct Index : Held<LiveIndex> {
  using Held<LiveIndex>::Held;
  int appends = 0;  // running; changed with the GIL held
};

}  // namespace pennon::python
