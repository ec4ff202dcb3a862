// bfloat16 on x86 with AVX512-BF16: what both ways to compute in half precision are made of.
#pragma once

#include <immintrin.h>

#include <cstring>
#include <vector>

#include "simd.h"

namespace tdfusion::half {

using B16 = uint16_t;  // bfloat16

inline void store_bf16(B16* to, __m512 low, __m512 high) {
  const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
  std::memcpy(to, &both, 64);
}
inline void store_bf16(B16* to, __m512 v) {
  const __m256bh narrow = _mm512_cvtneps_pbh(v);
  std::memcpy(to, &narrow, 32);
}

inline B16 rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// [rows, width] -> [rows / 2, width, 2] of bfloat16.
inline std::vector<B16> interleaved(const float* from, Index rows, Index width) {
  std::vector<B16> out(rows * width);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < width; ++j) out[(i / 2 * width + j) * 2 + i % 2] = rounded(from[i * width + j]);
  return out;
}

// LN(x), or x, as bfloat16. A reciprocal root of 14 bits is more than bfloat16 keeps.
template <int CV>
void norm_row(const float* x, Index pixels, const float* scale, const float* bias, B16* out) {
  using S = Simd<float>;
  constexpr Index channels = 16 * CV;
  constexpr float share = 1.0f / channels;
  for (Index p = 0; p < pixels; ++p, x += channels, out += channels) {
    Vec<float> v[CV], sum{}, squares{};
    for (int i = 0; i < CV; ++i) sum += (v[i] = S::load(x + 16 * i));
    if (scale) {
      const Vec<float> mean = lane_sum<float>(sum) * share;
      for (int i = 0; i < CV; ++i) v[i] -= mean, squares += v[i] * v[i];
      const Vec<float> variance = lane_sum<float>(squares) * share + 1e-5f;
      const Vec<float> inverse = (Vec<float>)_mm512_rsqrt14_ps((__m512)variance);
      for (int i = 0; i < CV; ++i) v[i] = v[i] * inverse * S::load(scale + 16 * i) + S::load(bias + 16 * i);
    }
    if constexpr (CV == 2) store_bf16(out, (__m512)v[0], (__m512)v[1]);
    else store_bf16(out, (__m512)v[0]);
  }
}

// Of |x| >= 4, 0 or 1; else 1/2 and an odd polynomial, fitted so that x cdf(x) is off by 1.9e-4 at most.
inline __m512 normal_cdf(__m512 x) {
  const __m512 most = _mm512_set1_ps(4), y = _mm512_max_ps(_mm512_min_ps(x, most), -most), u = y * y;
  __m512 p = u * 2.2588471274260045e-08f - 1.5888423127851137e-06f;
  p = p * u + 4.7764232124942334e-05f;
  p = p * u - 0.0008121913596585924f;
  p = p * u + 0.0087637129637245f;
  p = p * u - 0.06455446762314779f;
  p = p * u + 0.39787031117116545f;
  return _mm512_max_ps(_mm512_min_ps(y * p + 0.5f, _mm512_set1_ps(1)), _mm512_setzero_ps());
}

// Calls take(y, rows) for rows first <= y < last of what a 3x3 convolution of 32 channels makes: rows [3, width + 2, 32]
// of x above, at and below y as bfloat16, with zeros around the image and `spare` pixels of them behind.
template <typename Take>
void each_three_rows(const float* x, Index height, Index width, Index first, Index last, Index spare, const Take& take) {
  constexpr Index c = 32;
  const Index room = (width + 2 + spare) * c;
  std::vector<B16> rows(3 * room);
  for (Index y = first - 1; y <= last; ++y) {
    B16* row = rows.data() + (y + 3) % 3 * room;
    if (y < 0 || y >= height) fill_zero(row, room);
    else norm_row<2>(x + y * width * c, width, nullptr, nullptr, row + c);
    if (y < first + 1) continue;
    const B16* around[3];
    for (int i = 0; i < 3; ++i) around[i] = rows.data() + (y + 1 + i) % 3 * room;
    take(y - 1, around);
  }
}

}  // namespace tdfusion::half
