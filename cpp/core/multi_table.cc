#include "core/multi_table.h"

#include <algorithm>

#include "core/error.h"

namespace mexport {

MultiTable::MultiTable(std::span<const std::uint8_t> config) {
  for (NamedTableConfig& table : ParseMultiTableConfig(config)) {
    tables_.emplace_back(std::move(table.name), std::make_shared<EmbeddingTable>(table.bytes));
  }
  std::sort(tables_.begin(), tables_.end(), [](const Named& a, const Named& b) { return a.first < b.first; });
  const auto twice = std::adjacent_find(tables_.begin(), tables_.end(),
                                        [](const Named& a, const Named& b) { return a.first == b.first; });
  if (twice != tables_.end()) {
    throw Error(ErrorKind::kInvalidArgument, "table config: two tables are named '" + twice->first + "'");
  }
}

std::shared_ptr<EmbeddingTable> MultiTable::Find(const std::string& name) const {
  const auto found = std::lower_bound(tables_.begin(), tables_.end(), name,
                                      [](const Named& table, const std::string& want) { return table.first < want; });
  return found == tables_.end() || found->first != name ? nullptr : found->second;
}

std::vector<EntryBatch> MultiTable::Save() const {
  std::vector<const EmbeddingTable*> tables;
  for (const auto& [name, table] : tables_) tables.push_back(table.get());
  return EmbeddingTable::SaveTogether(tables);
}

}  // namespace mexport
