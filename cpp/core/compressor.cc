#include "core/compressor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/half.h"

namespace mexport {
namespace {

using Kind = CompressorConfig::Kind;

// One byte a value: multiples of r / 128, rounded half away from zero.
std::int8_t Quantize(float value, float step) {
  if (std::isnan(value)) return 0;
  const float half = step / 2;
  const float steps = (value >= 0 ? value + half : value - half) / step;
  if (std::isnan(steps)) return 0;
  // Compared as floats: what is too large for an int must not come out as its opposite.
  return static_cast<std::int8_t>(std::trunc(std::clamp(steps, -128.0f, 127.0f)));
}

}  // namespace

std::size_t Compressor::BytesOf(std::size_t dim) const {
  switch (config_.kind) {
    case Kind::kFp32:
      return dim * sizeof(float);
    case Kind::kFp16:
      return dim * sizeof(std::uint16_t);
    case Kind::kFixedR8:
    case Kind::kOneBit:
      return dim;
  }
  return 0;
}

void Compressor::Encode(const float* values, std::size_t dim, std::uint8_t* bytes) const {
  switch (config_.kind) {
    case Kind::kFp32:
      std::memcpy(bytes, values, dim * sizeof(float));
      return;
    case Kind::kFp16:
      for (std::size_t i = 0; i < dim; ++i) {
        const std::uint16_t half = FloatToHalf(values[i]);
        std::memcpy(bytes + 2 * i, &half, sizeof(half));
      }
      return;
    case Kind::kFixedR8: {
      const float step = config_.r / 128;
      for (std::size_t i = 0; i < dim; ++i) bytes[i] = static_cast<std::uint8_t>(Quantize(values[i], step));
      return;
    }
    case Kind::kOneBit:
      for (std::size_t i = 0; i < dim; ++i) {
        const bool positive = config_.amplitude * std::tanh(config_.init_scale * values[i]) > 0;
        bytes[i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(positive ? 1 : -1));
      }
      return;
  }
}

void Compressor::Decode(const std::uint8_t* bytes, std::size_t dim, float* values) const {
  switch (config_.kind) {
    case Kind::kFp32:
      std::memcpy(values, bytes, dim * sizeof(float));
      return;
    case Kind::kFp16:
      for (std::size_t i = 0; i < dim; ++i) {
        std::uint16_t half;
        std::memcpy(&half, bytes + 2 * i, sizeof(half));
        values[i] = HalfToFloat(half);
      }
      return;
    case Kind::kFixedR8:
    case Kind::kOneBit: {
      // A byte of one_bit is 1 or -1, and 0 in an entry that has never been written.
      const float unit = config_.kind == Kind::kFixedR8 ? config_.r / 128 : config_.amplitude;
      for (std::size_t i = 0; i < dim; ++i) values[i] = static_cast<float>(static_cast<std::int8_t>(bytes[i])) * unit;
      return;
    }
  }
}

Retriever::Retriever(const CompressorConfig* config) {
  if (config == nullptr) return;
  config_ = *config;
  quantizes_ = config_.kind == Kind::kFixedR8;
  one_bit_ = config_.kind == Kind::kOneBit;
  scale_.store(config_.init_scale, std::memory_order_relaxed);
}

void Retriever::Forward(float* values, std::size_t dim) const {
  if (quantizes_) {
    const float step = config_.r / 128;
    for (std::size_t i = 0; i < dim; ++i) values[i] = static_cast<float>(Quantize(values[i], step)) * step;
  } else if (one_bit_) {
    const float scale = scale_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < dim; ++i) values[i] = config_.amplitude * std::tanh(scale * values[i]);
  }
}

void Retriever::Backward(const float* values, float* gradients, std::size_t dim) const {
  if (!one_bit_) return;
  const float scale = scale_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < dim; ++i) {
    const float tanh = std::tanh(scale * values[i]);
    gradients[i] *= config_.amplitude * scale * (1 - tanh * tanh);
  }
}

void Retriever::SetStep(std::int64_t global_step) {
  if (!one_bit_ || global_step % config_.step_size != 0) return;
  const float scale = config_.init_scale * std::sqrt(1 + 0.005f * static_cast<float>(global_step));
  scale_.store(std::min(scale, config_.max_scale), std::memory_order_relaxed);
}

}  // namespace mexport
