// When may memory be freed that readers use without a lock? Readers announce themselves while they are reading; what a
// writer has replaced is freed once every reader that could have seen it is gone.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace mexport {

class ReaderEpochs {
 public:
  // All tables share these: memory may wander from one table to another.
  static ReaderEpochs& Shared();

  // While one is alive, nothing that its thread loads from a shared pointer is freed. Short-lived: memory waits for it.
  class Guard {
   public:
    explicit Guard(ReaderEpochs& epochs);
    ~Guard() { slot_->store(0, std::memory_order_release); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    std::atomic<std::uint64_t>* slot_;
  };

  ReaderEpochs() = default;

  // Drops `memory` once no reader can see it. Ends the process where there is no memory left for a note of that.
  // REQUIRES: the pointer that readers load to get there has been replaced by a seq_cst store
  void Retire(std::shared_ptr<void> memory) noexcept;
  // Frees what can be freed now.
  void Collect();

 private:
  static constexpr std::size_t kSlots = 128;
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> epoch{0};  // of its reader's arrival; 0 for none
  };

  std::uint64_t OldestReader() const;

  std::array<Slot, kSlots> slots_;
  std::atomic<std::uint64_t> epoch_{1};
  std::mutex mutex_;
  std::vector<std::pair<std::uint64_t, std::shared_ptr<void>>> retired_;  // guarded by mutex_
  std::atomic<bool> any_retired_{false};
};

}  // namespace mexport
