// What the shared library exports. Everything else is hidden.
#pragma once

#define PENNON_EXPORT [[gnu::visibility("default")]]
