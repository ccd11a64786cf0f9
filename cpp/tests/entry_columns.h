// The columns of entries, for tests and fuzzers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/entry_batch.h"

namespace mexport {

inline EntrySource SourceOf(const EntryBatch& batch) {
  const EntryTarget& from = batch.target();
  return {from.ids, from.values, from.timestamps, {from.states.begin(), from.states.end()}};
}

// All columns as bytes: floats are compared by their bits.
inline std::vector<std::string> ColumnsOf(const EntryBatch& batch) {
  std::vector<std::string> columns;
  const EntryTarget& from = batch.target();
  const auto add = [&](const void* column, std::size_t row_bytes) {
    columns.emplace_back(static_cast<const char*>(column), batch.rows() * row_bytes);
  };
  add(from.ids, sizeof(std::int64_t));
  add(from.values, batch.layout().dim() * sizeof(float));
  add(from.timestamps, sizeof(std::int64_t));
  for (std::size_t c = 0; c < batch.layout().columns().size(); ++c) {
    const StateColumn& column = batch.layout().columns()[c];
    add(from.states[c], column.count * (column.is_integer() ? sizeof(std::int64_t) : sizeof(float)));
  }
  return columns;
}

}  // namespace mexport
