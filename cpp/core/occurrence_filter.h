// Which new ids have occurred too seldom to get an entry in a table: docs/formats/hash_filter.md.
//
// This header is C++17: the TensorFlow ops include it, which are compiled as TensorFlow is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

namespace mexport {

// How often an id must have occurred before, by its slot: bits 48 to 62.
class OccurrenceThresholds {
 public:
  // Of a serialised SlotOccurrenceThresholdConfig. Throws Error(kInvalidArgument) for bytes that are none, and for
  // slots from 32768 on.
  explicit OccurrenceThresholds(const std::string& config);

  std::uint32_t Of(std::uint64_t id) const;

 private:
  std::uint32_t default_ = 0;
  std::unordered_map<std::uint32_t, std::uint32_t> of_slot_;
};

// Any method may run in any number of threads.
class OccurrenceFilter {
 public:
  explicit OccurrenceFilter(OccurrenceThresholds thresholds) : thresholds_(std::move(thresholds)) {}
  OccurrenceFilter(const OccurrenceFilter&) = delete;
  OccurrenceFilter& operator=(const OccurrenceFilter&) = delete;
  virtual ~OccurrenceFilter() = default;

  // Takes note of so many more occurrences of an id that has no entry, and says whether they leave it without one.
  bool ShouldBeFiltered(std::uint64_t id, std::uint64_t occurrences);
  // Whether it filters ids for which there is no table to ask.
  virtual bool works_without_table() const = 0;

 protected:
  // REQUIRES: threshold > 0
  virtual bool Filters(std::uint64_t id, std::uint64_t occurrences, std::uint32_t threshold) = 0;

 private:
  OccurrenceThresholds thresholds_;
};

// Admits an id by chance, more likely the more often it comes. Remembers nothing.
class ProbabilisticFilter final : public OccurrenceFilter {
 public:
  // With `equal_probability` each occurrence has the same chance, and 95 of 100 ids are in after `threshold` of them.
  // Otherwise the chance of n occurrences is n / threshold.
  ProbabilisticFilter(bool equal_probability, OccurrenceThresholds thresholds)
      : OccurrenceFilter(std::move(thresholds)), equal_probability_(equal_probability) {}

  bool works_without_table() const override { return false; }

 protected:
  bool Filters(std::uint64_t id, std::uint64_t occurrences, std::uint32_t threshold) override;

 private:
  bool equal_probability_;
};

}  // namespace mexport
