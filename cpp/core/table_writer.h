// Writes the shard files of table dumps: docs/formats/hash_table.md. The same entries always give the same bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/entry_batch.h"
#include "core/entry_codec.h"
#include "core/record_writer.h"

namespace mexport {

// Which entries are too old to be written.
struct TableExpiry {
  // Bits 48 to 62 of an id.
  static constexpr std::size_t kSlots = std::size_t{1} << 15;

  static std::size_t SlotOf(std::int64_t id) { return static_cast<std::uint64_t>(id) >> 48 & (kSlots - 1); }

  std::vector<std::uint32_t> days;   // of each slot
  std::int64_t max_update_time = 0;  // seconds
};

// The rows to write, in the order of their ids as unsigned numbers; without those that have expired where `expiry` is
// given. Throws Error(kInvalidArgument) for an id that comes twice.
std::vector<std::uint64_t> OrderRows(std::span<const std::int64_t> ids, const std::int64_t* timestamps,
                                     const TableExpiry* expiry, std::size_t threads);

// A table and the rows of it that are to be written.
struct TableToWrite {
  EntryEncoder encoder;
  EntrySource source;
  std::span<const std::uint64_t> rows;
  std::optional<std::size_t> entry_size = {};  // where all entries have one
};

// rows[begin, end) of a table.
struct RowRange {
  std::size_t table;
  std::size_t begin;
  std::size_t end;
};

// Shard i of n holds this part of so many rows: contiguous, the first ones longer by one where it does not divide.
inline RowRange ShardOf(std::size_t table, std::size_t rows, std::size_t i, std::size_t n) {
  const std::size_t each = rows / n;
  const std::size_t more = rows % n;
  const std::size_t begin = i * each + (i < more ? i : more);
  return {table, begin, begin + each + (i < more ? 1 : 0)};
}

// Creates the files, one a shard, and makes them durable. Runs over and within files. A failure, which throws IoError,
// leaves files behind that are to be removed.
void WriteTableFiles(const std::vector<std::string>& paths, const TableToWrite& table, std::size_t threads);

// Opens a file for writing, with the compression that it needs. May be called on any thread.
using OpenWriter = std::function<std::shared_ptr<RecordWriter>(const std::string& path)>;

// The same in snappy files, for several tables one behind the other in each file.
void WriteSnappyTableFiles(const std::vector<std::string>& paths, const std::vector<TableToWrite>& tables,
                           std::size_t threads);

// The same by way of `open`, for several tables one behind the other in each file; a thread a file.
void WriteTableStreams(const std::vector<std::string>& paths, const std::vector<TableToWrite>& tables,
                       const OpenWriter& open, std::size_t threads);

}  // namespace mexport
