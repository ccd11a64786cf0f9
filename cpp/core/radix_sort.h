// Sorts by 64-bit keys in linear time; stable. Takes a second copy of the elements while it runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mexport {

template <typename T, typename Key>
void RadixSort(std::vector<T>& values, Key key) {
  constexpr unsigned kDigits = 8;
  constexpr std::size_t kRadix = 256;
  std::array<std::array<std::size_t, kRadix>, kDigits> counts{};
  for (const T& value : values) {
    for (unsigned digit = 0; digit < kDigits; ++digit) ++counts[digit][key(value) >> (8 * digit) & 0xff];
  }
  std::vector<T> sorted;
  for (unsigned digit = 0; digit < kDigits && !values.empty(); ++digit) {
    std::array<std::size_t, kRadix>& count = counts[digit];
    // Ids of few slots have the same high digits.
    if (count[key(values.front()) >> (8 * digit) & 0xff] == values.size()) continue;
    sorted.resize(values.size());
    std::size_t next = 0;
    for (std::size_t& place : count) {
      const std::size_t size = place;
      place = next;
      next += size;
    }
    for (const T& value : values) sorted[count[key(value) >> (8 * digit) & 0xff]++] = value;
    values.swap(sorted);
  }
}

}  // namespace mexport
