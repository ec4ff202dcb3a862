// Operations on one row of pixels, channels last: layer norm, depthwise 3x3, gates, and their derivatives.
#pragma once

#include <algorithm>

#include "simd.h"

namespace tdfusion {

template <typename T>
inline void fill_zero(T* p, Index count) {
  std::fill(p, p + count, T(0));
}

// Layer norm of a pixel's CV vectors: leaves (x - mean) / deviation in v, returns 1 / deviation.
template <typename T, int CV>
inline Vec<T> standardise(const T* x, Vec<T>* v) {
  using S = Simd<T>;
  const T share = T(1) / (CV * S::kLanes);
  Vec<T> sum{};
#pragma GCC unroll 8
  for (int i = 0; i < CV; ++i) sum += (v[i] = S::load(x + i * S::kLanes));
  const Vec<T> mean = lane_sum<T>(sum) * share;
  Vec<T> squares{};
#pragma GCC unroll 8
  for (int i = 0; i < CV; ++i) {
    v[i] -= mean;
    squares += v[i] * v[i];
  }
  const Vec<T> variance = lane_sum<T>(squares) * share;
  const Vec<T> inverse = S::all(T(1) / std::sqrt(variance[0] + T(1e-5)));
#pragma GCC unroll 8
  for (int i = 0; i < CV; ++i) v[i] *= inverse;
  return inverse;
}

// out = LN(x); with xd also its tangent outd along (xd, scaled, biasd).
template <typename T, int CV>
void norm_row(const T* x, const T* xd, Index pixels, const T* scale, const T* bias, const T* scaled, const T* biasd,
              T* out, T* outd) {
  using S = Simd<T>;
  constexpr int channels = CV * S::kLanes;
  for (Index p = 0; p < pixels; ++p, x += channels, out += channels) {
    Vec<T> v[CV];
    const Vec<T> inverse = standardise<T, CV>(x, v);
#pragma GCC unroll 8
    for (int i = 0; i < CV; ++i)
      S::store(out + i * S::kLanes, v[i] * S::load(scale + i * S::kLanes) + S::load(bias + i * S::kLanes));
    if (!xd) continue;
    Vec<T> d[CV], sum{}, dot{};
#pragma GCC unroll 8
    for (int i = 0; i < CV; ++i) {
      d[i] = S::load(xd + i * S::kLanes);
      sum += d[i];
      dot += d[i] * v[i];
    }
    const Vec<T> mean = lane_sum<T>(sum) * (T(1) / channels), along = lane_sum<T>(dot) * (T(1) / channels);
#pragma GCC unroll 8
    for (int i = 0; i < CV; ++i) {
      const Vec<T> moved = (d[i] - mean - v[i] * along) * inverse;
      S::store(outd + i * S::kLanes, moved * S::load(scale + i * S::kLanes) + v[i] * S::load(scaled + i * S::kLanes) +
                                       S::load(biasd + i * S::kLanes));
    }
    xd += channels, outd += channels;
  }
}

// dx (+)= the way back of ct through LN at x; dscale and dbias +=.
template <typename T, int CV>
void norm_back_row(const T* x, const T* ct, Index pixels, const T* scale, T* dx, bool add, T* dscale, T* dbias) {
  using S = Simd<T>;
  constexpr int channels = CV * S::kLanes;
  Vec<T> scales[CV], biases[CV];
  for (int i = 0; i < CV; ++i) scales[i] = S::load(dscale + i * S::kLanes), biases[i] = S::load(dbias + i * S::kLanes);
  for (Index p = 0; p < pixels; ++p, x += channels, ct += channels, dx += channels) {
    Vec<T> v[CV], g[CV], sum{}, dot{};
    const Vec<T> inverse = standardise<T, CV>(x, v);
#pragma GCC unroll 8
    for (int i = 0; i < CV; ++i) {
      const Vec<T> c = S::load(ct + i * S::kLanes);
      scales[i] += c * v[i];
      biases[i] += c;
      g[i] = c * S::load(scale + i * S::kLanes);
      sum += g[i];
      dot += g[i] * v[i];
    }
    const Vec<T> mean = lane_sum<T>(sum) * (T(1) / channels), along = lane_sum<T>(dot) * (T(1) / channels);
#pragma GCC unroll 8
    for (int i = 0; i < CV; ++i) {
      Vec<T> moved = (g[i] - mean - v[i] * along) * inverse;
      if (add) moved += S::load(dx + i * S::kLanes);
      S::store(dx + i * S::kLanes, moved);
    }
  }
  for (int i = 0; i < CV; ++i) S::store(dscale + i * S::kLanes, scales[i]), S::store(dbias + i * S::kLanes, biases[i]);
}

// out[p] = (or +=) sum over rows i and columns j of kernel[i][j] * row_i[p + j], each channel by itself.
template <typename T>
void depthwise_row(const T* row0, const T* row1, const T* row2, const T* kernel, Index channels, Index pixels, T* out,
                   bool add) {
  using S = Simd<T>;
  for (Index n = 0; n < channels; n += S::kLanes) {
    Vec<T> k[9];
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) k[i] = S::load(kernel + i * channels + n);
    Vec<T> first{}, second{};  // what the pixel and its right neighbour have so far
    const T *a = row0 + n, *b = row1 + n, *c = row2 + n;
    T* o = out + n - 2 * channels;
    for (Index p = 0; p < pixels + 2; ++p, a += channels, b += channels, c += channels, o += channels) {
      const Vec<T> va = S::load(a), vb = S::load(b), vc = S::load(c);
      if (p >= 2) {
        Vec<T> sum = first + va * k[2] + vb * k[5] + vc * k[8];
        if (add) sum += S::load(o);
        S::store(o, sum);
      }
      first = second + va * k[1] + vb * k[4] + vc * k[7];
      second = va * k[0] + vb * k[3] + vc * k[6];
    }
  }
}

// dkernel[i][j] += sum over p of row_i[p + j] * ct[p].
template <typename T>
void correlate_row(const T* row0, const T* row1, const T* row2, const T* ct, Index channels, Index pixels, T* dkernel) {
  using S = Simd<T>;
  const T* rows[3] = {row0, row1, row2};
  for (Index n = 0; n < channels; n += S::kLanes) {
    Vec<T> sum[9], left[3], middle[3];
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) sum[i] = S::load(dkernel + i * channels + n);
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) left[i] = S::load(rows[i] + n), middle[i] = S::load(rows[i] + channels + n);
    for (Index p = 0; p < pixels; ++p) {
      const Vec<T> c = S::load(ct + p * channels + n);
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        const Vec<T> right = S::load(rows[i] + (p + 2) * channels + n);
        sum[3 * i] += left[i] * c;
        sum[3 * i + 1] += middle[i] * c;
        sum[3 * i + 2] += right * c;
        left[i] = middle[i], middle[i] = right;
      }
    }
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) S::store(dkernel + i * channels + n, sum[i]);
  }
}

// g = GELU(z[:half]) * z[half:]; with zd also its tangent gd.
template <typename T>
void gate_row(const T* z, const T* zd, Index half, Index pixels, T* g, T* gd) {
  using S = Simd<T>;
  for (Index p = 0; p < pixels; ++p, z += 2 * half, g += half) {
    for (Index n = 0; n < half; n += S::kLanes) {
      const Vec<T> a = S::load(z + n), b = S::load(z + half + n);
      Vec<T> cdf, pdf;
      normal(a, &cdf, &pdf);
      S::store(g + n, a * cdf * b);
      if (zd)
        S::store(gd + n, (cdf + a * pdf) * b * S::load(zd + n) + a * cdf * S::load(zd + half + n));
    }
    if (zd) zd += 2 * half, gd += half;
  }
}

// From ct, of g = GELU(z[:half]) * z[half:]: dz; ct is overwritten by g.
template <typename T>
void gate_back_row(const T* z, Index half, Index pixels, T* ct, T* dz) {
  using S = Simd<T>;
  for (Index p = 0; p < pixels; ++p, z += 2 * half, dz += 2 * half, ct += half) {
    for (Index n = 0; n < half; n += S::kLanes) {
      const Vec<T> a = S::load(z + n), b = S::load(z + half + n), c = S::load(ct + n);
      Vec<T> cdf, pdf;
      normal(a, &cdf, &pdf);
      const Vec<T> open = a * cdf;
      S::store(dz + n, c * b * (cdf + a * pdf));
      S::store(dz + half + n, c * open);
      S::store(ct + n, open * b);
    }
  }
}

// sums += scale * x * y over pixels, each of `channels` channels by itself.
template <typename T>
void dot_row(const T* x, const T* y, Index stride, Index channels, Index pixels, T scale, T* sums) {
  using S = Simd<T>;
  for (Index n = 0; n < channels; n += S::kLanes) {
    Vec<T> sum{};
    for (Index p = 0; p < pixels; ++p) sum += S::load(x + p * stride + n) * S::load(y + p * stride + n);
    S::store(sums + n, S::load(sums + n) + sum * scale);
  }
}

// out += 2 * factor * z over pixels, channel by channel.
template <typename T>
void double_row(const T* z, const T* factor, Index stride, Index channels, Index pixels, T* out) {
  using S = Simd<T>;
  for (Index n = 0; n < channels; n += S::kLanes) {
    const Vec<T> f = S::load(factor + n) * T(2);
    for (Index p = 0; p < pixels; ++p)
      S::store(out + p * stride + n, S::load(out + p * stride + n) + f * S::load(z + p * stride + n));
  }
}

}  // namespace tdfusion
