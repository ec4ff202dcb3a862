// The fast network (networks/fast.py) as a whole, forward only, in float32.
#pragma once

#include <functional>

#include "simd.h"

namespace tdfusion::fast {

// Shares work(0) .. work(count - 1) between threads and returns when all is done.
using Run = std::function<void(Index count, const std::function<void(Index)>& work)>;

// All kernels [side, side, in, out], each with its bias [out] behind it, one after another: how many numbers.
Index weights_size();

// out [H, W] of ir and vi [H, W] in [0, 1]. The result does not depend on the number of threads.
void fuse(const float* ir, const float* vi, const float* weights, Index height, Index width, Index threads, float* out,
          const Run& run);

}  // namespace tdfusion::fast
