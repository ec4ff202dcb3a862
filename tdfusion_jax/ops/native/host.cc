// What NumPy calls, through ctypes: parts of F on single images of any size, on threads of their own. float32 only.
#include <thread>

#include "block.h"
#include "conv.h"
#include "fast.h"
#include "half.h"
#include "parallel.h"

using namespace tdfusion;

namespace {

template <typename F>
void on_threads(Index count, Index threads, const F& work) {
  std::vector<std::thread> started;
  parallel(count, threads - 1, work, [&](auto task) { started.emplace_back(std::move(task)); });
  for (auto& thread : started) thread.join();
}

}  // namespace

extern "C" {

// Whether TdfusionPart can compute in half precision here.
int64_t TdfusionHasHalf() {
#ifdef TDFUSION_HALF
  return half::permitted();
#else
  return 0;
#endif
}

// size: height, width, C, N; window: top, bottom, left, right (sums only). weights: scale and bias or null, w, k, o.
// out: y [H, W, C], or for sums [half, half], [half], [half] behind one another. in_half: see half.h.
void TdfusionPart(int64_t head, int64_t in_half, const int64_t* size, const int64_t* window, int64_t threads,
                  const float* x, const float* const* weights, float* out) {
  Part<float> f;
  f.head = Head(head), f.way = kApply;
  f.batch = 1, f.height = size[0], f.width = size[1], f.channels = size[2], f.wide = size[3];
  f.top = window[0], f.bottom = window[1], f.left = window[2], f.right = window[3];
  f.x = x, f.out = out;
  f.p = {weights[0], weights[1], weights[2], weights[3], weights[4]};
  f.cut();
  const Index stride = f.totals_size();
  std::vector<float> totals(stride * f.lanes());
  auto run = [&](auto forward) {
    on_threads(f.lanes(), threads, [&](Index lane) { forward(lane, totals.data() + lane * stride); });
  };
#ifdef TDFUSION_HALF
  if (in_half && half::permitted()) {
    const half::Halved halved(f);
    run([&](Index lane, float* own) { half::forward_lane(halved, lane, own); });
  } else
#endif
    run([&](Index lane, float* own) { forward_lane(f, lane, own); });
  if (f.head == kSums) add_up(totals, stride, 0, f.lanes(), 0, stride, out);
}

// x [H, W, C], kernel [3, 3, C, O], out [H, W, O].
void TdfusionConv(const int64_t* size, int64_t in_half, int64_t threads, const float* x, const float* kernel,
                  float* out) {
  constexpr Index rows = 32;
  const Index height = size[0], width = size[1], inner = size[2], outer = size[3];
  auto run = [&](auto convolve) {
    on_threads((height + rows - 1) / rows, threads, [&](Index i) {
      convolve(i * rows, std::min(height, (i + 1) * rows));
    });
  };
#ifdef TDFUSION_HALF
  if (in_half && inner == 32 && outer == 16 && half::permitted()) {
    const auto rounded = half::halved_kernel(kernel, 32 * 16);
    std::vector<half::B16> turned[3];
    for (int i = 0; i < 3; ++i) turned[i] = half::interleaved(rounded.data() + i * 96 * 16, 96, 16);
    return run([&](Index first, Index last) { half::conv3x3_rows(x, turned, height, width, first, last, out); });
  }
#endif
  run([&](Index first, Index last) { conv3x3_rows(x, kernel, height, width, inner, outer, first, last, out); });
}

// The fast network of two images [H, W], see fast.h; size: height, width.
void TdfusionFuseFast(const int64_t* size, int64_t threads, const float* ir, const float* vi, const float* weights,
                  float* out) {
  fast::fuse(ir, vi, weights, size[0], size[1], threads, out,
             [&](Index count, const auto& work) { on_threads(count, threads, work); });
}

}  // extern "C"
