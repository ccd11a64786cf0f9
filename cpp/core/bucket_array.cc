#include "core/bucket_array.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <new>
#include <utility>

namespace mexport {
namespace {

std::uint64_t BucketsFor(std::uint64_t capacity) {
  const auto buckets =
      static_cast<std::uint64_t>(static_cast<double>(capacity) / (BucketArray::kMaxLoad * Bucket::kSlots));
  return std::max<std::uint64_t>(buckets + 1, 1);
}

}  // namespace

BucketArray::BucketArray(std::uint64_t capacity, std::shared_ptr<RowArena> arena)
    : capacity_(capacity),
      count_(BucketsFor(capacity)),
      memory_(count_ * sizeof(Bucket), PageSize::kHuge),
      buckets_(reinterpret_cast<Bucket*>(memory_.data())),
      arena_(std::move(arena)) {}

BucketArray::Place BucketArray::Find(std::uint64_t id, std::uint64_t hash) const {
  std::uint64_t b = Home(hash);
  for (std::uint64_t probes = 0; probes < count_; ++probes) {
    Bucket& bucket = buckets_[b];
    for (std::uint32_t match = bucket.Match(id); match != 0; match &= match - 1) {
      const auto slot = static_cast<std::size_t>(std::countr_zero(match));
      if (bucket.rows[slot] != 0) return {&bucket, slot};
    }
    if ((LoadShared(&bucket.state) & Bucket::kMaxOverflow) == 0) break;
    b = Next(b);
  }
  return {nullptr, 0};
}

void BucketArray::Insert(std::uint64_t id, std::uint64_t hash, std::uint32_t row) {
  for (std::uint64_t b = Home(hash);; b = Next(b)) {
    Bucket& bucket = buckets_[b];
    for (std::size_t slot = 0; slot < Bucket::kSlots; ++slot) {
      if (bucket.rows[slot] != 0) continue;
      const BucketLock lock(bucket);
      StoreShared(&bucket.ids[slot], id);
      StoreShared(&bucket.rows[slot], row + 1);
      return;
    }
    BucketLock(bucket).AddOverflow();
  }
}

void BucketArray::Erase(Place place, std::uint64_t hash) {
  {
    const BucketLock lock(*place.bucket);
    StoreShared(&place.bucket->rows[place.slot], std::uint32_t{0});
  }
  for (std::uint64_t b = Home(hash); &buckets_[b] != place.bucket; b = Next(b))
    BucketLock(buckets_[b]).RemoveOverflow();
}

}  // namespace mexport
