// The implementations of crc32c that crc32c.cc chooses from. Callers include crc32c.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mexport {

std::uint32_t ExtendCrc32cPortable(std::uint32_t crc, const void* data, std::size_t size);

#if defined(__x86_64__)
bool HasCrc32cSse42();
bool HasCrc32cAvx512();
// REQUIRES: HasCrc32cSse42()
std::uint32_t ExtendCrc32cSse42(std::uint32_t crc, const void* data, std::size_t size);
// REQUIRES: HasCrc32cAvx512()
std::uint32_t ExtendCrc32cAvx512(std::uint32_t crc, const void* data, std::size_t size);
#endif

}  // namespace mexport
