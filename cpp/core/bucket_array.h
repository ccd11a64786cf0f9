// Open addressing from ids to rows, in buckets of one cache line. One writer at a time, any number of readers.
//
// A bucket holds five ids with their rows, and a state word that is a sequence lock for the bucket and for the rows of
// its ids: readers copy what they want and then see whether the word is still the same. An id that finds its bucket
// full goes to the next one; the full bucket counts those that went past it, so that a search knows when to stop and
// erasing leaves no tombstones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/row_arena.h"
#include "core/shared_words.h"
#include "core/zeroed_memory.h"

namespace mexport {

// All zero is an empty bucket.
struct alignas(64) Bucket {
  static constexpr std::size_t kSlots = 5;

  static constexpr std::uint32_t kLocked = 1;    // a writer is changing the bucket or a row of its ids
  static constexpr std::uint32_t kMoved = 2;     // the ids are in another array now, and so is their lock
  static constexpr std::uint32_t kOverflow = 4;  // one id that went past; counts up to kMaxOverflow, and stays there
  static constexpr std::uint32_t kMaxOverflow = 15 * kOverflow;
  static constexpr std::uint32_t kVersion = 64;  // one change

  std::uint64_t ids[kSlots];
  std::uint32_t rows[kSlots];  // row + 1; 0 where the slot is free, whatever its id says
  std::uint32_t state;

  // Bit i is set if ids[i] is `id`, whether the slot is free or not. Five loads and compares without a branch; vector
  // instructions were no faster, and have no atomic loads.
  std::uint32_t Match(std::uint64_t id) {
    std::uint32_t match = 0;
#pragma GCC unroll 5
    for (std::size_t i = 0; i < kSlots; ++i) match |= static_cast<std::uint32_t>(LoadShared(&ids[i]) == id) << i;
    return match;
  }
};
static_assert(sizeof(Bucket) == 64);

// While it lives, readers of the bucket and of its rows wait. REQUIRES: the only writer
class BucketLock {
 public:
  explicit BucketLock(Bucket& bucket) : bucket_(bucket), state_(LoadShared(&bucket.state)) {
    StoreShared(&bucket_.state, state_ | Bucket::kLocked);
  }
  ~BucketLock() { StoreShared(&bucket_.state, state_ + Bucket::kVersion); }
  BucketLock(const BucketLock&) = delete;
  BucketLock& operator=(const BucketLock&) = delete;

  void AddOverflow() {
    if ((state_ & Bucket::kMaxOverflow) != Bucket::kMaxOverflow) state_ += Bucket::kOverflow;
  }
  void RemoveOverflow() {
    if ((state_ & Bucket::kMaxOverflow) != Bucket::kMaxOverflow) state_ -= Bucket::kOverflow;
  }
  void SetMoved() { state_ |= Bucket::kMoved; }

 private:
  Bucket& bucket_;
  std::uint32_t state_;
};

class BucketArray {
 public:
  // Full at this share of its slots.
  static constexpr double kMaxLoad = 0.8;

  // Room for `capacity` ids. Throws std::bad_alloc.
  BucketArray(std::uint64_t capacity, std::shared_ptr<RowArena> arena);

  // The ids it may hold.
  std::uint64_t capacity() const { return capacity_; }
  std::uint64_t count() const { return count_; }
  std::size_t bytes() const { return memory_.bytes(); }
  RowArena& arena() const { return *arena_; }
  const std::shared_ptr<RowArena>& shared_arena() const { return arena_; }

  Bucket& operator[](std::uint64_t bucket) const { return buckets_[bucket]; }
  // Buckets are in the order of their ids' hashes: copying into a larger array goes from front to back in both.
  std::uint64_t Home(std::uint64_t hash) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(hash) * count_) >> 64);
  }
  std::uint64_t Next(std::uint64_t bucket) const { return bucket + 1 == count_ ? 0 : bucket + 1; }

  // The rest is the writer's.
  struct Place {
    Bucket* bucket;  // null: not there
    std::size_t slot;
    std::uint32_t row() const { return bucket->rows[slot] - 1; }
  };
  Place Find(std::uint64_t id, std::uint64_t hash) const;
  // REQUIRES: `id` is not there; fewer ids than capacity()
  void Insert(std::uint64_t id, std::uint64_t hash, std::uint32_t row);
  // REQUIRES: `place` holds an id of this hash
  void Erase(Place place, std::uint64_t hash);

 private:
  std::uint64_t capacity_;
  std::uint64_t count_;
  ZeroedMemory memory_;
  Bucket* buckets_;
  std::shared_ptr<RowArena> arena_;
};

}  // namespace mexport
