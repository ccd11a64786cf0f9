// EntryDump messages to and from columns: docs/formats/hash_table.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/entry_batch.h"
#include "core/entry_layout.h"
#include "core/entry_tags.h"

namespace mexport {

// What the record tells of its table's layout: the dimensions, and the optimizers in their order. A segment whose state
// has no array gets what is left of the dimensions if it is the only such one, else 0. Throws WireError.
EntryLayout LearnEntryLayout(std::span<const std::uint8_t> record);

// The bytes that all entries of a layout have in common, in canonical form: fields in the order of their numbers,
// floats not packed. Only the timestamp at the end varies in size.
class EntrySkeleton {
 public:
  static constexpr std::size_t kValues = SIZE_MAX;

  // Some bytes that are the same in every entry, then the tagged floats of one column.
  struct Run {
    std::size_t literal_begin;
    std::size_t literal_size;
    std::size_t column;  // index of a state, or kValues
    std::uint8_t tag;
    std::size_t count;
  };

  explicit EntrySkeleton(const EntryLayout& layout);

  // Whether the layout has a skeleton: not with integers in its state, whose size varies.
  bool fixed() const { return fixed_; }
  const std::vector<Run>& runs() const { return runs_; }
  const std::uint8_t* literals() const { return literals_.data(); }
  // The literal behind the last run.
  std::size_t tail_begin() const { return tail_begin_; }
  std::size_t tail_size() const { return literals_.size() - tail_begin_; }
  // All bytes before the timestamp's tag.
  std::size_t size() const { return size_; }

 private:
  bool fixed_ = true;
  std::vector<Run> runs_;
  std::vector<std::uint8_t> literals_;
  std::size_t tail_begin_ = 0;
  std::size_t size_ = 0;
};

class EntryDecoder {
 public:
  explicit EntryDecoder(EntryLayout layout);

  const EntryLayout& layout() const { return layout_; }
  // No entry of this layout is shorter, so the columns of a file are no larger than the file.
  std::size_t MinEntryBytes() const;

  // Writes the record's entry to row `row`. Throws WireError where the bytes are no EntryDump, or one of another layout
  // or without an id; the row is then undefined. A missing timestamp is 0.
  void Decode(std::span<const std::uint8_t> record, const EntryTarget& target, std::size_t row) const;

 private:
  bool DecodeCanonical(std::span<const std::uint8_t> record, const EntryTarget& target, std::size_t row) const;
  void DecodeAny(std::span<const std::uint8_t> record, const EntryTarget& target, std::size_t row) const;

  EntryLayout layout_;
  EntrySkeleton skeleton_;
  StripTagsFunction strip_;
};

class EntryEncoder {
 public:
  explicit EntryEncoder(EntryLayout layout);

  const EntryLayout& layout() const { return layout_; }
  // The bytes that Encode() writes for the row.
  std::size_t SizeOf(const EntrySource& source, std::size_t row) const;
  // SizeOf() each of the first `n` rows, where it is the same.
  std::optional<std::size_t> CommonSize(const EntrySource& source, std::size_t n) const;
  // No entry of this layout is larger.
  std::size_t MaxSize() const;
  // Writes the entry and returns its end. REQUIRES: room for SizeOf() bytes; for MaxSize() bytes where somebody may
  // change the row
  std::uint8_t* Encode(const EntrySource& source, std::size_t row, std::uint8_t* out) const;

 private:
  std::size_t OptSizeOf(const EntrySource& source, std::size_t row) const;
  std::size_t DumpSizeOf(std::size_t segment, const EntrySource& source, std::size_t row) const;
  std::uint8_t* EncodeOpt(const EntrySource& source, std::size_t row, std::uint8_t* out) const;

  EntryLayout layout_;
  EntrySkeleton skeleton_;
  InsertTagsFunction insert_;
  std::vector<std::size_t> first_column_;  // of each segment, and the end
};

}  // namespace mexport
