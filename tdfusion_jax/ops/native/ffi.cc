// What JAX calls: one function for all parts and ways of a block (see block.h), through XLA's foreign functions.
#include "block.h"
#include "conv.h"
#include "fast.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace tdfusion {

template <typename T>
ffi::Error run(ffi::ThreadPool pool, Head head, Way way, bool norm, ffi::RemainingArgs& args,
               ffi::RemainingRets& rets) {
  const auto image = args.get<ffi::AnyBuffer>(0), matrix = args.get<ffi::AnyBuffer>(norm ? 3 : 1);
  if (!image.has_value() || !matrix.has_value() || image->dimensions().size() != 4 || matrix->dimensions().size() != 2)
    return ffi::Error::InvalidArgument("tdfusion: an image [B, H, W, C] and a matrix [C, N] are needed");
  const auto shape = image->dimensions();
  Part<T> f;
  f.head = head, f.way = way;
  f.batch = shape[0], f.height = shape[1], f.width = shape[2], f.channels = shape[3];
  f.wide = matrix->dimensions()[1];
  const Index c = f.channels, n = f.wide, half = f.half(), pixels = f.batch * f.height * f.width * c;
  const Index of_o = f.o_size() * (head == kAttend ? f.batch : 1);
  if (c % Simd<T>::kLanes || (head == kAttend ? n : half) % Simd<T>::kLanes)
    return ffi::Error::InvalidArgument("tdfusion: channels do not fill this processor's vectors");

  size_t next = 0;
  bool fits = true;
  auto take = [&](Index size) -> const T* {
    auto buffer = args.get<ffi::AnyBuffer>(next++);
    fits = fits && buffer.has_value() && Index(buffer->element_count()) == size &&
           buffer->element_type() == image->element_type();
    return fits ? static_cast<const T*>(buffer->untyped_data()) : nullptr;
  };
  auto give = [&](size_t i, Index size) -> T* {
    auto buffer = rets.get<ffi::AnyBuffer>(i);
    fits = fits && buffer.has_value() && Index((*buffer)->element_count()) == size;
    return fits ? static_cast<T*>((*buffer)->untyped_data()) : nullptr;
  };
  auto take_weights = [&](Weights<T>& w) {
    if (norm) w.scale = take(c), w.bias = take(c);
    w.w = take(c * n), w.k = take(9 * n);
    if (head != kSums) w.o = take(of_o);
  };
  f.x = take(pixels);
  take_weights(f.p);
  if (way == kAlong) f.xd = take(pixels), take_weights(f.d);
  if (way == kBack && head == kSums)
    f.ct[0] = take(f.batch * half * half), f.ct[1] = take(f.batch * half), f.ct[2] = take(f.batch * half);
  if (way == kBack && head != kSums) f.ct[0] = take(pixels);
  if (way == kBack || head != kSums) f.out = give(0, pixels);
  if (!fits) return ffi::Error::InvalidArgument("tdfusion: an argument or result is missing, or of another size or type");

  f.bottom = f.height, f.right = f.width;
  f.cut();
  const Index stride = (f.totals_size() + 15) / 16 * 16;
  std::vector<T> totals(stride * f.lanes());
  parallel(
      f.lanes(), pool.num_threads() - 1,
      [&](Index lane) {
        T* own = totals.data() + lane * stride;
        way == kBack ? backward_lane(f, lane, own) : forward_lane(f, lane, own);
      },
      [&](auto task) { pool.Schedule(std::move(task)); });

  const Index lanes = f.lanes_per_image();
  size_t result = f.out ? 1 : 0;
  Index offset = 0;
  auto whole = [&](Index size) {
    T* out = give(result++, size);
    if (out) add_up(totals, stride, Index(0), f.lanes(), offset, size, out);
    offset += size;
  };
  auto per_image = [&](Index size) {
    T* out = give(result++, f.batch * size);
    for (Index b = 0; out && b < f.batch; ++b)
      add_up(totals, stride, b * lanes, lanes, offset, size, out + b * size);
    offset += size;
  };
  if (way == kBack) {
    if (norm) whole(c), whole(c);
    else offset += 2 * c;
    whole(c * n), whole(9 * n);
    if (head == kFeed) whole(f.o_size());
    if (head == kAttend) per_image(f.o_size());
  } else if (head == kSums) {
    per_image(half * half), per_image(half), per_image(half);
  }
  return fits ? ffi::Error::Success() : ffi::Error::InvalidArgument("tdfusion: a result is missing or of another size");
}

ffi::Error Block(ffi::ThreadPool pool, int64_t head, int64_t way, bool norm, ffi::RemainingArgs args,
                 ffi::RemainingRets rets) {
  const auto x = args.get<ffi::AnyBuffer>(0);
  if (!x.has_value()) return ffi::Error::InvalidArgument("tdfusion: no image");
  if (x->element_type() == ffi::DataType::F32) return run<float>(pool, Head(head), Way(way), norm, args, rets);
  if (x->element_type() == ffi::DataType::F64) return run<double>(pool, Head(head), Way(way), norm, args, rets);
  return ffi::Error::InvalidArgument("tdfusion: float32 or float64 is needed");
}

// x [B, H, W, C] with a kernel [3, 3, C, O] -> [B, H, W, O], or the correlation of x with [B, H, W, O] -> [3, 3, C, O].
template <typename T>
ffi::Error convolve(ffi::ThreadPool& pool, bool correlate, ffi::AnyBuffer x, ffi::AnyBuffer y, ffi::AnyBuffer out) {
  const auto shape = x.dimensions();
  const Index batch = shape[0], height = shape[1], width = shape[2], inner = shape[3], outer = y.dimensions()[3];
  const Index lanes = Simd<T>::kLanes, kernel = 9 * inner * outer;
  const bool vectors = (inner == 1 || inner % lanes == 0) && (outer == 1 || outer % lanes == 0) && inner + outer > 2;
  const Index image = height * width * outer;
  if (!vectors || Index(y.element_count()) != (correlate ? batch * image : kernel) ||
      Index(out.element_count()) != (correlate ? kernel : batch * image))
    return ffi::Error::InvalidArgument("tdfusion: shapes of a 3x3 convolution do not fit");
  const T *in = x.typed_data<T>(), *by = y.typed_data<T>();
  T* to = out.typed_data<T>();
  constexpr Index rows = 32;
  const Index strips = (height + rows - 1) / rows, stride = correlate ? (kernel + 15) / 16 * 16 : 0;
  std::vector<T> totals(stride * batch * strips);
  parallel(
      batch * strips, pool.num_threads() - 1,
      [&](Index lane) {
        const Index b = lane / strips, first = lane % strips * rows, last = std::min(height, first + rows);
        const T* from = in + b * height * width * inner;
        if (correlate)
          correlate3x3_rows(from, by + b * image, height, width, inner, outer, first, last,
                            totals.data() + lane * stride);
        else
          conv3x3_rows(from, by, height, width, inner, outer, first, last, to + b * image);
      },
      [&](auto task) { pool.Schedule(std::move(task)); });
  if (correlate) add_up(totals, stride, Index(0), batch * strips, Index(0), kernel, to);
  return ffi::Error::Success();
}

ffi::Error Conv(ffi::ThreadPool pool, bool correlate, ffi::AnyBuffer x, ffi::AnyBuffer y,
                ffi::Result<ffi::AnyBuffer> out) {
  if (x.dimensions().size() != 4 || y.dimensions().size() != 4 || x.element_type() != y.element_type())
    return ffi::Error::InvalidArgument("tdfusion: two arrays of rank 4 and one type are needed");
  if (x.element_type() == ffi::DataType::F32) return convolve<float>(pool, correlate, x, y, *out);
  if (x.element_type() == ffi::DataType::F64) return convolve<double>(pool, correlate, x, y, *out);
  return ffi::Error::InvalidArgument("tdfusion: float32 or float64 is needed");
}

// The fast network of ir and vi [B, H, W, 1], see fast.h.
ffi::Error Fast(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> ir, ffi::Buffer<ffi::F32> vi,
                ffi::Buffer<ffi::F32> weights, ffi::Result<ffi::Buffer<ffi::F32>> out) {
  const auto shape = ir.dimensions();
  if (shape.size() != 4 || shape[3] != 1 || vi.element_count() != ir.element_count() ||
      out->element_count() != ir.element_count() || Index(weights.element_count()) != fast::weights_size())
    return ffi::Error::InvalidArgument("tdfusion: shapes of the fast network do not fit");
  const Index threads = pool.num_threads(), pixels = shape[1] * shape[2];
  for (Index b = 0; b < shape[0]; ++b)
    fast::fuse(ir.typed_data() + b * pixels, vi.typed_data() + b * pixels, weights.typed_data(), shape[1], shape[2],
               threads, out->typed_data() + b * pixels, [&](Index count, const auto& work) {
                 parallel(count, threads - 1, work, [&](auto task) { pool.Schedule(std::move(task)); });
               });
  return ffi::Error::Success();
}

}  // namespace tdfusion

XLA_FFI_DEFINE_HANDLER_SYMBOL(TdfusionFast, tdfusion::Fast,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(TdfusionConv3x3, tdfusion::Conv,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<bool>("correlate")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(TdfusionBlock, tdfusion::Block,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int64_t>("head")
                                  .Attr<int64_t>("way")
                                  .Attr<bool>("norm")
                                  .RemainingArgs()
                                  .RemainingRets());
