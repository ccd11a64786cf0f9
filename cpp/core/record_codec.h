// Compression as the record files need it. The core compiles in no codec: whoever opens a compressed file brings one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/byte_stream.h"

namespace mexport {

// Raw snappy: independent blocks.
class BlockCodec {
 public:
  virtual ~BlockCodec() = default;

  // Returns the compressed size. REQUIRES: `out` holds snappy's worst case, 32 + n + n / 6 bytes
  virtual std::size_t Compress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) = 0;
  // Fills `out`, whose size the block's header claims. Throws Error(kRecordCompression) where the block does not do so.
  virtual void Decompress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) = 0;
};

// One zlib or gzip stream, on its way out.
class StreamEncoder {
 public:
  virtual ~StreamEncoder() = default;

  virtual void Encode(std::span<const std::uint8_t> in, ByteSink& out) = 0;
  // What zlib calls a partial flush.
  virtual void Flush(ByteSink& out) = 0;
  virtual void Finish(ByteSink& out) = 0;
};

// One zlib or gzip stream, on its way in.
class StreamDecoder {
 public:
  struct Step {
    std::size_t consumed;
    std::size_t produced;
    bool finished;
  };

  virtual ~StreamDecoder() = default;

  // Decodes from the front of `in` to the front of `out` and stops when one of them is used up or the stream ends.
  // Throws Error(kRecordCompression) on damage. Not to be called after `finished`, until Reset().
  virtual Step Decode(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) = 0;
  // Makes ready for another stream.
  virtual void Reset() = 0;
};

}  // namespace mexport
