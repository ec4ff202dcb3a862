// Vectors, small matrix products and GELU: what the rows of a block are made of.
//
// GNU vector extensions, so one source serves AVX-512, AVX2, SSE and NEON through g++ and clang++.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace tdfusion {

using Index = int64_t;

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kAccumulators = 24;  // of 32 registers; the rest hold operands
#else
constexpr int kAccumulators = 12;  // of 16
#endif
constexpr int kWidest = kAccumulators / 6;  // vectors side by side in a product, six rows at a time

template <typename T>
struct Simd {
  static constexpr int kLanes = kVectorBytes / sizeof(T);
  typedef T V __attribute__((vector_size(kVectorBytes)));
  typedef T Unaligned __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias));

  static V load(const T* p) { return *reinterpret_cast<const Unaligned*>(p); }
  static void store(T* p, V v) { *reinterpret_cast<Unaligned*>(p) = v; }
  // Not s + V{}: that is another number than s where s is -0, and so an addition of its own.
  static V all(T s) { return s - V{}; }
};

template <typename T>
using Vec = typename Simd<T>::V;

// The lanes of a and b, numbered one after another, in another order.
template <typename T, int... I>
inline Vec<T> shuffled(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, I...);
#else
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Lane;
  typedef Lane Order __attribute__((vector_size(kVectorBytes)));
  return __builtin_shuffle(a, b, Order{I...});
#endif
}

template <typename T, int Shift, int... I>
inline Vec<T> rotated(Vec<T> v, std::integer_sequence<int, I...>) {
  return shuffled<T>(v, v, std::integer_sequence<int, (I + Shift) % Simd<T>::kLanes...>{});
}

// The sum over all lanes, in every lane.
template <typename T, int Shift = Simd<T>::kLanes / 2>
inline Vec<T> lane_sum(Vec<T> v) {
  if constexpr (Shift == 0) {
    return v;
  } else {
    v += rotated<T, Shift>(v, std::make_integer_sequence<int, Simd<T>::kLanes>{});
    return lane_sum<T, Shift / 2>(v);
  }
}

// The lanes at even (0) or odd (1) places of a and b behind it.
template <typename T, int Odd, int... I>
inline Vec<T> every_second(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return shuffled<T>(a, b, std::integer_sequence<int, (2 * I + Odd)...>{});
}
template <typename T, int Odd>
inline Vec<T> every_second(Vec<T> a, Vec<T> b) {
  return every_second<T, Odd>(a, b, std::make_integer_sequence<int, Simd<T>::kLanes>{});
}

// The first (0) or second (1) half of a0 b0 a1 b1 ...
template <typename T, int Half, int... I>
inline Vec<T> interleaved(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  constexpr int lanes = Simd<T>::kLanes;
  return shuffled<T>(a, b, std::integer_sequence<int, (I / 2 + I % 2 * lanes + Half * lanes / 2)...>{});
}
template <typename T, int Half>
inline Vec<T> interleaved(Vec<T> a, Vec<T> b) {
  return interleaved<T, Half>(a, b, std::make_integer_sequence<int, Simd<T>::kLanes>{});
}

// Rows x NV vectors of c = (or +=) a b, where a(i, k) = a[i * ai + k * ak].
template <typename T, int Rows, int NV>
inline void micro(const T* a, Index ai, Index ak, Index depth, const T* b, Index ldb, T* c, Index ldc, bool add) {
  using S = Simd<T>;
  Vec<T> sum[Rows][NV];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) sum[i][n] = add ? S::load(c + i * ldc + n * S::kLanes) : Vec<T>{};
  for (Index k = 0; k < depth; ++k) {
    Vec<T> right[NV];
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) right[n] = S::load(b + k * ldb + n * S::kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vec<T> left = S::all(a[i * ai + k * ak]);
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) sum[i][n] += left * right[n];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < NV; ++n) S::store(c + i * ldc + n * S::kLanes, sum[i][n]);
}

template <typename T, int Rows, int NV>
void columns(const T* a, Index ai, Index ak, Index rows, Index depth, const T* b, Index ldb, T* c, Index ldc,
             bool add) {
  for (; rows >= Rows; rows -= Rows, a += Rows * ai, c += Rows * ldc)
    micro<T, Rows, NV>(a, ai, ak, depth, b, ldb, c, ldc, add);
  if constexpr (Rows > 1)
    if (rows > 0) columns<T, (Rows + 1) / 2, NV>(a, ai, ak, rows, depth, b, ldb, c, ldc, add);
}

// c [rows, width] = (or +=) a [rows, depth] b [depth, width]; width is a multiple of the vector's lanes.
template <typename T>
void multiply(const T* a, Index ai, Index ak, Index rows, Index depth, const T* b, Index ldb, Index width, T* c,
              Index ldc, bool add) {
  constexpr int lanes = Simd<T>::kLanes;
  Index n = 0;
  for (; n + kWidest * lanes <= width; n += kWidest * lanes)
    columns<T, 6, kWidest>(a, ai, ak, rows, depth, b + n, ldb, c + n, ldc, add);
  if constexpr (kWidest > 2)
    for (; n + 2 * lanes <= width; n += 2 * lanes)
      columns<T, kAccumulators / 2, 2>(a, ai, ak, rows, depth, b + n, ldb, c + n, ldc, add);
  for (; n + lanes <= width; n += lanes)
    columns<T, 12, 1>(a, ai, ak, rows, depth, b + n, ldb, c + n, ldc, add);
}

// exp(y) of y <= 0, and of -87 for what is less.
inline Vec<float> exp_of_negative(Vec<float> y) {
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
  const Vec<float> zero{};
  y = y < zero - 87.0f ? zero - 87.0f : y;
  const Vec<float> shifted = y * 1.44269504f + 12582912.0f;  // the low bits hold round(y / log 2)
  const Vec<float> n = shifted - 12582912.0f;
  const Vec<float> r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec<float> e = r * (1.0f / 5040) + (1.0f / 720);
  e = e * r + (1.0f / 120);
  e = e * r + (1.0f / 24);
  e = e * r + (1.0f / 6);
  e = e * r + 0.5f;
  e = e * r + 1.0f;
  e = e * r + 1.0f;
  return e * (Vec<float>)(((Bits)shifted << 23) + 0x3f800000);
}

// Distribution function and density of the normal distribution, of which GELU(x) = x cdf(x) is made.
//
// float: cdf(-x) = exp(-x^2 / 2) p(t) with t = 1 / (1 + 0.21 x), p fitted to a relative error of 2e-8; the same
// exponential serves the density. Absolute error below 3e-7 in all.
inline void normal(Vec<float> x, Vec<float>* cdf, Vec<float>* pdf) {
  const Vec<float> zero{}, size = x < zero ? -x : x;
  const Vec<float> e = exp_of_negative(-0.5f * x * x);
  const Vec<float> t = 1.0f / (0.21f * size + 1.0f);
  Vec<float> p = t * -0.07165528356624846f + 0.28358354975120104f;
  p = p * t - 0.3302428755413609f;
  p = p * t + 0.34938871548283595f;
  p = p * t - 0.09391643367778224f;
  p = p * t + 0.12486882177152175f;
  p = p * t + 0.06919322811445944f;
  p = p * t + 0.08506869863829644f;
  p = p * t + 0.08371158585688855f;
  const Vec<float> tail = p * t * e;
  *cdf = x > zero ? 1.0f - tail : tail;
  *pdf = e * 0.398942280401f;
}

inline void normal(Vec<double> x, Vec<double>* cdf, Vec<double>* pdf) {
  for (int i = 0; i < Simd<double>::kLanes; ++i) {
    (*cdf)[i] = 0.5 * std::erfc(-x[i] * 0.70710678118654752440);
    (*pdf)[i] = 0.39894228040143267794 * std::exp(-0.5 * x[i] * x[i]);
  }
}

}  // namespace tdfusion
