// The blocks of snappy files: a size in 4 bytes, the highest first, and a raw block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mexport::snappy_format {

constexpr std::size_t kPrefixBytes = 4;
// TensorFlow's reader refuses blocks that hold more.
constexpr std::size_t kBlockBytes = std::size_t{256} << 10;
// A raw block begins with a varint of its uncompressed size.
constexpr std::size_t kMaxSizeBytes = 5;

inline std::size_t LoadPrefix(const std::uint8_t* p) {
  return static_cast<std::size_t>(p[0]) << 24 | static_cast<std::size_t>(p[1]) << 16 |
         static_cast<std::size_t>(p[2]) << 8 | static_cast<std::size_t>(p[3]);
}

inline void StorePrefix(std::uint8_t* p, std::size_t size) {
  p[0] = static_cast<std::uint8_t>(size >> 24);
  p[1] = static_cast<std::uint8_t>(size >> 16);
  p[2] = static_cast<std::uint8_t>(size >> 8);
  p[3] = static_cast<std::uint8_t>(size);
}

// Reads the varint at the front of a raw block of `size` bytes and checks that the two sizes can belong together,
// before anybody makes room for either. Throws Error(kRecordCompression).
std::size_t PlainSize(std::span<const std::uint8_t> front, std::uint64_t size);

}  // namespace mexport::snappy_format
