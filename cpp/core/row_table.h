// A concurrent map from 64-bit ids to rows of one size, each with a timestamp: what an embedding table keeps its
// entries in. Readers take no locks; writers lock one of 64 stripes for one id at a time.
//
// Both go through batches with several ids in flight, because each id costs two cache misses: its bucket and its row.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/bucket_array.h"
#include "core/reader_epochs.h"
#include "core/row_arena.h"
#include "core/shared_words.h"
#include "core/word_mutex.h"

namespace mexport {

class RowTable {
 public:
  // A hint beyond the memory costs address space only.
  RowTable(std::size_t row_bytes, std::uint64_t capacity_hint);
  // REQUIRES: no thread uses the table
  ~RowTable();
  RowTable(const RowTable&) = delete;
  RowTable& operator=(const RowTable&) = delete;

  std::uint64_t size() const;
  // Of rows and index; what the allocator keeps for itself and erased rows that wait for a new id are counted.
  std::size_t memory_bytes() const;
  std::size_t stride() const { return arena_->stride(); }

  // Timestamps are not where rows are: they cost another cache miss.
  enum class Timestamps { kRead, kIgnore };
  // Copies the first `bytes` of the row of each id to where `place(i)` says, then calls found(i, timestamp), or
  // missing(i) if it has none. A row is seen as it was at one moment. `place` is called again where a writer came
  // between. A timestamp that is not read is 0. Returns how many were found. REQUIRES: bytes <= stride()
  template <Timestamps timestamps, typename Place, typename Found, typename Missing>
  std::size_t Read(std::span<const std::uint64_t> ids, std::size_t bytes, Place place, Found found,
                   Missing missing) const;

  enum class Action { kStore, kNothing, kErase };
  struct Entry {
    bool existed;
    std::uint8_t* row;  // stride() bytes, aligned to 8: a copy of the row, or zeros for a new one
    std::uint32_t timestamp;
  };
  // Calls change(i, entry) for each id in turn and does what it says with the changed copy. Of an id that had no entry,
  // kErase and kNothing make none. Throws std::bad_alloc, or Error(kInvalidArgument) when full; ids before are done.
  template <typename Change>
  void Update(std::span<const std::uint64_t> ids, Change change);

  // Erases the entries that erase(id, timestamp) picks, and returns how many. Stops writers of one stripe at a time.
  template <typename Pick>
  std::uint64_t EraseIf(Pick pick);

  struct IdRow {
    std::uint64_t id;
    std::uint32_t row;
  };
  // All entries in the ascending order of their ids. Writers wait while it lives, readers do not.
  class Snapshot {
   public:
    explicit Snapshot(const RowTable& table);

    const std::vector<IdRow>& entries() const { return entries_; }
    const std::uint8_t* Row(std::size_t i) const { return arena_.Row(entries_[i].row); }
    std::uint32_t Timestamp(std::size_t i) const { return *arena_.Timestamp(entries_[i].row); }
    // Row(i) and Timestamp(i) will be read soon.
    void Prefetch(std::size_t i) const;

   private:
    std::vector<std::unique_lock<WordMutex>> locks_;
    const RowArena& arena_;
    std::vector<IdRow> entries_;
  };
  // A piece of the table: the entries whose hashes are in [begin, last].
  struct Piece {
    std::uint64_t begin;
    std::uint64_t last;
  };
  // The piece `i` of `n` about equal ones. REQUIRES: i < n
  static Piece PieceOf(std::uint64_t i, std::uint64_t n);
  // Calls visit(id, row, timestamp) for the first `limit` entries of the piece, fewer only where there are no more, and
  // leaves the others in `piece`. Returns how many. An entry that is there throughout is visited once, in whatever
  // pieces and whatever else happens. Writers of one stripe at a time wait for some thousand visits.
  template <typename Visit>
  std::size_t Scan(Piece* piece, std::size_t limit, Visit visit) const;

  // The ids, ascending. A moment's view of each stripe.
  std::vector<std::uint64_t> Ids() const;

 private:
  static constexpr unsigned kStripeBits = 6;
  static constexpr std::size_t kStripes = std::size_t{1} << kStripeBits;
  // Ids whose cache misses are waited for together.
  static constexpr std::size_t kGroup = 32;
  // Of an empty piece. The entry with this very hash, which one id in 2^64 has, is scanned with those before it.
  static constexpr std::uint64_t kNoHash = ~std::uint64_t{0};
  // Entries that are scanned under one lock.
  static constexpr std::size_t kScanned = 4096;
  // Memory waits for readers, so they leave and come back every so many ids.
  static constexpr std::size_t kIdsPerGuard = 4096;

  struct alignas(64) Stripe {
    std::atomic<BucketArray*> array{nullptr};
    mutable WordMutex mutex;
    // Guarded by the mutex; size is read without it.
    std::uint32_t free_row = 0;  // row + 1; the next one is in its timestamp
    std::uint32_t run_next = 0;
    std::uint32_t run_end = 0;
    std::atomic<std::uint64_t> size{0};
    std::shared_ptr<BucketArray> owner;
  };

  // What a reader found: valid if `bucket` still has `state` after the copying.
  struct Candidate {
    Bucket* bucket;  // null: there is no such id
    std::uint32_t state;
    std::uint32_t row;
    const BucketArray* array;
  };

  struct HashedRow {
    std::uint64_t hash;
    std::uint64_t id;
    std::uint32_t row;
  };

  // Each id has a hash of its own.
  std::uint64_t Hash(std::uint64_t id) const {
    id ^= seed_;
    id ^= id >> 32;
    id *= multiplier_;
    id ^= id >> 29;
    id *= 0x9fb21c651e98df25;
    return id ^ id >> 32;
  }
  static std::size_t StripeOf(std::uint64_t hash) { return hash >> (64 - kStripeBits); }
  static std::uint64_t WithinStripe(std::uint64_t hash) { return hash << kStripeBits; }
  // The largest hash of those that share a stripe with this one.
  static std::uint64_t LastOfStripe(std::uint64_t hash) { return hash | kNoHash >> kStripeBits; }

  // Calls prefetched(begin, end, hashes) for each group of ids when their buckets have come, and done(…) for the same
  // group one group later. REQUIRES: a guard
  template <typename Prefetched, typename Done>
  void InGroups(std::span<const std::uint64_t> ids, Prefetched prefetched, Done done) const;
  template <typename Change>
  void UpdateOne(std::uint64_t id, std::uint64_t hash, Entry* entry, Change change);

  // These are the reader's. REQUIRES: a guard
  void PrefetchBucket(std::uint64_t hash) const {
    const BucketArray& array = *stripes_[StripeOf(hash)].array.load(std::memory_order_seq_cst);
    __builtin_prefetch(&array[array.Home(WithinStripe(hash))]);
  }
  Candidate Find(std::uint64_t id, std::uint64_t hash) const;
  static void PrefetchRow(const Candidate& candidate, std::size_t bytes, Timestamps timestamps);
  // False if a writer came between. Leaves `timestamp` alone if it is null.
  static bool Copy(const Candidate& candidate, std::size_t stride, std::size_t bytes, std::uint8_t* to,
                   std::uint32_t* timestamp);

  // The first `limit` of the stripe's entries with hashes in [begin, last], in the order of their hashes.
  // REQUIRES: the stripe's mutex; hashes of this stripe
  std::vector<HashedRow> Collect(const Stripe& stripe, std::uint64_t begin, std::uint64_t last,
                                 std::size_t limit) const;

  // These are the writer's. REQUIRES: the stripe's mutex
  void Grow(Stripe& stripe);
  std::uint32_t TakeRow(Stripe& stripe);
  void ReturnRow(Stripe& stripe, std::uint32_t row);
  void Insert(Stripe& stripe, std::uint64_t id, std::uint64_t hash, const Entry& entry);
  void Store(BucketArray::Place place, const Entry& entry);
  void Erase(Stripe& stripe, BucketArray::Place place, std::uint64_t hash);

  std::shared_ptr<RowArena> arena_;
  // Ids come from outside: with a hash that nobody can foresee, no choice of ids makes long searches.
  std::uint64_t seed_;
  std::uint64_t multiplier_;
  std::array<Stripe, kStripes> stripes_;
};

template <typename Prefetched, typename Done>
void RowTable::InGroups(std::span<const std::uint64_t> ids, Prefetched prefetched, Done done) const {
  // Three groups are under way: of the first the buckets are coming, of the second the rows, the third is done. Each
  // stage is a short loop of its own, because a processor sees only so many instructions ahead: the fewer there are
  // between two cache misses, the more misses it waits for at once.
  std::array<std::uint64_t, 3 * kGroup> hashes;
  const std::size_t groups = (ids.size() + kGroup - 1) / kGroup;
  for (std::size_t group = 0; group < groups + 2; ++group) {
    if (group < groups) {
      const std::size_t begin = group * kGroup;
      const std::size_t end = std::min(ids.size(), begin + kGroup);
      std::uint64_t* const hash = &hashes[group % 3 * kGroup];
      for (std::size_t i = begin; i < end; ++i) {
        hash[i - begin] = Hash(ids[i]);
        PrefetchBucket(hash[i - begin]);
      }
    }
    if (group >= 1 && group <= groups) {
      const std::size_t begin = (group - 1) * kGroup;
      prefetched(begin, std::min(ids.size(), begin + kGroup), &hashes[(group - 1) % 3 * kGroup]);
    }
    if (group >= 2) {
      const std::size_t begin = (group - 2) * kGroup;
      done(begin, std::min(ids.size(), begin + kGroup), &hashes[(group - 2) % 3 * kGroup]);
    }
  }
}

template <RowTable::Timestamps timestamps, typename Place, typename Found, typename Missing>
std::size_t RowTable::Read(std::span<const std::uint64_t> all_ids, std::size_t bytes, Place place, Found found,
                           Missing missing) const {
  std::size_t hits = 0;
  const std::size_t stride = arena_->stride();
  for (std::size_t base = 0; base < all_ids.size(); base += kIdsPerGuard) {
    const ReaderEpochs::Guard guard(ReaderEpochs::Shared());
    const std::span<const std::uint64_t> ids =
        all_ids.subspan(base, std::min<std::size_t>(kIdsPerGuard, all_ids.size() - base));
    std::array<Candidate, 2 * kGroup> candidates;
    InGroups(
        ids,
        [&](std::size_t begin, std::size_t end, const std::uint64_t* hashes) {
          Candidate* const group = &candidates[begin % (2 * kGroup)];
          for (std::size_t i = begin; i < end; ++i) group[i - begin] = Find(ids[i], hashes[i - begin]);
          for (std::size_t i = begin; i < end; ++i) PrefetchRow(group[i - begin], bytes, timestamps);
        },
        [&](std::size_t begin, std::size_t end, const std::uint64_t* hashes) {
          for (std::size_t i = begin; i < end; ++i) {
            Candidate candidate = candidates[begin % (2 * kGroup) + i - begin];
            std::uint32_t timestamp = 0;
            std::uint32_t* const to_timestamp = timestamps == Timestamps::kRead ? &timestamp : nullptr;
            while (candidate.bucket != nullptr && !Copy(candidate, stride, bytes, place(base + i), to_timestamp)) {
              candidate = Find(ids[i], hashes[i - begin]);
            }
            if (candidate.bucket != nullptr) {
              found(base + i, timestamp);
              ++hits;
            } else {
              missing(base + i);
            }
          }
        });
  }
  return hits;
}

template <typename Change>
void RowTable::Update(std::span<const std::uint64_t> all_ids, Change change) {
  const std::size_t stride = arena_->stride();
  const auto row = std::make_unique_for_overwrite<std::uint8_t[]>(stride);
  for (std::size_t base = 0; base < all_ids.size(); base += kIdsPerGuard) {
    const ReaderEpochs::Guard guard(ReaderEpochs::Shared());
    const std::span<const std::uint64_t> ids =
        all_ids.subspan(base, std::min<std::size_t>(kIdsPerGuard, all_ids.size() - base));
    InGroups(
        ids,
        [&](std::size_t begin, std::size_t end, const std::uint64_t* hashes) {
          std::array<Candidate, kGroup> candidates;
          for (std::size_t i = begin; i < end; ++i) candidates[i - begin] = Find(ids[i], hashes[i - begin]);
          for (std::size_t i = begin; i < end; ++i) PrefetchRow(candidates[i - begin], stride, Timestamps::kRead);
        },
        [&](std::size_t begin, std::size_t end, const std::uint64_t* hashes) {
          for (std::size_t i = begin; i < end; ++i) {
            Entry entry{false, row.get(), 0};
            const auto with_entry = [&] { return change(base + i, entry); };
            UpdateOne(ids[i], hashes[i - begin], &entry, with_entry);
          }
        });
  }
}

template <typename Change>
void RowTable::UpdateOne(std::uint64_t id, std::uint64_t full_hash, Entry* entry, Change change) {
  const std::size_t stride = arena_->stride();
  const std::uint64_t hash = WithinStripe(full_hash);
  Stripe& stripe = stripes_[StripeOf(full_hash)];
  const std::lock_guard lock(stripe.mutex);
  const BucketArray::Place place = stripe.owner->Find(id, hash);
  entry->existed = place.bucket != nullptr;
  if (entry->existed) {
    CopyFromShared(arena_->Row(place.row()), stride, stride, entry->row);
    entry->timestamp = *arena_->Timestamp(place.row());
  } else {
    std::memset(entry->row, 0, stride);
  }
  const Action action = change();
  if (action == Action::kStore) {
    if (entry->existed) {
      Store(place, *entry);
    } else {
      Insert(stripe, id, hash, *entry);
    }
  } else if (action == Action::kErase && entry->existed) {
    Erase(stripe, place, hash);
  }
}

template <typename Visit>
std::size_t RowTable::Scan(Piece* piece, std::size_t limit, Visit visit) const {
  std::size_t visited = 0;
  while (visited < limit && piece->begin <= piece->last && piece->begin != kNoHash) {
    const Stripe& stripe = stripes_[StripeOf(piece->begin)];
    const std::uint64_t last = std::min(piece->last, LastOfStripe(piece->begin));
    const std::size_t wanted = std::min(limit - visited, kScanned);
    const std::lock_guard lock(stripe.mutex);
    const std::vector<HashedRow> rows = Collect(stripe, piece->begin, last, wanted);
    for (const HashedRow& row : rows) visit(row.id, arena_->Row(row.row), *arena_->Timestamp(row.row));
    visited += rows.size();
    const std::uint64_t done = rows.size() == wanted ? rows.back().hash : last;
    piece->begin = done == kNoHash ? kNoHash : done + 1;
  }
  return visited;
}

template <typename Pick>
std::uint64_t RowTable::EraseIf(Pick pick) {
  std::uint64_t erased = 0;
  for (Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    const BucketArray& array = *stripe.owner;
    for (std::uint64_t b = 0; b < array.count(); ++b) {
      Bucket& bucket = array[b];
      for (std::size_t slot = 0; slot < Bucket::kSlots; ++slot) {
        if (bucket.rows[slot] == 0) continue;
        const BucketArray::Place place{&bucket, slot};
        if (!pick(bucket.ids[slot], *arena_->Timestamp(place.row()))) continue;
        Erase(stripe, place, WithinStripe(Hash(bucket.ids[slot])));
        ++erased;
      }
    }
  }
  return erased;
}

}  // namespace mexport
