// Reads the shard files of table dumps into columns, checking every checksum: docs/formats/hash_table.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/entry_batch.h"
#include "core/entry_codec.h"
#include "core/record_reader.h"

namespace mexport {

// No entry may be larger.
constexpr std::uint64_t kMaxEntryBytes = std::uint64_t{1} << 31;

// Opens a file for reading, with the decompression that it needs. May be called on any thread.
using OpenRecords = std::function<std::shared_ptr<RecordReader>(const std::string& path)>;

// All functions throw Error of a kRecord… kind for damaged framing, Error(kTable) for a record that is no entry or one
// of another layout than those before it, both with path and offset, and IoError. The layout is `want` where given,
// otherwise that of the first entry; without any entry it has no segments and 0 dimensions.

// The entries of uncompressed files in the order of the files. Runs over and within files on up to `threads` threads.
EntryBatch ReadTableFiles(const std::vector<std::string>& paths, const std::optional<EntryLayout>& want,
                          std::size_t threads);

// The same by way of `open`: a thread a file.
EntryBatch ReadTableStreams(const std::vector<std::string>& paths, const std::optional<EntryLayout>& want,
                            const OpenRecords& open, std::size_t threads);

// So many entries of one table lie in a row in a file.
struct TablePart {
  std::size_t table;
  std::uint64_t entries;
};

// A data file of several tables.
struct MultiTableFile {
  std::string path;
  std::vector<TablePart> parts;
};

// One batch a table, from all files. Throws Error(kTable) as well where a file holds other entries than its parts say.
std::vector<EntryBatch> ReadMultiTableFiles(const std::vector<MultiTableFile>& files, std::size_t tables,
                                            const OpenRecords& open, std::size_t threads);

// Reads a data file of several tables in pieces of one table each, in the order of its parts.
class MultiTableIterator {
 public:
  MultiTableIterator(MultiTableFile file, const OpenRecords& open);

  struct Piece {
    std::size_t table;
    EntryBatch entries;
  };

  // The next entries of one part: `max_rows`, fewer only at the end of the part; nothing at the end of the file. Throws
  // as ReadMultiTableFiles() does. REQUIRES: max_rows >= 1
  std::optional<Piece> Next(std::size_t max_rows);
  // Passes over what is left of the part that the last piece was of; framing is checked, entries are not decoded.
  void SkipPart();

 private:
  std::span<const std::uint8_t> Peek();

  MultiTableFile file_;
  std::shared_ptr<RecordReader> reader_;
  std::size_t part_ = 0;
  std::uint64_t done_ = 0;    // entries of that part
  std::uint64_t before_ = 0;  // entries of the parts before
  std::optional<EntryDecoder> decoder_;
};

// Reads a table in pieces, file by file.
class TableIterator {
 public:
  TableIterator(std::vector<std::string> paths, std::optional<EntryLayout> want, OpenRecords open);

  // The next entries: exactly `max_rows`, fewer only at the end. Damage is reported once the entries before it are out.
  EntryBatch Next(std::size_t max_rows);

 private:
  std::vector<std::string> paths_;
  OpenRecords open_;
  std::size_t next_path_ = 0;
  std::shared_ptr<RecordReader> reader_;
  std::optional<EntryDecoder> decoder_;
};

}  // namespace mexport
