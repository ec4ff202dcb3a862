// The fast network, row by row: a convolution's end (rectified, added, spread over twice the resolution, mixed to the
// fused image) is applied to its sums while they are in registers or in the first cache.
#include "fast.h"

#include "block.h"
#include "planes.h"

namespace tdfusion::fast {
namespace {

enum Layer {
  kHalfIn, kQuarterIn, kQuarter0, kEighthIn, kWholeIn, kScale0, kShift0, kScale1, kShift1, kEighth0, kEighth1,
  kEighthOut, kQuarter1, kQuarterOut, kHalf0, kHalfOut, kWholeOut, kLayers
};
struct Shape {
  Index side, in, out;
  Index kernel() const { return side * side * in * out; }
};
constexpr Index kHalf = 24, kQuarter = 32, kEighth = 32, kWhole = 32, kNumbers = 4;
constexpr Shape kShapes[kLayers] = {
    {3, 8, kHalf},           {2, kHalf, kQuarter},     {3, kQuarter, kQuarter}, {2, kQuarter, kEighth},
    {1, 64, kWhole},         {1, kWhole, kEighth},     {1, kWhole, kEighth},    {1, kWhole, kEighth},
    {1, kWhole, kEighth},    {3, kEighth, kEighth},    {3, kEighth, kEighth},   {1, kEighth, 4 * kQuarter},
    {3, kQuarter, kQuarter}, {1, kQuarter, 4 * kHalf}, {3, kHalf, kHalf},       {3, kHalf, 4 * kNumbers},
    {1, kWhole, kNumbers}};

// All kernels [side, side, in, out], each with its bias [out] behind it, one after another in the order of the layers.
struct Weights {
  const float *kernel[kLayers], *bias[kLayers];

  explicit Weights(const float* at) {
    for (int i = 0; i < kLayers; ++i) {
      kernel[i] = at, at += kShapes[i].kernel();
      bias[i] = at, at += kShapes[i].out;
    }
  }
  Packed packed(Layer i, bool to_pixels = false) const {
    return {kernel[i], bias[i], kShapes[i].side, kShapes[i].in, kShapes[i].out, to_pixels};
  }
  // out = W x + b of a layer without neighbours.
  std::vector<float> apply(Layer i, const std::vector<float>& x) const {
    const Index n = kShapes[i].out;
    std::vector<float> out(bias[i], bias[i] + n);
    for (size_t c = 0; c < x.size(); ++c)
      for (Index o = 0; o < n; ++o) out[o] += x[c] * kernel[i][c * n + o];
    return out;
  }
};

// log(1 + exp(y)), to 1e-7; log(1 + t) of t in [0, 1] by Abramowitz and Stegun, 4.1.44.
inline Vec<float> softplus(Vec<float> y) {
  const Vec<float> zero{}, t = exp_of_negative(y < zero ? y : -y);
  Vec<float> p = t * -0.0064535442f + 0.0360884937f;
  p = p * t - 0.0953293897f;
  p = p * t + 0.1676540711f;
  p = p * t - 0.2407338084f;
  p = p * t + 0.3317990258f;
  p = p * t - 0.4998741238f;
  p = p * t + 0.9999964239f;
  return p * t + (y < zero ? zero : y);
}

// x held softly in [0, 1]: (softplus(40 x) - softplus(40 (x - 1))) / 40.
inline Vec<float> soft_clip(Vec<float> x) {
  const Vec<float> zero{}, one = zero + 1.0f, y = 40.0f * x, z = y - 40.0f;
  Vec<float> v = (softplus(y) - softplus(z)) * (1 / 40.0f);
  v = v < zero ? zero : v;
  return v > one ? one : v;
}

// A pair of images on its way.
class Pair {
 public:
  Pair(const float* ir, const float* vi, const float* weights, Index height, Index width, Index threads, float* out,
       const Run& run)
      : ir_(ir), vi_(vi), height_(height), width_(width), threads_(threads), out_(out), run_(run), w_(weights),
        rows_((height + 7) / 8), columns_((width + 7) / 8),
        squares_(8, 4 * rows_, 4 * columns_), half_(kHalf, 4 * rows_, 4 * columns_),
        first_(kQuarter, 2 * rows_, 2 * columns_), quarter_(kQuarter, 2 * rows_, 2 * columns_),
        eighth_{{kEighth, rows_, columns_}, {kEighth, rows_, columns_}} {}

  void fuse() {
    Planes* all[] = {&squares_, &half_, &first_, &quarter_, &eighth_[0], &eighth_[1]};
    Index size = 0;
    for (Planes* planes : all) size += planes->size() + 16;
    Room room(size);
    float* at = room.begin();
    for (Planes* planes : all) at = planes->lie_at(at);
    down();
    const std::vector<float> whole = see_whole();
    up(whole);
    end(w_.apply(kWholeOut, whole));
  }

 private:
  static constexpr Index kStrip = 2;  // rows at an eighth of the resolution

  // Calls work(row) for `per` rows of each at an eighth of the resolution.
  template <typename F>
  void each_row(Index per, const F& work) const {
    run_((rows_ + kStrip - 1) / kStrip, [&](Index strip) {
      const Index last = std::min(rows_, (strip + 1) * kStrip) * per;
      for (Index y = strip * kStrip * per; y < last; ++y) work(y);
    });
  }

  // Images become features, at half the resolution, a quarter and an eighth.
  void down() {
    each_row(4, [&](Index y) { split_images(y); });
    const Packed half_in = w_.packed(kHalfIn), quarter_in = w_.packed(kQuarterIn);
    each_row(2, [&](Index y) {
      for (Index i : {2 * y, 2 * y + 1}) convolve_row<3>(squares_.around(i), half_in, half_.width, Rectified{half_, i});
      halve(half_, y, quarter_in, first_);
    });
    const Packed quarter_0 = w_.packed(kQuarter0), eighth_in = w_.packed(kEighthIn);
    sums_.assign(rows_ * (kQuarter + kEighth), 0.0f);
    each_row(1, [&](Index y) {
      float* sums = sums_.data() + y * (kQuarter + kEighth);
      for (Index i : {2 * y, 2 * y + 1}) {
        convolve_row<3>(first_.around(i), quarter_0, first_.width, Rectified{quarter_, i});
        quarter_.add_sums(i, sums);
      }
      halve(quarter_, y, eighth_in, eighth_[0]);
      eighth_[0].add_sums(y, sums + kQuarter);
    });
  }

  // A convolution of squares of two by two pixels: rows 2 y and 2 y + 1 of `from` become row y of `to`.
  void halve(const Planes& from, Index y, const Packed& kernel, const Planes& to) const {
    Planes split(2 * from.channels, 2, to.width);
    Arena<float> arena(split.size());
    split.lie_at(arena.take(split.size()));
    for (Index i : {0, 1}) from.split_columns(2 * y + i, split.row(i), split.plane);
    const Rows both{split.channels, split.plane, {split.row(0), split.row(1), nullptr}, 2};
    convolve_row<1>(both, kernel, to.width, Rectified{to, y});
  }

  // What is known of the whole image, from the means of all features.
  std::vector<float> see_whole() const {
    std::vector<float> means(kQuarter + kEighth);
    const double pixels = double(rows_) * columns_;
    for (Index c = 0; c < kQuarter + kEighth; ++c) {
      double sum = 0;
      for (Index y = 0; y < rows_; ++y) sum += sums_[y * (kQuarter + kEighth) + c];
      means[c] = sum / (c < kQuarter ? 4 * pixels : pixels);
    }
    std::vector<float> whole = w_.apply(kWholeIn, means);
    for (float& x : whole) x = x < 0 ? 0 : x;
    return whole;
  }

  // Features are refined at each resolution and added to those at twice the resolution.
  void up(const std::vector<float>& whole) {
    Packed eighth_0 = w_.packed(kEighth0), eighth_1 = w_.packed(kEighth1);
    eighth_0.scale(w_.apply(kScale0, whole), w_.apply(kShift0, whole));
    eighth_1.scale(w_.apply(kScale1, whole), w_.apply(kShift1, whole));
    each_row(1, [&](Index y) {
      convolve_row<3>(eighth_[0].around(y), eighth_0, eighth_[0].width, Added{eighth_[1], y, eighth_[0].row(y)});
    });
    const Packed eighth_out = w_.packed(kEighthOut, true), quarter_out = w_.packed(kQuarterOut, true);
    const Packed quarter_1 = w_.packed(kQuarter1);
    each_row(1, [&](Index y) { refine(eighth_[1], y, eighth_1, eighth_out, quarter_); });
    each_row(2, [&](Index y) { refine(quarter_, y, quarter_1, quarter_out, half_); });
  }

  // Row y of x + relu(convolution of x), of which `out` makes what is added to rows 2 y and 2 y + 1 of `to`.
  void refine(const Planes& x, Index y, const Packed& kernel, const Packed& out, const Planes& to) const {
    Planes refined(x.channels, 1, x.width);
    Arena<float> arena(refined.size());
    refined.lie_at(arena.take(refined.size()));
    convolve_row<3>(x.around(y), kernel, x.width, Added{refined, 0, x.row(y)});
    const Rows row{x.channels, x.plane, {refined.row(0), nullptr, nullptr}, 1};
    convolve_row<1>(row, out, x.width, Spread{to, 2 * y});
  }

  // The last features, of which each pixel's numbers are made, and the fused image. Strips share no rows: two are
  // computed twice.
  void end(const std::vector<float>& shared) const {
    const Packed half_0 = w_.packed(kHalf0), half_out = w_.packed(kHalfOut);
    const Index strip = std::max<Index>(8, std::min<Index>(32, half_.height / (5 * threads_)));
    run_((half_.height + strip - 1) / strip, [&](Index i) {
      const Index first = i * strip, last = std::min(half_.height, first + strip);
      Planes ring(kHalf, 3, half_.width), numbers(4 * kNumbers, 1, half_.width);
      Arena<float> arena(ring.size() + numbers.size() + 64);
      ring.lie_at(arena.take(ring.size())), numbers.lie_at(arena.take(numbers.size()));
      for (Index y = first - 1; y <= last; ++y) {
        if (y >= 0 && y < half_.height)
          convolve_row<3>(half_.around(y), half_0, half_.width, Added{ring, y % 3, half_.row(y)});
        if (y <= first) continue;
        Rows around{ring.channels, ring.plane, {}, 3};
        for (Index j = 0; j < 3; ++j)
          if (y - 2 + j >= 0 && y - 2 + j < half_.height) around.row[j] = ring.row((y - 2 + j) % 3);
        convolve_row<3>(around, half_out, half_.width, Plain{numbers, 0});
        mix(y - 1, numbers.row(0), numbers.plane, shared);
      }
    });
  }

  // Rows 2 y and 2 y + 1 of both images, and at least a row and column that repeat the last, as row y of squares.
  void split_images(Index y) const {
    for (Index i = 0; i < 4; ++i) {
      const float* from = (i < 2 ? ir_ : vi_) + std::min(2 * y + i % 2, height_ - 1) * width_;
      float *even = squares_.row(y) + 2 * i * squares_.plane, *odd = even + squares_.plane;
      Index p = 0;
      for (; 2 * (p + kLanes) <= width_; p += kLanes) split(from + 2 * p, even + p, odd + p);
      for (; p < squares_.width; ++p)
        even[p] = from[std::min(2 * p, width_ - 1)], odd[p] = from[std::min(2 * p + 1, width_ - 1)];
    }
    squares_.clear(y);
  }

  // (1/2 + w_a) a + (1/2 + w_b) b + w_max max(a, b) + r, held softly in [0, 1], of rows 2 y and 2 y + 1.
  void mix(Index y, const float* numbers, Index plane, const std::vector<float>& shared) const {
    using S = Simd<float>;
    const float *a = squares_.row(y), *b = a + 4 * squares_.plane;
    for (Index i = 0; i < 2 && 2 * y + i < height_; ++i) {
      float* out = out_ + (2 * y + i) * width_;
      for (Index p = 0; 2 * p < width_; p += kLanes) {
        Vec<float> fused[2];
        for (Index j = 0; j < 2; ++j) {
          const Index square = 2 * i + j, at = square * squares_.plane + p;
          auto number = [&](Index n) { return S::load(numbers + (4 * n + square) * plane + p) + shared[n]; };
          const Vec<float> left = S::load(a + at), right = S::load(b + at), most = left > right ? left : right;
          fused[j] = soft_clip((0.5f + number(0)) * left + (0.5f + number(1)) * right + number(2) * most + number(3));
        }
        alignas(64) float pixels[2 * kLanes];
        const bool whole = 2 * (p + kLanes) <= width_;
        float* to = whole ? out + 2 * p : pixels;
        S::store(to, interleaved<float, 0>(fused[0], fused[1]));
        S::store(to + kLanes, interleaved<float, 1>(fused[0], fused[1]));
        if (!whole) std::copy(pixels, pixels + width_ - 2 * p, out + 2 * p);
      }
    }
  }

  const float *ir_, *vi_;
  Index height_, width_, threads_;
  float* out_;
  const Run& run_;
  Weights w_;
  Index rows_, columns_;  // at an eighth of the resolution
  Planes squares_, half_, first_, quarter_, eighth_[2];
  std::vector<float> sums_;  // over each row: of quarter_, two rows at a time, and eighth_[0]
};

}  // namespace

Index weights_size() {
  Index sum = 0;
  for (const Shape& shape : kShapes) sum += shape.kernel() + shape.out;
  return sum;
}

void fuse(const float* ir, const float* vi, const float* weights, Index height, Index width, Index threads, float* out,
          const Run& run) {
  Pair(ir, vi, weights, height, width, threads, out, run).fuse();
}

}  // namespace tdfusion::fast
