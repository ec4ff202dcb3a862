// What NumPy calls, through ctypes: parts of F on single images of any size, on threads of their own. float32 only.
#include <thread>

#include "block.h"
#include "conv.h"
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

// size: height, width, C, N; window: top, bottom, left, right (sums only). weights: scale and bias or null, w, k, o.
// out: y [H, W, C], or for sums [half, half], [half], [half] behind one another.
void TdfusionPart(int64_t head, const int64_t* size, const int64_t* window, int64_t threads, const float* x,
                  const float* const* weights, float* out) {
  Part<float> f;
  f.head = Head(head), f.way = kApply;
  f.batch = 1, f.height = size[0], f.width = size[1], f.channels = size[2], f.wide = size[3];
  f.top = window[0], f.bottom = window[1], f.left = window[2], f.right = window[3];
  f.x = x, f.out = out;
  f.p = {weights[0], weights[1], weights[2], weights[3], weights[4]};
  f.cut();
  const Index stride = f.totals_size();
  std::vector<float> totals(stride * f.lanes());
  on_threads(f.lanes(), threads, [&](Index lane) { forward_lane(f, lane, totals.data() + lane * stride); });
  if (f.head == kSums) add_up(totals, stride, 0, f.lanes(), 0, stride, out);
}

// x [H, W, C], kernel [3, 3, C, O], out [H, W, O].
void TdfusionConv(const int64_t* size, int64_t threads, const float* x, const float* kernel, float* out) {
  constexpr Index rows = 32;
  const Index height = size[0];
  on_threads((height + rows - 1) / rows, threads, [&](Index i) {
    conv3x3_rows(x, kernel, height, size[1], size[2], size[3], i * rows, std::min(height, (i + 1) * rows), out);
  });
}

}  // extern "C"
