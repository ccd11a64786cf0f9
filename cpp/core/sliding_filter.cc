#include "core/sliding_filter.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/wire.h"
#include "core/zeroed_memory.h"

namespace mexport {
namespace {

// A cell: 12 bits of the id, 4 bits of count. 0 is empty.
constexpr unsigned kCountBits = 4;
constexpr std::uint32_t kMaxCount = 15;
constexpr std::uint32_t kSignMask = 0xfff;
// Cells behind the buckets, and how many cells are looked at.
constexpr std::uint64_t kMoreCells = 64;
constexpr std::uint32_t kMaxStep = 16;
constexpr std::size_t kForward = 2;
constexpr double kFillRate = 1.2;
constexpr std::int64_t kMinCapacity = 300;
constexpr std::int64_t kMinSplits = 5;
constexpr std::int64_t kMaxSplits = 99999;  // what five digits can name
constexpr std::int64_t kMaxCapacity = std::int64_t{1} << 40;
constexpr std::size_t kCellsOfRecord = 10000;

std::uint16_t SignOf(std::uint64_t id) { return static_cast<std::uint16_t>((id >> 17 | id << 15) & kSignMask); }

// Spreads ids over 64 bits, alike in every process: a dump's cells are where the next process looks for them.
std::uint64_t Hash(std::uint64_t id) {
  id ^= id >> 33;
  id *= 0xff51afd7ed558ccd;
  id ^= id >> 33;
  id *= 0xc4ceb9fe1a85ec53;
  return id ^ id >> 33;
}

[[noreturn]] void Refuse(const char* what, std::uint64_t got, std::uint64_t want) {
  throw Error(ErrorKind::kInvalidArgument, std::string("the dump is one of another filter: ") + what + ": got " +
                                               std::to_string(got) + ", want " + std::to_string(want));
}

// Hands on each of the varints; one that is cut off at the end is left out.
template <typename Use>
void ReadPacked(std::span<const std::uint8_t> bytes, Use use) {
  std::uint64_t value = 0;
  unsigned shift = 0;
  for (const std::uint8_t byte : bytes) {
    if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    shift += 7;
    if (byte >= 0x80) continue;
    use(value);
    value = 0;
    shift = 0;
  }
}

std::span<const std::uint8_t> Bytes(const std::uint8_t* record, std::size_t size) { return {record, size}; }

}  // namespace

struct SlidingFilter::Split {
  explicit Split(std::uint64_t buckets) : cells((buckets + kMoreCells) * sizeof(std::uint16_t), PageSize::kHuge) {}

  std::uint16_t* at(std::uint64_t i) const { return reinterpret_cast<std::uint16_t*>(cells.data()) + i; }

  ZeroedMemory cells;
  std::uint64_t elements = 0;
};

SlidingFilter::SlidingFilter(std::int64_t capacity, std::int64_t splits, OccurrenceThresholds thresholds)
    : OccurrenceFilter(std::move(thresholds)) {
  if (capacity > kMaxCapacity || splits > kMaxSplits) {
    throw Error(ErrorKind::kInvalidArgument, "hash filter: got a capacity of " + std::to_string(capacity) + " in " +
                                                 std::to_string(splits) + " splits, want at most " +
                                                 std::to_string(kMaxCapacity) + " in " + std::to_string(kMaxSplits));
  }
  const auto count = static_cast<std::uint64_t>(std::max(splits, kMinSplits));
  // One split is kept empty, for looking forward.
  capacity_ = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::max(capacity, kMinCapacity)) / (count - 1));
  buckets_ = static_cast<std::uint64_t>(static_cast<double>(capacity_) * kFillRate);
  for (std::uint64_t i = 0; i < count; ++i) splits_.emplace_back(buckets_);
}

SlidingFilter::~SlidingFilter() = default;

std::size_t SlidingFilter::splits() const { return splits_.size(); }

std::uint16_t* SlidingFilter::Find(std::size_t split, std::uint64_t id) const {
  const std::uint64_t home = Hash(id) % buckets_;
  const std::uint16_t sign = SignOf(id);
  for (std::uint32_t step = 0; step < kMaxStep; ++step) {
    std::uint16_t* const cell = splits_[split].at(home + step);
    if (*cell == 0 || *cell >> kCountBits == sign) return cell;
  }
  return nullptr;
}

std::size_t SlidingFilter::Behind(std::size_t split, std::size_t steps) const {
  return (split + splits_.size() - steps) % splits_.size();
}

std::uint32_t SlidingFilter::Add(std::uint64_t id, std::uint64_t occurrences) {
  const auto add = static_cast<std::uint32_t>(std::min<std::uint64_t>(occurrences, kMaxCount));
  const std::lock_guard lock(mutex_);
  std::uint16_t* cell = nullptr;
  std::size_t split = head_;
  for (std::size_t step = 0; step < kForward && cell == nullptr; ++step) {
    split = (head_ + step) % splits_.size();
    cell = Find(split, id);
  }
  if (cell == nullptr) {
    ++failures_;
    return kMaxCount;
  }
  if (*cell != 0) {
    const std::uint32_t count = *cell & kMaxCount;
    *cell = static_cast<std::uint16_t>((*cell & ~kMaxCount) | std::min(count + add, kMaxCount));
    return count;
  }
  std::uint32_t before = 0;
  const std::size_t back = std::min<std::size_t>(head_increment_, splits_.size() - kForward);
  for (std::size_t step = 1; step <= back; ++step) {
    const std::uint16_t* const old = Find(Behind(head_, step), id);
    if (old == nullptr || *old == 0) continue;
    before = *old & kMaxCount;
    break;
  }
  *cell = static_cast<std::uint16_t>(std::uint32_t{SignOf(id)} << kCountBits | std::min(before + add, kMaxCount));
  Split& of_cell = splits_[split];
  of_cell.elements = std::min(of_cell.elements + 1, capacity_);
  if (splits_[head_].elements + 1 >= capacity_) {
    head_ = (head_ + 1) % splits_.size();
    ++head_increment_;
    // Fresh memory comes zeroed without being touched.
    splits_[(head_ + kForward - 1) % splits_.size()] = Split(buckets_);
  }
  return before;
}

SlidingFilter::Position SlidingFilter::position() const {
  const std::lock_guard lock(mutex_);
  return {static_cast<std::uint32_t>(head_), head_increment_, failures_};
}

void SlidingFilter::Save(const Position& position, std::size_t split, const Write& write) const {
  std::vector<std::uint16_t> cells(buckets_ + kMoreCells);
  std::uint64_t elements;
  {
    const std::lock_guard lock(mutex_);
    std::memcpy(cells.data(), splits_[split].at(0), cells.size() * sizeof(cells[0]));
    elements = splits_[split].elements;
  }
  WireWriter sliding;
  sliding.Varint(1, splits_.size());
  sliding.Varint(2, kForward);
  sliding.Varint(3, splits_.size() - kForward);
  sliding.Varint(4, kMaxStep);
  sliding.Varint(5, position.head);
  sliding.Varint(6, position.head_increment);
  sliding.Varint(7, position.failures);
  WireWriter meta;
  meta.Varint(1, 0);
  meta.Varint(2, buckets_);
  meta.Varint(3, elements);
  meta.Fixed64(4, std::bit_cast<std::uint64_t>(kFillRate));
  meta.Message(5, sliding);
  write(meta.bytes().data(), meta.bytes().size());
  // A tag of one byte and a varint of at most three for each cell, behind the offset.
  std::vector<std::uint8_t> record(16 + 4 * kCellsOfRecord);
  for (std::size_t begin = 0; begin < cells.size(); begin += kCellsOfRecord) {
    std::uint8_t* out = record.data();
    *out++ = static_cast<std::uint8_t>(WireTag(1, WireType::kVarint));
    out = StoreVarint(out, begin);
    const std::size_t end = std::min(cells.size(), begin + kCellsOfRecord);
    for (std::size_t i = begin; i < end; ++i) {
      *out++ = static_cast<std::uint8_t>(WireTag(2, WireType::kVarint));
      out = StoreVarint(out, cells[i]);
    }
    write(record.data(), static_cast<std::size_t>(out - record.data()));
  }
}

struct SlidingFilter::Dump::Part {
  std::optional<Split> split;
  std::uint64_t cells = 0;  // read so far
  Position position{};
};

SlidingFilter::Dump::Dump(const SlidingFilter& filter) : split_count_(filter.splits()), buckets_(filter.buckets_) {
  parts_.resize(split_count_);
}

SlidingFilter::Dump::Dump(Dump&&) noexcept = default;

SlidingFilter::Dump::~Dump() = default;

void SlidingFilter::Dump::ReadMeta(std::size_t split, const std::uint8_t* record, std::size_t size) {
  Part& part = parts_[split];
  std::uint64_t total = 0;
  std::uint64_t elements = 0;
  std::array<std::uint64_t, 8> sliding{};
  WireReader meta(Bytes(record, size));
  while (meta.Next()) {
    if (meta.Is(2, WireType::kVarint)) {
      total = meta.ReadVarint();
    } else if (meta.Is(3, WireType::kVarint)) {
      elements = meta.ReadVarint();
    } else if (meta.Is(5, WireType::kBytes)) {
      WireReader message = meta.ReadMessage();
      while (message.Next()) {
        if (message.type() == WireType::kVarint && message.field() < sliding.size()) {
          sliding[message.field()] = message.ReadVarint();
        } else {
          message.Skip();
        }
      }
    } else {
      meta.Skip();
    }
  }
  if (sliding[1] != split_count_) Refuse("split_num", sliding[1], split_count_);
  if (sliding[2] != kForward) Refuse("max_forward_step", sliding[2], kForward);
  if (sliding[3] != split_count_ - kForward) Refuse("max_backward_step", sliding[3], split_count_ - kForward);
  if (sliding[4] != kMaxStep) Refuse("max_step", sliding[4], kMaxStep);
  if (total != buckets_) Refuse("total_size", total, buckets_);
  if (sliding[5] >= split_count_) {
    throw Error(ErrorKind::kTable,
                "head: got " + std::to_string(sliding[5]) + ", want less than " + std::to_string(split_count_));
  }
  part.split.emplace(buckets_);
  part.split->elements = elements;
  part.position = {static_cast<std::uint32_t>(sliding[5]), static_cast<std::uint32_t>(sliding[6]), sliding[7]};
}

void SlidingFilter::Dump::ReadCells(std::size_t split, const std::uint8_t* record, std::size_t size) {
  Part& part = parts_[split];
  Split& to = *part.split;
  std::uint64_t next = 0;
  const auto store = [&](std::uint64_t cell) {
    if (next >= buckets_ + kMoreCells) {
      throw Error(ErrorKind::kTable, "cell: got number " + std::to_string(next) + ", want less than " +
                                         std::to_string(buckets_ + kMoreCells));
    }
    // Untouched memory costs nothing.
    if (cell != 0) *to.at(next) = static_cast<std::uint16_t>(cell);
    ++next;
    ++part.cells;
  };
  WireReader message(Bytes(record, size));
  while (message.Next()) {
    if (message.Is(1, WireType::kVarint)) {
      next = message.ReadVarint();
    } else if (message.Is(2, WireType::kVarint)) {
      store(message.ReadVarint());
    } else if (message.Is(2, WireType::kBytes)) {
      ReadPacked(message.ReadBytes(), store);
    } else {
      message.Skip();
    }
  }
}

void SlidingFilter::Restore(Dump dump) {
  const Position& first = dump.parts_.front().position;
  for (const Dump::Part& part : dump.parts_) {
    if (part.cells != buckets_ + kMoreCells) {
      throw Error(ErrorKind::kTable, "cells of a split: got " + std::to_string(part.cells) + ", want " +
                                         std::to_string(buckets_ + kMoreCells));
    }
    if (part.position.head != first.head || part.position.head_increment != first.head_increment) {
      throw Error(ErrorKind::kTable, "head: got " + std::to_string(part.position.head) + " in one file and " +
                                         std::to_string(first.head) + " in another");
    }
  }
  std::vector<Split> splits;
  for (Dump::Part& part : dump.parts_) splits.push_back(std::move(*part.split));
  const std::lock_guard lock(mutex_);
  splits_.swap(splits);
  head_ = first.head;
  head_increment_ = first.head_increment;
  failures_ = first.failures;
}

}  // namespace mexport
