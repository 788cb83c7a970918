#pragma once

#define PENNON_VERSION "0.1.0"
