// A table as the ops see it: an embedding table with its name, its filter, and every size checked.
//
// This header is C++17: see platform.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/occurrence_filter.h"
#include "tf_ops/platform.h"

namespace mexport {

class EmbeddingTable;
class TouchedIds;

// So many floats of somebody's.
struct Floats {
  const float* data;
  std::size_t size;
};

struct Ids {
  const std::int64_t* data;
  std::size_t size;
};

// All methods may run in any number of threads, and throw OpError with the table's name in the message.
class Table {
 public:
  // Throws OpError(kInvalidArgument) for a config that makes no table.
  Table(std::string name, const std::string& config, std::shared_ptr<OccurrenceFilter> filter);

  const std::string& name() const { return name_; }
  std::size_t dim() const;
  // One learning rate each.
  std::size_t segments() const;
  std::uint64_t size() const;
  EmbeddingTable& rows() const { return *rows_; }
  const std::shared_ptr<EmbeddingTable>& shared_rows() const { return rows_; }

  // From now on the ids that Optimize() and Reinitialize() were given are added, once their entries have changed.
  void TrackTouched(std::shared_ptr<TouchedIds> touched) { touched_ = std::move(touched); }

  // REQUIRES: room for dim() floats an id
  void Lookup(Ids ids, float* values) const;
  std::vector<std::string> LookupEntry(Ids ids) const;
  bool serves() const;

  void Assign(Ids ids, Floats values, std::int64_t time) const;
  void AssignAdd(Ids ids, Floats values, std::int64_t time) const;
  struct Training {
    Floats learning_rates;
    std::int64_t time;
    std::int64_t global_step;
    bool sum_gradients;
  };
  void Optimize(Ids ids, Floats gradients, const Training& training) const;
  // Sets `existed` to 1 or 0 for each id.
  void Reinitialize(Ids ids, std::int32_t* existed) const;

  // The next `limit` entries of part `part` of `parts`, serialised. `position` as in EmbeddingTable::SavePart().
  std::vector<std::string> SavePart(std::int64_t part, std::int64_t parts, std::int64_t limit,
                                    std::int64_t* position) const;

 private:
  struct Eviction;

  void CheckFloats(const char* what, Ids ids, Floats values) const;
  // Every so many hours, where the config asks for it, drops the entries that have expired.
  void EvictIfDue() const;
  void Touch(Ids ids) const;

  std::string name_;
  std::shared_ptr<EmbeddingTable> rows_;
  std::shared_ptr<OccurrenceFilter> filter_;
  std::shared_ptr<Eviction> eviction_;   // null where the config does not ask for it
  std::shared_ptr<TouchedIds> touched_;  // null where nobody wants to know
};

// The name and the bytes of each config of a serialised MultiEmbeddingHashTableConfig, in its order. Throws
// OpError(kInvalidArgument) for bytes that are none and for two tables of one name.
std::vector<std::pair<std::string, std::string>> SplitMultiConfig(const std::string& config);

// Throws OpError(kInvalidArgument) for a config that makes no table.
void CheckTableConfig(const std::string& config);
// The same for a SlotExpireTimeConfig.
void CheckExpireConfig(const std::string& config);

// The same for a SlotOccurrenceThresholdConfig.
void CheckThresholds(const std::string& config);

std::shared_ptr<OccurrenceFilter> MakeSlidingFilter(std::int64_t capacity, std::int64_t splits,
                                                    const std::string& thresholds);
std::shared_ptr<OccurrenceFilter> MakeProbabilisticFilter(bool equal_probability, const std::string& thresholds);

// The slot of a serialised EntryDump's id; that of id 0 where there is none or the bytes are no message.
std::int32_t SlotOfEntry(const char* entry, std::size_t size, bool second_layout);

}  // namespace mexport
