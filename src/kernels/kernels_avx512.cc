#define PENNON_KERNELS avx512
#define PENNON_KERNELS_NAME "avx512"
#include "kernels/kernels_impl.h"
