#define PENNON_KERNELS avx2
#define PENNON_KERNELS_NAME "avx2"
#include "kernels/kernels_impl.h"
