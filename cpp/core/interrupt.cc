#include "core/interrupt.h"

namespace mexport {
namespace {

thread_local Interruptible* current = nullptr;

}  // namespace

Interruptible::Interruptible(void (*check)())
    : check_(check),
      owner_(std::this_thread::get_id()),
      next_(std::chrono::steady_clock::now() + kInterval),
      outer_(std::exchange(current, this)) {}

Interruptible::~Interruptible() { current = outer_; }

Interruptible* Interruptible::Current() { return current; }

void Interruptible::SetCurrent(Interruptible* interruptible) { current = interruptible; }

void Interruptible::Poll() {
  if (stopped_.load()) throw Stopped{};
  if (std::this_thread::get_id() == owner_ && std::chrono::steady_clock::now() >= next_) PollNow();
}

void Interruptible::PollNow() {
  if (stopped_.load()) throw Stopped{};
  if (std::this_thread::get_id() != owner_) return;
  try {
    check_();
  } catch (...) {
    error_ = std::current_exception();
    stopped_ = true;
    throw Stopped{};
  }
  next_ = std::chrono::steady_clock::now() + kInterval;
}

}  // namespace mexport
