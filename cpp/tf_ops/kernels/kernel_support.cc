#include "tf_ops/kernels/kernel_support.h"

#include <exception>
#include <limits>
#include <mutex>

#include "tensorflow/core/util/work_sharder.h"

namespace mexport {

void InParallel(OpKernelContext* context, std::int64_t count, std::int64_t cost,
                const std::function<void(std::int64_t, std::int64_t)>& work) {
  std::mutex mutex;
  std::int64_t failed_at = std::numeric_limits<std::int64_t>::max();
  std::exception_ptr failure;
  const auto guarded = [&](std::int64_t begin, std::int64_t end) {
    try {
      work(begin, end);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (begin >= failed_at) return;
      failed_at = begin;
      failure = std::current_exception();
    }
  };
  const auto& threads = *context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(threads.num_threads, threads.workers, count, cost, guarded);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace mexport
