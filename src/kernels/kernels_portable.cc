#define PENNON_KERNELS portable
#define PENNON_KERNELS_NAME "portable"
#include "kernels/kernels_impl.h"
