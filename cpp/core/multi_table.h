// Several tables by name, saved as of one moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/embedding_table.h"

namespace mexport {

class MultiTable {
 public:
  using Named = std::pair<std::string, std::shared_ptr<EmbeddingTable>>;

  // Tables of a serialised MultiEmbeddingHashTableConfig. Throws Error(kInvalidArgument) for bytes that are none, and
  // for two tables of one name.
  explicit MultiTable(std::span<const std::uint8_t> config);

  // In the order of their names.
  const std::vector<Named>& tables() const { return tables_; }
  // Null if there is none of that name.
  std::shared_ptr<EmbeddingTable> Find(const std::string& name) const;

  // Of each table, in order. Throws Error(kInvalidArgument) if one of them is a serving table.
  std::vector<EntryBatch> Save() const;

 private:
  std::vector<Named> tables_;
};

}  // namespace mexport
