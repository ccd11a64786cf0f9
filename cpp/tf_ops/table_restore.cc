#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <thread>

#include "core/embedding_table.h"
#include "core/entry_codec.h"
#include "core/parallel.h"
#include "core/record_format.h"
#include "core/wire.h"
#include "tf_ops/records.h"
#include "tf_ops/shard_files.h"
#include "tf_ops/table_files.h"

namespace mexport {
namespace {

// Entries that go into a table at a time.
constexpr std::size_t kChunk = 4096;
// More room than this is not asked for on a file's word: the table grows by itself.
constexpr std::uint64_t kMaxCapacityHint = std::uint64_t{1} << 32;

// What a record has in front of and behind its data.
constexpr std::uint64_t kFrameBytes = record_format::kHeaderBytes + record_format::kFooterBytes;

std::size_t Threads() { return std::max(1u, std::thread::hardware_concurrency()); }

template <typename Work>
auto AtRecord(const std::string& path, const RecordReader& reader, Work work) {
  try {
    return work();
  } catch (const WireError& error) {
    throw Error(ErrorKind::kTable, error.what(), path, static_cast<std::int64_t>(reader.offset()));
  }
}

// Reads the entries of one table in one file.
class EntryReader {
 public:
  // With `to`, entries are added to it; otherwise they are only checked.
  EntryReader(const Table& table, EmbeddingTable* to) : table_(table), to_(to) {
    const RowFormat& format = table.rows().format();
    if (format.training()) UseLayout(format.layout());
  }

  void Add(std::span<const std::uint8_t> record, const std::string& path, const RecordReader& reader) {
    AtRecord(path, reader, [&] {
      if (!decoder_) {
        // A serving table takes the vectors of any table, whatever its optimizers.
        EntryLayout layout = LearnEntryLayout(record);
        if (layout.dim() != table_.dim()) {
          throw WireError("values: got " + std::to_string(layout.dim()) + ", want " + std::to_string(table_.dim()) +
                              ", the dimension of table '" + table_.name() + "'",
                          0);
        }
        UseLayout(std::move(layout));
      }
      decoder_->Decode(record, batch_.target(), batch_.rows());
      const std::int64_t time = batch_.target().timestamps[batch_.rows()];
      if (time < 0 || time > UINT32_MAX) {
        throw WireError("last_update_ts_sec: got " + std::to_string(time) + ", want seconds in [0, 4294967295]", 0);
      }
    });
    batch_.SetRows(batch_.rows() + 1);
    if (batch_.rows() == kChunk) Flush();
  }

  void Flush() {
    if (to_ != nullptr) to_->Restore(batch_.source(), batch_.rows(), false);
    batch_.SetRows(0);
  }

 private:
  void UseLayout(EntryLayout layout) {
    batch_ = EntryBatch(layout);
    batch_.Reserve(kChunk);
    decoder_.emplace(std::move(layout));
  }

  const Table& table_;
  EmbeddingTable* to_;
  std::optional<EntryDecoder> decoder_;
  EntryBatch batch_;
};

// So many entries of a table lie in a row in a file.
struct Part {
  std::string name;
  std::uint64_t entries;
};

std::vector<Part> ReadMeta(Platform& platform, const std::string& path) {
  std::vector<Part> parts;
  const std::shared_ptr<RecordReader> reader = OpenRecordReader(platform, path, false);
  while (const auto record = reader->Peek()) {
    AtRecord(path, *reader, [&] {
      Part& part = parts.emplace_back(Part{"", 0});
      WireReader message(*record);
      while (message.Next()) {
        if (message.Is(1, WireType::kBytes)) {
          const std::span<const std::uint8_t> name = message.ReadBytes();
          part.name.assign(name.begin(), name.end());
        } else if (message.Is(2, WireType::kVarint)) {
          part.entries = message.ReadVarint();
        } else {
          message.Skip();
        }
      }
    });
    reader->Skip();
  }
  return parts;
}

// What a meta file says of the shard at `path`.
std::string MetaPath(const std::string& basename, std::size_t shard, std::size_t shards) {
  return ShardPath(basename + ".meta", shard, shards);
}

// Reads one file of several tables. `reader_of(name)` gives what takes the entries of a table, null for those to pass.
void ReadShard(Platform& platform, const std::string& path, const std::vector<Part>& parts,
               const std::function<std::unique_ptr<EntryReader>(const std::string&)>& reader_of) {
  const std::shared_ptr<RecordReader> records = OpenRecordReader(platform, path, true);
  for (const Part& part : parts) {
    const std::unique_ptr<EntryReader> entries = reader_of(part.name);
    for (std::uint64_t i = 0; i < part.entries; ++i) {
      if (i % kChunk == 0) platform.CheckCancelled();
      const auto record = records->Peek();
      if (!record) {
        throw Error(ErrorKind::kTable,
                    "Parse entry failed! table '" + part.name + "': got " + std::to_string(i) + " entries, want " +
                        std::to_string(part.entries) + " by the meta file",
                    path, static_cast<std::int64_t>(records->offset()));
      }
      if (entries != nullptr) entries->Add(*record, path, *records);
      records->Skip();
    }
    if (entries != nullptr) entries->Flush();
  }
  if (records->Peek()) {
    throw Error(ErrorKind::kTable, "Parse entry failed! got more entries than the meta file says", path,
                static_cast<std::int64_t>(records->offset()));
  }
}

// About as many as the files hold, if all records are like the first one: a good guess saves the table from growing.
std::uint64_t GuessEntries(Platform& platform, const std::vector<std::string>& paths) {
  std::uint64_t bytes = 0;
  std::uint64_t frame = 0;
  for (const std::string& path : paths) {
    bytes += platform.OpenForRead(path)->Size();
    if (frame != 0) continue;
    const std::shared_ptr<RecordReader> records = OpenRecordReader(platform, path, false);
    if (const auto record = records->Peek()) frame = kFrameBytes + record->size();
  }
  return frame == 0 ? 0 : std::min(bytes / frame, kMaxCapacityHint);
}

}  // namespace

void RestoreTable(Platform& platform, const Table& table, const std::string& basename) {
  const std::vector<std::string> paths = FindShards(platform, basename);
  WithOpErrors(basename, OpError::kFailedPrecondition, [&] {
    const std::unique_ptr<EmbeddingTable> fresh = table.rows().EmptyLike(GuessEntries(platform, paths));
    RunTasks(paths.size(), Threads(), [&](std::size_t i) {
      EntryReader entries(table, fresh.get());
      const std::shared_ptr<RecordReader> records = OpenRecordReader(platform, paths[i], false);
      for (std::uint64_t n = 0;; ++n) {
        if (n % kChunk == 0) platform.CheckCancelled();
        const auto record = records->Peek();
        if (!record) break;
        entries.Add(*record, paths[i], *records);
        records->Skip();
      }
      entries.Flush();
    });
    table.rows().Swap(*fresh);
  });
}

void RestoreTables(Platform& platform, const std::vector<Table>& tables, const std::string& basename) {
  const std::vector<std::string> paths = FindShards(platform, basename);
  WithOpErrors(basename, OpError::kDataLoss, [&] {
    std::vector<std::vector<Part>> parts(paths.size());
    std::map<std::string, std::uint64_t> entries;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      parts[i] = ReadMeta(platform, MetaPath(basename, i, paths.size()));
      for (const Part& part : parts[i]) entries[part.name] += part.entries;
    }
    // Tables that are empty get the entries at once, all others after all files were checked.
    struct Target {
      const Table* table;
      std::unique_ptr<EmbeddingTable> fresh;
    };
    std::map<std::string, Target> targets;
    bool merge = false;
    for (const Table& table : tables) {
      const auto found = entries.find(table.name());
      if (found == entries.end()) continue;
      Target& target = targets[table.name()];
      target.table = &table;
      if (table.size() > 0) {
        merge = true;
      } else {
        target.fresh = table.rows().EmptyLike(std::min(found->second, kMaxCapacityHint));
      }
    }
    RunTasks(paths.size(), Threads(), [&](std::size_t i) {
      ReadShard(platform, paths[i], parts[i], [&](const std::string& name) -> std::unique_ptr<EntryReader> {
        const auto found = targets.find(name);
        if (found == targets.end()) return nullptr;
        return std::make_unique<EntryReader>(*found->second.table, found->second.fresh.get());
      });
    });
    for (auto& [name, target] : targets) {
      if (target.fresh != nullptr) target.table->rows().Swap(*target.fresh);
    }
    if (!merge) return;
    RunTasks(paths.size(), Threads(), [&](std::size_t i) {
      ReadShard(platform, paths[i], parts[i], [&](const std::string& name) -> std::unique_ptr<EntryReader> {
        const auto found = targets.find(name);
        if (found == targets.end() || found->second.fresh != nullptr) return nullptr;
        return std::make_unique<EntryReader>(*found->second.table, &found->second.table->rows());
      });
    });
  });
}

std::vector<std::pair<std::string, std::uint64_t>> CountEntries(Platform& platform, const std::string& basename) {
  const std::vector<std::string> paths = FindShards(platform, basename);
  std::map<std::string, std::uint64_t> entries;
  WithOpErrors(basename, OpError::kDataLoss, [&] {
    for (std::size_t i = 0; i < paths.size(); ++i) {
      for (const Part& part : ReadMeta(platform, MetaPath(basename, i, paths.size()))) {
        entries[part.name] += part.entries;
      }
    }
  });
  return {entries.begin(), entries.end()};
}

}  // namespace mexport
