#include <algorithm>
#include <cstring>
#include <utility>

#include "core/entry_codec.h"
#include "core/entry_format.h"
#include "core/wire.h"

namespace mexport {
namespace {

std::size_t BytesFieldSize(std::size_t size) { return 1 + VarintSize(size) + size; }

std::uint8_t* StoreHeader(std::uint8_t* out, std::uint32_t field, std::size_t size) {
  out = StoreVarint(out, WireTag(field, WireType::kBytes));
  return StoreVarint(out, size);
}

std::uint64_t IntegerOf(const EntrySource& source, std::size_t column, std::size_t row) {
  return static_cast<std::uint64_t>(static_cast<const std::int64_t*>(source.states[column])[row]);
}

}  // namespace

EntryEncoder::EntryEncoder(EntryLayout layout)
    : layout_(std::move(layout)), skeleton_(layout_), insert_(EntryTagsImplementations().back().insert) {
  std::size_t column = 0;
  for (std::size_t i = 0; i < layout_.segments().size(); ++i) {
    first_column_.push_back(column);
    while (column < layout_.columns().size() && layout_.columns()[column].segment == i) ++column;
  }
  first_column_.push_back(column);
}

std::size_t EntryEncoder::DumpSizeOf(std::size_t segment, const EntrySource& source, std::size_t row) const {
  std::size_t size = 0;
  for (std::size_t i = first_column_[segment]; i < first_column_[segment + 1]; ++i) {
    const StateColumn& column = layout_.columns()[i];
    size += column.is_integer() ? 1 + VarintSize(IntegerOf(source, i, row)) : column.count * kTaggedFloatBytes;
  }
  return size;
}

std::size_t EntryEncoder::OptSizeOf(const EntrySource& source, std::size_t row) const {
  std::size_t size = 0;
  for (std::size_t i = 0; i < layout_.segments().size(); ++i) {
    if (TraitsOf(layout_.segments()[i].kind).dump_field == 0) continue;
    size += BytesFieldSize(BytesFieldSize(DumpSizeOf(i, source, row)));
  }
  return size;
}

std::size_t EntryEncoder::SizeOf(const EntrySource& source, std::size_t row) const {
  const std::size_t timestamp = 1 + VarintSize(static_cast<std::uint64_t>(source.timestamps[row]));
  if (skeleton_.fixed()) return skeleton_.size() + timestamp;
  // Integers belong to segments, so there is a field `opt`.
  return skeleton_.size() + BytesFieldSize(OptSizeOf(source, row)) + timestamp;
}

std::uint8_t* EntryEncoder::Encode(const EntrySource& source, std::size_t row, std::uint8_t* out) const {
  *out++ = WireTag(entry_format::kId, WireType::kFixed64);
  std::memcpy(out, source.ids + row, sizeof(std::int64_t));
  out += sizeof(std::int64_t);
  for (const EntrySkeleton::Run& run : skeleton_.runs()) {
    out = std::copy_n(skeleton_.literals() + run.literal_begin, run.literal_size, out);
    const float* const column =
        run.column == EntrySkeleton::kValues ? source.values : static_cast<const float*>(source.states[run.column]);
    insert_(column + row * run.count, run.count, run.tag, out);
    out += run.count * kTaggedFloatBytes;
  }
  out = std::copy_n(skeleton_.literals() + skeleton_.tail_begin(), skeleton_.tail_size(), out);
  if (!skeleton_.fixed()) out = EncodeOpt(source, row, out);
  *out++ = WireTag(entry_format::kTimestamp, WireType::kVarint);
  return StoreVarint(out, static_cast<std::uint64_t>(source.timestamps[row]));
}

std::uint8_t* EntryEncoder::EncodeOpt(const EntrySource& source, std::size_t row, std::uint8_t* out) const {
  out = StoreHeader(out, entry_format::kOpt, OptSizeOf(source, row));
  for (std::size_t i = 0; i < layout_.segments().size(); ++i) {
    const std::uint32_t dump_field = TraitsOf(layout_.segments()[i].kind).dump_field;
    if (dump_field == 0) continue;
    const std::size_t size = DumpSizeOf(i, source, row);
    out = StoreHeader(out, entry_format::kDump, BytesFieldSize(size));
    out = StoreHeader(out, dump_field, size);
    for (std::size_t c = first_column_[i]; c < first_column_[i + 1]; ++c) {
      const StateColumn& column = layout_.columns()[c];
      if (column.is_integer()) {
        out = StoreVarint(out, WireTag(column.field->field, WireType::kVarint));
        out = StoreVarint(out, IntegerOf(source, c, row));
      } else {
        const auto tag = static_cast<std::uint8_t>(WireTag(column.field->field, WireType::kFixed32));
        insert_(static_cast<const float*>(source.states[c]) + row * column.count, column.count, tag, out);
        out += column.count * kTaggedFloatBytes;
      }
    }
  }
  return out;
}

}  // namespace mexport
