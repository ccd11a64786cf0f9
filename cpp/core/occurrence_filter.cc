#include "core/occurrence_filter.h"

#include <cmath>
#include <random>
#include <span>

#include "core/error.h"
#include "core/table_config.h"
#include "core/wire.h"

namespace mexport {
namespace {

constexpr std::uint32_t kSlots = 32768;
// Of the ids that occur `threshold` times with equal chances, so many stay out.
constexpr double kLeftOut = 0.05;

}  // namespace

OccurrenceThresholds::OccurrenceThresholds(const std::string& config) {
  try {
    WireReader message({reinterpret_cast<const std::uint8_t*>(config.data()), config.size()});
    while (message.Next()) {
      if (message.Is(2, WireType::kVarint)) {
        default_ = static_cast<std::uint32_t>(message.ReadVarint());
      } else if (message.Is(1, WireType::kBytes)) {
        std::uint32_t slot = 0;
        std::uint32_t threshold = 0;
        WireReader entry = message.ReadMessage();
        while (entry.Next()) {
          if (entry.Is(1, WireType::kVarint)) {
            slot = static_cast<std::uint32_t>(entry.ReadVarint());
          } else if (entry.Is(2, WireType::kVarint)) {
            threshold = static_cast<std::uint32_t>(entry.ReadVarint());
          } else {
            entry.Skip();
          }
        }
        if (slot >= kSlots) {
          throw Error(ErrorKind::kInvalidArgument, "occurrence thresholds: slot: got " + std::to_string(slot) +
                                                       ", want less than " + std::to_string(kSlots));
        }
        of_slot_[slot] = threshold;
      } else {
        message.Skip();
      }
    }
  } catch (const WireError& error) {
    throw Error(ErrorKind::kInvalidArgument,
                std::string("occurrence thresholds: no SlotOccurrenceThresholdConfig: ") + error.what());
  }
}

std::uint32_t OccurrenceThresholds::Of(std::uint64_t id) const {
  if (of_slot_.empty()) return default_;
  const auto found = of_slot_.find(ExpireConfig::SlotOf(id));
  return found == of_slot_.end() ? default_ : found->second;
}

bool OccurrenceFilter::ShouldBeFiltered(std::uint64_t id, std::uint64_t occurrences) {
  const std::uint32_t threshold = thresholds_.Of(id);
  return threshold > 0 && Filters(id, occurrences, threshold);
}

bool ProbabilisticFilter::Filters(std::uint64_t, std::uint64_t occurrences, std::uint32_t threshold) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  const double t = threshold;
  const auto n = static_cast<double>(occurrences);
  const double admitted = equal_probability_ ? 1 - std::pow(kLeftOut, n / t) : n / t;
  return std::uniform_real_distribution<double>(0, 1)(random) >= admitted;
}

}  // namespace mexport
