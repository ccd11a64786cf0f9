// Batches of ids for several tables and several shards at once: the ids of shard 0 for each table, those of shard 1, …
//
// This header is C++17: see platform.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tf_ops/table.h"

namespace mexport {

// The ids [id_begin, id_begin + ids) of a batch, for one table.
struct FusedSlot {
  std::size_t table;
  std::size_t ids;
  std::size_t id_begin;
  std::size_t value_begin;  // floats
};

// The slots of a batch of which `sizes` says how many ids there are in each. Throws OpError(kInvalidArgument) unless
// they are one for each table and shard, and add up to `ids`.
std::vector<FusedSlot> FusedSlots(const std::vector<const Table*>& tables, std::int64_t shards,
                                  const std::int32_t* sizes, std::size_t count, std::size_t ids);

// The same where the caller says where each slot begins. Also refuses slots that do not lie within the ids and values.
std::vector<FusedSlot> FusedSlotsAt(const std::vector<const Table*>& tables, std::int64_t shards,
                                    const std::int32_t* sizes, std::size_t count, std::size_t ids, std::size_t values,
                                    const std::int32_t* id_begins, std::size_t id_begin_count,
                                    const std::int32_t* value_begins, std::size_t value_begin_count);

}  // namespace mexport
