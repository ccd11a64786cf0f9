// Raw snappy blocks: independent of each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/record_codec.h"

namespace mexport {

constexpr std::size_t MaxSnappyBytes(std::size_t plain) { return 32 + plain + plain / 6; }

// Holds no state: may be used by several threads at once, and without the GIL.
class Snappy final : public BlockCodec {
 public:
  // The same bytes always give the same block, the one of Google's reference algorithm as of 2011.
  std::size_t Compress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override;
  void Decompress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override;
};

}  // namespace mexport
