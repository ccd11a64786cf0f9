// The ids of a batch without repetitions, and what belongs to each added up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mexport {

class DistinctIds {
 public:
  // Throws std::bad_alloc.
  explicit DistinctIds(std::span<const std::uint64_t> ids);

  // Ascending.
  const std::vector<std::uint64_t>& ids() const { return ids_; }
  // How often ids()[i] occurs in the batch.
  std::uint64_t count(std::size_t i) const { return begins_[i + 1] - begins_[i]; }
  // For each of ids() the sum of its rows of `rows`, [the batch's ids, dim], added in the order of the batch.
  std::vector<float> Sum(const float* rows, std::size_t dim) const;

 private:
  std::vector<std::uint64_t> ids_;
  std::vector<std::size_t> order_;   // places in the batch: those of ids_[0] in their order, those of ids_[1], …
  std::vector<std::size_t> begins_;  // of each id's places in order_, and the end
};

}  // namespace mexport
