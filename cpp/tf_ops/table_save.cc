#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <span>
#include <thread>

#include "core/byte_buffer.h"
#include "core/embedding_table.h"
#include "core/entry_codec.h"
#include "core/parallel.h"
#include "core/table_writer.h"
#include "core/wire.h"
#include "tf_ops/records.h"
#include "tf_ops/shard_files.h"
#include "tf_ops/table_files.h"

namespace mexport {
namespace {

constexpr std::uint64_t kAutoShardEntries = 1000000;
constexpr std::uint64_t kMaxAutoShards = 4;
// Entries that are copied out of a table at a time.
constexpr std::size_t kChunk = 4096;

struct TableToSave {
  const Table* table;
  std::vector<std::uint64_t> ids;  // those to write, ascending
};

std::size_t ShardCount(const std::vector<const Table*>& tables, const std::string& basename,
                       const SaveOptions& options) {
  if (options.shards < 0) {
    std::uint64_t entries = 0;
    for (const Table* table : tables) entries += table->size();
    return std::clamp<std::uint64_t>(entries / kAutoShardEntries, 1, kMaxAutoShards);
  }
  if (options.shards < 1 || options.shards > static_cast<std::int64_t>(kMaxShards)) {
    throw OpError(OpError::kInvalidArgument, basename + ": nshards: got " + std::to_string(options.shards) +
                                                 ", want 1 to " + std::to_string(kMaxShards) + ", or -1");
  }
  return static_cast<std::size_t>(options.shards);
}

// Writes entries of a table as they are now; those that went meanwhile are left out. Returns how many were written.
std::uint64_t WriteEntries(Platform& platform, const Table& table, std::span<const std::uint64_t> ids,
                           RecordWriter& writer) {
  const EntryEncoder encoder(table.rows().format().layout());
  ByteBuffer buffer(1);
  std::uint64_t written = 0;
  for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
    platform.CheckCancelled();
    const EntryBatch batch = table.rows().Save(ids.subspan(begin, std::min(kChunk, ids.size() - begin)));
    const EntrySource source = batch.source();
    for (std::size_t i = 0; i < batch.rows(); ++i) {
      const std::size_t size = encoder.SizeOf(source, i);
      if (buffer.capacity() < size) buffer.Resize(size);
      encoder.Encode(source, i, buffer.data());
      writer.Write(buffer.data(), size);
    }
    written += batch.rows();
  }
  return written;
}

void Sleep(std::int64_t below_ms) {
  if (below_ms <= 0) return;
  std::random_device random;
  std::this_thread::sleep_for(
      std::chrono::milliseconds(std::uniform_int_distribution<std::int64_t>(0, below_ms - 1)(random)));
}

void Finish(RecordWriter& writer) {
  writer.Sync();
  writer.Close();
}

// Of several tables: compressed, and beside each file another that says how many entries of each table it holds.
void Save(Platform& platform, const std::vector<const Table*>& tables, const std::string& basename, bool several,
          const SaveOptions& options) {
  for (const Table* table : tables) {
    if (!table->serves()) continue;
    throw OpError(OpError::kResourceExhausted,
                  basename + ": table '" + table->name() + "' is a serving table, which cannot be saved");
  }
  const std::size_t shards = ShardCount(tables, basename, options);
  WithOpErrors(basename, OpError::kInternal, [&] {
    const ExpireConfig expire =
        ParseExpireConfig({reinterpret_cast<const std::uint8_t*>(options.expire.data()), options.expire.size()});
    std::vector<TableToSave> to_save;
    for (const Table* table : tables) {
      to_save.push_back({table, table->rows().LiveIds(expire, table->rows().max_update_time())});
    }
    std::vector<std::string> basenames{basename};
    if (several) basenames.push_back(basename + ".meta");
    ShardStaging staging(platform, std::move(basenames), shards);
    RunTasks(shards, std::thread::hardware_concurrency(), [&](std::size_t shard) {
      Sleep(options.random_sleep_ms);
      const std::shared_ptr<RecordWriter> entries = OpenRecordWriter(platform, staging.path(0, shard), several);
      const std::shared_ptr<RecordWriter> meta =
          several ? OpenRecordWriter(platform, staging.path(1, shard), false) : nullptr;
      for (const TableToSave& table : to_save) {
        const RowRange range = ShardOf(0, table.ids.size(), shard, shards);
        const std::span<const std::uint64_t> ids(table.ids.data() + range.begin, range.end - range.begin);
        const std::uint64_t written = WriteEntries(platform, *table.table, ids, *entries);
        if (!several) continue;
        WireWriter message;
        message.String(1, table.table->name());
        message.Varint(2, written);
        meta->Write(message.bytes().data(), message.bytes().size());
      }
      Finish(*entries);
      if (several) Finish(*meta);
    });
    staging.Publish();
  });
}

}  // namespace

void SaveTable(Platform& platform, const Table& table, const std::string& basename, const SaveOptions& options) {
  Save(platform, {&table}, basename, false, options);
}

void SaveTables(Platform& platform, const std::vector<Table>& tables, const std::string& basename,
                const SaveOptions& options) {
  std::vector<const Table*> sorted;
  for (const Table& table : tables) sorted.push_back(&table);
  std::sort(sorted.begin(), sorted.end(), [](const Table* a, const Table* b) { return a->name() < b->name(); });
  Save(platform, sorted, basename, true, options);
}

}  // namespace mexport
