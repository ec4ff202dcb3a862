// 3x3 convolutions of images, zero padded, and the correlation of two images that is their kernel gradient.
//
// Channels: 1 or a multiple of a vector's lanes on either side, and not 1 on both.
#pragma once

#include <vector>

#include "rows.h"

namespace tdfusion {

// Rows of an image with a zero pixel before and behind each: those around one row, in a ring.
template <typename T>
class Padded {
 public:
  Padded(const T* x, Index height, Index width, Index channels)
      : x_(x), height_(height), width_(width), channels_(channels), room_((width + 2) * channels),
        rows_(3 * room_ + Simd<T>::kLanes) {}

  void load(Index y) {
    T* row = rows_.data() + (y + 3) % 3 * room_;
    if (y < 0 || y >= height_)
      fill_zero(row, room_);
    else
      std::copy(x_ + y * width_ * channels_, x_ + (y + 1) * width_ * channels_, row + channels_);
  }
  const T* row(Index y) const { return rows_.data() + (y + 3) % 3 * room_; }

 private:
  const T* x_;
  Index height_, width_, channels_, room_;
  std::vector<T> rows_;
};

// Rows [first, last) of out [H, W, O] = x [H, W, C] with kernel [3, 3, C, O].
template <typename T>
void conv3x3_rows(const T* x, const T* kernel, Index height, Index width, Index inner, Index outer, Index first,
                  Index last, T* out) {
  using S = Simd<T>;
  Padded<T> padded(x, height, width, inner);
  for (Index y = first - 1; y <= last; ++y) {
    padded.load(y);
    if (y < first + 1) continue;
    T* target = out + (y - 1) * width * outer;
    for (int i = 0; i < 3; ++i) {
      const T *row = padded.row(y - 2 + i), *k = kernel + i * 3 * inner * outer;
      if (outer > 1) {  // the three pixels of a row lie side by side: one product
        multiply(row, inner, Index(1), width, 3 * inner, k, outer, outer, target, outer, i > 0);
        continue;
      }
      for (Index p = 0; p < width; ++p) {
        Vec<T> sum{};
        for (Index n = 0; n < 3 * inner; n += S::kLanes) sum += S::load(row + p * inner + n) * S::load(k + n);
        target[p] = (i ? target[p] : T(0)) + lane_sum<T>(sum)[0];
      }
    }
  }
}

// total [3, 3, C, O] += over rows [first, last) and columns of y, x[row + i - 1, column + j - 1, c] y[row, column, o].
template <typename T>
void correlate3x3_rows(const T* x, const T* y, Index height, Index width, Index inner, Index outer, Index first,
                       Index last, T* total) {
  Padded<T> padded(x, height, width, inner);
  for (Index row = first - 1; row <= last; ++row) {
    padded.load(row);
    if (row < first + 1) continue;
    const T* right = y + (row - 1) * width * outer;
    for (int i = 0; i < 3; ++i) {
      const T* left = padded.row(row - 2 + i);
      T* sum = total + i * 3 * inner * outer;
      if (outer > 1)
        multiply(left, Index(1), inner, 3 * inner, width, right, outer, outer, sum, outer, true);
      else
        multiply(right, Index(0), Index(1), Index(1), width, left, inner, 3 * inner, sum, 3 * inner, true);
    }
  }
}

}  // namespace tdfusion
