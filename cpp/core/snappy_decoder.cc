#include <cstring>
#include <string>

#include "core/error.h"
#include "core/snappy.h"

namespace mexport {
namespace {

constexpr std::size_t kWord = 16;
// Elements whose bytes lie this far from both ends are copied in whole words.
constexpr std::size_t kMargin = 64;

[[noreturn]] void Fail(const std::string& what) {
  throw Error(ErrorKind::kRecordCompression, "damaged snappy block: " + what);
}

void CopyWord(std::uint8_t* to, const std::uint8_t* from) {
  std::uint8_t word[kWord];
  std::memcpy(word, from, kWord);
  std::memcpy(to, word, kWord);
}

std::uint32_t Load32(const std::uint8_t* p) {
  std::uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// Low bits of `value`, so many bytes of it.
std::uint32_t LowBytes(std::uint32_t value, std::size_t bytes) {
  return static_cast<std::uint32_t>(value & ((std::uint64_t{1} << (8 * bytes)) - 1));
}

// Passes the size at the front, which is known, and checks it.
const std::uint8_t* PassSize(const std::uint8_t* in, const std::uint8_t* end, std::size_t want) {
  std::uint64_t size = 0;
  for (int shift = 0; shift < 35 && in != end; shift += 7) {
    const std::uint8_t byte = *in++;
    size |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (size == want) return in;
    Fail("got " + std::to_string(size) + " uncompressed bytes, want " + std::to_string(want));
  }
  Fail("no uncompressed size");
}

}  // namespace

void Snappy::Decompress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) {
  const std::uint8_t* const in_end = in.data() + in.size();
  const std::uint8_t* p = PassSize(in.data(), in_end, out.size());
  std::uint8_t* const begin = out.data();
  std::uint8_t* const end = begin + out.size();
  std::uint8_t* to = begin;
  while (p != in_end) {
    const std::uint8_t tag = *p++;
    if ((tag & 3) == 0) {
      std::size_t length = std::size_t{tag} >> 2;
      if (length >= 60) {
        const std::size_t bytes = length - 59;
        if (static_cast<std::size_t>(in_end - p) < bytes) Fail("ends within the length of a literal");
        std::uint32_t value = 0;
        std::memcpy(&value, p, bytes);
        length = value;
        p += bytes;
      } else if (static_cast<std::size_t>(in_end - p) >= kMargin && static_cast<std::size_t>(end - to) >= kMargin) {
        ++length;
        for (std::size_t done = 0; done < length; done += kWord) CopyWord(to + done, p + done);
        p += length;
        to += length;
        continue;
      }
      ++length;
      if (static_cast<std::size_t>(in_end - p) < length) Fail("ends within a literal");
      if (static_cast<std::size_t>(end - to) < length) Fail("more bytes than it says");
      std::memcpy(to, p, length);
      p += length;
      to += length;
      continue;
    }
    // Bytes of the offset behind the tag: 1, 2 or 4.
    const std::size_t bytes = std::size_t{1} << ((tag & 3) - 1);
    if (static_cast<std::size_t>(in_end - p) < bytes) Fail("ends within a copy");
    std::uint32_t value;
    if (static_cast<std::size_t>(in_end - p) >= sizeof value) {
      value = LowBytes(Load32(p), bytes);
    } else {
      value = 0;
      std::memcpy(&value, p, bytes);
    }
    p += bytes;
    std::size_t length = (std::size_t{tag} >> 2) + 1;
    std::size_t offset = value;
    if ((tag & 3) == 1) {
      length = (std::size_t{tag} >> 2 & 7) + 4;
      offset = (std::size_t{tag} >> 5) << 8 | value;
    }
    if (offset == 0 || offset > static_cast<std::size_t>(to - begin)) Fail("a copy from before the beginning");
    if (static_cast<std::size_t>(end - to) < length) Fail("more bytes than it says");
    const std::uint8_t* from = to - offset;
    if (offset >= kWord && static_cast<std::size_t>(end - to) >= kMargin) {
      // At most 64 bytes, so at most four words.
      for (std::size_t done = 0; done < length; done += kWord) CopyWord(to + done, from + done);
      to += length;
    } else {
      for (std::uint8_t* const stop = to + length; to != stop; ++to, ++from) *to = *from;
    }
  }
  if (to != end) {
    Fail("got " + std::to_string(to - begin) + " uncompressed bytes, want " + std::to_string(out.size()));
  }
}

}  // namespace mexport
