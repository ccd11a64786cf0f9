// Long work that its caller can end early, from a signal's handler say.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>

namespace mexport {

// Work that asks now and then whether to go on: the thread that began it by calling a check, which may throw; threads
// that help it by looking whether that happened. RunTasks() asks before each task and hands itself on to its threads.
class Interruptible {
 public:
  static constexpr std::chrono::milliseconds kInterval{50};

  // `check` is called by this thread only, kInterval after the call before.
  explicit Interruptible(void (*check)());
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  ~Interruptible();

  // The one that this thread works for; none: nobody asks.
  static Interruptible* Current();
  static void SetCurrent(Interruptible* interruptible);

  // Calls work() and throws what the check threw, whatever the work made of that.
  template <typename Work>
  auto Run(Work work) {
    try {
      return work();
    } catch (...) {
      if (error_) std::rethrow_exception(error_);
      throw;
    }
  }

  // Throws when the work is to end.
  void Poll();
  // The same at once, whenever the last check was.
  void PollNow();

 private:
  // Is no Error: nobody may take it for damage in a file.
  struct Stopped {};

  void (*check_)();
  std::thread::id owner_;
  std::chrono::steady_clock::time_point next_;
  std::atomic<bool> stopped_{false};
  std::exception_ptr error_;
  Interruptible* outer_;
};

// For loops that are long and no tasks.
inline void PollInterrupt() {
  if (Interruptible* const current = Interruptible::Current()) current->Poll();
}

}  // namespace mexport
