#include "tf_ops/fused.h"

#include <limits>
#include <string>

namespace mexport {
namespace {

[[noreturn]] void Refuse(const std::string& what) { throw OpError(OpError::kInvalidArgument, what); }

void CheckCount(const char* what, std::size_t got, std::size_t want) {
  if (got == want) return;
  Refuse(std::string(what) + ": got " + std::to_string(got) + " elements, want " + std::to_string(want) +
         ", one for each table and shard");
}

std::size_t CheckSizes(const std::vector<const Table*>& tables, std::int64_t shards, const std::int32_t* sizes,
                       std::size_t count) {
  if (shards < 0) Refuse("num_of_shards: got " + std::to_string(shards) + ", want at least 0");
  CheckCount("fused_slot_size", count, tables.size() * static_cast<std::size_t>(shards));
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (sizes[i] < 0) {
      Refuse("fused_slot_size[" + std::to_string(i) + "]: got " + std::to_string(sizes[i]) + ", want at least 0");
    }
    total += static_cast<std::size_t>(sizes[i]);
  }
  return total;
}

}  // namespace

std::vector<FusedSlot> FusedSlots(const std::vector<const Table*>& tables, std::int64_t shards,
                                  const std::int32_t* sizes, std::size_t count, std::size_t ids) {
  const std::size_t total = CheckSizes(tables, shards, sizes, count);
  if (total != ids) {
    Refuse("fused_slot_size: got sizes that add up to " + std::to_string(total) + ", want " + std::to_string(ids) +
           ", the number of ids");
  }
  std::vector<FusedSlot> slots;
  slots.reserve(count);
  std::size_t id_begin = 0;
  std::size_t value_begin = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const FusedSlot slot{i % tables.size(), static_cast<std::size_t>(sizes[i]), id_begin, value_begin};
    slots.push_back(slot);
    id_begin += slot.ids;
    value_begin += slot.ids * tables[slot.table]->dim();
  }
  // Offsets go out as int32.
  if (value_begin > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    Refuse("embeddings: got " + std::to_string(value_begin) + " floats, want at most 2147483647");
  }
  return slots;
}

std::vector<FusedSlot> FusedSlotsAt(const std::vector<const Table*>& tables, std::int64_t shards,
                                    const std::int32_t* sizes, std::size_t count, std::size_t ids, std::size_t values,
                                    const std::int32_t* id_begins, std::size_t id_begin_count,
                                    const std::int32_t* value_begins, std::size_t value_begin_count) {
  CheckSizes(tables, shards, sizes, count);
  // The lookup's offsets have their end as well; nobody needs it.
  if (id_begin_count != count + 1) CheckCount("id_offsets", id_begin_count, count);
  if (value_begin_count != count + 1) CheckCount("grad_offsets", value_begin_count, count);
  std::vector<FusedSlot> slots;
  slots.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t table = i % tables.size();
    const auto n = static_cast<std::size_t>(sizes[i]);
    const auto inside = [](std::int32_t begin, std::size_t size, std::size_t end) {
      return begin >= 0 && static_cast<std::size_t>(begin) <= end && size <= end - static_cast<std::size_t>(begin);
    };
    if (!inside(id_begins[i], n, ids)) {
      Refuse("id_offsets[" + std::to_string(i) + "]: got " + std::to_string(id_begins[i]) + " for " +
             std::to_string(n) + " ids, want them within the " + std::to_string(ids) + " there are");
    }
    if (!inside(value_begins[i], n * tables[table]->dim(), values)) {
      Refuse("grad_offsets[" + std::to_string(i) + "]: got " + std::to_string(value_begins[i]) + " for " +
             std::to_string(n * tables[table]->dim()) + " floats, want them within the " + std::to_string(values) +
             " there are");
    }
    slots.push_back({table, n, static_cast<std::size_t>(id_begins[i]), static_cast<std::size_t>(value_begins[i])});
  }
  return slots;
}

}  // namespace mexport
