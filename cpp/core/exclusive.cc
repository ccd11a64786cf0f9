#include "core/exclusive.h"

#include <pthread.h>

#include <string>

#include "core/error.h"

namespace mexport {

std::atomic<unsigned> Exclusive::forks_of_process_{0};

Exclusive::Exclusive(const char* what) : what_(what) {
  // Cheaper than to compare process ids, which costs a system call each time.
  static const int registered =
      ::pthread_atfork(nullptr, nullptr, [] { forks_of_process_.fetch_add(1, std::memory_order_relaxed); });
  if (registered != 0) throw IoError(registered, "");
  forks_ = forks_of_process_.load(std::memory_order_relaxed);
}

void Exclusive::lock() {
  if (Inherited()) {
    throw Error(ErrorKind::kInvalidArgument,
                std::string("the ") + what_ + " belongs to the process that opened it, not to a fork of that process");
  }
  const std::thread::id self = std::this_thread::get_id();
  if (owner_.load(std::memory_order_relaxed) == self) {
    throw Error(ErrorKind::kInvalidArgument,
                std::string("the ") + what_ +
                    " is in use by this very thread: a signal handler or finalizer may not call it back");
  }
  mutex_.lock();
  owner_.store(self, std::memory_order_relaxed);
}

}  // namespace mexport
