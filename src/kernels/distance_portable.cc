#define PENNON_KERNELS portable
#define PENNON_KERNELS_NAME "portable"
#include "kernels/distance_impl.h"
