#include "tf_ops/table.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <span>

#include "core/embedding_table.h"
#include "core/entry_codec.h"
#include "core/sliding_filter.h"
#include "core/wire.h"
#include "tf_ops/records.h"
#include "tf_ops/touched_ids.h"

namespace mexport {
namespace {

std::span<const std::uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::span<const std::uint64_t> IdsOf(Ids ids) { return AsIds({ids.data, ids.size}); }

Admit AdmitBy(const std::shared_ptr<OccurrenceFilter>& filter) {
  if (filter == nullptr) return {};
  return [filter](std::uint64_t id, std::uint64_t occurrences) { return !filter->ShouldBeFiltered(id, occurrences); };
}

template <typename Work>
void Guarded(const std::string& name, const Work& work) {
  WithOpErrors("table '" + name + "'", OpError::kInternal, work);
}

}  // namespace

// Goes by the time of the updates, as expiry does: nothing expires while that stands still.
struct Table::Eviction {
  static constexpr std::int64_t kNever = -1;

  explicit Eviction(std::int32_t every_hours) : every(std::int64_t{every_hours} * 3600) {}

  // Whether it is time, for one of those who ask at the same time. The first one to ask only sets the clock.
  bool Due(std::int64_t now) {
    std::int64_t seen = last.load(std::memory_order_relaxed);
    if (seen != kNever && now - seen < every) return false;
    return last.compare_exchange_strong(seen, now, std::memory_order_relaxed) && seen != kNever;
  }

  std::int64_t every;  // seconds
  std::atomic<std::int64_t> last{kNever};
};

Table::Table(std::string name, const std::string& config, std::shared_ptr<OccurrenceFilter> filter)
    : name_(std::move(name)), filter_(std::move(filter)) {
  Guarded(name_, [&] { rows_ = std::make_shared<EmbeddingTable>(Bytes(config)); });
  const TableConfig& parsed = rows_->config();
  if (parsed.enable_feature_eviction) eviction_ = std::make_shared<Eviction>(parsed.feature_evict_every_n_hours);
}

std::size_t Table::dim() const { return rows_->dim(); }

std::size_t Table::segments() const { return rows_->format().segments(); }

std::uint64_t Table::size() const { return rows_->size(); }

bool Table::serves() const { return !rows_->format().training(); }

void Table::CheckFloats(const char* what, Ids ids, Floats values) const {
  const std::size_t want = ids.size * dim();
  if (values.size == want) return;
  throw OpError(OpError::kInvalidArgument,
                "table '" + name_ + "': " + what + ": The dim doesn't match expectation: got " +
                    std::to_string(values.size) + " floats, want " + std::to_string(want) + ", " +
                    std::to_string(dim()) + " for each of " + std::to_string(ids.size) + " ids");
}

void Table::EvictIfDue() const {
  if (eviction_ != nullptr && eviction_->Due(rows_->max_update_time())) rows_->Evict(std::nullopt);
}

// Afterwards: whoever takes the ids must find the changed entries.
void Table::Touch(Ids ids) const {
  if (touched_ != nullptr) touched_->Add(ids.data, ids.size);
}

void Table::Lookup(Ids ids, float* values) const {
  Guarded(name_, [&] { rows_->Lookup(IdsOf(ids), values); });
}

std::vector<std::string> Table::LookupEntry(Ids ids) const {
  std::vector<std::string> entries;
  Guarded(name_, [&] { entries = rows_->LookupEntry(IdsOf(ids)); });
  return entries;
}

void Table::Assign(Ids ids, Floats values, std::int64_t time) const {
  CheckFloats("values", ids, values);
  Guarded(name_, [&] {
    rows_->Assign(IdsOf(ids), values.data, time, AdmitBy(filter_));
    EvictIfDue();
  });
}

void Table::AssignAdd(Ids ids, Floats values, std::int64_t time) const {
  CheckFloats("values", ids, values);
  Guarded(name_, [&] {
    rows_->AssignAdd(IdsOf(ids), values.data, time, AdmitBy(filter_));
    EvictIfDue();
  });
}

void Table::Optimize(Ids ids, Floats gradients, const Training& training) const {
  CheckFloats("gradients", ids, gradients);
  Guarded(name_, [&] {
    rows_->Optimize(IdsOf(ids), gradients.data,
                    {.learning_rates = {training.learning_rates.data, training.learning_rates.size},
                     .update_time = training.time,
                     .global_step = training.global_step,
                     .sum_gradients = training.sum_gradients,
                     .admit = AdmitBy(filter_)});
    Touch(ids);
    EvictIfDue();
  });
}

void Table::Reinitialize(Ids ids, std::int32_t* existed) const {
  Guarded(name_, [&] {
    rows_->Reinitialize(IdsOf(ids), existed);
    Touch(ids);
  });
}

std::vector<std::string> Table::SavePart(std::int64_t part, std::int64_t parts, std::int64_t limit,
                                         std::int64_t* position) const {
  if (part < 0 || parts <= part || limit < 0) {
    throw OpError(OpError::kInvalidArgument, "table '" + name_ + "': got shard " + std::to_string(part) + " of " +
                                                 std::to_string(parts) + " and a limit of " + std::to_string(limit) +
                                                 ", want a shard below the number of shards and no negative limit");
  }
  std::vector<std::string> entries;
  if (serves()) {
    throw OpError(OpError::kResourceExhausted, "table '" + name_ + "': a serving table cannot be saved");
  }
  if (limit == 0) return entries;
  Guarded(name_, [&] {
    auto at = static_cast<std::uint64_t>(*position);
    const EntryBatch batch = rows_->SavePart(static_cast<std::uint64_t>(part), static_cast<std::uint64_t>(parts), &at,
                                             static_cast<std::size_t>(limit));
    *position = static_cast<std::int64_t>(at);
    const EntryEncoder encoder(batch.layout());
    const EntrySource source = batch.source();
    for (std::size_t i = 0; i < batch.rows(); ++i) {
      std::string& entry = entries.emplace_back(encoder.SizeOf(source, i), '\0');
      encoder.Encode(source, i, reinterpret_cast<std::uint8_t*>(entry.data()));
    }
  });
  return entries;
}

std::vector<std::pair<std::string, std::string>> SplitMultiConfig(const std::string& config) {
  std::vector<std::pair<std::string, std::string>> tables;
  WithOpErrors("", OpError::kInternal, [&] {
    std::set<std::string> names;
    for (const NamedTableConfig& table : ParseMultiTableConfig(Bytes(config))) {
      if (!names.insert(table.name).second) {
        throw OpError(OpError::kInvalidArgument, "table config: two tables are named '" + table.name + "'");
      }
      tables.emplace_back(table.name, std::string(table.bytes.begin(), table.bytes.end()));
    }
  });
  return tables;
}

void CheckTableConfig(const std::string& config) {
  WithOpErrors("", OpError::kInternal, [&] { ParseTableConfig(Bytes(config)); });
}

void CheckExpireConfig(const std::string& config) {
  WithOpErrors("slot_expire_time_config", OpError::kInternal, [&] { ParseExpireConfig(Bytes(config)); });
}

void CheckThresholds(const std::string& config) {
  WithOpErrors("", OpError::kInternal, [&] { OccurrenceThresholds thresholds(config); });
}

std::shared_ptr<OccurrenceFilter> MakeSlidingFilter(std::int64_t capacity, std::int64_t splits,
                                                    const std::string& thresholds) {
  std::shared_ptr<OccurrenceFilter> filter;
  WithOpErrors("", OpError::kInternal,
               [&] { filter = std::make_shared<SlidingFilter>(capacity, splits, OccurrenceThresholds(thresholds)); });
  return filter;
}

std::shared_ptr<OccurrenceFilter> MakeProbabilisticFilter(bool equal_probability, const std::string& thresholds) {
  std::shared_ptr<OccurrenceFilter> filter;
  WithOpErrors("", OpError::kInternal, [&] {
    filter = std::make_shared<ProbabilisticFilter>(equal_probability, OccurrenceThresholds(thresholds));
  });
  return filter;
}

std::int32_t SlotOfEntry(const char* entry, std::size_t size, bool second_layout) {
  std::uint64_t id = 0;
  try {
    WireReader message({reinterpret_cast<const std::uint8_t*>(entry), size});
    while (message.Next()) {
      if (message.Is(1, WireType::kFixed64)) {
        id = message.ReadFixed64();
      } else {
        message.Skip();
      }
    }
  } catch (const WireError&) {
    id = 0;
  }
  return static_cast<std::int32_t>(second_layout ? id >> 48 & 0x7fff : id >> 54);
}

}  // namespace mexport
