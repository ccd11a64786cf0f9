#include "core/initializer.h"

#include <algorithm>
#include <random>

namespace mexport {

void InitializeValues(const InitializerConfig& config, std::span<float> values) {
  switch (config.kind) {
    case InitializerConfig::Kind::kZeros:
      std::fill(values.begin(), values.end(), 0.0f);
      return;
    case InitializerConfig::Kind::kOnes:
      std::fill(values.begin(), values.end(), 1.0f);
      return;
    case InitializerConfig::Kind::kConstants:
      std::fill(values.begin(), values.end(), config.constant);
      return;
    case InitializerConfig::Kind::kRandomUniform:
      break;
  }
  thread_local std::mt19937 generator;
  std::uniform_real_distribution<float> distribution(config.minval, config.maxval);
  for (float& value : values) value = distribution(generator);
}

}  // namespace mexport
