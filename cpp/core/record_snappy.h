// Length-prefixed snappy blocks around a record file.
#pragma once

#include <memory>

#include "core/byte_stream.h"
#include "core/record_codec.h"

namespace mexport {

class SnappySink final : public ByteSink {
 public:
  SnappySink(std::unique_ptr<ByteSink> inner, std::unique_ptr<BlockCodec> codec);

  void Flush() override;
  void Sync() override;
  void Close() override;

 private:
  void Drain(std::span<const std::uint8_t> bytes) override;

  std::unique_ptr<ByteSink> inner_;
  std::unique_ptr<BlockCodec> codec_;
  ByteBuffer block_;
};

class SnappySource final : public ByteSource {
 public:
  // Refuses blocks whose data takes more room than the format's largest block and than a record of max_record_bytes.
  SnappySource(std::unique_ptr<ByteSource> inner, std::unique_ptr<BlockCodec> codec, std::uint64_t max_record_bytes);

  std::size_t ReadSome(std::uint8_t* buffer, std::size_t size) override;
  std::optional<std::uint64_t> Remaining() const override { return std::nullopt; }
  bool Ready() const override { return rest_begin_ != rest_end_ || input_.Ready(); }

 private:
  struct Block {
    std::span<const std::uint8_t> bytes;
    std::size_t plain = 0;  // the size that it claims to decompress to
  };

  // Brings the next block into the window; one without bytes at the end of the file.
  Block NextBlock();

  InputWindow input_;
  std::unique_ptr<BlockCodec> codec_;
  std::uint64_t max_plain_;
  // What did not fit the reader's buffer.
  ByteBuffer rest_;
  std::size_t rest_begin_ = 0;
  std::size_t rest_end_ = 0;
};

}  // namespace mexport
