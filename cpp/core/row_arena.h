// Rows of one size with a timestamp each, in large chunks. Rows are numbered; a row never moves.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/zeroed_memory.h"

namespace mexport {

class RowArena {
 public:
  // Rows that are handed out together.
  static constexpr std::uint32_t kRun = 16;
  // One number less than 32 bits have: an index stores row + 1, and 0 for none.
  static constexpr std::uint64_t kMaxRows = 0xfffffff0;

  explicit RowArena(std::size_t row_bytes);

  // Distance of rows: row_bytes rounded up to a multiple of 4, of 8 for rows of 32 bytes and more.
  std::size_t stride() const { return stride_; }

  // The first of kRun fresh rows, zeroed. Any thread. Throws std::bad_alloc, Error(kInvalidArgument) when full.
  std::uint32_t AllocateRun();

  // REQUIRES: the row was allocated, and the caller learned of it from the thread that did so
  std::uint8_t* Row(std::uint32_t row) const { return Chunk(row) + (row & row_mask_) * stride_; }
  std::uint32_t* Timestamp(std::uint32_t row) const {
    return reinterpret_cast<std::uint32_t*>(Chunk(row) + timestamps_) + (row & row_mask_);
  }

  // Memory of all rows that were handed out.
  std::size_t bytes() const;

 private:
  std::uint8_t* Chunk(std::uint32_t row) const { return chunks_[row >> shift_].load(std::memory_order_acquire); }

  std::size_t stride_;
  unsigned shift_;
  std::uint32_t row_mask_;
  std::size_t timestamps_;  // their offset in a chunk
  // One pointer for every chunk that there may ever be, so that it never moves; calloc leaves unused pages untouched.
  struct Free {
    void operator()(std::atomic<std::uint8_t*>* chunks) const;
  };
  std::unique_ptr<std::atomic<std::uint8_t*>[], Free> chunks_;
  std::atomic<std::uint64_t> next_row_{0};
  std::mutex mutex_;
  std::vector<ZeroedMemory> memory_;  // guarded by mutex_
};

}  // namespace mexport
