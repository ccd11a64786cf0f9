// Arithmetic modulo the CRC-32C polynomial, from which the implementations derive their tables at compile time.
//
// A polynomial of degree < 32 is held reflected, as the checksum is: bit 31 is the coefficient of x^0.
#pragma once

#include <cstdint>

namespace mexport::crc32c_polynomial {

constexpr std::uint32_t kPolynomial = 0x82F63B78u;
constexpr std::uint32_t kOne = 0x80000000u;

constexpr std::uint32_t TimesX(std::uint32_t a) { return (a >> 1) ^ (kPolynomial & (0u - (a & 1u))); }

constexpr std::uint32_t Multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = TimesX(b);
  }
  return product;
}

// x^n modulo the polynomial.
constexpr std::uint32_t PowerOfX(std::uint64_t n) {
  std::uint32_t result = kOne;
  for (std::uint32_t square = TimesX(kOne); n != 0; n >>= 1, square = Multiply(square, square)) {
    if (n & 1) result = Multiply(result, square);
  }
  return result;
}

}  // namespace mexport::crc32c_polynomial
