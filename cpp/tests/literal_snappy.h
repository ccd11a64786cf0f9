// The smallest codec that writes raw snappy: all literals, no copies. It reads no more than that either.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/record_codec.h"
#include "core/varint.h"

namespace mexport {

class LiteralSnappy final : public BlockCodec {
 public:
  std::size_t Compress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    std::string block;
    AppendVarint(&block, in.size());
    while (!in.empty()) {
      const std::size_t size = std::min(in.size(), kLongest);
      block.push_back(static_cast<char>((size - 1) << 2));
      block.append(reinterpret_cast<const char*>(in.data()), size);
      in = in.subspan(size);
    }
    // Above snappy's worst case for short blocks only.
    if (block.size() > out.size()) throw Error(ErrorKind::kInvalidArgument, "no room for the block");
    std::copy(block.begin(), block.end(), out.begin());
    return block.size();
  }

  void Decompress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    std::string_view rest(reinterpret_cast<const char*>(in.data()), in.size());
    std::uint64_t size = 0;
    if (!ReadVarint(&rest, &size) || size != out.size()) Fail("uncompressed size");
    while (!rest.empty()) {
      const auto tag = static_cast<std::uint8_t>(rest.front());
      const std::size_t length = (tag >> 2) + std::size_t{1};
      if ((tag & 3) != 0 || length > kLongest) Fail("not a short literal");
      rest.remove_prefix(1);
      if (length > rest.size() || length > out.size()) Fail("literal beyond the block");
      std::copy_n(rest.begin(), length, out.begin());
      rest.remove_prefix(length);
      out = out.subspan(length);
    }
    if (!out.empty()) Fail("block too short");
  }

 private:
  static constexpr std::size_t kLongest = 60;  // whose length is in the tag

  [[noreturn]] static void Fail(const char* what) {
    throw Error(ErrorKind::kRecordCompression, std::string("damaged snappy block: ") + what);
  }
};

}  // namespace mexport
