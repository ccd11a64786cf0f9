// Checksums as messages show them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace mexport {

inline std::string Hex(std::uint32_t value) {
  char text[11];
  std::snprintf(text, sizeof(text), "0x%08x", value);
  return text;
}

}  // namespace mexport
