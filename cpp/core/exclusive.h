// One thread at a time, without the two waits that never end.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

namespace mexport {

// A mutex for one object. It refuses, by Error(kInvalidArgument), where std::mutex would wait forever or not be
// defined: the thread that holds it comes back for it (a signal handler or a finalizer ran within a call and calls the
// same object), and in the child of a fork, where its holder may not exist and where files share their position with
// the parent's.
class Exclusive {
 public:
  // `what` names the object in messages and must outlive it.
  explicit Exclusive(const char* what);
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

  // Whether this process is a fork of the one in which the object was made.
  bool Inherited() const { return forks_ != forks_of_process_.load(std::memory_order_relaxed); }
  // Whether, besides, a thread of that process was in the midst of a call: nothing may be touched.
  bool InheritedInUse() { return Inherited() && !mutex_.try_lock(); }

  // As std::lock_guard and std::unique_lock want them. try_lock() never throws.
  void lock();
  bool try_lock() {
    const std::thread::id self = std::this_thread::get_id();
    // Only this thread itself can have stored its own id.
    if (Inherited() || owner_.load(std::memory_order_relaxed) == self || !mutex_.try_lock()) return false;
    owner_.store(self, std::memory_order_relaxed);
    return true;
  }
  void unlock() {
    owner_.store(std::thread::id(), std::memory_order_relaxed);
    mutex_.unlock();
  }

  const char* what() const { return what_; }

 private:
  static std::atomic<unsigned> forks_of_process_;

  const char* what_;
  unsigned forks_;
  std::mutex mutex_;
  std::atomic<std::thread::id> owner_{};
};

}  // namespace mexport
