// The weights of a part as bfloat16 for `half_dots.h`, rounded so that images lose little by it.
//
// Roundings of weights are the same for all pixels: unlike those of features they do not average out, and move an even
// image as a whole. Three measures: matrices of attention get a second term, of what rounding has left; a kernel's nine
// are rounded so that their sum stays; and of scales for a wide channel, which its kernel takes back, the one is taken
// that leaves the smallest errors.
#pragma once

#include <array>
#include <numeric>

#include "bf16.h"
#include "block.h"

namespace tdfusion::half {

inline float widened(B16 x) {
  const uint32_t bits = uint32_t(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

// a and b as bfloat16, lane beside lane.
inline __m512i beside(__m512 a, __m512 b) {
  alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

// A matrix [depth, width] as [terms, depth / 2, width, 2]; of each 16 columns, the pairs of rows that are not all zero:
// what two images have in one block is on the diagonal.
struct Matrix {
  Index depth, width, terms;
  std::vector<B16> at;
  std::vector<Index> from, to;

  Matrix() = default;
  Matrix(const float* m, Index rows, Index columns, Index count)
      : depth(rows), width(columns), terms(count), at(interleaved(m, rows, columns)) {
    if (terms == 2) {
      std::vector<float> rest(m, m + rows * columns);
      for (Index i = 0; i < rows * columns; ++i) rest[i] -= widened(rounded(m[i]));
      const auto more = interleaved(rest.data(), rows, columns);
      at.insert(at.end(), more.begin(), more.end());
    }
    for (Index j = 0; j < width; j += 16) {
      Index first = depth / 2, last = 0;
      for (Index i = 0; i < depth * 16; ++i)
        if (m[i / 16 * width + j + i % 16] != 0) first = std::min(first, i / 32), last = i / 32 + 1;
      from.push_back(std::min(first, last)), to.push_back(last);
    }
  }
  // Whether `count` times 16 columns from 16 `group` on have the same rows.
  bool alike(Index group, Index count) const {
    if (group + count > width / 16) return false;
    for (Index i = group + 1; i < group + count; ++i)
      if (from[i] != from[group] || to[i] != to[group]) return false;
    return true;
  }
};

using Kernel = std::array<float, 9>;

// Rounds the largest first; each takes over what the ones before have left.
inline Kernel with_same_sum(const Kernel& k) {
  std::array<int, 9> order;
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return std::abs(k[a]) > std::abs(k[b]); });
  Kernel out;
  float left = 0;
  for (int i : order) out[i] = widened(rounded(k[i] + left)), left += k[i] - out[i];
  return out;
}

// Kernels [9, count], each rounded so.
inline std::vector<float> halved_kernel(const float* k, Index count) {
  std::vector<float> out(9 * count);
  for (Index j = 0; j < count; ++j) {
    Kernel own;
    for (int i = 0; i < 9; ++i) own[i] = k[i * count + j];
    own = with_same_sum(own);
    for (int i = 0; i < 9; ++i) out[i * count + j] = own[i];
  }
  return out;
}

// A part and what its weights become.
struct Halved {
  const Part<float>& f;
  Matrix w, o;
  std::vector<B16> k;  // [wide / 16, 3 columns, 4 pairs as in `half_dots.h`, 16, 2]

  explicit Halved(const Part<float>& part) : f(part) {
    const Index n = f.wide, c = f.channels, terms = f.head == kAttend ? 2 : 1;
    std::vector<float> matrix(f.p.w, f.p.w + c * n), kernel(9 * n);
    for (Index j = 0; j < n; ++j) scale(j, terms == 1, matrix.data(), kernel.data());
    w = Matrix(matrix.data(), c, n, terms);
    if (f.head != kSums) o = Matrix(f.p.o, f.head == kFeed ? f.half() : n, c, terms);
    for (Index group = 0; group < n; group += 16)
      for (Index column = 0; column < 3; ++column) {
        auto row = [&](Index i) { return kernel.data() + (i * 3 + column) * n + group; };
        const float zero[16] = {};
        add(row(0), row(1)), add(row(2), zero), add(zero, row(0)), add(row(1), row(2));
      }
  }

 private:
  void add(const float* a, const float* b) {
    k.resize(k.size() + 32);
    _mm512_storeu_si512(&*k.end() - 32, beside(_mm512_loadu_ps(a), _mm512_loadu_ps(b)));
  }

  // Chooses the scale of a wide channel.
  void scale(Index j, bool matrix_is_rounded, float* matrix, float* kernel) const {
    constexpr int kScales = 16;
    const Index n = f.wide, c = f.channels;
    float least = INFINITY, best = 1;
    Kernel k, found{};
    for (int i = 0; i < 9; ++i) k[i] = f.p.k[i * n + j];
    for (int t = 0; t < kScales; ++t) {
      const float s = std::exp2(float(t) / kScales);
      float off = 0, off2 = 0, size2 = 1e-30f, w_off2 = 0, w_size2 = 1e-30f;
      Kernel scaled;
      for (int i = 0; i < 9; ++i) scaled[i] = k[i] / s;
      scaled = with_same_sum(scaled);
      for (int i = 0; i < 9; ++i) {
        const float error = scaled[i] * s - k[i];
        off += error, off2 += error * error, size2 += k[i] * k[i];
      }
      for (Index i = 0; matrix_is_rounded && i < c; ++i) {
        const float w = f.p.w[i * n + j], error = widened(rounded(w * s)) / s - w;
        w_off2 += error * error, w_size2 += w * w;
      }
      const float loss = (0.3f * off2 + off * off) / size2 + w_off2 / w_size2;
      if (loss < least) least = loss, best = s, found = scaled;
    }
    for (Index i = 0; i < c; ++i) matrix[i * n + j] = f.p.w[i * n + j] * best;
    for (int i = 0; i < 9; ++i) kernel[i * n + j] = found[i];
  }
};

}  // namespace tdfusion::half
