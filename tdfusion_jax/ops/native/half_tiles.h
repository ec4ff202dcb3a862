// Parts of a block in half precision, forward only, for processors with AMX: products of bfloat16 by tiles, summed in
// float32; wide channels and depthwise convolutions in float16; layer norms, sums over pixels and the image in float32.
//
// Tiles are of 16 pixels; a tile's right operand has pairs of rows beside each other, as `interleaved` lays them out.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "bf16.h"
#include "block.h"

namespace tdfusion::half {

using F16 = _Float16;

// Whether the system lets this process use tiles; asked once, and then true for all of its threads.
inline bool permitted() {
  constexpr long kAskFor = 0x1023, kTileData = 18;
  static const bool given = syscall(SYS_arch_prctl, kAskFor, kTileData) == 0;
  return given;
}

// Tiles 0 to 3 are sums, 4 and 5 operands of `depth` channels, 6 and 7 of `depth_out`.
class Tiles {
 public:
  Tiles(Index depth, Index depth_out) {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int t = 0; t < 8; ++t) config.bytes[t] = 64, config.rows[t] = 16;
    config.bytes[4] = 2 * std::min<Index>(32, depth), config.rows[5] = std::min<Index>(32, depth) / 2;
    config.bytes[6] = 2 * std::min<Index>(32, depth_out), config.rows[7] = std::min<Index>(32, depth_out) / 2;
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
};

inline void store_f16(F16* to, __m512 v) { _mm256_storeu_ph(to, _mm512_cvtxps_ph(v)); }
inline __m512 load_f16(const F16* from) { return _mm512_cvtxph_ps(_mm256_loadu_ph(from)); }

// A part and what its weights become.
struct Halved {
  const Part<float>& f;
  std::vector<B16> w, o;
  std::vector<F16> k;  // for 16 channels twice beside each other: two pixels fill a vector

  explicit Halved(const Part<float>& part) : f(part), w(interleaved(f.p.w, f.channels, f.wide)) {
    if (f.head != kSums) o = interleaved(f.p.o, depth_out(), f.channels);
    const Index times = f.wide == 16 ? 2 : 1;
    for (int i = 0; i < 9; ++i)
      for (Index t = 0; t < times; ++t)
        for (Index j = 0; j < f.wide; ++j) k.push_back(F16(f.p.k[i * f.wide + j]));
  }
  Index depth_out() const { return f.head == kFeed ? f.half() : f.head == kAttend ? f.wide : 32; }
};

// Rows of sums on their way into float16.
struct Narrowing {
  const float* from;
  F16* to;
  Index rows;

  void run(Index across, Index stride) const {
    for (Index r = 0; r < rows; ++r)
      for (Index j = 0; j < across; j += 16) store_f16(to + r * stride + j, _mm512_load_ps(from + 64 * r + j));
  }
};

// As `tdfusion::widen_row`, into float16.
inline void widen_row(const Halved& a, Index y, Index left, Index pixels, B16* xn, F16* h) {
  const Part<float>& f = a.f;
  const Index n = f.wide, c = f.channels;
  if (y < 0 || y >= f.height) {
    fill_zero(h, pixels * n);
    return;
  }
  const Index from = std::max<Index>(0, left), to = std::min(f.width, left + pixels), inside = to - from;
  const float* in = f.x + (y * f.width + from) * c;
  (c == 16 ? norm_row<1> : norm_row<2>)(in, inside, f.p.scale, f.p.bias, xn);
  const Index before = (from - left) * n, after = (left + pixels - to) * n;
  // Products of up to 64 channels are under way while those before them are narrowed.
  alignas(64) float sums[2][16 * 64];
  const Index across = std::min<Index>(n, 64);
  Narrowing last{};
  int turn = 0;
  for (Index p = 0; p < inside; p += 16) {
    _tile_loadd(4, xn + p * c, 2 * c);
    for (Index j = 0; j < n; j += across, turn ^= 1) {
      const B16* w = a.w.data() + 2 * j;
      float* to = sums[turn];
#define TDFUSION_PRODUCT(i)               \
  if (16 * i < across) {                  \
    _tile_zero(i);                        \
    _tile_loadd(5, w + 32 * i, 4 * n);    \
    _tile_dpbf16ps(i, 4, 5);              \
    _tile_stored(i, to + 16 * i, 256);    \
  }
      TDFUSION_PRODUCT(0)
      TDFUSION_PRODUCT(1)
      TDFUSION_PRODUCT(2)
      TDFUSION_PRODUCT(3)
#undef TDFUSION_PRODUCT
      last.run(across, n);
      last = {to, h + before + p * n + j, std::min<Index>(16, inside - p)};
    }
  }
  last.run(across, n);
  fill_zero(h, before), fill_zero(h + before + inside * n, after);
}

// As `tdfusion::depthwise_row` for 16 channels, two pixels at a time; writes a pixel more where they are odd.
inline void depthwise_row_of_16(const F16* const rows[3], const F16* kernel, Index pixels, F16* out) {
  using S = Simd<F16>;
  Vec<F16> k[9];
  for (int i = 0; i < 9; ++i) k[i] = S::load(kernel + 32 * i);
  for (Index p = 0; p < pixels; p += 2) {
    Vec<F16> sum{};
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) sum += S::load(rows[i / 3] + (p + i % 3) * 16) * k[i];
    S::store(out + p * 16, sum);
  }
}

inline __m512 gated(const F16* gate, const F16* value) {
  const __m512 x = load_f16(gate);
  return x * normal_cdf(x) * load_f16(value);
}

// What the head makes of a row of z. zf, g: scratch.
inline void head_row(const Halved& a, Index at, Index pixels, const F16* z, float* zf, B16* g,
                     const Totals<float>& t) {
  const Part<float>& f = a.f;
  const Index n = f.wide, c = f.channels, half = f.half(), depth = a.depth_out();
  if (f.head == kSums) {
    for (Index i = 0; i < pixels * n; i += 16) _mm512_store_ps(zf + i, load_f16(z + i));
    return tdfusion::head_row<float>(f, 0, at, pixels, zf, nullptr, nullptr, nullptr, t);
  }
  if (f.head == kFeed)
    for (Index p = 0; p < pixels; ++p)
      for (Index j = 0; j < half; j += 32) {
        const F16 *gate = z + p * n + j, *value = gate + half;
        store_bf16(g + p * half + j, gated(gate, value), gated(gate + 16, value + 16));
      }
  else
    for (Index i = 0; i < pixels * n; i += 16) store_bf16(g + i, load_f16(z + i));
  alignas(64) float sums[16 * 32];
  const bool both = c == 32;
  for (Index p = 0; p < pixels; p += 16) {
    const Index rows = std::min<Index>(16, pixels - p);
    const float* x = f.x + at + p * c;
    float* y = f.out + at + p * c;
    if (rows < 16) {  // the tile is wider than what is left of the row
      fill_zero(sums, 16 * 32);
      for (Index r = 0; r < rows; ++r) std::copy(x + r * c, x + (r + 1) * c, sums + r * c);
    }
    const float* from = rows == 16 ? x : sums;
    float* to = rows == 16 ? y : sums;
    _tile_loadd(2, from, 4 * c);
    if (both) _tile_loadd(3, from + 16, 4 * c);
    for (Index k = 0; k < depth; k += 32) {
      _tile_loadd(6, g + p * depth + k, 2 * depth);
      _tile_loadd(7, a.o.data() + k * c, 4 * c);
      _tile_dpbf16ps(2, 6, 7);
      if (!both) continue;
      _tile_loadd(7, a.o.data() + k * c + 32, 4 * c);
      _tile_dpbf16ps(3, 6, 7);
    }
    _tile_stored(2, to, 4 * c);
    if (both) _tile_stored(3, to + 16, 4 * c);
    if (rows < 16) std::copy(sums, sums + rows * c, y);
  }
}

// As `tdfusion::forward_lane`.
inline void forward_lane(const Halved& a, Index lane, float* totals) {
  const Part<float>& f = a.f;
  const Index n = f.wide, c = f.channels, span = f.tile + 2;
  const Index first = f.top + lane * f.lane_rows, last = std::min(f.bottom, first + f.lane_rows);
  Arena<float> arena(3 * span * n + span * c + f.tile * (3 * n) + 64 * (n + c));  // more than enough: in floats
  F16* h[3];
  for (auto& row : h) row = reinterpret_cast<F16*>(arena.take((span + 16) * n / 2));
  B16* xn = reinterpret_cast<B16*>(arena.take((span + 16) * c / 2));
  F16* z = reinterpret_cast<F16*>(arena.take((f.tile + 2) * n / 2));
  B16* g = reinterpret_cast<B16*>(arena.take((f.tile + 16) * n / 2));
  float* zf = f.head == kSums ? arena.take(f.tile * n) : nullptr;
  const Totals<float> t = f.totals(totals);
  const Tiles tiles(c, a.depth_out());
  for (Index left = f.left; left < f.right; left += f.tile) {
    const Index pixels = std::min(f.tile, f.right - left);
    for (Index y = first - 1; y <= last; ++y) {
      widen_row(a, y, left - 1, pixels + 2, xn, h[(y + 3) % 3]);
      const Index row = y - 1;
      if (row < first) continue;
      const F16* around[3] = {h[(row + 2) % 3], h[(row + 3) % 3], h[(row + 4) % 3]};
      if (n == 16) depthwise_row_of_16(around, a.k.data(), pixels, z);
      else depthwise_row<F16>(around[0], around[1], around[2], a.k.data(), n, pixels, z, false);
      head_row(a, (row * f.width + left) * c, pixels, z, zf, g, t);
    }
  }
}

// The kernels [9, count] that `interleaved` rounds for `conv3x3_rows`.
inline std::vector<float> halved_kernel(const float* kernel, Index count) { return {kernel, kernel + 9 * count}; }

// As `conv3x3_rows` for 32 channels into 16; kernel: its three rows [96, 16], each interleaved.
inline void conv3x3_rows(const float* x, const std::vector<B16> kernel[3], Index height, Index width, Index first,
                         Index last, float* out) {
  constexpr Index c = 32, o = 16, most = 64;
  const Tiles tiles(c, c);
  alignas(64) float sums[most * o];
  each_three_rows(x, height, width, first, last, most, [&](Index y, const B16* const rows[3]) {
    for (Index p = 0; p < width; p += most) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int i = 0; i < 9; ++i) {
        const B16* left = rows[i / 3] + (p + i % 3) * c;
        _tile_loadd(5, kernel[i / 3].data() + i % 3 * c * o, 4 * o);
        _tile_loadd(4, left, 2 * c);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(6, left + 16 * c, 2 * c);
        _tile_dpbf16ps(1, 6, 5);
        _tile_loadd(4, left + 32 * c, 2 * c);
        _tile_dpbf16ps(2, 4, 5);
        _tile_loadd(6, left + 48 * c, 2 * c);
        _tile_dpbf16ps(3, 6, 5);
      }
      const Index pixels = std::min(most, width - p);
      float* target = out + (y * width + p) * o;
      float* to = pixels == most ? target : sums;
      _tile_stored(0, to, 4 * o);
      _tile_stored(1, to + 16 * o, 4 * o);
      _tile_stored(2, to + 32 * o, 4 * o);
      _tile_stored(3, to + 48 * o, 4 * o);
      if (pixels < most) std::copy(sums, sums + pixels * o, target);
    }
  });
}

}  // namespace tdfusion::half
