// An embedding hash table: ids to vectors, with optimizer state in training tables and encoded values in serving ones.
//
// Any method may run in any number of threads. Each id is read and written as a whole; a batch is not.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/distinct_ids.h"
#include "core/entry_batch.h"
#include "core/row_format.h"
#include "core/row_table.h"
#include "core/table_config.h"
#include "core/word_mutex.h"

namespace mexport {

// The same 64 bits, for callers whose ids are signed.
inline std::span<const std::uint64_t> AsIds(std::span<const std::int64_t> ids) {
  return {reinterpret_cast<const std::uint64_t*>(ids.data()), ids.size()};
}

// Says of an id that has no entry whether it may get one, when it occurs so often in the batch. Runs under the id's
// lock, so it may not call the table.
using Admit = std::function<bool(std::uint64_t id, std::uint64_t occurrences)>;

// Methods throw Error(kInvalidArgument), before they change anything, for: an update time or step that is negative or
// no 32-bit number of seconds; optimizing, saving or reading entries of a serving table. All take n ids and [n, dim]
// floats.
class EmbeddingTable {
 public:
  // Throws Error(kInvalidArgument) for bytes that ParseTableConfig refuses.
  explicit EmbeddingTable(std::span<const std::uint8_t> config);

  const std::vector<std::uint8_t>& config_bytes() const { return config_bytes_; }
  const TableConfig& config() const { return config_; }
  const RowFormat& format() const { return format_; }
  std::size_t dim() const { return format_.dim(); }

  std::uint64_t size() const { return Rows()->size(); }
  std::size_t memory_bytes() const { return Rows()->memory_bytes(); }
  // The largest update time that the table has seen, in seconds; restored ones count.
  std::int64_t max_update_time() const { return max_update_time_.load(std::memory_order_relaxed); }

  // Zeros for an id that is not there. Returns how many are.
  std::size_t Lookup(std::span<const std::uint64_t> ids, float* values) const;
  // 1 or 0 for each id.
  std::size_t Contains(std::span<const std::uint64_t> ids, std::uint8_t* present) const;
  // A serialised EntryDump without its id for each id; empty for one that is not there.
  std::vector<std::string> LookupEntry(std::span<const std::uint64_t> ids) const;

  // Of several values for one id the last one stays. With skip_zero_embedding, zeros erase. Ids that `admit`, if there
  // is one, does not admit are left out; each occurrence is asked for by itself.
  void Assign(std::span<const std::uint64_t> ids, const float* values, std::int64_t update_time,
              const Admit& admit = {});
  void AssignAdd(std::span<const std::uint64_t> ids, const float* values, std::int64_t update_time,
                 const Admit& admit = {});
  struct Training {
    std::span<const float> learning_rates;  // one for each segment, or Error(kInvalidArgument)
    std::int64_t update_time = 0;
    std::int64_t global_step = 0;
    // The gradients of one id are added up for one step. Otherwise each is a step, in the order of the batch.
    bool sum_gradients = false;
    Admit admit = {};
  };
  void Optimize(std::span<const std::uint64_t> ids, const float* gradients, const Training& training);
  void Optimize(std::span<const std::uint64_t> ids, const float* gradients, std::span<const float> learning_rates,
                std::int64_t update_time, std::int64_t global_step) {
    Optimize(ids, gradients,
             {.learning_rates = learning_rates, .update_time = update_time, .global_step = global_step});
  }
  // Gives entries the values and state of new ones, and the time of the clock; makes those that are not there. Sets
  // `existed` to 1 or 0 for each id.
  void Reinitialize(std::span<const std::uint64_t> ids, std::int32_t* existed);

  // Drops entries that were not updated in the days of their slot before `time`, by default max_update_time().
  // Returns how many.
  std::uint64_t Evict(std::optional<std::int64_t> time);
  void Clear();

  // All ids in ascending order, as unsigned numbers.
  std::vector<std::uint64_t> Ids() const { return Rows()->Ids(); }
  // In the same order those that at `time` have not expired, whatever the table's own config says of expiry.
  std::vector<std::uint64_t> LiveIds(const ExpireConfig& expire, std::int64_t time) const;
  // All entries in that order, as they were at one moment. Writers wait until it is done.
  EntryBatch Save() const;
  // The entries of those ids that are there, in the order given. No writer waits.
  EntryBatch Save(std::span<const std::uint64_t> ids) const;
  // The same moment for several tables. REQUIRES: callers name tables in one order, for each waits for the next
  static std::vector<EntryBatch> SaveTogether(std::span<const EmbeddingTable* const> tables);
  // The next entries of one of `n` parts of the table, for saving it in pieces while it is in use: `limit` of them,
  // fewer only at the end, in no order that means anything. `position` is 0 at first, and otherwise what the call
  // before left there. An entry that is there throughout comes once. A position has no meaning for another table, nor
  // after Clear(), Swap() or Restore() with `clear`. Throws Error(kInvalidArgument) unless part < n.
  EntryBatch SavePart(std::uint64_t part, std::uint64_t n, std::uint64_t* position, std::size_t limit) const;

  // Throws what Restore() would, and changes nothing: for those who restore several tables or none.
  void CheckRestore(const EntrySource& source, std::size_t n) const;
  // Restores the entries of a batch, as below; also throws Error(kInvalidArgument) for one of another layout.
  void Restore(const EntryBatch& batch, bool clear);
  // Takes over n entries: all or, where it throws, none, unless memory ends. A training table needs a state column for
  // each of format().layout().columns(); a serving table encodes the values, ignores the rest and sets times to 0.
  // With `clear` the others go, in the moment in which the new ones are all there.
  void Restore(const EntrySource& source, std::size_t n, bool clear);
  // An empty table of the same config, with room for so many ids.
  std::unique_ptr<EmbeddingTable> EmptyLike(std::uint64_t capacity = 0) const;
  // Takes over all entries of a table of the same config, which is left with this one's.
  void Swap(EmbeddingTable& other);

 private:
  // The rows of the moment: they stay alive while the result does.
  std::shared_ptr<RowTable> Rows() const;
  std::shared_ptr<RowTable> ExchangeRows(std::shared_ptr<RowTable> rows);
  static std::uint32_t Seconds(std::int64_t time);
  void RaiseTime(std::int64_t time);
  void WantTraining(const char* what) const;
  void OptimizeEach(std::span<const std::uint64_t> ids, const float* gradients, const Training& training,
                    const DistinctIds* distinct);
  void CopyToBatch(const std::uint8_t* row, std::uint64_t id, std::uint32_t timestamp, std::size_t i,
                   const EntryTarget& to) const;
  EntryBatch SaveSnapshot(const RowTable::Snapshot& snapshot) const;
  void Insert(RowTable& rows, const EntrySource& source, std::size_t n) const;

  std::vector<std::uint8_t> config_bytes_;
  TableConfig config_;
  RowFormat format_;
  mutable WordMutex rows_mutex_;
  std::shared_ptr<RowTable> rows_;  // guarded by rows_mutex_
  std::atomic<std::int64_t> max_update_time_{0};
};

}  // namespace mexport
