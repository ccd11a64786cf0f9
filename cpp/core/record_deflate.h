// A zlib or gzip stream around a record file.
#pragma once

#include <memory>
#include <string>

#include "core/byte_stream.h"
#include "core/record_codec.h"

namespace mexport {

enum class DeflateFormat { kZlib, kGzip };

class DeflateSink final : public ByteSink {
 public:
  DeflateSink(std::unique_ptr<ByteSink> inner, std::unique_ptr<StreamEncoder> encoder);

  void Flush() override;
  void Sync() override;
  void Close() override;

 private:
  void Drain(std::span<const std::uint8_t> bytes) override { encoder_->Encode(bytes, *inner_); }

  std::unique_ptr<ByteSink> inner_;
  std::unique_ptr<StreamEncoder> encoder_;
};

class InflateSource final : public ByteSource {
 public:
  InflateSource(std::unique_ptr<ByteSource> inner, std::unique_ptr<StreamDecoder> decoder, DeflateFormat format);

  std::size_t ReadSome(std::uint8_t* buffer, std::size_t size) override;
  std::optional<std::uint64_t> Remaining() const override { return std::nullopt; }
  bool Ready() const override { return output_pending_ || !input_.bytes().empty() || input_.Ready(); }

 private:
  InputWindow input_;
  std::unique_ptr<StreamDecoder> decoder_;
  DeflateFormat format_;
  bool output_pending_ = false;
  bool finished_ = false;
};

}  // namespace mexport
