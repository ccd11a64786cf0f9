#include <initializer_list>

#include "core/entry_codec.h"
#include "core/entry_format.h"
#include "core/wire.h"

namespace mexport {
namespace {

constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kTaggedIdBytes = 1 + kIdBytes;

std::size_t BytesFieldSize(std::size_t size) { return 1 + VarintSize(size) + size; }

}  // namespace

EntrySkeleton::EntrySkeleton(const EntryLayout& layout) {
  std::size_t literal_begin = 0;
  const auto add_literal = [&](std::initializer_list<std::uint64_t> varints) {
    for (const std::uint64_t value : varints) {
      std::uint8_t buffer[10];
      literals_.insert(literals_.end(), buffer, StoreVarint(buffer, value));
    }
  };
  const auto add_run = [&](std::size_t column, std::uint32_t field, std::size_t count) {
    const auto tag = static_cast<std::uint8_t>(WireTag(field, WireType::kFixed32));
    runs_.push_back({literal_begin, literals_.size() - literal_begin, column, tag, count});
    literal_begin = literals_.size();
    size_ += count * kTaggedFloatBytes;
  };
  const std::vector<StateColumn>& columns = layout.columns();
  for (const StateColumn& column : columns) fixed_ = fixed_ && !column.is_integer();
  size_ = kTaggedIdBytes;
  add_run(kValues, entry_format::kNum, layout.dim());
  if (!layout.segments().empty() && fixed_) {
    std::vector<std::size_t> sizes(layout.segments().size());
    for (const StateColumn& column : columns) sizes[column.segment] += column.count * kTaggedFloatBytes;
    std::size_t opt_size = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (TraitsOf(layout.segments()[i].kind).dump_field != 0) opt_size += BytesFieldSize(BytesFieldSize(sizes[i]));
    }
    add_literal({WireTag(entry_format::kOpt, WireType::kBytes), opt_size});
    std::size_t column = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const std::uint32_t dump_field = TraitsOf(layout.segments()[i].kind).dump_field;
      if (dump_field == 0) continue;
      add_literal({WireTag(entry_format::kDump, WireType::kBytes), BytesFieldSize(sizes[i]),
                   WireTag(dump_field, WireType::kBytes), sizes[i]});
      for (; column < columns.size() && columns[column].segment == i; ++column) {
        add_run(column, columns[column].field->field, columns[column].count);
      }
    }
  }
  tail_begin_ = literal_begin;
  size_ += literals_.size();
}

}  // namespace mexport
