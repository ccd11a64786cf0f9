// Configurations of tables and the columns of entries, for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/entry_batch.h"
#include "core/entry_codec.h"
#include "core/table_config.h"
#include "core/wire.h"
#include "tests/entry_columns.h"
#include "tests/testing.h"

namespace mexport {

using FloatFields = std::vector<std::pair<std::uint32_t, float>>;

inline WireWriter FloatMessage(const FloatFields& fields) {
  WireWriter message;
  for (const auto& [field, value] : fields) message.Float(field, value);
  return message;
}

// A oneof of messages in a message of its own.
template <typename Kind>
WireWriter Alternative(Kind kind, const FloatFields& fields = {}) {
  WireWriter message;
  message.Message(static_cast<std::uint32_t>(kind), FloatMessage(fields));
  return message;
}

// An EntryConfig.Segment of a training table; `retriever` as Alternative() makes it.
inline WireWriter TrainingSegment(std::uint64_t dim, const WireWriter& optimizer,
                                  const WireWriter& initializer = Alternative(InitializerConfig::Kind::kZeros),
                                  const WireWriter* retriever = nullptr) {
  WireWriter segment;
  segment.Message(1, initializer);
  segment.Message(2, optimizer);
  if (retriever != nullptr) segment.Message(3, *retriever);
  segment.Varint(7, dim);
  return segment;
}

inline WireWriter ServingSegment(std::uint64_t dim, const WireWriter& compressor) {
  WireWriter segment;
  segment.Message(3, compressor);
  segment.Varint(7, dim);
  return segment;
}

// An EmbeddingHashTableConfig, to which more fields may be added.
inline WireWriter TableMessage(const std::vector<WireWriter>& segments,
                               TableConfig::EntryType type = TableConfig::EntryType::kTraining) {
  WireWriter entry;
  for (const WireWriter& segment : segments) entry.Message(1, segment);
  entry.Varint(2, static_cast<std::uint64_t>(type));
  WireWriter table;
  table.Message(1, entry);
  table.Message(5, {});
  return table;
}

inline WireWriter ServingMessage(const std::vector<WireWriter>& segments) {
  return TableMessage(segments, TableConfig::EntryType::kServing);
}

// n entries with values, states and timestamps that have no pattern, and the given ids.
inline EntryBatch NoiseBatch(const EntryLayout& layout, const std::vector<std::uint64_t>& ids, std::uint64_t seed = 1) {
  EntryBatch batch(layout);
  batch.Reserve(ids.size());
  const EntryTarget& to = batch.target();
  const auto fill = [&](void* column, std::size_t bytes) {
    const std::string noise = Noise(bytes, ++seed);
    if (bytes > 0) std::memcpy(column, noise.data(), bytes);
  };
  if (!ids.empty()) std::memcpy(to.ids, ids.data(), ids.size() * sizeof(std::uint64_t));
  fill(to.values, ids.size() * layout.dim() * sizeof(float));
  for (std::size_t i = 0; i < ids.size(); ++i) to.timestamps[i] = static_cast<std::int64_t>(1'600'000'000 + i);
  for (std::size_t c = 0; c < layout.columns().size(); ++c) {
    const StateColumn& column = layout.columns()[c];
    fill(to.states[c], ids.size() * column.count * (column.is_integer() ? sizeof(std::int64_t) : sizeof(float)));
  }
  batch.SetRows(ids.size());
  return batch;
}

// The record of one row.
inline std::string Encoded(const EntryBatch& batch, std::size_t row = 0) {
  const EntryEncoder encoder(batch.layout());
  const EntrySource source = SourceOf(batch);
  std::string record(encoder.SizeOf(source, row), '\0');
  auto* const begin = reinterpret_cast<std::uint8_t*>(record.data());
  EXPECT_EQ(encoder.Encode(source, row, begin), begin + record.size());
  return record;
}

// One segment of each kind that a dump can hold, of dimensions 1, 2, 3, …
inline EntryLayout LayoutOfAllKinds() {
  std::vector<SegmentLayout> segments;
  for (const OptimizerTraits& traits : AllOptimizers()) {
    segments.push_back({static_cast<std::int32_t>(segments.size() + 1), traits.kind});
  }
  return EntryLayout(segments);
}

}  // namespace mexport
