#include "core/embedding_table.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <limits>
#include <mutex>
#include <utility>

#include "core/entry_dump.h"
#include "core/error.h"

namespace mexport {
namespace {

constexpr std::size_t kPrefetch = 16;

std::uint8_t* Bytes(float* values) { return reinterpret_cast<std::uint8_t*>(values); }

// Whether an assignment to a table with skip_zero_embedding erases: all zeros, or so small that squares vanish.
bool IsZero(const float* values, std::size_t dim) {
  float sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += values[i] * values[i];
  return sum < std::numeric_limits<float>::min();
}

}  // namespace

EmbeddingTable::EmbeddingTable(std::span<const std::uint8_t> config)
    : config_bytes_(config.begin(), config.end()),
      config_(ParseTableConfig(config)),
      format_(config_),
      rows_(std::make_shared<RowTable>(format_.row_bytes(), config_.initial_capacity)) {}

std::shared_ptr<RowTable> EmbeddingTable::Rows() const {
  const std::lock_guard lock(rows_mutex_);
  return rows_;
}

std::shared_ptr<RowTable> EmbeddingTable::ExchangeRows(std::shared_ptr<RowTable> rows) {
  const std::lock_guard lock(rows_mutex_);
  rows_.swap(rows);
  return rows;
}

std::uint32_t EmbeddingTable::Seconds(std::int64_t time) {
  if (time < 0 || time > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorKind::kInvalidArgument, "update time: got " + std::to_string(time) + ", want seconds in [0, " +
                                                 std::to_string(std::numeric_limits<std::uint32_t>::max()) + "]");
  }
  return static_cast<std::uint32_t>(time);
}

void EmbeddingTable::RaiseTime(std::int64_t time) {
  std::int64_t seen = max_update_time_.load(std::memory_order_relaxed);
  while (seen < time && !max_update_time_.compare_exchange_weak(seen, time, std::memory_order_relaxed)) {
  }
}

void EmbeddingTable::WantTraining(const char* what) const {
  if (!format_.training()) {
    throw Error(ErrorKind::kInvalidArgument, std::string(what) + ": got a serving table, want a training table");
  }
}

std::size_t EmbeddingTable::Lookup(std::span<const std::uint64_t> ids, float* values) const {
  const std::shared_ptr<RowTable> rows = Rows();
  const std::size_t dim = format_.dim();
  const std::size_t bytes = format_.value_bytes();
  const auto missing = [&](std::size_t i) { std::fill_n(values + i * dim, dim, 0.0f); };
  if (format_.raw()) {
    return rows->Read<RowTable::Timestamps::kIgnore>(
        ids, bytes, [&](std::size_t i) { return Bytes(values + i * dim); }, [](std::size_t, std::uint32_t) {}, missing);
  }
  const auto row = std::make_unique_for_overwrite<std::uint8_t[]>(bytes);
  return rows->Read<RowTable::Timestamps::kIgnore>(
      ids, bytes, [&](std::size_t) { return row.get(); },
      [&](std::size_t i, std::uint32_t) { format_.Decode(row.get(), values + i * dim); }, missing);
}

std::size_t EmbeddingTable::Contains(std::span<const std::uint64_t> ids, std::uint8_t* present) const {
  return Rows()->Read<RowTable::Timestamps::kIgnore>(
      ids, 0, [](std::size_t) { return nullptr; }, [&](std::size_t i, std::uint32_t) { present[i] = 1; },
      [&](std::size_t i) { present[i] = 0; });
}

std::vector<std::string> EmbeddingTable::LookupEntry(std::span<const std::uint64_t> ids) const {
  WantTraining("reading entries");
  const std::size_t bytes = format_.row_bytes();
  const auto row = std::make_unique_for_overwrite<std::uint8_t[]>(bytes);
  std::vector<std::string> entries(ids.size());
  Rows()->Read<RowTable::Timestamps::kRead>(
      ids, bytes, [&](std::size_t) { return row.get(); },
      [&](std::size_t i, std::uint32_t timestamp) { entries[i] = SerializeEntry(format_, row.get(), timestamp); },
      [](std::size_t) {});
  return entries;
}

void EmbeddingTable::Assign(std::span<const std::uint64_t> ids, const float* values, std::int64_t update_time,
                            const Admit& admit) {
  const std::uint32_t seconds = Seconds(update_time);
  RaiseTime(update_time);
  const std::size_t dim = format_.dim();
  Rows()->Update(ids, [&](std::size_t i, RowTable::Entry& entry) {
    const float* const from = values + i * dim;
    if (config_.skip_zero_embedding && IsZero(from, dim)) return RowTable::Action::kErase;
    if (!entry.existed) {
      if (admit && !admit(ids[i], 1)) return RowTable::Action::kNothing;
      format_.Initialize(entry.row);
    }
    format_.Assign(entry.row, from);
    entry.timestamp = seconds;
    return RowTable::Action::kStore;
  });
}

void EmbeddingTable::AssignAdd(std::span<const std::uint64_t> ids, const float* values, std::int64_t update_time,
                               const Admit& admit) {
  const std::uint32_t seconds = Seconds(update_time);
  RaiseTime(update_time);
  const std::size_t dim = format_.dim();
  std::vector<float> scratch;
  Rows()->Update(ids, [&](std::size_t i, RowTable::Entry& entry) {
    if (!entry.existed) {
      if (admit && !admit(ids[i], 1)) return RowTable::Action::kNothing;
      format_.Initialize(entry.row);
    }
    format_.AssignAdd(entry.row, values + i * dim, &scratch);
    entry.timestamp = seconds;
    return RowTable::Action::kStore;
  });
}

void EmbeddingTable::Optimize(std::span<const std::uint64_t> ids, const float* gradients, const Training& training) {
  WantTraining("optimizing");
  const std::size_t rates = training.learning_rates.size();
  if (rates != format_.segments()) {
    throw Error(ErrorKind::kInvalidArgument, "learning rates: got " + std::to_string(rates) + ", want " +
                                                 std::to_string(format_.segments()) + ", one for each segment");
  }
  if (training.global_step < 0) {
    throw Error(ErrorKind::kInvalidArgument,
                "global step: got " + std::to_string(training.global_step) + ", want at least 0");
  }
  if (!training.sum_gradients) {
    OptimizeEach(ids, gradients, training, nullptr);
    return;
  }
  const DistinctIds distinct(ids);
  OptimizeEach(distinct.ids(), distinct.Sum(gradients, format_.dim()).data(), training, &distinct);
}

void EmbeddingTable::OptimizeEach(std::span<const std::uint64_t> ids, const float* gradients, const Training& training,
                                  const DistinctIds* distinct) {
  const std::uint32_t seconds = Seconds(training.update_time);
  RaiseTime(training.update_time);
  format_.SetStep(training.global_step);
  const std::size_t dim = format_.dim();
  std::vector<float> scratch;
  Rows()->Update(ids, [&](std::size_t i, RowTable::Entry& entry) {
    if (!entry.existed) {
      const std::uint64_t occurrences = distinct == nullptr ? 1 : distinct->count(i);
      if (training.admit && !training.admit(ids[i], occurrences)) return RowTable::Action::kNothing;
      format_.Initialize(entry.row);
    }
    format_.Optimize(entry.row, gradients + i * dim, training.learning_rates, training.global_step, &scratch);
    entry.timestamp = seconds;
    return RowTable::Action::kStore;
  });
}

void EmbeddingTable::Reinitialize(std::span<const std::uint64_t> ids, std::int32_t* existed) {
  const auto now = static_cast<std::uint32_t>(std::time(nullptr));
  Rows()->Update(ids, [&](std::size_t i, RowTable::Entry& entry) {
    existed[i] = entry.existed ? 1 : 0;
    format_.Initialize(entry.row);
    entry.timestamp = now;
    return RowTable::Action::kStore;
  });
}

std::uint64_t EmbeddingTable::Evict(std::optional<std::int64_t> time) {
  const std::int64_t now = time ? Seconds(*time) : max_update_time();
  return Rows()->EraseIf(
      [&](std::uint64_t id, std::uint32_t timestamp) { return now - timestamp >= config_.expire.Seconds(id); });
}

void EmbeddingTable::Clear() { ExchangeRows(std::make_shared<RowTable>(format_.row_bytes(), 1)); }

std::vector<std::uint64_t> EmbeddingTable::LiveIds(const ExpireConfig& expire, std::int64_t time) const {
  const std::shared_ptr<RowTable> rows = Rows();
  std::vector<std::uint64_t> ids = rows->Ids();
  std::size_t live = 0;
  rows->Read<RowTable::Timestamps::kRead>(
      ids, 0, [](std::size_t) { return nullptr; },
      [&](std::size_t i, std::uint32_t timestamp) {
        // Ids are read in groups ahead of this one, never behind it.
        if (time - timestamp < expire.Seconds(ids[i])) ids[live++] = ids[i];
      },
      [](std::size_t) {});
  ids.resize(live);
  return ids;
}

std::unique_ptr<EmbeddingTable> EmbeddingTable::EmptyLike(std::uint64_t capacity) const {
  auto table = std::make_unique<EmbeddingTable>(config_bytes_);
  if (capacity > config_.initial_capacity) {
    table->rows_ = std::make_shared<RowTable>(format_.row_bytes(), capacity);
  }
  return table;
}

void EmbeddingTable::CopyToBatch(const std::uint8_t* row, std::uint64_t id, std::uint32_t timestamp, std::size_t i,
                                 const EntryTarget& to) const {
  to.ids[i] = static_cast<std::int64_t>(id);
  to.timestamps[i] = timestamp;
  std::memcpy(to.values + i * format_.dim(), row, format_.value_bytes());
  const std::vector<StateColumn>& columns = format_.layout().columns();
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const std::size_t bytes = columns[c].count * (columns[c].is_integer() ? sizeof(std::int64_t) : sizeof(float));
    std::memcpy(static_cast<std::uint8_t*>(to.states[c]) + i * bytes, row + format_.state_offsets()[c], bytes);
  }
}

EntryBatch EmbeddingTable::SaveSnapshot(const RowTable::Snapshot& snapshot) const {
  EntryBatch batch(format_.layout());
  const std::size_t n = snapshot.entries().size();
  batch.Reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    snapshot.Prefetch(i + kPrefetch);
    CopyToBatch(snapshot.Row(i), snapshot.entries()[i].id, snapshot.Timestamp(i), i, batch.target());
  }
  batch.SetRows(n);
  return batch;
}

EntryBatch EmbeddingTable::Save() const {
  const EmbeddingTable* const self = this;
  return std::move(SaveTogether({&self, 1}).front());
}

std::vector<EntryBatch> EmbeddingTable::SaveTogether(std::span<const EmbeddingTable* const> tables) {
  for (const EmbeddingTable* table : tables) table->WantTraining("saving");
  std::vector<std::shared_ptr<RowTable>> rows;
  for (const EmbeddingTable* table : tables) rows.push_back(table->Rows());
  // The locks of all tables before the entries of any.
  std::vector<std::unique_ptr<RowTable::Snapshot>> snapshots;
  for (const auto& table : rows) snapshots.push_back(std::make_unique<RowTable::Snapshot>(*table));
  std::vector<EntryBatch> batches;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    batches.push_back(tables[i]->SaveSnapshot(*snapshots[i]));
    snapshots[i].reset();
  }
  return batches;
}

EntryBatch EmbeddingTable::Save(std::span<const std::uint64_t> ids) const {
  WantTraining("saving");
  EntryBatch batch(format_.layout());
  batch.Reserve(ids.size());
  const std::size_t bytes = format_.row_bytes();
  const auto row = std::make_unique_for_overwrite<std::uint8_t[]>(bytes);
  std::size_t n = 0;
  Rows()->Read<RowTable::Timestamps::kRead>(
      ids, bytes, [&](std::size_t) { return row.get(); },
      [&](std::size_t i, std::uint32_t timestamp) { CopyToBatch(row.get(), ids[i], timestamp, n++, batch.target()); },
      [](std::size_t) {});
  batch.SetRows(n);
  return batch;
}

EntryBatch EmbeddingTable::SavePart(std::uint64_t part, std::uint64_t n, std::uint64_t* position,
                                    std::size_t limit) const {
  WantTraining("saving");
  if (part >= n) {
    throw Error(ErrorKind::kInvalidArgument, "part of a table: got " + std::to_string(part) + " of " +
                                                 std::to_string(n) + ", want a smaller number");
  }
  RowTable::Piece piece = RowTable::PieceOf(part, n);
  const std::uint64_t first = piece.begin;
  EntryBatch batch(format_.layout());
  if (*position > piece.last - first) return batch;
  piece.begin += *position;
  Rows()->Scan(&piece, limit, [&](std::uint64_t id, const std::uint8_t* row, std::uint32_t timestamp) {
    batch.ReserveOneMore();
    CopyToBatch(row, id, timestamp, batch.rows(), batch.target());
    batch.SetRows(batch.rows() + 1);
  });
  *position = piece.begin - first;
  return batch;
}

void EmbeddingTable::Insert(RowTable& rows, const EntrySource& source, std::size_t n) const {
  const std::size_t dim = format_.dim();
  const std::vector<StateColumn>& columns = format_.layout().columns();
  const std::span<const std::uint64_t> ids(reinterpret_cast<const std::uint64_t*>(source.ids), n);
  rows.Update(ids, [&](std::size_t i, RowTable::Entry& entry) {
    const float* const values = source.values + i * dim;
    if (config_.skip_zero_embedding && IsZero(values, dim)) return RowTable::Action::kNothing;
    format_.Assign(entry.row, values);
    if (!format_.training()) {
      entry.timestamp = 0;
      return RowTable::Action::kStore;
    }
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::size_t bytes = columns[c].count * (columns[c].is_integer() ? sizeof(std::int64_t) : sizeof(float));
      std::memcpy(entry.row + format_.state_offsets()[c],
                  static_cast<const std::uint8_t*>(source.states[c]) + i * bytes, bytes);
    }
    entry.timestamp = static_cast<std::uint32_t>(source.timestamps[i]);
    return RowTable::Action::kStore;
  });
}

void EmbeddingTable::CheckRestore(const EntrySource& source, std::size_t n) const {
  const std::size_t columns = format_.layout().columns().size();
  if (n > 0 && format_.training() && source.states.size() != columns) {
    throw Error(ErrorKind::kInvalidArgument, "optimizer state: got " + std::to_string(source.states.size()) +
                                                 " columns, want " + std::to_string(columns));
  }
  for (std::size_t i = 0; i < n; ++i) Seconds(source.timestamps[i]);
}

void EmbeddingTable::Restore(const EntrySource& source, std::size_t n, bool clear) {
  CheckRestore(source, n);
  if (clear) {
    auto rows = std::make_shared<RowTable>(format_.row_bytes(), std::max<std::uint64_t>(n, config_.initial_capacity));
    Insert(*rows, source, n);
    ExchangeRows(std::move(rows));
  } else {
    Insert(*Rows(), source, n);
  }
  if (n > 0) RaiseTime(*std::max_element(source.timestamps, source.timestamps + n));
}

void EmbeddingTable::Restore(const EntryBatch& batch, bool clear) {
  const EntryLayout& got = batch.layout();
  const bool any = batch.rows() > 0;  // the layout of nothing is unknown
  if (any && got.dim() != format_.dim()) {
    throw Error(ErrorKind::kInvalidArgument, "dimensions of the entries: got " + std::to_string(got.dim()) + ", want " +
                                                 std::to_string(format_.dim()));
  }
  // Segments without state leave no trace in a dump.
  const auto same = [](const StateColumn& a, const StateColumn& b) { return a.field == b.field && a.count == b.count; };
  const std::vector<StateColumn>& want = format_.layout().columns();
  if (any && format_.training() &&
      !std::equal(got.columns().begin(), got.columns().end(), want.begin(), want.end(), same)) {
    throw Error(ErrorKind::kInvalidArgument, "optimizer state: got that of other optimizers than the table's");
  }
  Restore(batch.source(), batch.rows(), clear);
}

void EmbeddingTable::Swap(EmbeddingTable& other) {
  if (&other == this) return;
  if (other.config_bytes_ != config_bytes_) {
    throw Error(ErrorKind::kInvalidArgument, "tables of different configurations cannot be swapped");
  }
  const std::scoped_lock lock(rows_mutex_, other.rows_mutex_);
  rows_.swap(other.rows_);
  RaiseTime(other.max_update_time());
  other.RaiseTime(max_update_time());
}

}  // namespace mexport
