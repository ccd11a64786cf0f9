// Base-128 integers, low group first, as protobuf and sorted tables write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mexport {

constexpr int kMaxVarintSize = 10;

inline void AppendVarint(std::string* out, std::uint64_t value) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

// Takes one integer off the front of `in`. False, with `in` untouched, unless it is there in its shortest form and fits
// 64 bits.
inline bool ReadVarint(std::string_view* in, std::uint64_t* value) {
  std::uint64_t result = 0;
  for (std::size_t i = 0; i < in->size() && i < kMaxVarintSize; ++i) {
    const auto byte = static_cast<unsigned char>((*in)[i]);
    if (i == kMaxVarintSize - 1 && byte > 1) return false;
    result |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      if (byte == 0 && i > 0) return false;
      in->remove_prefix(i + 1);
      *value = result;
      return true;
    }
  }
  return false;
}

}  // namespace mexport
