// Parts of a block in half precision, forward only, where the processor multiplies bfloat16: by tiles (AMX).
#pragma once

#if defined(__AMX_BF16__) && defined(__AVX512FP16__) && defined(__AVX512BF16__) && defined(__linux__)
#define TDFUSION_HALF 1
#include "half_tiles.h"
#endif
