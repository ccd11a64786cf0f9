// Fixed-width integers in files are little endian, and so are the machines that this builds for.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace mexport {

static_assert(std::endian::native == std::endian::little);

inline std::uint32_t LoadU32(const void* from) {
  std::uint32_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline void AppendU32(std::string* out, std::uint32_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace mexport
