#include "tf_ops/touched_ids.h"

#include <algorithm>

#include "core/radix_sort.h"

namespace mexport {
namespace {

constexpr std::size_t kCompactAtLeast = std::size_t{1} << 16;

}  // namespace

void MakeDistinct(std::vector<std::int64_t>* ids) {
  constexpr std::uint64_t kSign = std::uint64_t{1} << 63;
  RadixSort(*ids, [](std::int64_t id) { return static_cast<std::uint64_t>(id) ^ kSign; });
  ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
}

void TouchedIds::Add(const std::int64_t* ids, std::size_t n) {
  const std::lock_guard lock(mutex_);
  ids_.insert(ids_.end(), ids, ids + n);
  if (ids_.size() < std::max(compact_at_, kCompactAtLeast)) return;
  MakeDistinct(&ids_);
  // Sorting again only when as many have come costs a bounded time an id.
  compact_at_ = 2 * ids_.size();
}

std::vector<std::int64_t> TouchedIds::Take() {
  std::vector<std::int64_t> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(ids_);
    compact_at_ = 0;
  }
  MakeDistinct(&taken);
  return taken;
}

}  // namespace mexport
