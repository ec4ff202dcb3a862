// Parts of a block in half precision, forward only, where the processor multiplies bfloat16: by tiles (AMX), or by dot
// products of pairs (AVX512-BF16). Both have `permitted`, `Halved`, `forward_lane` and `conv3x3_rows`.
#pragma once

#if defined(__AMX_BF16__) && defined(__AVX512FP16__) && defined(__AVX512BF16__) && defined(__linux__)
#define TDFUSION_HALF 1
#include "half_tiles.h"
#elif defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define TDFUSION_HALF 1
#include "half_dots.h"
#endif
