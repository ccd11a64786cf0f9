#include "core/entry_dump.h"

#include <cstring>
#include <span>

#include "core/entry_codec.h"
#include "core/entry_format.h"
#include "core/wire.h"

namespace mexport {

std::string SerializeEntry(const RowFormat& format, const std::uint8_t* row, std::uint32_t timestamp) {
  const EntryLayout& layout = format.layout();
  WireWriter entry;
  entry.Floats(entry_format::kNum, {reinterpret_cast<const float*>(row), format.dim()});
  WireWriter opt;
  std::size_t column = 0;
  for (std::size_t segment = 0; segment < layout.segments().size(); ++segment) {
    const OptimizerTraits& traits = TraitsOf(layout.segments()[segment].kind);
    if (traits.dump_field == 0) continue;
    WireWriter state;
    for (; column < layout.columns().size() && layout.columns()[column].segment == segment; ++column) {
      const StateColumn& of = layout.columns()[column];
      const std::uint8_t* const from = row + format.state_offsets()[column];
      if (of.is_integer()) {
        std::uint64_t value;
        std::memcpy(&value, from, sizeof(value));
        state.Varint(of.field->field, value);
      } else {
        state.Floats(of.field->field, {reinterpret_cast<const float*>(from), of.count});
      }
    }
    WireWriter single;
    single.Message(traits.dump_field, state);
    opt.Message(entry_format::kDump, single);
  }
  entry.Message(entry_format::kOpt, opt);
  entry.Varint(entry_format::kTimestamp, timestamp);
  return {reinterpret_cast<const char*>(entry.bytes().data()), entry.bytes().size()};
}

std::vector<std::string> SerializeEntries(const EntryBatch& batch) {
  const EntryEncoder encoder(batch.layout());
  const EntrySource source = batch.source();
  std::vector<std::string> entries;
  entries.reserve(batch.rows());
  for (std::size_t row = 0; row < batch.rows(); ++row) {
    std::string& entry = entries.emplace_back(encoder.SizeOf(source, row), '\0');
    encoder.Encode(source, row, reinterpret_cast<std::uint8_t*>(entry.data()));
  }
  return entries;
}

}  // namespace mexport
