// 3x3 convolutions of whole images, zero padded: 1 or a vector's multiple of channels to 1 or such a multiple.
#pragma once

#include "rows.h"

namespace tdfusion {

// Rows [first, last) of out [H, W, O] = x [H, W, C] with kernel [3, 3, C, O].
template <typename T>
void conv3x3_rows(const T* x, const T* kernel, Index height, Index width, Index inner, Index outer, Index first,
                  Index last, T* out) {
  using S = Simd<T>;
  const Index room = (width + 2) * inner;
  std::vector<T> padded(3 * room + S::kLanes);  // three rows with a zero pixel before and behind
  for (Index y = first - 1; y <= last; ++y) {
    T* row = padded.data() + (y + 3) % 3 * room;
    if (y < 0 || y >= height)
      fill_zero(row, room);
    else
      std::copy(x + y * width * inner, x + (y + 1) * width * inner, row + inner);
    if (y < first + 1) continue;
    T* target = out + (y - 1) * width * outer;
    const T* rows[3];
    for (int i = 0; i < 3; ++i) rows[i] = padded.data() + (y + 1 + i) % 3 * room;
    if (outer == 1) {
      for (Index p = 0; p < width; ++p) {
        Vec<T> sum{};
        for (int i = 0; i < 3; ++i)
          for (Index k = 0; k < 3 * inner; k += S::kLanes)
            sum += S::load(rows[i] + p * inner + k) * S::load(kernel + i * 3 * inner + k);
        target[p] = lane_sum<T>(sum)[0];
      }
    } else {
      for (int i = 0; i < 3; ++i)  // the three pixels of a row lie side by side: one product
        multiply(rows[i], inner, Index(1), width, 3 * inner, kernel + i * 3 * inner * outer, outer, outer, target,
                 outer, i > 0);
    }
  }
}

}  // namespace tdfusion
