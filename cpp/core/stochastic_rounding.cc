#include "core/stochastic_rounding.h"

#include <cmath>
#include <cstdint>

#include "core/half.h"

namespace mexport {
namespace {

constexpr float kMaxHalf = 65504;

// Two 16-bit multiply-with-carry generators (Marsaglia). Neither may begin with 0, where it would stay.
struct Generator {
  std::uint32_t high = 521288629;
  std::uint32_t low = 362436069;

  // Uniform in [0, 1).
  double Next() {
    high = 36969 * (high & 0xffff) + (high >> 16);
    low = 18000 * (low & 0xffff) + (low >> 16);
    return static_cast<double>((high << 16) + (low & 0xffff)) * 0x1p-32;
  }
};

}  // namespace

float RoundToHalfAtRandom(float value) {
  if (!std::isfinite(value)) return value;
  if (std::fabs(value) >= kMaxHalf) return std::copysign(kMaxHalf, value);
  const std::uint16_t nearest = FloatToHalf(value);
  const float first = HalfToFloat(nearest);
  if (first == value) return value;
  // Sign and magnitude: one more or less in the bits is the next number away from zero or towards it. A magnitude of 0
  // has no next towards zero, and is not asked for it: then the value is further from zero.
  const bool away = std::fabs(value) > std::fabs(first);
  const float second = HalfToFloat(static_cast<std::uint16_t>(away ? nearest + 1 : nearest - 1));
  thread_local Generator generator;
  const double share = (static_cast<double>(value) - first) / (static_cast<double>(second) - first);
  return generator.Next() < share ? second : first;
}

}  // namespace mexport
