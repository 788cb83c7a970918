#define PENNON_KERNELS neon
#define PENNON_KERNELS_NAME "neon"
#define PENNON_NEON 1
#include "kernels/kernels_impl.h"
