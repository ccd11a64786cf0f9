// The bytes around a record: docs/formats/tfrecord.md. All integers are little endian.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/crc32c.h"

namespace mexport::record_format {

static_assert(std::endian::native == std::endian::little, "records are read and written in the machine's byte order");

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kCrcBytes = 4;
constexpr std::size_t kHeaderBytes = kLengthBytes + kCrcBytes;
constexpr std::size_t kFooterBytes = kCrcBytes;

// The largest record for any reader: with its frame it is still counted by 64 bits, and columns have signed offsets.
constexpr std::uint64_t kMaxRecordBytes = std::numeric_limits<std::int64_t>::max();

inline std::uint64_t LoadLength(const std::uint8_t* p) {
  std::uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

inline std::uint32_t LoadCrc(const std::uint8_t* p) {
  std::uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

inline std::uint32_t MaskedCrc(const void* data, std::size_t size) { return MaskCrc(Crc32c(data, size)); }

inline void StoreHeader(std::uint8_t* p, std::uint64_t length) {
  std::memcpy(p, &length, sizeof length);
  const std::uint32_t crc = MaskedCrc(p, kLengthBytes);
  std::memcpy(p + kLengthBytes, &crc, sizeof crc);
}

inline void StoreFooter(std::uint8_t* p, const void* data, std::size_t size) {
  const std::uint32_t crc = MaskedCrc(data, size);
  std::memcpy(p, &crc, sizeof crc);
}

}  // namespace mexport::record_format
