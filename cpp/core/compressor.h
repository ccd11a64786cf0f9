// The forms that the values of a segment take: as bytes in serving entries, and as what a lookup sees in training ones.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/table_config.h"

namespace mexport {

// Serving entries hold the bytes of one compressor for each segment.
class Compressor {
 public:
  explicit Compressor(const CompressorConfig& config) : config_(config) {}

  std::size_t BytesOf(std::size_t dim) const;
  // Whether the bytes are the floats themselves.
  bool raw() const { return config_.kind == CompressorConfig::Kind::kFp32; }

  void Encode(const float* values, std::size_t dim, std::uint8_t* bytes) const;
  void Decode(const std::uint8_t* bytes, std::size_t dim, float* values) const;

 private:
  CompressorConfig config_;
};

// Training entries hold floats, which a lookup sees through the segment's retriever.
class Retriever {
 public:
  // `config` may be null: then a lookup sees the floats.
  explicit Retriever(const CompressorConfig* config);

  bool raw() const { return !quantizes_ && !one_bit_; }
  void Forward(float* values, std::size_t dim) const;
  // Turns the gradient of what a lookup saw into that of the floats.
  void Backward(const float* values, float* gradients, std::size_t dim) const;
  // Learns the training step, on which the scale of one_bit depends. Any thread.
  void SetStep(std::int64_t global_step);

 private:
  CompressorConfig config_{};
  bool quantizes_ = false;
  bool one_bit_ = false;
  std::atomic<float> scale_{1};
};

}  // namespace mexport
