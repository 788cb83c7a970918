// All of Pennon.
#pragma once

#include "pennon/export.h"
#include "pennon/hnsw_graph.h"
#include "pennon/lance.h"
#include "pennon/live_index.h"
#include "pennon/pager.h"
#include "pennon/params.h"
#include "pennon/vector_source.h"
#include "pennon/vector_store.h"
#include "pennon/version.h"
