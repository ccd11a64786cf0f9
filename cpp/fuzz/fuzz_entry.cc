// The entries of a table dump. Input: one record, which tells its own layout, or behind a size the record that told it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/entry_batch.h"
#include "core/entry_codec.h"
#include "core/entry_layout.h"
#include "core/wire.h"
#include "fuzz/fuzzing.h"
#include "tests/entry_columns.h"

namespace mexport {
namespace {

using Record = std::span<const std::uint8_t>;

// Whether `work` throws no WireError. One that it throws names a place within `record`.
template <typename Work>
bool Succeeds(Record record, Work work) {
  try {
    work();
    return true;
  } catch (const WireError& error) {
    MEXPORT_FUZZ_CHECK(error.offset() <= record.size());
    return false;
  }
}

// Decodes to a row between two others, which must stay as they are.
bool Decode(const EntryDecoder& decoder, Record record, EntryBatch* entry) {
  const EntryLayout& layout = decoder.layout();
  EntryBatch batch(layout);
  batch.Reserve(3);
  const EntryTarget& target = batch.target();
  const auto each_column = [&](auto visit) {
    visit(target.ids, sizeof(std::int64_t));
    visit(target.values, layout.dim() * sizeof(float));
    visit(target.timestamps, sizeof(std::int64_t));
    for (std::size_t i = 0; i < layout.columns().size(); ++i) {
      const StateColumn& column = layout.columns()[i];
      visit(target.states[i], column.count * (column.is_integer() ? sizeof(std::int64_t) : sizeof(float)));
    }
  };
  each_column([](void* column, std::size_t bytes) {
    if (bytes > 0) std::memset(column, 0x5a, 3 * bytes);
  });
  const bool decoded = Succeeds(record, [&] { decoder.Decode(record, target, 1); });
  each_column([](const void* column, std::size_t bytes) {
    const auto* const p = static_cast<const std::uint8_t*>(column);
    for (std::size_t i = 0; i < bytes; ++i) MEXPORT_FUZZ_CHECK(p[i] == 0x5a && p[2 * bytes + i] == 0x5a);
  });
  if (!decoded) return false;
  *entry = EntryBatch(layout);
  entry->Reserve(1);
  decoder.Decode(record, entry->target(), 0);
  entry->SetRows(1);
  return true;
}

void Check(const EntryLayout& layout, Record record) {
  const EntryDecoder decoder(layout);
  EntryBatch entry;
  const bool good = Decode(decoder, record, &entry);
  // The same bytes behind an unknown field, which the decoder takes for no canonical form.
  std::vector<std::uint8_t> prefixed = {0x78, 0x01};
  prefixed.insert(prefixed.end(), record.begin(), record.end());
  EntryBatch careful;
  MEXPORT_FUZZ_CHECK(Decode(decoder, prefixed, &careful) == good);
  if (!good) return;
  const std::vector<std::string> want = ColumnsOf(careful);
  MEXPORT_FUZZ_CHECK(decoder.MinEntryBytes() <= record.size());

  const EntryEncoder encoder(layout);
  const EntrySource source = SourceOf(entry);
  std::vector<std::uint8_t> canonical(encoder.SizeOf(source, 0));
  MEXPORT_FUZZ_CHECK(encoder.Encode(source, 0, canonical.data()) == canonical.data() + canonical.size());

  EntryBatch again;
  MEXPORT_FUZZ_CHECK(Decode(decoder, canonical, &again));
  MEXPORT_FUZZ_CHECK(ColumnsOf(again) == want);
  MEXPORT_FUZZ_CHECK(ColumnsOf(entry) == want);
}

void Run(Record data) {
  if (data.empty()) return;
  Record first = data.subspan(1);
  Record second = first;
  if (data[0] > 0) {
    first = first.first(std::min<std::size_t>(data[0], first.size()));
    second = second.subspan(first.size());
  }
  EntryLayout layout;
  if (Succeeds(first, [&] { layout = LearnEntryLayout(first); })) Check(layout, second);
}

}  // namespace
}  // namespace mexport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mexport::Run({data, size});
  return 0;
}
