#include "core/distinct_ids.h"

#include <algorithm>

#include "core/radix_sort.h"

namespace mexport {

DistinctIds::DistinctIds(std::span<const std::uint64_t> ids) : order_(ids.size()) {
  for (std::size_t i = 0; i < ids.size(); ++i) order_[i] = i;
  RadixSort(order_, [ids](std::size_t place) { return ids[place]; });
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const std::uint64_t id = ids[order_[i]];
    if (!ids_.empty() && ids_.back() == id) continue;
    ids_.push_back(id);
    begins_.push_back(i);
  }
  begins_.push_back(order_.size());
}

std::vector<float> DistinctIds::Sum(const float* rows, std::size_t dim) const {
  std::vector<float> sums(ids_.size() * dim);
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    float* const sum = sums.data() + i * dim;
    std::copy_n(rows + order_[begins_[i]] * dim, dim, sum);
    for (std::size_t place = begins_[i] + 1; place < begins_[i + 1]; ++place) {
      const float* const row = rows + order_[place] * dim;
      for (std::size_t d = 0; d < dim; ++d) sum[d] += row[d];
    }
  }
  return sums;
}

}  // namespace mexport
