#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "core/snappy.h"

namespace mexport {
namespace {

// Matches are looked for within pieces of so many bytes, which 16 bits can count.
constexpr std::size_t kPieceBytes = std::size_t{1} << 16;
constexpr int kMinTableBits = 8;
constexpr int kMaxTableBits = 14;
// The last bytes of a piece are not searched, so that words may be read.
constexpr std::size_t kTail = 15;
constexpr std::size_t kMinSearched = kTail + 2;
constexpr std::size_t kMinMatch = 4;
// After so many misses each step is longer by one byte.
constexpr int kMissBits = 5;
// No more than the output may be longer than what it needs.
constexpr std::size_t kWord = 16;

std::uint32_t Load32(const std::uint8_t* p) {
  std::uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

std::uint64_t Load64(const std::uint8_t* p) {
  std::uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

std::uint8_t* StoreLiteral(const std::uint8_t* from, std::size_t length, std::uint8_t* out) {
  const std::size_t n = length - 1;
  if (n < 60) {
    *out++ = static_cast<std::uint8_t>(n << 2);
  } else if (n < 0x100) {
    *out++ = 60 << 2;
    *out++ = static_cast<std::uint8_t>(n);
  } else {
    *out++ = 61 << 2;
    *out++ = static_cast<std::uint8_t>(n);
    *out++ = static_cast<std::uint8_t>(n >> 8);
  }
  std::memcpy(out, from, length);
  return out + length;
}

std::uint8_t* StoreLongCopy(std::size_t offset, std::size_t length, std::uint8_t* out) {
  out[0] = static_cast<std::uint8_t>((length - 1) << 2 | 2);
  out[1] = static_cast<std::uint8_t>(offset);
  out[2] = static_cast<std::uint8_t>(offset >> 8);
  return out + 3;
}

std::uint8_t* StoreCopy(std::size_t offset, std::size_t length, std::uint8_t* out) {
  for (; length >= 68; length -= 64) out = StoreLongCopy(offset, 64, out);
  // What is left must not be shorter than a copy can be.
  if (length > 64) {
    out = StoreLongCopy(offset, 60, out);
    length -= 60;
  }
  if (length >= 12 || offset >= 2048) return StoreLongCopy(offset, length, out);
  out[0] = static_cast<std::uint8_t>(offset >> 8 << 5 | (length - 4) << 2 | 1);
  out[1] = static_cast<std::uint8_t>(offset);
  return out + 2;
}

// How many bytes from `a` on, up to `end`, are those from `b` on. REQUIRES: b < a
std::size_t Common(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* end) {
  const std::uint8_t* const begin = a;
  for (; end - a >= 8; a += 8, b += 8) {
    const std::uint64_t different = Load64(a) ^ Load64(b);
    if (different != 0) return static_cast<std::size_t>(a - begin + (std::countr_zero(different) >> 3));
  }
  while (a != end && *a == *b) ++a, ++b;
  return static_cast<std::size_t>(a - begin);
}

// Compresses one piece of the input.
class PieceEncoder {
 public:
  PieceEncoder(const std::uint8_t* piece, std::size_t size, std::uint8_t* out)
      : piece_(piece), end_(piece + size), literal_(piece), out_(out) {}

  // Returns the end of the output.
  std::uint8_t* Run() {
    const auto size = static_cast<std::size_t>(end_ - piece_);
    if (size >= kMinSearched) {
      const int bits = std::clamp(static_cast<int>(std::bit_width(size - 1)), kMinTableBits, kMaxTableBits);
      shift_ = 32 - bits;
      std::fill_n(seen_.begin(), std::size_t{1} << bits, std::uint16_t{0});
      Search();
    }
    if (literal_ != end_) out_ = StoreLiteral(literal_, static_cast<std::size_t>(end_ - literal_), out_);
    return out_;
  }

 private:
  std::uint32_t Hash(std::uint64_t bytes) const { return static_cast<std::uint32_t>(bytes) * 0x1e35a7bdu >> shift_; }

  // Stores all literals and copies but for the literal at the end.
  void Search() {
    const std::uint8_t* const limit = end_ - kTail;
    const std::uint8_t* p = piece_ + 1;
    for (std::uint32_t next_hash = Hash(Load32(p));;) {
      std::size_t skip = std::size_t{1} << kMissBits;
      const std::uint8_t* next = p;
      const std::uint8_t* match;
      do {
        p = next;
        const std::size_t step = skip >> kMissBits;
        next = p + step;
        skip += step;
        if (next > limit) return;
        match = piece_ + std::exchange(seen_[next_hash], static_cast<std::uint16_t>(p - piece_));
        next_hash = Hash(Load32(next));
      } while (Load32(p) != Load32(match));
      StoreSearchedLiteral(p);
      do {
        const std::size_t length = kMinMatch + Common(p + kMinMatch, match + kMinMatch, end_);
        out_ = StoreCopy(static_cast<std::size_t>(p - match), length, out_);
        p += length;
        literal_ = p;
        if (p >= limit) return;
        const std::uint64_t bytes = Load64(p - 1);
        seen_[Hash(bytes)] = static_cast<std::uint16_t>(p - 1 - piece_);
        match = piece_ + std::exchange(seen_[Hash(bytes >> 8)], static_cast<std::uint16_t>(p - piece_));
        next_hash = Hash(bytes >> 16);
      } while (Load32(p) == Load32(match));
      ++p;
    }
  }

  // The literal that ends before `p`, which is at least kTail bytes before the end: whole words may be copied.
  void StoreSearchedLiteral(const std::uint8_t* p) {
    const auto length = static_cast<std::size_t>(p - literal_);
    if (length > kWord) {
      out_ = StoreLiteral(literal_, length, out_);
    } else {
      *out_++ = static_cast<std::uint8_t>((length - 1) << 2);
      std::memcpy(out_, literal_, kWord);
      out_ += length;
    }
  }

  const std::uint8_t* piece_;
  const std::uint8_t* end_;
  const std::uint8_t* literal_;  // what was not stored yet
  std::uint8_t* out_;
  int shift_ = 0;
  // Where in the piece bytes of this hash were seen last.
  std::array<std::uint16_t, std::size_t{1} << kMaxTableBits> seen_;
};

}  // namespace

std::size_t Snappy::Compress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) {
  std::uint8_t* to = out.data();
  std::size_t size = in.size();
  for (; size >= 0x80; size >>= 7) *to++ = static_cast<std::uint8_t>(size | 0x80);
  *to++ = static_cast<std::uint8_t>(size);
  for (std::size_t begin = 0; begin < in.size(); begin += kPieceBytes) {
    to = PieceEncoder(in.data() + begin, std::min(kPieceBytes, in.size() - begin), to).Run();
  }
  return static_cast<std::size_t>(to - out.data());
}

}  // namespace mexport
