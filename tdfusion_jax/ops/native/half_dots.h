// Parts of a block in half precision, forward only, for processors with AVX512-BF16 and without tiles: products of
// bfloat16 summed in float32, two at a time; layer norms, gates, sums over pixels and the image in float32.
//
// Rows are worked through two at a time. A pair of rows of wide channels lies as [channels / 16, pixels, 16, 2], so a
// depthwise convolution, too, is made of products of pairs: of rows (a, b) and (c, d), those at b and c are
//   z_b = (a, b) (k0, k1) + (c, d) (k2, 0)   and   z_c = (a, b) (0, k0) + (c, d) (k1, k2).
#pragma once

#include "half_weights.h"

namespace tdfusion::half {

inline bool permitted() { return true; }

inline __m512 dot(__m512 sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
inline __m512i load(const B16* from) { return _mm512_loadu_si512(from); }
inline __m512i everywhere(const B16* pair) {
  int32_t bits;
  std::memcpy(&bits, pair, 4);
  return _mm512_set1_epi32(bits);
}

// Adds x w to sums of Rows times 16 NV columns; left(i): the i-th row of x.
template <int Rows, int NV, typename Left>
inline void add_products(__m512 (&sum)[Rows][NV], const Matrix& w, Index group, const Left& left) {
  const Index from = w.from[group], to = w.to[group];
  for (Index term = 0; term < w.terms; ++term) {
    const B16* right = w.at.data() + (term * w.depth / 2 + from) * w.width * 2 + group * 32;
    for (Index k = from; k < to; ++k, right += 2 * w.width) {
      __m512i v[NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) v[j] = load(right + 32 * j);
#pragma GCC unroll 24
      for (int i = 0; i < Rows; ++i) {
        const __m512i u = everywhere(left(i) + 2 * k);
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) sum[i][j] = dot(sum[i][j], u, v[j]);
      }
    }
  }
}

// Two rows xn [2, pixels, C], `row` apart, and NV times 16 wide channels: into h, a `plane` for each 16.
template <int Pixels, int NV>
void widen_columns(const Matrix& w, Index group, Index pixels, const B16* xn, Index row, B16* h, Index plane) {
  const Index c = w.depth;
  for (Index p = 0; p < pixels; p += Pixels, xn += Pixels * c, h += Pixels * 32) {  // there is room behind the last
    __m512 sum[2 * Pixels][NV] = {};
    add_products(sum, w, group, [&](int i) { return xn + i % 2 * row + i / 2 * c; });
#pragma GCC unroll 12
    for (int i = 0; i < Pixels; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j)
        _mm512_store_si512(h + j * plane + i * 32, beside(sum[2 * i][j], sum[2 * i + 1][j]));
  }
}

constexpr Index kStreamed = 2 << 20;  // floats
constexpr Index kSpare = 12;  // pixels behind a row that products may write

// As `tdfusion::widen_row`, of rows y and y + 1.
inline void widen_rows(const Halved& a, Index y, Index left, Index pixels, Index room, B16* xn, B16* h) {
  const Part<float>& f = a.f;
  const Index c = f.channels, row = room * c, plane = room * 32;
  const Index from = std::max<Index>(0, left), to = std::min(f.width, left + pixels);
  for (Index r = 0; r < 2; ++r) {
    B16* own = xn + r * row;
    if (y + r < 0 || y + r >= f.height) {
      fill_zero(own, pixels * c);
      continue;
    }
    const float* in = f.x + ((y + r) * f.width + from) * c;
    B16* inside = own + (from - left) * c;
    (c == 16 ? norm_row<1> : norm_row<2>)(in, to - from, f.p.scale, f.p.bias, inside);
    fill_zero(own, (from - left) * c), fill_zero(inside + (to - from) * c, (left + pixels - to) * c);
  }
  for (Index group = 0; group < f.wide / 16;) {
    B16* own = h + group * plane;
    if (a.w.alike(group, 4)) widen_columns<3, 4>(a.w, group, pixels, xn, row, own, plane), group += 4;
    else if (a.w.alike(group, 2)) widen_columns<6, 2>(a.w, group, pixels, xn, row, own, plane), group += 2;
    else widen_columns<12, 1>(a.w, group, pixels, xn, row, own, plane), group += 1;
  }
}

// Calls take(pixel, z_b, z_c) with what two pairs of rows and a kernel of 16 channels make.
template <typename Take>
inline void depthwise(const B16* ab, const B16* cd, const B16* kernel, Index pixels, const Take& take) {
  __m512i k[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) k[i] = load(kernel + 32 * i);
  const __m512 zero = _mm512_setzero_ps();
  __m512 b1 = zero, b2 = zero, c1 = zero, c2 = zero;  // what the pixel and its right neighbour have so far
  for (Index p = -2; p < pixels; ++p, ab += 32, cd += 32) {
    const __m512i u = load(ab), v = load(cd);
    if (p >= 0) take(p, dot(dot(b1, u, k[8]), v, k[9]), dot(dot(c1, u, k[10]), v, k[11]));
    b1 = dot(dot(b2, u, k[4]), v, k[5]), c1 = dot(dot(c2, u, k[6]), v, k[7]);
    b2 = dot(dot(zero, u, k[0]), v, k[1]), c2 = dot(dot(zero, u, k[2]), v, k[3]);
  }
}

// y = x + g o for up to `Pixels` pixels at a time; g [pixels, depth]. Streamed: y goes past the caches.
template <int Pixels, int NV, bool Streamed>
void add_product(const Matrix& o, Index group, Index pixels, const B16* g, const float* x, float* y) {
  const Index c = o.width;
  for (; pixels >= Pixels; pixels -= Pixels, g += Pixels * o.depth, x += Pixels * c, y += Pixels * c) {
    __m512 sum[Pixels][NV];
#pragma GCC unroll 24
    for (int p = 0; p < Pixels; ++p)
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) sum[p][j] = _mm512_loadu_ps(x + p * c + 16 * j);
    add_products(sum, o, group, [&](int p) { return g + p * o.depth; });
#pragma GCC unroll 24
    for (int p = 0; p < Pixels; ++p)
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j)
        if constexpr (Streamed) _mm512_stream_ps(y + p * c + 16 * j, sum[p][j]);
        else _mm512_storeu_ps(y + p * c + 16 * j, sum[p][j]);
  }
  if constexpr (Pixels > 1)
    if (pixels > 0) add_product<(Pixels + 1) / 2, NV, Streamed>(o, group, pixels, g, x, y);
}

template <bool Streamed>
void project_row(const Matrix& o, Index pixels, const B16* g, const float* x, float* y) {
  for (Index group = 0; group < o.width / 16;) {
    const Index at = 16 * group;
    if (o.alike(group, 2)) add_product<12, 2, Streamed>(o, group, pixels, g, x + at, y + at), group += 2;
    else add_product<12, 1, Streamed>(o, group, pixels, g, x + at, y + at), group += 1;
  }
}

// total [.., half] += of Q rows of q^T k, and 16 NV of its columns, over pixels of pairs of rows.
template <int Q, int NV>
void add_qk(const B16* q, const B16* k, Index plane, Index pixels, Index half, float* total) {
  __m512 sum[Q][NV];
#pragma GCC unroll 16
  for (int i = 0; i < Q; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) sum[i][j] = _mm512_loadu_ps(total + i * half + 16 * j);
  for (Index p = 0; p < pixels; ++p, q += 32, k += 32) {
    __m512i right[NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) right[j] = load(k + j * plane);
#pragma GCC unroll 16
    for (int i = 0; i < Q; ++i) {
      const __m512i left = everywhere(q + 2 * i);
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) sum[i][j] = dot(sum[i][j], left, right[j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Q; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) _mm512_storeu_ps(total + i * half + 16 * j, sum[i][j]);
}

// Of a pair of rows q | k as bfloat16 [2 half / 16, pixels, 16, 2].
inline void sums_row(const B16* z, Index plane, Index pixels, Index half, const Totals<float>& t) {
  const B16* k = z + half / 16 * plane;
  for (Index i = 0; i < half; i += 16) {
    const B16* q = z + i / 16 * plane;
    float* to = t.qk + i * half;
    Index j = 0;
    for (; j + 32 <= half; j += 32)
      for (Index s = 0; s < 16; s += 8)
        add_qk<8, 2>(q + 2 * s, k + j / 16 * plane, plane, pixels, half, to + s * half + j);
    if (j < half) add_qk<16, 1>(q, k + j / 16 * plane, plane, pixels, half, to + j);
  }
}

// As `tdfusion::forward_lane`.
inline void forward_lane(const Halved& a, Index lane, float* totals) {
  const Part<float>& f = a.f;
  const Index n = f.wide, c = f.channels, half = f.half(), groups = n / 16;
  const Index first = f.top + lane * f.lane_rows, last = std::min(f.bottom, first + f.lane_rows);
  const Index most = n > 128 ? 64 : 128, columns = f.right - f.left, tiles = (columns + most - 1) / most;
  const Index tile = (columns + tiles - 1) / tiles;  // wide channels lie closer than those that `cut` thinks of
  const Index room = tile + 2 + kSpare, plane = room * 32, depth = f.head == kFeed ? half : n;
  Arena<float> arena(2 * room * n + room * c + room * n + 2 * 16 * room + 256);
  B16* h[2];
  for (auto& pair : h) pair = reinterpret_cast<B16*>(arena.take(room * n));
  B16* xn = reinterpret_cast<B16*>(arena.take(room * c));
  B16* g = reinterpret_cast<B16*>(arena.take(room * n));
  float* open = arena.take(2 * 16 * room);
  // Whole lines of an image that no cache would hold until the next part reads it.
  const bool streamed = f.height * f.width * c > kStreamed && reinterpret_cast<uintptr_t>(f.out) % 64 == 0;
  const auto project = streamed ? project_row<true> : project_row<false>;
  const Totals<float> t = f.totals(totals);
  for (Index left = f.left; left < f.right; left += tile) {
    const Index pixels = std::min(tile, f.right - left);
    Index turn = 0;
    for (Index y = first - 1; y <= last; y += 2, turn ^= 1) {
      widen_rows(a, y, left - 1, pixels + 2, room, xn, h[turn]);
      if (y < first) continue;
      const B16 *ab = h[turn ^ 1], *cd = h[turn];
      const bool both = y < last;  // the lane may end with the first of two rows
      auto convolve = [&](Index group, const auto& take) {
        depthwise(ab + group * plane, cd + group * plane, a.k.data() + group * 12 * 32, pixels, take);
      };
      B16* second = g + room * depth;
      if (f.head == kSums) {
        const __mmask16 kept = both ? 0xffff : 0;
        for (Index group = 0; group < groups; ++group) {
          float* squares = 16 * group < half ? t.qq + 16 * group : t.kk + (16 * group - half);
          __m512 sum = _mm512_loadu_ps(squares);
          convolve(group, [&](Index p, __m512 zb, __m512 zc) {
            const __m512i z = beside(zb, _mm512_maskz_mov_ps(kept, zc));
            sum = dot(sum, z, z);
            _mm512_store_si512(g + group * plane + p * 32, z);
          });
          _mm512_storeu_ps(squares, sum);
        }
        sums_row(g, plane, pixels, half, t);
        continue;
      }
      if (f.head == kAttend)
        for (Index group = 0; group < groups; ++group)
          convolve(group, [&](Index p, __m512 zb, __m512 zc) {
            store_bf16(g + p * depth + group * 16, zb);
            store_bf16(second + p * depth + group * 16, zc);
          });
      else
        for (Index group = 0; group < groups / 2; ++group) {
          convolve(group, [&](Index p, __m512 zb, __m512 zc) {
            _mm512_store_ps(open + p * 32, zb * normal_cdf(zb));
            _mm512_store_ps(open + p * 32 + 16, zc * normal_cdf(zc));
          });
          convolve(group + groups / 2, [&](Index p, __m512 zb, __m512 zc) {
            store_bf16(g + p * depth + group * 16, zb * _mm512_load_ps(open + p * 32));
            store_bf16(second + p * depth + group * 16, zc * _mm512_load_ps(open + p * 32 + 16));
          });
        }
      const Index at = ((y - 1) * f.width + left) * c, below = at + f.width * c;
      project(a.o, pixels, g, f.x + at, f.out + at);
      if (both) project(a.o, pixels, second, f.x + below, f.out + below);
    }
  }
  _mm_sfence();  // streamed stores are seen by other threads before what follows
}

// As `conv3x3_rows` for 32 channels into 16; kernel: its three rows [96, 16], each interleaved.
inline void conv3x3_rows(const float* x, const std::vector<B16> kernel[3], Index height, Index width, Index first,
                         Index last, float* out) {
  constexpr Index c = 32, o = 16, most = 12;
  each_three_rows(x, height, width, first, last, most, [&](Index y, const B16* const rows[3]) {
    for (Index p = 0; p < width; p += most) {
      __m512 sum[most] = {};
      for (int i = 0; i < 3; ++i) {
        const B16 *left = rows[i] + p * c, *right = kernel[i].data();
        for (int k = 0; k < 48; ++k) {
          const __m512i v = load(right + 32 * k);
#pragma GCC unroll 12
          for (int j = 0; j < most; ++j) sum[j] = dot(sum[j], everywhere(left + j * c + 2 * k), v);
        }
      }
      float* to = out + (y * width + p) * o;
#pragma GCC unroll 12
      for (int j = 0; j < most; ++j)
        if (p + j < width) _mm512_storeu_ps(to + j * o, sum[j]);
    }
  });
}

}  // namespace tdfusion::half
