#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "core/entry_codec.h"
#include "core/entry_format.h"
#include "core/wire.h"

namespace mexport {
namespace {

// Every state has fewer fields.
constexpr std::size_t kMaxFields = 8;

// Calls take(floats) for each piece of a float field, whether the values came one by one or packed. The floats may be
// unaligned. Returns false, having read nothing, where the field is not of this number or form.
template <typename Take>
bool TakeFloats(WireReader& reader, std::uint32_t field, Take take) {
  if (reader.Is(field, WireType::kFixed32)) {
    const std::uint32_t bits = reader.ReadFixed32();
    std::array<std::uint8_t, sizeof bits> bytes;
    std::memcpy(bytes.data(), &bits, sizeof bits);
    take(std::span<const std::uint8_t>(bytes));
    return true;
  }
  if (!reader.Is(field, WireType::kBytes)) return false;
  take(reader.ReadPacked32());
  return true;
}

// Reads the state of one optimizer; calls floats(i, bytes) and integer(i, value) for values of its i-th field.
template <typename Floats, typename Integer>
void ReadState(WireReader reader, std::span<const StateField> fields, Floats floats, Integer integer) {
  while (reader.Next()) {
    bool taken = false;
    for (std::size_t i = 0; i < fields.size() && !taken; ++i) {
      if (fields[i].is_integer) {
        taken = reader.Is(fields[i].field, WireType::kVarint);
        if (taken) integer(i, static_cast<std::int64_t>(reader.ReadVarint()));
      } else if (fields[i].per_dim) {
        taken = TakeFloats(reader, fields[i].field, [&](std::span<const std::uint8_t> bytes) { floats(i, bytes); });
      } else {
        taken = reader.Is(fields[i].field, WireType::kFixed32);
        if (taken) {
          const std::uint32_t bits = reader.ReadFixed32();
          floats(i, std::span(reinterpret_cast<const std::uint8_t*>(&bits), sizeof bits));
        }
      }
    }
    if (!taken) reader.Skip();
  }
}

// Writes floats one behind the other and counts those, too, that find no room.
struct FloatCursor {
  float* to = nullptr;
  std::size_t room = 0;
  std::size_t count = 0;

  void Take(std::span<const std::uint8_t> bytes) {
    const std::size_t n = bytes.size() / sizeof(float);
    const std::size_t fitting = count < room ? std::min(n, room - count) : 0;
    if (fitting > 0) std::memcpy(to + count, bytes.data(), fitting * sizeof(float));
    count += n;
  }
};

[[noreturn]] void FailCount(const std::string& what, std::size_t got, std::size_t want) {
  throw WireError(what + ": got " + std::to_string(got) + ", want " + std::to_string(want), 0);
}

// One SingleOptimizerDump: the last of its oneof counts, and the same one again is merged into what is there.
struct OneDump {
  const OptimizerTraits* traits = nullptr;
  std::array<std::size_t, kMaxFields> counts{};
};

OneDump LearnDump(WireReader reader) {
  OneDump dump;
  while (reader.Next()) {
    const OptimizerTraits* traits =
        reader.type() == WireType::kBytes ? FindOptimizerByDumpField(reader.field()) : nullptr;
    if (traits == nullptr) {
      reader.Skip();
      continue;
    }
    if (traits != dump.traits) dump = {traits, {}};
    ReadState(
        reader.ReadMessage(), traits->state,
        [&](std::size_t i, std::span<const std::uint8_t> bytes) { dump.counts[i] += bytes.size() / sizeof(float); },
        [](std::size_t, std::int64_t) {});
  }
  if (dump.traits == nullptr) throw WireError("optimizer state: got one of no known kind", reader.offset());
  return dump;
}

std::uint8_t DifferentBytes(const std::uint8_t* a, const std::uint8_t* b, std::size_t size) {
  std::uint8_t different = 0;
  for (std::size_t i = 0; i < size; ++i) different = static_cast<std::uint8_t>(different | (a[i] ^ b[i]));
  return different;
}

// The optional timestamp at the end of a canonical entry.
bool DecodeTimestamp(const std::uint8_t* p, const std::uint8_t* end, std::int64_t* timestamp) {
  *timestamp = 0;
  if (p == end) return true;
  if (end - p > 11 || *p++ != WireTag(entry_format::kTimestamp, WireType::kVarint)) return false;
  std::uint64_t value = 0;
  for (int shift = 0; p != end; shift += 7) {
    const std::uint8_t byte = *p++;
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *timestamp = static_cast<std::int64_t>(value);
      return p == end;
    }
  }
  return false;
}

}  // namespace

EntryLayout LearnEntryLayout(std::span<const std::uint8_t> record) {
  std::size_t dim = 0;
  std::vector<OneDump> dumps;
  WireReader reader(record);
  while (reader.Next()) {
    if (TakeFloats(reader, entry_format::kNum,
                   [&](std::span<const std::uint8_t> bytes) { dim += bytes.size() / sizeof(float); })) {
      continue;
    }
    if (reader.Is(entry_format::kOpt, WireType::kBytes)) {
      WireReader opt = reader.ReadMessage();
      while (opt.Next()) {
        if (opt.Is(entry_format::kDump, WireType::kBytes)) {
          dumps.push_back(LearnDump(opt.ReadMessage()));
        } else {
          opt.Skip();
        }
      }
    } else {
      reader.Skip();
    }
  }
  std::vector<SegmentLayout> segments;
  std::size_t known = 0;
  std::size_t unknown = 0;
  for (const OneDump& dump : dumps) {
    std::size_t segment_dim = 0;
    for (std::size_t i = 0; i < dump.traits->state.size() && segment_dim == 0; ++i) {
      if (dump.traits->state[i].per_dim) segment_dim = dump.counts[i];
    }
    known += segment_dim;
    unknown += segment_dim == 0;
    segments.push_back({static_cast<std::int32_t>(segment_dim), dump.traits->kind});
  }
  if (known > dim) FailCount("dimensions with an optimizer state", known, dim);
  if (unknown == 1) {
    for (SegmentLayout& segment : segments) {
      if (segment.dim == 0) segment.dim = static_cast<std::int32_t>(dim - known);
    }
  }
  return EntryLayout(std::move(segments), dim);
}

EntryDecoder::EntryDecoder(EntryLayout layout)
    : layout_(std::move(layout)), skeleton_(layout_), strip_(EntryTagsImplementations().back().strip) {}

std::size_t EntryDecoder::MinEntryBytes() const {
  std::size_t floats = layout_.dim();
  for (const StateColumn& column : layout_.columns()) floats += column.is_integer() ? 0 : column.count;
  return floats * sizeof(float);
}

void EntryDecoder::Decode(std::span<const std::uint8_t> record, const EntryTarget& target, std::size_t row) const {
  if (!DecodeCanonical(record, target, row)) DecodeAny(record, target, row);
}

bool EntryDecoder::DecodeCanonical(std::span<const std::uint8_t> record, const EntryTarget& target,
                                   std::size_t row) const {
  if (!skeleton_.fixed() || record.size() < skeleton_.size()) return false;
  const std::uint8_t* p = record.data();
  if (*p++ != WireTag(entry_format::kId, WireType::kFixed64)) return false;
  std::memcpy(target.ids + row, p, sizeof(std::int64_t));
  p += sizeof(std::int64_t);
  for (const EntrySkeleton::Run& run : skeleton_.runs()) {
    if (DifferentBytes(p, skeleton_.literals() + run.literal_begin, run.literal_size) != 0) return false;
    p += run.literal_size;
    float* const column =
        run.column == EntrySkeleton::kValues ? target.values : static_cast<float*>(target.states[run.column]);
    float* const floats = column + row * run.count;
    const bool tagged = run.count <= kFewFloats ? StripTagsInline(p, run.count, run.tag, floats)
                                                : strip_(p, run.count, run.tag, floats);
    if (!tagged) return false;
    p += run.count * kTaggedFloatBytes;
  }
  if (DifferentBytes(p, skeleton_.literals() + skeleton_.tail_begin(), skeleton_.tail_size()) != 0) return false;
  p += skeleton_.tail_size();
  return DecodeTimestamp(p, record.data() + record.size(), target.timestamps + row);
}

void EntryDecoder::DecodeAny(std::span<const std::uint8_t> record, const EntryTarget& target, std::size_t row) const {
  bool has_id = false;
  std::int64_t timestamp = 0;
  FloatCursor values{target.values + row * layout_.dim(), layout_.dim()};

  const std::vector<SegmentLayout>& segments = layout_.segments();
  const std::vector<StateColumn>& columns = layout_.columns();
  std::size_t segment = 0;
  std::size_t column = 0;
  std::size_t dumps = 0;

  const auto read_dump = [&](WireReader reader) {
    while (segment < segments.size() && TraitsOf(segments[segment].kind).dump_field == 0) ++segment;
    ++dumps;
    if (segment == segments.size()) {
      LearnDump(reader);  // so that damage is told before the number of states is
      return;
    }
    const OptimizerTraits& want = TraitsOf(segments[segment].kind);
    const OptimizerTraits* got = nullptr;
    std::array<FloatCursor, kMaxFields> cursors;
    std::array<std::size_t, kMaxFields> integers{};
    const auto reset = [&] {
      integers = {};
      for (std::size_t i = 0; i < want.state.size(); ++i) {
        const StateColumn& state = columns[column + i];
        cursors[i] = {};
        if (!state.is_integer()) {
          cursors[i] = {static_cast<float*>(target.states[column + i]) + row * state.count, state.count};
        }
      }
    };
    while (reader.Next()) {
      const OptimizerTraits* traits =
          reader.type() == WireType::kBytes ? FindOptimizerByDumpField(reader.field()) : nullptr;
      if (traits == nullptr) {
        reader.Skip();
        continue;
      }
      if (traits != got) reset();
      got = traits;
      if (traits != &want) {
        const auto ignore = [](std::size_t, auto) {};
        ReadState(reader.ReadMessage(), traits->state, ignore, ignore);
        continue;
      }
      ReadState(
          reader.ReadMessage(), want.state,
          [&](std::size_t i, std::span<const std::uint8_t> bytes) {
            if (!want.state[i].per_dim) cursors[i].count = 0;  // the last one counts
            cursors[i].Take(bytes);
          },
          [&](std::size_t i, std::int64_t value) {
            integers[i] = 1;
            static_cast<std::int64_t*>(target.states[column + i])[row] = value;
          });
    }
    if (got != &want) {
      throw WireError("optimizer state of segment " + std::to_string(segment) + ": got " +
                          (got == nullptr ? "one of no known kind" : std::string(got->name)) + ", want " +
                          std::string(want.name),
                      0);
    }
    for (std::size_t i = 0; i < want.state.size(); ++i, ++column) {
      const std::size_t count = columns[column].is_integer() ? integers[i] : cursors[i].count;
      if (count != columns[column].count) {
        FailCount("values of " + std::string(want.name) + "'s " + std::string(want.state[i].name) + " of segment " +
                      std::to_string(segment),
                  count, columns[column].count);
      }
    }
    ++segment;
  };

  WireReader reader(record);
  while (reader.Next()) {
    if (reader.Is(entry_format::kId, WireType::kFixed64)) {
      has_id = true;
      target.ids[row] = static_cast<std::int64_t>(reader.ReadFixed64());
    } else if (TakeFloats(reader, entry_format::kNum,
                          [&](std::span<const std::uint8_t> bytes) { values.Take(bytes); })) {
    } else if (reader.Is(entry_format::kOpt, WireType::kBytes)) {
      WireReader opt = reader.ReadMessage();
      while (opt.Next()) {
        if (opt.Is(entry_format::kDump, WireType::kBytes)) {
          read_dump(opt.ReadMessage());
        } else {
          opt.Skip();
        }
      }
    } else if (reader.Is(entry_format::kTimestamp, WireType::kVarint)) {
      timestamp = static_cast<std::int64_t>(reader.ReadVarint());
    } else {
      reader.Skip();
    }
  }
  if (!has_id) throw WireError("an entry without an id", 0);
  if (values.count != layout_.dim()) FailCount("values of the entry", values.count, layout_.dim());
  std::size_t want_dumps = 0;
  for (const SegmentLayout& s : segments) want_dumps += TraitsOf(s.kind).dump_field != 0;
  // An entry without `opt` loses nothing where no optimizer has a state.
  if (dumps != want_dumps && (dumps != 0 || layout_.HasState())) {
    FailCount("optimizer states of the entry", dumps, want_dumps);
  }
  target.timestamps[row] = timestamp;
}

}  // namespace mexport
