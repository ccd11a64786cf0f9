#include "core/row_table.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>

#include "core/radix_sort.h"

namespace mexport {
namespace {

// An array that is full makes room for half more: copying is sequential and cheap, empty slots are not.
constexpr double kGrowth = 1.5;
constexpr double kSmallest = 16;
// A hint is no promise: more than this is made when it is needed.
constexpr std::uint64_t kMaxCapacityHint = std::uint64_t{1} << 26;
constexpr std::size_t kLine = 64;
// Hardware fetches on by itself.
constexpr std::size_t kMaxPrefetch = 16 * kLine;

void Pause(unsigned* spins) {
  // Whoever holds a bucket stores one row, unless the system took its core away.
  if (++*spins % 64 != 0) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  } else {
    std::this_thread::yield();
  }
}

std::uint64_t RandomWord() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

}  // namespace

RowTable::RowTable(std::size_t row_bytes, std::uint64_t capacity_hint)
    : arena_(std::make_shared<RowArena>(row_bytes)), seed_(RandomWord()), multiplier_(RandomWord() | 1) {
  const double hint = static_cast<double>(std::min(capacity_hint, kMaxCapacityHint)) / kStripes;
  for (std::size_t i = 0; i < kStripes; ++i) {
    // Hashes do not spread evenly: four standard deviations hold all of what a hint promises. Without a hint, stripes
    // begin so that no two grow at the same size, which would make the table slow and sparse at certain sizes.
    const double spread = std::pow(kGrowth, static_cast<double>(i) / kStripes);
    const double capacity = std::max(hint + 4 * std::sqrt(hint), kSmallest * spread);
    stripes_[i].owner = std::make_shared<BucketArray>(static_cast<std::uint64_t>(capacity), arena_);
    stripes_[i].array.store(stripes_[i].owner.get(), std::memory_order_seq_cst);
  }
}

RowTable::~RowTable() = default;

std::uint64_t RowTable::size() const {
  std::uint64_t size = 0;
  for (const Stripe& stripe : stripes_) size += stripe.size.load(std::memory_order_relaxed);
  return size;
}

std::size_t RowTable::memory_bytes() const {
  std::size_t bytes = sizeof(*this) + arena_->bytes();
  for (const Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    bytes += stripe.owner->bytes();
  }
  return bytes;
}

RowTable::Candidate RowTable::Find(std::uint64_t id, std::uint64_t hash) const {
  const Stripe& stripe = stripes_[StripeOf(hash)];
  unsigned spins = 0;
  while (true) {
    const BucketArray& array = *stripe.array.load(std::memory_order_seq_cst);
    std::uint64_t b = array.Home(WithinStripe(hash));
    std::uint64_t probes = 0;
    while (true) {
      Bucket& bucket = array[b];
      const std::uint32_t state = LoadShared(&bucket.state);
      if ((state & (Bucket::kLocked | Bucket::kMoved)) != 0) break;
      for (std::uint32_t match = bucket.Match(id); match != 0; match &= match - 1) {
        const std::uint32_t row = LoadShared(&bucket.rows[std::countr_zero(match)]);
        if (row != 0) return {&bucket, state, row - 1, &array};
      }
      if (std::atomic_ref(bucket.state).load(std::memory_order_relaxed) != state) break;
      if ((state & Bucket::kMaxOverflow) == 0 || ++probes == array.count()) return {nullptr, 0, 0, nullptr};
      b = array.Next(b);
    }
    Pause(&spins);
  }
}

void RowTable::PrefetchRow(const Candidate& candidate, std::size_t bytes, Timestamps timestamps) {
  if (candidate.bucket == nullptr) return;
  const std::uint8_t* const row = candidate.array->arena().Row(candidate.row);
  const auto misaligned = reinterpret_cast<std::uintptr_t>(row) % kLine;
  const std::size_t size = std::min(bytes + misaligned, kMaxPrefetch);
  for (std::size_t offset = 0; offset < size; offset += kLine) __builtin_prefetch(row - misaligned + offset);
  if (timestamps == Timestamps::kRead) __builtin_prefetch(candidate.array->arena().Timestamp(candidate.row));
}

bool RowTable::Copy(const Candidate& candidate, std::size_t stride, std::size_t bytes, std::uint8_t* to,
                    std::uint32_t* timestamp) {
  const RowArena& arena = candidate.array->arena();
  CopyFromShared(arena.Row(candidate.row), stride, bytes, to);
  if (timestamp != nullptr) *timestamp = LoadShared(arena.Timestamp(candidate.row));
  return std::atomic_ref(candidate.bucket->state).load(std::memory_order_relaxed) == candidate.state;
}

void RowTable::Grow(Stripe& stripe) {
  const BucketArray& old = *stripe.owner;
  const auto capacity = static_cast<std::uint64_t>(static_cast<double>(old.capacity()) * kGrowth);
  auto grown = std::make_shared<BucketArray>(capacity, arena_);
  for (std::uint64_t b = 0; b < old.count(); ++b) {
    const Bucket& bucket = old[b];
    for (std::size_t slot = 0; slot < Bucket::kSlots; ++slot) {
      if (bucket.rows[slot] == 0) continue;
      grown->Insert(bucket.ids[slot], WithinStripe(Hash(bucket.ids[slot])), bucket.rows[slot] - 1);
    }
  }
  stripe.array.store(grown.get(), std::memory_order_seq_cst);
  // Readers that are still in the old array must not take its locks for the rows' locks.
  for (std::uint64_t b = 0; b < old.count(); ++b) BucketLock(old[b]).SetMoved();
  std::swap(stripe.owner, grown);
  ReaderEpochs::Shared().Retire(std::move(grown));
}

std::uint32_t RowTable::TakeRow(Stripe& stripe) {
  if (stripe.free_row != 0) {
    const std::uint32_t row = stripe.free_row - 1;
    stripe.free_row = *arena_->Timestamp(row);
    return row;
  }
  if (stripe.run_next == stripe.run_end) {
    stripe.run_next = arena_->AllocateRun();
    stripe.run_end = stripe.run_next + RowArena::kRun;
  }
  return stripe.run_next++;
}

void RowTable::ReturnRow(Stripe& stripe, std::uint32_t row) {
  StoreShared(arena_->Timestamp(row), stripe.free_row);
  stripe.free_row = row + 1;
}

void RowTable::Insert(Stripe& stripe, std::uint64_t id, std::uint64_t hash, const Entry& entry) {
  const std::uint64_t size = stripe.size.load(std::memory_order_relaxed);
  if (size >= stripe.owner->capacity()) Grow(stripe);
  const std::uint32_t row = TakeRow(stripe);
  // A reader of the row's last id may still be copying; it will find that its bucket has changed.
  CopyToShared(entry.row, arena_->stride(), arena_->Row(row));
  StoreShared(arena_->Timestamp(row), entry.timestamp);
  stripe.owner->Insert(id, hash, row);
  stripe.size.store(size + 1, std::memory_order_relaxed);
}

void RowTable::Store(BucketArray::Place place, const Entry& entry) {
  const BucketLock lock(*place.bucket);
  CopyToShared(entry.row, arena_->stride(), arena_->Row(place.row()));
  StoreShared(arena_->Timestamp(place.row()), entry.timestamp);
}

void RowTable::Erase(Stripe& stripe, BucketArray::Place place, std::uint64_t hash) {
  const std::uint32_t row = place.row();
  stripe.owner->Erase(place, hash);
  ReturnRow(stripe, row);
  stripe.size.store(stripe.size.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

RowTable::Snapshot::Snapshot(const RowTable& table) : arena_(*table.arena_) {
  locks_.reserve(kStripes);
  for (const Stripe& stripe : table.stripes_) locks_.emplace_back(stripe.mutex);
  entries_.reserve(table.size());
  for (const Stripe& stripe : table.stripes_) {
    const BucketArray& array = *stripe.owner;
    for (std::uint64_t b = 0; b < array.count(); ++b) {
      for (std::size_t slot = 0; slot < Bucket::kSlots; ++slot) {
        if (array[b].rows[slot] != 0) entries_.push_back({array[b].ids[slot], array[b].rows[slot] - 1});
      }
    }
  }
  RadixSort(entries_, [](const IdRow& entry) { return entry.id; });
}

void RowTable::Snapshot::Prefetch(std::size_t i) const {
  if (i >= entries_.size()) return;
  const std::uint8_t* const row = Row(i);
  const std::size_t size = std::min(arena_.stride(), kMaxPrefetch);
  for (std::size_t offset = 0; offset < size; offset += kLine) __builtin_prefetch(row + offset);
  __builtin_prefetch(arena_.Timestamp(entries_[i].row));
}

RowTable::Piece RowTable::PieceOf(std::uint64_t i, std::uint64_t n) {
  const auto begin = [n](std::uint64_t of) { return (static_cast<unsigned __int128>(of) << 64) / n; };
  return {static_cast<std::uint64_t>(begin(i)), static_cast<std::uint64_t>(begin(i + 1) - 1)};
}

std::vector<RowTable::HashedRow> RowTable::Collect(const Stripe& stripe, std::uint64_t begin, std::uint64_t last,
                                                   std::size_t limit) const {
  std::vector<HashedRow> found;
  const BucketArray& array = *stripe.owner;
  const std::uint64_t end = array.Home(WithinStripe(last));
  // Homes are in the order of hashes. An id is in its home or further on, beyond the end of the array at its front.
  bool beyond = false;
  bool past_last = false;
  for (std::uint64_t b = array.Home(WithinStripe(begin));; ++b) {
    if (b == array.count()) {
      if (beyond) break;
      beyond = true;
      b = 0;
    }
    const Bucket& bucket = array[b];
    for (std::size_t slot = 0; slot < Bucket::kSlots; ++slot) {
      if (bucket.rows[slot] == 0) continue;
      const std::uint64_t hash = Hash(bucket.ids[slot]);
      const bool from_the_end = array.Home(WithinStripe(hash)) > b;
      if (hash < begin || hash > last || from_the_end != beyond) continue;
      found.push_back({hash, bucket.ids[slot], bucket.rows[slot] - 1});
    }
    past_last = past_last || b == end;
    // Where no id went past this bucket, all whose home is up to here have been seen.
    const bool complete = (bucket.state & Bucket::kMaxOverflow) == 0;
    if (complete && (past_last || found.size() >= limit)) break;
  }
  std::sort(found.begin(), found.end(), [](const HashedRow& a, const HashedRow& b) { return a.hash < b.hash; });
  if (found.size() > limit) found.resize(limit);
  return found;
}

std::vector<std::uint64_t> RowTable::Ids() const {
  std::vector<std::uint64_t> ids;
  ids.reserve(size());
  for (const Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    const BucketArray& array = *stripe.owner;
    for (std::uint64_t b = 0; b < array.count(); ++b) {
      for (std::size_t slot = 0; slot < Bucket::kSlots; ++slot) {
        if (array[b].rows[slot] != 0) ids.push_back(array[b].ids[slot]);
      }
    }
  }
  RadixSort(ids, [](std::uint64_t id) { return id; });
  return ids;
}

}  // namespace mexport
