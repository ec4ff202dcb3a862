// One part of a Restormer block, worked through in tiles that stay in the second-level cache.
//
// Every part is z = depthwise3x3(LN(x) w) and a head that makes something of z:
//   sums    z = q | k: per image q^T k, and the sums over pixels of q^2 and k^2
//   attend  y = x + z mixed, a matrix per image
//   feed    y = x + (GELU(first half of z) * second half) out
// and comes in three ways: applied, its derivative along given directions, and its derivative's transpose.
//
// An image is cut into lanes of rows, the same whatever the number of threads, and sums over pixels are kept
// lane by lane and added up in order: results do not depend on who computes what.
#pragma once

#include <vector>

#include "rows.h"

namespace tdfusion {

enum Head { kSums, kAttend, kFeed };
enum Way { kApply, kAlong, kBack };

template <typename T>
struct Weights {
  const T *scale = nullptr, *bias = nullptr;  // of the layer norm [C]; null: none
  const T* w = nullptr;                       // [C, N]
  const T* k = nullptr;                       // [3, 3, N]
  const T* o = nullptr;                       // attend [B, N, C], feed [N / 2, C]
};

// Where a lane adds up what it finds for the weights, or for the sums.
template <typename T>
struct Totals {
  T *scale, *bias, *w, *k, *o, *qk, *qq, *kk;
};

template <typename T>
struct Part {
  Head head;
  Way way;
  Index batch, height, width, channels, wide;
  Index top = 0, bottom, left = 0, right;  // the rows and columns that count; kBack: all
  Index lane_rows, tile;
  const T *x = nullptr, *xd = nullptr;
  Weights<T> p, d;       // weights, and directions (kAlong)
  const T* ct[3] = {};   // kBack: of the outputs
  T* out = nullptr;      // y, its tangent, or dx

  // Chooses how the image is cut; the last thing to be set.
  void cut() {
    const Index most = wide > 128 ? 48 : 64, columns = right - left, tiles = (columns + most - 1) / most;
    tile = (columns + tiles - 1) / tiles;
    lane_rows = batch * (bottom - top) >= 1024 ? 64 : 32;
  }
  Index half() const { return wide / 2; }
  Index lanes_per_image() const { return (bottom - top + lane_rows - 1) / lane_rows; }
  Index lanes() const { return batch * lanes_per_image(); }
  Index o_size() const { return head == kSums ? 0 : (head == kFeed ? half() : wide) * channels; }
  Index totals_size() const {
    if (way == kBack) return 2 * channels + channels * wide + 9 * wide + o_size();
    return head == kSums ? half() * half() + 2 * half() : 0;
  }
  Totals<T> totals(T* at) const {
    Totals<T> t{};
    if (way == kBack) {
      t.scale = at, t.bias = t.scale + channels, t.w = t.bias + channels, t.k = t.w + channels * wide;
      t.o = t.k + 9 * wide;
    } else {
      t.qk = at, t.qq = at + half() * half(), t.kk = t.qq + half();
    }
    return t;
  }
};

// Scratch of one thread, kept from call to call.
template <typename T>
class Arena {
 public:
  explicit Arena(Index count) {
    if (Index(room().size()) < count + 16) room().resize(count + 16);
    next_ = room().data();
    next_ += (64 - reinterpret_cast<uintptr_t>(next_) % 64) % 64 / sizeof(T);
  }
  T* take(Index count) {
    T* at = next_;
    next_ += (count + 15) / 16 * 16;
    return at;
  }

 private:
  static std::vector<T>& room() {
    thread_local std::vector<T> room;
    return room;
  }
  T* next_;
};

template <typename T>
void transpose(const T* a, Index rows, Index columns, T* out) {
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j) out[j * rows + i] = a[i * columns + j];
}

// 16 or 32 channels, in vectors of 16 to 64 bytes: 1 to 16 vectors a pixel.
template <typename T>
void norm_row(const Part<T>& f, const T* x, const T* xd, Index pixels, T* out, T* outd) {
  const auto& p = f.p;
  const auto& d = f.d;
  switch (f.channels / Simd<T>::kLanes) {
    case 1: return norm_row<T, 1>(x, xd, pixels, p.scale, p.bias, d.scale, d.bias, out, outd);
    case 2: return norm_row<T, 2>(x, xd, pixels, p.scale, p.bias, d.scale, d.bias, out, outd);
    case 4: return norm_row<T, 4>(x, xd, pixels, p.scale, p.bias, d.scale, d.bias, out, outd);
    case 8: return norm_row<T, 8>(x, xd, pixels, p.scale, p.bias, d.scale, d.bias, out, outd);
    default: return norm_row<T, 16>(x, xd, pixels, p.scale, p.bias, d.scale, d.bias, out, outd);
  }
}

template <typename T>
void norm_back_row(const Part<T>& f, const T* x, const T* ct, Index pixels, T* dx, bool add, const Totals<T>& t) {
  switch (f.channels / Simd<T>::kLanes) {
    case 1: return norm_back_row<T, 1>(x, ct, pixels, f.p.scale, dx, add, t.scale, t.bias);
    case 2: return norm_back_row<T, 2>(x, ct, pixels, f.p.scale, dx, add, t.scale, t.bias);
    case 4: return norm_back_row<T, 4>(x, ct, pixels, f.p.scale, dx, add, t.scale, t.bias);
    case 8: return norm_back_row<T, 8>(x, ct, pixels, f.p.scale, dx, add, t.scale, t.bias);
    default: return norm_back_row<T, 16>(x, ct, pixels, f.p.scale, dx, add, t.scale, t.bias);
  }
}

// The wide channels LN(x) w of row `y`, columns [left, left + pixels), zero outside the image; hd their tangents.
// Returns where LN(x) of the row's first column inside the image lies: in xn, or in x itself.
template <typename T>
const T* widen_row(const Part<T>& f, Index image, Index y, Index left, Index pixels, T* xn, T* xnd, T* h, T* hd) {
  const Index n = f.wide, c = f.channels;
  if (y < 0 || y >= f.height) {
    fill_zero(h, pixels * n);
    if (hd) fill_zero(hd, pixels * n);
    return nullptr;
  }
  const Index from = std::max<Index>(0, left), to = std::min(f.width, left + pixels), inside = to - from;
  const Index at = ((image * f.height + y) * f.width + from) * c;
  const T *in = f.x + at, *ind = hd ? f.xd + at : nullptr;
  if (f.p.scale) {
    norm_row(f, in, ind, inside, xn, xnd);
    in = xn, ind = hd ? xnd : nullptr;
  }
  const Index before = (from - left) * n, after = (left + pixels - to) * n;
  multiply(in, c, Index(1), inside, c, f.p.w, n, n, h + before, n, false);
  fill_zero(h, before), fill_zero(h + before + inside * n, after);
  if (hd) {
    multiply(ind, c, Index(1), inside, c, f.p.w, n, n, hd + before, n, false);
    multiply(in, c, Index(1), inside, c, f.d.w, n, n, hd + before, n, true);
    fill_zero(hd, before), fill_zero(hd + before + inside * n, after);
  }
  return in;
}

// What the head makes of a row of z (kApply), or of z and its tangents (kAlong).
template <typename T>
void head_row(const Part<T>& f, Index image, Index at, Index pixels, const T* z, const T* zd, T* g, T* gd,
              const Totals<T>& t) {
  const Index n = f.wide, c = f.channels, half = f.half();
  const Index one = 1;
  if (f.head == kSums) {
    if (!zd) {
      multiply(z, one, n, half, pixels, z + half, n, half, t.qk, half, true);
      dot_row(z, z, n, half, pixels, T(1), t.qq);
      dot_row(z + half, z + half, n, half, pixels, T(1), t.kk);
    } else {
      multiply(zd, one, n, half, pixels, z + half, n, half, t.qk, half, true);
      multiply(z, one, n, half, pixels, zd + half, n, half, t.qk, half, true);
      dot_row(z, zd, n, half, pixels, T(2), t.qq);
      dot_row(z + half, zd + half, n, half, pixels, T(2), t.kk);
    }
    return;
  }
  const Index depth = f.head == kFeed ? half : n, of_image = f.head == kAttend ? image * n * c : 0;
  const T *o = f.p.o + of_image, *od = zd ? f.d.o + of_image : nullptr;
  T* y = f.out + at;
  if (f.head == kFeed) {
    gate_row(z, zd, half, pixels, g, gd);
    z = g, zd = zd ? gd : nullptr;
  }
  const T* residual = (zd ? f.xd : f.x) + at;
  std::copy(residual, residual + pixels * c, y);
  if (!zd) {
    multiply(z, depth, one, pixels, depth, o, c, c, y, c, true);
  } else {
    multiply(zd, depth, one, pixels, depth, o, c, c, y, c, true);
    multiply(z, depth, one, pixels, depth, od, c, c, y, c, true);
  }
}

template <typename T>
void forward_lane(const Part<T>& f, Index lane, T* totals) {
  const bool along = f.way == kAlong;
  const Index image = lane / f.lanes_per_image(), n = f.wide, c = f.channels;
  const Index first = f.top + lane % f.lanes_per_image() * f.lane_rows, last = std::min(f.bottom, first + f.lane_rows);
  const Index span = f.tile + 2;
  Arena<T> arena((along ? 2 : 1) * (3 * span * n + span * c + f.tile * (n + n / 2) + 256));
  T *h[3], *hd[3] = {}, *xnd = nullptr, *zd = nullptr, *gd = nullptr;
  for (auto& row : h) row = arena.take(span * n);
  T *xn = arena.take(span * c), *z = arena.take(f.tile * n), *g = arena.take(f.tile * n / 2);
  if (along) {
    for (auto& row : hd) row = arena.take(span * n);
    xnd = arena.take(span * c), zd = arena.take(f.tile * n), gd = arena.take(f.tile * n / 2);
  }
  const Totals<T> t = f.totals(totals);
  for (Index left = f.left; left < f.right; left += f.tile) {
    const Index pixels = std::min(f.tile, f.right - left);
    for (Index y = first - 1; y <= last; ++y) {
      widen_row(f, image, y, left - 1, pixels + 2, xn, xnd, h[(y + 3) % 3], hd[(y + 3) % 3]);
      const Index row = y - 1;
      if (row < first) continue;
      const Index s[3] = {(row + 2) % 3, (row + 3) % 3, (row + 4) % 3};
      depthwise_row(h[s[0]], h[s[1]], h[s[2]], f.p.k, n, pixels, z, false);
      if (along) {
        depthwise_row(hd[s[0]], hd[s[1]], hd[s[2]], f.p.k, n, pixels, zd, false);
        depthwise_row(h[s[0]], h[s[1]], h[s[2]], f.d.k, n, pixels, zd, true);
      }
      head_row(f, image, ((image * f.height + row) * f.width + left) * c, pixels, z, zd, g, gd, t);
    }
  }
}

// dz of a row of z; of the `own` pixels from `skip` on also what they add to the head's weights.
template <typename T>
void head_back_row(const Part<T>& f, Index image, Index at, Index pixels, Index skip, Index own, const T* z, T* g,
                   const T* turned, T* dz, const Totals<T>& t) {
  const Index n = f.wide, c = f.channels, half = f.half();
  const Index one = 1;
  if (f.head == kSums) {  // turned: the transposed cotangent of q^T k
    const T* straight = f.ct[0] + image * half * half;
    multiply(z + half, n, one, pixels, half, turned, half, half, dz, n, false);
    multiply(z, n, one, pixels, half, straight, half, half, dz + half, n, false);
    double_row(z, f.ct[1] + image * half, n, half, pixels, dz);
    double_row(z + half, f.ct[2] + image * half, n, half, pixels, dz + half);
    return;
  }
  const T* ct = f.ct[0] + at;
  if (f.head == kAttend) {
    multiply(ct, c, one, pixels, c, turned, n, n, dz, n, false);
    multiply(z + skip * n, one, n, n, own, ct + skip * c, c, c, t.o, c, true);
  } else {
    multiply(ct, c, one, pixels, c, turned, half, half, g, half, false);
    gate_back_row(z, half, pixels, g, dz);
    multiply(g + skip * half, one, half, half, own, ct + skip * c, c, c, t.o, c, true);
  }
}

template <typename T>
void backward_lane(const Part<T>& f, Index lane, T* totals) {
  const Index image = lane / f.lanes_per_image(), n = f.wide, c = f.channels, half = f.half();
  const Index first = lane % f.lanes_per_image() * f.lane_rows, last = std::min(f.height, first + f.lane_rows);
  const Index one = 1, span = f.tile + 4, between = f.tile + 2;
  Arena<T> arena(3 * span * (n + c) + 3 * between * n + between * (n + half) + f.tile * (n + c) + 11 * n + c * n +
                 f.o_size() + half * half + 512);
  T *h[3], *xn[3], *dz[3];
  const T* normed[3];
  for (auto& row : h) row = arena.take(span * n);
  for (auto& row : xn) row = arena.take(span * c);
  for (auto& row : dz) row = arena.take(between * n);
  T *z = arena.take(between * n), *g = arena.take(between * half), *dh = arena.take(f.tile * n);
  T *dxn = arena.take(f.tile * c), *flipped = arena.take(9 * n), *w_turned = arena.take(c * n);
  T* turned = arena.take(std::max(f.o_size(), half * half));
  for (int i = 0; i < 9; ++i) std::copy(f.p.k + (8 - i) * n, f.p.k + (9 - i) * n, flipped + i * n);
  transpose(f.p.w, c, n, w_turned);
  if (f.head == kSums) transpose(f.ct[0] + image * half * half, half, half, turned);
  if (f.head == kAttend) transpose(f.p.o + image * n * c, n, c, turned);
  if (f.head == kFeed) transpose(f.p.o, half, c, turned);
  const Totals<T> t = f.totals(totals);
  for (Index left = 0; left < f.width; left += f.tile) {
    const Index pixels = std::min(f.tile, f.width - left);
    const Index from = std::max<Index>(0, left - 1), to = std::min(f.width, left + pixels + 1);
    const Index normed_from = std::max<Index>(0, left - 2);
    for (Index y = first - 2; y <= last + 1; ++y) {
      const Index slot = (y + 6) % 3;
      normed[slot] = widen_row(f, image, y, left - 2, pixels + 4, xn[slot], (T*)nullptr, h[slot], (T*)nullptr);
      const Index row = y - 1;
      if (row < first - 1) continue;
      T* dz_row = dz[(row + 6) % 3];
      const T *above = h[(row + 5) % 3], *here = h[(row + 6) % 3], *below = h[(row + 7) % 3];
      if (row < 0 || row >= f.height) {
        fill_zero(dz_row, (pixels + 2) * n);
      } else {
        const Index before = (from - left + 1) * n;
        const bool owned = row >= first && row < last;
        depthwise_row(above + before, here + before, below + before, f.p.k, n, to - from, z, false);
        head_back_row(f, image, ((image * f.height + row) * f.width + from) * c, to - from, left - from,
                      owned ? pixels : 0, z, g, turned, dz_row + before, t);
        fill_zero(dz_row, before), fill_zero(dz_row + before + (to - from) * n, (left + pixels + 1 - to) * n);
        if (owned) correlate_row(above + n, here + n, below + n, dz_row + n, n, pixels, t.k);
      }
      const Index done = row - 1;
      if (done < first) continue;
      depthwise_row(dz[(done + 5) % 3], dz[(done + 6) % 3], dz[(done + 7) % 3], flipped, n, pixels, dh, false);
      const T* in = normed[(done + 6) % 3] + (left - normed_from) * c;
      multiply(in, one, c, c, pixels, dh, n, n, t.w, n, true);
      const Index at = ((image * f.height + done) * f.width + left) * c;
      T* dx = f.out + at;
      const bool residual = f.head != kSums;
      if (residual) std::copy(f.ct[0] + at, f.ct[0] + at + pixels * c, dx);
      if (!f.p.scale) {
        multiply(dh, n, one, pixels, n, w_turned, c, c, dx, c, residual);
      } else {
        multiply(dh, n, one, pixels, n, w_turned, c, c, dxn, c, false);
        norm_back_row(f, f.x + at, dxn, pixels, dx, residual, t);
      }
    }
  }
}

}  // namespace tdfusion
