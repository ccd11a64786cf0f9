// Tables to and from dumps: docs/formats/hash_table.md and docs/formats/table_ops.md.
//
// This header is C++17: see platform.h.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tf_ops/platform.h"
#include "tf_ops/table.h"

namespace mexport {

struct SaveOptions {
  // Files to write; for a negative number one for each million entries, at least 1, at most 4.
  std::int64_t shards = -1;
  // A serialised SlotExpireTimeConfig.
  std::string expire;
  // Each file is begun after a wait of less than this, at random, so that many tables do not begin together.
  std::int64_t random_sleep_ms = 0;
};

// Both write the files under temporary names, make them durable, and then replace whatever dump was there. Tables may
// be changed meanwhile: of an entry that was there throughout, the file has one of its states. Throw OpError, also
// (kResourceExhausted) for a serving table; the dump that was there is left alone, unless files could not be renamed.
void SaveTable(Platform& platform, const Table& table, const std::string& basename, const SaveOptions& options);
void SaveTables(Platform& platform, const std::vector<Table>& tables, const std::string& basename,
                const SaveOptions& options);

// Replaces all entries of the table, in one moment. Throws OpError; the table is then as it was.
void RestoreTable(Platform& platform, const Table& table, const std::string& basename);
// Adds the dump's entries to those of the tables of the same names, and replaces those of the same ids. Throws OpError;
// for what is wrong with a file, before any table changed.
void RestoreTables(Platform& platform, const std::vector<Table>& tables, const std::string& basename);

// The names of a dump of several tables, sorted, and the entries of each. Throws OpError.
std::vector<std::pair<std::string, std::uint64_t>> CountEntries(Platform& platform, const std::string& basename);

}  // namespace mexport
