#include <algorithm>
#include <array>
#include <cstdint>

#include "core/hpack.h"
#include "core/http2_error.h"

namespace mexport::hpack {
namespace {

constexpr std::size_t kSymbols = 257;
constexpr std::size_t kEndOfString = 256;
constexpr std::size_t kMaxBits = 30;

// Bits of each byte's code and of the end's (RFC 7541, appendix B). The code is canonical: codes ascend with their
// length and, where that is the same, with the byte, so the lengths say it all.
constexpr std::array<std::uint8_t, kSymbols> kBits = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6,  10, 10, 12, 13, 6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,
    7,  8,  15, 6,  12, 10, 13, 6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
    7,  8,  7,  8,  13, 19, 13, 14, 6,  15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,
    5,  6,  7,  7,  7,  7,  7,  15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24,
    24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26,
    27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23,
    22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
};

struct Codes {
  std::array<std::uint32_t, kMaxBits + 1> first{};  // the lowest code of so many bits
  std::array<std::uint32_t, kMaxBits + 1> count{};
  std::array<std::uint32_t, kMaxBits + 1> place{};  // of the first code's symbol
  std::array<std::uint16_t, kSymbols> symbols{};    // in the codes' order
};

constexpr Codes MakeCodes() {
  Codes codes;
  std::uint32_t code = 0;
  std::uint32_t place = 0;
  for (std::size_t bits = 1; bits <= kMaxBits; ++bits) {
    code <<= 1;
    codes.first[bits] = code;
    codes.place[bits] = place;
    for (std::size_t symbol = 0; symbol < kSymbols; ++symbol) {
      if (kBits[symbol] == bits) codes.symbols[place++] = static_cast<std::uint16_t>(symbol);
    }
    codes.count[bits] = place - codes.place[bits];
    code += codes.count[bits];
  }
  return codes;
}

constexpr Codes kCodes = MakeCodes();

}  // namespace

void DecodeHuffman(std::string_view bytes, std::string* text) {
  std::uint32_t code = 0;
  std::size_t bits = 0;
  bool ones = true;  // all bits since the last symbol
  for (const char byte : bytes) {
    for (int shift = 7; shift >= 0; --shift) {
      const std::uint32_t bit = static_cast<std::uint8_t>(byte) >> shift & 1;
      code = code << 1 | bit;
      ones = ones && bit == 1;
      // The code is complete: whatever has kMaxBits is a symbol's.
      if (const std::uint32_t rank = code - kCodes.first[++bits]; rank < kCodes.count[bits]) {
        const std::uint16_t symbol = kCodes.symbols[kCodes.place[bits] + rank];
        if (symbol == kEndOfString) throw Http2Error(Http2Code::kCompressionError, "hpack: got a string's end in it");
        text->push_back(static_cast<char>(symbol));
        code = 0;
        bits = 0;
        ones = true;
      }
    }
  }
  if (bits > 7 || !ones) throw Http2Error(Http2Code::kCompressionError, "hpack: got a wrong end of a Huffman code");
}

}  // namespace mexport::hpack
