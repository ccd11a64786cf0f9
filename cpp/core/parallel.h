// Independent tasks on a few threads.
#pragma once

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/interrupt.h"

namespace mexport {

// Runs task(0) … task(count - 1) on up to `threads` threads, the caller's among them, and returns when all are done.
// When some throw, the error of the first one in their order is thrown, whatever the timing was; tasks behind it may be
// left out. An interrupt of the caller's work counts as an error of the task that would have begun.
template <typename Task>
void RunTasks(std::size_t count, std::size_t threads, const Task& task) {
  Interruptible* const interruptible = Interruptible::Current();
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> stop_at{count};
  std::mutex mutex;
  std::condition_variable idle;
  std::size_t beside = 0;
  std::exception_ptr failure;
  const auto fail = [&](std::size_t i) {
    const std::lock_guard lock(mutex);
    if (i < stop_at.load()) {
      stop_at = i;
      failure = std::current_exception();
    }
  };
  const auto work = [&] {
    for (;;) {
      const std::size_t i = next.fetch_add(1);
      // Tasks start in their order, so those before a failed one are done or running.
      if (i >= stop_at.load()) return;
      try {
        if (interruptible != nullptr) interruptible->Poll();
        task(i);
      } catch (...) {
        fail(i);
      }
    }
  };
  const auto work_beside = [&] {
    // Signals are the caller's: a file's interrupt hook may not run here.
    sigset_t all;
    ::sigfillset(&all);
    static_cast<void>(::pthread_sigmask(SIG_BLOCK, &all, nullptr));
    Interruptible::SetCurrent(interruptible);
    work();
    const std::lock_guard lock(mutex);
    if (--beside == 0) idle.notify_one();
  };
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < threads && i < count; ++i) {
    const std::lock_guard lock(mutex);
    try {
      others.emplace_back(work_beside);
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those that there are do the work
    }
    ++beside;
  }
  work();
  if (interruptible != nullptr) {
    const auto done = [&] { return beside == 0; };
    std::unique_lock lock(mutex);
    while (!idle.wait_for(lock, Interruptible::kInterval, done)) {
      lock.unlock();
      try {
        interruptible->Poll();
      } catch (...) {
        fail(0);
        break;
      }
      lock.lock();
    }
  }
  others.clear();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace mexport
