// Slicing by eight: eight table look-ups advance the checksum by eight bytes.
#include <array>

#include "core/crc32c_implementations.h"
#include "core/crc32c_polynomial.h"

namespace mexport {
namespace {

using Table = std::array<std::array<std::uint32_t, 256>, 8>;

// table[k][b] is what byte b, followed by k zero bytes, adds to the checksum.
constexpr Table MakeTable() {
  Table table{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = crc32c_polynomial::TimesX(crc);
    table[0][b] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t b = 0; b < 256; ++b) table[k][b] = (table[k - 1][b] >> 8) ^ table[0][table[k - 1][b] & 0xff];
  }
  return table;
}

constexpr Table kTable = MakeTable();

// Byte by byte, so that it means the same on every machine; compilers make one load of it.
inline std::uint32_t Load32(const unsigned char* p) {
  return static_cast<std::uint32_t>(p[0]) | static_cast<std::uint32_t>(p[1]) << 8 |
         static_cast<std::uint32_t>(p[2]) << 16 | static_cast<std::uint32_t>(p[3]) << 24;
}

}  // namespace

std::uint32_t ExtendCrc32cPortable(std::uint32_t crc, const void* data, std::size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
  crc = ~crc;
  for (; size >= 8; size -= 8, p += 8) {
    const std::uint32_t low = crc ^ Load32(p);
    const std::uint32_t high = Load32(p + 4);
    crc = kTable[7][low & 0xff] ^ kTable[6][(low >> 8) & 0xff] ^ kTable[5][(low >> 16) & 0xff] ^ kTable[4][low >> 24] ^
          kTable[3][high & 0xff] ^ kTable[2][(high >> 8) & 0xff] ^ kTable[1][(high >> 16) & 0xff] ^
          kTable[0][high >> 24];
  }
  for (; size > 0; --size) crc = (crc >> 8) ^ kTable[0][(crc ^ *p++) & 0xff];
  return ~crc;
}

}  // namespace mexport
