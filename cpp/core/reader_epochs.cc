#include "core/reader_epochs.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <thread>

namespace mexport {

ReaderEpochs& ReaderEpochs::Shared() {
  // Never destroyed: threads may outlive static objects.
  static ReaderEpochs* const shared = new ReaderEpochs;
  return *shared;
}

ReaderEpochs::Guard::Guard(ReaderEpochs& epochs) {
  static std::atomic<std::size_t> next_thread{0};
  thread_local const std::size_t first = next_thread.fetch_add(1, std::memory_order_relaxed);
  for (std::size_t i = 0;; ++i) {
    std::atomic<std::uint64_t>& slot = epochs.slots_[(first + i) % kSlots].epoch;
    std::uint64_t free = 0;
    // The epoch is read before the slot is taken, and the slot is taken before anything shared is loaded. So a reader
    // that loads a pointer before its replacement is in a slot, with an epoch before that of the retirement.
    const std::uint64_t epoch = epochs.epoch_.load(std::memory_order_seq_cst);
    if (slot.load(std::memory_order_relaxed) == 0 && slot.compare_exchange_strong(free, epoch)) {
      slot_ = &slot;
      return;
    }
    if (i % kSlots == kSlots - 1) std::this_thread::yield();
  }
}

std::uint64_t ReaderEpochs::OldestReader() const {
  std::uint64_t oldest = std::numeric_limits<std::uint64_t>::max();
  for (const Slot& slot : slots_) {
    const std::uint64_t epoch = slot.epoch.load(std::memory_order_seq_cst);
    if (epoch != 0) oldest = std::min(oldest, epoch);
  }
  return oldest;
}

void ReaderEpochs::Retire(std::shared_ptr<void> memory) noexcept {
  const std::uint64_t epoch = epoch_.fetch_add(1, std::memory_order_seq_cst) + 1;
  {
    std::lock_guard lock(mutex_);
    retired_.emplace_back(epoch, std::move(memory));
    any_retired_.store(true, std::memory_order_relaxed);
  }
  Collect();
}

void ReaderEpochs::Collect() {
  if (!any_retired_.load(std::memory_order_relaxed)) return;
  std::vector<std::pair<std::uint64_t, std::shared_ptr<void>>> ready;  // dropped without the lock
  {
    std::lock_guard lock(mutex_);
    const std::uint64_t oldest = OldestReader();
    const auto first =
        std::partition(retired_.begin(), retired_.end(), [oldest](const auto& entry) { return entry.first > oldest; });
    std::move(first, retired_.end(), std::back_inserter(ready));
    retired_.erase(first, retired_.end());
    any_retired_.store(!retired_.empty(), std::memory_order_relaxed);
  }
}

}  // namespace mexport
