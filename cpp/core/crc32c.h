// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) and the masked form in which record and bundle files store it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mexport {

// Returns the checksum of the bytes whose checksum is `crc`, followed by data[0, size). Start with crc = 0.
// Runs the fastest implementation that this processor has.
std::uint32_t ExtendCrc32c(std::uint32_t crc, const void* data, std::size_t size);

inline std::uint32_t Crc32c(const void* data, std::size_t size) { return ExtendCrc32c(0, data, size); }

// Files hold rotated checksums, so that the checksum of bytes that embed a checksum stays meaningful.
constexpr std::uint32_t kCrcMaskDelta = 0xa282ead8u;

constexpr std::uint32_t MaskCrc(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + kCrcMaskDelta; }

constexpr std::uint32_t UnmaskCrc(std::uint32_t masked) {
  const std::uint32_t rot = masked - kCrcMaskDelta;
  return (rot >> 17) | (rot << 15);
}

using ExtendCrc32cFunction = std::uint32_t (*)(std::uint32_t crc, const void* data, std::size_t size);

struct Crc32cImplementation {
  const char* name;
  ExtendCrc32cFunction extend;
};

// Those that this processor can run, the fastest last; "portable" is always the first.
std::span<const Crc32cImplementation> Crc32cImplementations();

}  // namespace mexport
