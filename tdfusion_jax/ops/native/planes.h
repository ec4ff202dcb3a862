// Images as rows of channels of pixels, and convolutions of them: vectors run along the pixels, so that any number of
// channels will do, and a convolution is a sum over inputs and neighbours of one weight times a few vectors.
//
// Between a row's channels there are zeros: what a neighbour beyond the image is. Rows beyond it are left out.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "rows.h"

namespace tdfusion::fast {

constexpr Index kLanes = Simd<float>::kLanes;
constexpr int kAcross = 3, kDeep = kAccumulators / kAcross;  // vectors of pixels and outputs that are summed at once

// Memory that is kept for the next call, up to a size: fresh memory comes a page at a time.
class Room {
 public:
  explicit Room(Index floats) {
    const size_t size = floats + 16;
    {
      std::lock_guard<std::mutex> lock(mutex());
      room_.swap(spare());
    }
    if (room_.size() < size) room_ = std::vector<float>(size);
  }
  ~Room() {
    std::lock_guard<std::mutex> lock(mutex());
    if (room_.size() <= kMost && room_.size() > spare().size()) room_.swap(spare());
  }
  Room(const Room&) = delete;
  float* begin() { return room_.data() + (64 - reinterpret_cast<uintptr_t>(room_.data()) % 64) % 64 / sizeof(float); }

 private:
  static constexpr size_t kMost = 16 << 20;
  static std::mutex& mutex() {
    static std::mutex mutex;
    return mutex;
  }
  static std::vector<float>& spare() {
    static std::vector<float> spare;
    return spare;
  }
  std::vector<float> room_;
};

// Rows that a convolution reads, from above; null outside of the image.
struct Rows {
  Index channels, plane;
  const float* row[3];
  int count;
};

// Two vectors of pixels beside each other become those at even and those at odd places.
inline void split(const float* from, float* even, float* odd) {
  using S = Simd<float>;
  const Vec<float> low = S::load(from), high = S::load(from + kLanes);
  S::store(even, every_second<float, 0>(low, high));
  S::store(odd, every_second<float, 1>(low, high));
}

struct Planes {
  Index channels, height, width, plane;  // plane: from one channel of a row to the next

  Planes(Index channels, Index height, Index width)
      : channels(channels), height(height), width(width), plane((width + kLanes - 1) / kLanes * kLanes + kLanes) {}

  Index row_size() const { return kLanes + channels * plane; }
  Index size() const { return height * row_size(); }
  float* lie_at(float* at) {
    data_ = at;
    return at + (size() + 15) / 16 * 16;
  }
  float* row(Index y) const { return data_ + y * row_size() + kLanes; }
  Rows around(Index y) const {
    return {channels, plane, {y > 0 ? row(y - 1) : nullptr, row(y), y + 1 < height ? row(y + 1) : nullptr}, 3};
  }
  // Sets what lies between the channels of a row to zero.
  void clear(Index y) const {
    float* at = row(y);
    std::fill(at - kLanes, at, 0.0f);
    for (Index c = 0; c < channels; ++c) std::fill(at + c * plane + width, at + (c + 1) * plane, 0.0f);
  }
  // Even and odd columns of row y as channels beside each other.
  void split_columns(Index y, float* to, Index to_plane) const {
    const float* from = row(y);
    for (Index c = 0; c < channels; ++c, from += plane, to += 2 * to_plane)
      for (Index p = 0; 2 * p < width; p += kLanes) split(from + 2 * p, to + p, to + to_plane + p);
  }
  // sums [channels] += over row y.
  void add_sums(Index y, float* sums) const {
    const float* from = row(y);
    for (Index c = 0; c < channels; ++c, from += plane) {
      Vec<float> sum{};
      for (Index p = 0; p < width; p += kLanes) sum += Simd<float>::load(from + p);
      sums[c] += lane_sum<float>(sum)[0];
    }
  }

 private:
  float* data_ = nullptr;
};

// A kernel [side, side, in, out] in the order of its use: of kDeep outputs all neighbours and inputs.
class Packed {
 public:
  Index out;

  // to_pixels: outputs are four pixels' channels, and those of the pixels beside each other come to lie together.
  Packed(const float* kernel, const float* bias, Index side, Index in, Index out, bool to_pixels = false)
      : out(out), depth_(side * side * in), w_(depth_ * out), b_(out) {
    const Index channels = out / 4;
    for (Index o = 0; o < out; ++o) {
      const Index pair = o / 2;
      const Index from = to_pixels ? (pair / channels * 2 + o % 2) * channels + pair % channels : o;
      b_[o] = bias[from];
      float* to = w_.data() + o / kDeep * kDeep * depth_ + o % kDeep;
      for (Index i = 0; i < side; ++i)
        for (Index c = 0; c < in; ++c)
          for (Index j = 0; j < side; ++j, to += kDeep) *to = kernel[((i * side + j) * in + c) * out + from];
    }
  }
  // What gives seen * (1 + scale) + shift where this gave seen.
  void scale(const std::vector<float>& scale, const std::vector<float>& shift) {
    for (Index o = 0; o < out; ++o) {
      b_[o] = b_[o] * (1 + scale[o]) + shift[o];
      float* at = w_.data() + o / kDeep * kDeep * depth_ + o % kDeep;
      for (Index k = 0; k < depth_; ++k) at[k * kDeep] *= 1 + scale[o];
    }
  }
  const float* weights(Index o) const { return w_.data() + o * depth_; }
  const float* bias(Index o) const { return b_.data() + o; }

 private:
  Index depth_;
  std::vector<float> w_, b_;
};

using Sums = Vec<float>[kDeep][kAcross];

inline Vec<float> rectified(Vec<float> v) {
  const Vec<float> zero{};
  return v < zero ? zero : v;
}

// What becomes of a row's sums, and of the row in the end.
struct Plain {
  const Planes& to;
  Index y;
  template <int NV>
  void put(Index o, Index p, const Sums& sums) const {
    for (int i = 0; i < kDeep; ++i)
      for (int n = 0; n < NV; ++n) Simd<float>::store(to.row(y) + (o + i) * to.plane + p + n * kLanes, sums[i][n]);
  }
  void end() const { to.clear(y); }
};

struct Rectified : Plain {
  template <int NV>
  void put(Index o, Index p, const Sums& sums) const {
    for (int i = 0; i < kDeep; ++i)
      for (int n = 0; n < NV; ++n)
        Simd<float>::store(to.row(y) + (o + i) * to.plane + p + n * kLanes, rectified(sums[i][n]));
  }
};

struct Added : Plain {  // to x, rectified
  const float* x;
  template <int NV>
  void put(Index o, Index p, const Sums& sums) const {
    using S = Simd<float>;
    for (int i = 0; i < kDeep; ++i)
      for (int n = 0; n < NV; ++n) {
        const Index at = (o + i) * to.plane + p + n * kLanes;
        S::store(to.row(y) + at, S::load(x + at) + rectified(sums[i][n]));
      }
  }
};

struct Spread {  // added to rows y and y + 1 at twice the resolution; of a `Packed` with to_pixels
  const Planes& to;
  Index y;
  template <int NV>
  void put(Index o, Index p, const Sums& sums) const {
    using S = Simd<float>;
    for (int i = 0; i < kDeep; i += 2) {
      const Index pair = (o + i) / 2;
      float* at = to.row(y + pair / to.channels) + pair % to.channels * to.plane + 2 * p;
      for (int n = 0; n < NV; ++n, at += 2 * kLanes) {
        S::store(at, S::load(at) + interleaved<float, 0>(sums[i][n], sums[i + 1][n]));
        if (2 * (p + n * kLanes) + kLanes < to.width)  // beyond it there is the next channel
          S::store(at + kLanes, S::load(at + kLanes) + interleaved<float, 1>(sums[i][n], sums[i + 1][n]));
      }
    }
  }
  void end() const { to.clear(y), to.clear(y + 1); }
};

// kDeep outputs from o, NV vectors of pixels from p. Side: columns that are seen.
template <int Side, int NV, typename End>
void convolve(const Rows& rows, const Packed& kernel, Index o, Index p, const End& end) {
  using S = Simd<float>;
  Sums sums;
#pragma GCC unroll 8
  for (int i = 0; i < kDeep; ++i)
#pragma GCC unroll 3
    for (int n = 0; n < NV; ++n) sums[i][n] = S::all(kernel.bias(o)[i]);
  const float* w = kernel.weights(o);
  for (int r = 0; r < rows.count; ++r) {
    const float* x = rows.row[r];
    if (!x) {
      w += rows.channels * Side * kDeep;
      continue;
    }
    x += p - Side / 2;
    for (Index c = 0; c < rows.channels; ++c, x += rows.plane)
#pragma GCC unroll 3
      for (int j = 0; j < Side; ++j, w += kDeep) {
        Vec<float> in[NV];
#pragma GCC unroll 3
        for (int n = 0; n < NV; ++n) in[n] = S::load(x + j + n * kLanes);
#pragma GCC unroll 8
        for (int i = 0; i < kDeep; ++i) {
          const Vec<float> weight = S::all(w[i]);
#pragma GCC unroll 3
          for (int n = 0; n < NV; ++n) sums[i][n] += weight * in[n];
        }
      }
  }
  end.template put<NV>(o, p, sums);
}

// A row of a convolution, `width` pixels.
template <int Side, typename End>
void convolve_row(const Rows& rows, const Packed& kernel, Index width, const End& end) {
  for (Index p = 0; p < width;) {
    const Index left = (width - p + kLanes - 1) / kLanes;
    const Index now = left == 4 ? 2 : std::min<Index>(left, kAcross);  // 2 and 2, not 3 and 1
    for (Index o = 0; o < kernel.out; o += kDeep)
      now == 3   ? convolve<Side, 3>(rows, kernel, o, p, end)
      : now == 2 ? convolve<Side, 2>(rows, kernel, o, p, end)
                 : convolve<Side, 1>(rows, kernel, o, p, end);
    p += now * kLanes;
  }
  end.end();
}

}  // namespace tdfusion::fast
