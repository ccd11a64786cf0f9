// The ids whose entries training changed, until somebody takes them.
//
// This header is C++17: see platform.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace mexport {

// All methods may run in any number of threads.
class TouchedIds {
 public:
  void Add(const std::int64_t* ids, std::size_t n);
  // All of them once, ascending; none are left.
  std::vector<std::int64_t> Take();

 private:
  std::mutex mutex_;
  std::vector<std::int64_t> ids_;
  std::size_t compact_at_ = 0;  // how many ids_ may become before repetitions are dropped
};

// Sorts ids and drops repetitions.
void MakeDistinct(std::vector<std::int64_t>* ids);

}  // namespace mexport
