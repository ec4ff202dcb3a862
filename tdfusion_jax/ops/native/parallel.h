// Work shared by threads, with results that do not depend on how.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "simd.h"

namespace tdfusion {

// Runs work(0) .. work(count - 1) on this thread and up to `helpers` more that `schedule` starts. Whoever is free takes
// the next number; nobody waits for a thread that has not begun, so a busy pool will do.
template <typename F, typename Schedule>
void parallel(Index count, Index helpers, const F& work, const Schedule& schedule) {
  struct Shared {
    std::atomic<Index> next{0};
    Index done = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto shared = std::make_shared<Shared>();
  auto take = [shared, count, &work] {
    Index finished = 0;
    for (Index i; (i = shared->next.fetch_add(1)) < count; ++finished) work(i);
    if (!finished) return;  // `work` may be gone by now
    std::lock_guard<std::mutex> lock(shared->mutex);
    if ((shared->done += finished) == count) shared->all_done.notify_one();
  };
  for (Index i = 0; i < std::min(helpers, count - 1); ++i) schedule(take);
  take();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == count; });
}

// out[i] = the sum over lanes of totals[lane][offset + i].
template <typename T>
void add_up(const std::vector<T>& totals, Index stride, Index first, Index lanes, Index offset, Index size, T* out) {
  std::vector<double> sum(size);
  for (Index lane = first; lane < first + lanes; ++lane)
    for (Index i = 0; i < size; ++i) sum[i] += totals[lane * stride + offset + i];
  for (Index i = 0; i < size; ++i) out[i] = T(sum[i]);
}

}  // namespace tdfusion
