#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/snappy.h"

namespace mexport {
namespace {

constexpr std::size_t kWord = 16;
// No element but a very long literal reads or writes more, whole words included.
constexpr std::size_t kMargin = 288;
// Literals whose length comes in one byte behind the tag, and in more.
constexpr std::uint8_t kLongLiteral = 60 << 2;
constexpr std::uint8_t kVeryLongLiteral = 61 << 2;

[[noreturn]] void Fail(const std::string& what) {
  throw Error(ErrorKind::kRecordCompression, "damaged snappy block: " + what);
}

// What the tag of a copy tells.
struct Copy {
  std::uint8_t length = 0;
  std::uint8_t bytes = 0;  // of the offset, behind the tag
  std::uint16_t high = 0;  // part of the offset
};

constexpr std::array<Copy, 256> MakeCopies() {
  std::array<Copy, 256> copies{};
  for (unsigned tag = 0; tag < copies.size(); ++tag) {
    const auto length = static_cast<std::uint8_t>((tag >> 2) + 1);
    if ((tag & 3) == 1) {
      copies[tag] = {static_cast<std::uint8_t>((tag >> 2 & 7) + 4), 1, static_cast<std::uint16_t>(tag >> 5 << 8)};
    } else if ((tag & 3) != 0) {
      copies[tag] = {length, static_cast<std::uint8_t>((tag & 3) == 2 ? 2 : 4), 0};
    }
  }
  return copies;
}

constexpr std::array<Copy, 256> kCopies = MakeCopies();
constexpr std::array<std::uint32_t, 5> kLowBytes = {0, 0xff, 0xffff, 0xffffff, 0xffffffff};

std::uint32_t Load32(const std::uint8_t* p) {
  std::uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// Copies up to 256 bytes in whole words. REQUIRES: `from` does not lie within the word before `to`
void CopyWords(std::uint8_t* to, const std::uint8_t* from, std::size_t length) {
  std::size_t done = 0;
  do {
    std::uint8_t word[kWord];
    std::memcpy(word, from + done, kWord);
    std::memcpy(to + done, word, kWord);
    done += kWord;
  } while (done < length);
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

class Decoder {
 public:
  Decoder(const std::uint8_t* in, const std::uint8_t* in_end, std::span<std::uint8_t> out)
      : in_(in), in_end_(in_end), begin_(out.data()), out_(begin_), out_end_(begin_ + out.size()) {}

  void Run() {
    for (;;) {
      DecodeMost();
      if (in_ == in_end_) break;
      DecodeOne();
    }
    if (out_ != out_end_) {
      Fail("got " + std::to_string(out_ - begin_) + " uncompressed bytes, want " + std::to_string(out_end_ - begin_));
    }
  }

 private:
  // Decodes elements, unchecked for room, as long as both ends are far; stops at a very long
  // literal.
  void DecodeMost() {
    const std::uint8_t* const in_stop = in_end_ - std::min<std::ptrdiff_t>(in_end_ - in_, kMargin);
    const std::uint8_t* const out_stop = out_end_ - std::min<std::ptrdiff_t>(out_end_ - out_, kMargin);
    const std::uint8_t* in = in_;
    std::uint8_t* out = out_;
    while (in < in_stop && out < out_stop) {
      const std::uint8_t tag = *in;
      if ((tag & 3) == 0) {
        if (tag >= kVeryLongLiteral) break;
        const bool is_long = tag == kLongLiteral;
        const std::size_t length = (is_long ? std::size_t{in[1]} : std::size_t{tag} >> 2) + 1;
        in += is_long ? 2 : 1;
        CopyWords(out, in, length);
        in += length;
        out += length;
        continue;
      }
      const Copy copy = kCopies[tag];
      const std::size_t offset = copy.high | (Load32(in + 1) & kLowBytes[copy.bytes]);
      in += 1 + copy.bytes;
      if (offset - 1 >= static_cast<std::size_t>(out - begin_)) FailOffset();
      if (offset >= kWord) {
        CopyWords(out, out - offset, copy.length);
      } else {
        for (std::size_t i = 0; i < copy.length; ++i) out[i] = *(out + i - offset);
      }
      out += copy.length;
    }
    in_ = in;
    out_ = out;
  }

  void DecodeOne() {
    const std::uint8_t tag = *in_++;
    if ((tag & 3) != 0) {
      const Copy copy = kCopies[tag];
      CheckInput(copy.bytes);
      std::uint32_t low = 0;
      std::memcpy(&low, in_, copy.bytes);
      in_ += copy.bytes;
      const std::size_t offset = copy.high | low;
      if (offset - 1 >= static_cast<std::size_t>(out_ - begin_)) FailOffset();
      CheckRoom(copy.length);
      for (std::size_t i = 0; i < copy.length; ++i, ++out_) *out_ = *(out_ - offset);
      return;
    }
    std::size_t length = std::size_t{tag} >> 2;
    if (tag >= kLongLiteral) {
      const std::size_t bytes = length - 59;
      CheckInput(bytes);
      std::uint32_t value = 0;
      std::memcpy(&value, in_, bytes);
      in_ += bytes;
      length = value;
    }
    ++length;
    CheckInput(length);
    CheckRoom(length);
    std::memcpy(out_, in_, length);
    in_ += length;
    out_ += length;
  }

  void CheckInput(std::size_t size) const {
    if (static_cast<std::size_t>(in_end_ - in_) < size) Fail("ends within an element");
  }
  void CheckRoom(std::size_t size) const {
    if (static_cast<std::size_t>(out_end_ - out_) < size) Fail("holds more bytes than it says");
  }
  [[noreturn]] static void FailOffset() { Fail("a copy from before the beginning"); }

  const std::uint8_t* in_;
  const std::uint8_t* in_end_;
  std::uint8_t* begin_;
  std::uint8_t* out_;
  std::uint8_t* out_end_;
};

}  // namespace

void Snappy::Decompress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) {
  const std::uint8_t* const end = in.data() + in.size();
  Decoder(PassSize(in.data(), end, out.size()), end, out).Run();
}

}  // namespace mexport
