// Counts occurrences of very many ids in little memory, and forgets old ones: docs/formats/hash_filter.md.
//
// This header is C++17: the TensorFlow ops include it, which are compiled as TensorFlow is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/occurrence_filter.h"

namespace mexport {

class SlidingFilter final : public OccurrenceFilter {
 public:
  // At least 300 ids and 5 splits; less counts as that. Throws Error(kInvalidArgument) for a capacity that no memory
  // holds.
  SlidingFilter(std::int64_t capacity, std::int64_t splits, OccurrenceThresholds thresholds);
  ~SlidingFilter() override;

  bool works_without_table() const override { return true; }

  // Adds occurrences and returns how many there were before: at most 15, and 15 where there is no place to count.
  std::uint32_t Add(std::uint64_t id, std::uint64_t occurrences);

  std::size_t splits() const;

  using Write = std::function<void(const std::uint8_t* record, std::size_t size)>;
  // What all files of a dump have in common.
  struct Position {
    std::uint32_t head;
    std::uint32_t head_increment;
    std::uint64_t failures;
  };
  Position position() const;
  // Writes the records of one split's file. Adding waits only while the split is copied. Any thread.
  void Save(const Position& position, std::size_t split, const Write& write) const;

  // What the files of a dump hold, until all of them have been read.
  class Dump {
   public:
    explicit Dump(const SlidingFilter& filter);
    Dump(Dump&& other) noexcept;
    ~Dump();
    // Reads the records of one split's file. Each split in one thread. Throws WireError for a record that is no such
    // message, Error(kTable) where a cell lies outside, and Error(kInvalidArgument) where the filter is another one.
    void ReadMeta(std::size_t split, const std::uint8_t* record, std::size_t size);
    void ReadCells(std::size_t split, const std::uint8_t* record, std::size_t size);

   private:
    friend class SlidingFilter;
    struct Part;
    std::vector<Part> parts_;
    std::size_t split_count_;
    std::uint64_t buckets_;
  };
  // Takes over a dump whose splits were all read. Throws Error(kTable) if cells are missing or the files are not of
  // one moment.
  void Restore(Dump dump);

 protected:
  bool Filters(std::uint64_t id, std::uint64_t occurrences, std::uint32_t threshold) override {
    return Add(id, occurrences) < threshold;
  }

 private:
  struct Split;

  std::uint16_t* Find(std::size_t split, std::uint64_t id) const;
  std::size_t Behind(std::size_t split, std::size_t steps) const;

  std::uint64_t capacity_;  // of a split
  std::uint64_t buckets_;   // where ids may begin; a few more cells follow
  mutable std::mutex mutex_;
  std::vector<Split> splits_;  // the rest is guarded by the mutex
  std::size_t head_ = 0;
  std::uint32_t head_increment_ = 0;
  std::uint64_t failures_ = 0;
};

}  // namespace mexport
