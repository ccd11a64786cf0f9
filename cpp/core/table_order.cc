#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/table_writer.h"

namespace mexport {
namespace {

constexpr std::int64_t kDaySeconds = 86400;
constexpr int kDigitBits = 11;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;
// Below this a comparison sort is faster.
constexpr std::size_t kRadixFrom = 4096;

struct Keyed {
  std::uint64_t id;
  std::uint64_t row;
};

bool Less(const Keyed& a, const Keyed& b) { return a.id < b.id; }

// By one digit at a time from the lowest; a digit that all ids share costs one look.
void RadixSort(std::vector<Keyed>& keys) {
  std::vector<Keyed> other(keys.size());
  for (int shift = 0; shift < 64; shift += kDigitBits) {
    const auto digit = [shift](const Keyed& key) { return key.id >> shift & (kDigits - 1); };
    std::array<std::size_t, kDigits> places{};
    for (const Keyed& key : keys) ++places[digit(key)];
    if (places[digit(keys.front())] == keys.size()) continue;
    std::size_t sum = 0;
    for (std::size_t& place : places) sum += std::exchange(place, sum);
    for (const Keyed& key : keys) other[places[digit(key)]++] = key;
    keys.swap(other);
  }
}

bool Expired(const TableExpiry& expiry, std::int64_t id, std::int64_t timestamp) {
  const auto age = static_cast<__int128>(expiry.max_update_time) - timestamp;
  return age >= static_cast<__int128>(expiry.days[TableExpiry::SlotOf(id)]) * kDaySeconds;
}

}  // namespace

std::vector<std::uint64_t> OrderRows(std::span<const std::int64_t> ids, const std::int64_t* timestamps,
                                     const TableExpiry* expiry) {
  std::vector<Keyed> keys;
  keys.reserve(ids.size());
  bool sorted = true;
  for (std::size_t row = 0; row < ids.size(); ++row) {
    if (expiry != nullptr && Expired(*expiry, ids[row], timestamps[row])) continue;
    const auto id = static_cast<std::uint64_t>(ids[row]);
    sorted = sorted && (keys.empty() || keys.back().id <= id);
    keys.push_back({id, row});
  }
  if (!sorted) {
    if (keys.size() < kRadixFrom) {
      std::sort(keys.begin(), keys.end(), Less);
    } else {
      RadixSort(keys);
    }
  }
  std::vector<std::uint64_t> rows;
  rows.reserve(keys.size());
  for (const Keyed& key : keys) {
    if (!rows.empty() && static_cast<std::uint64_t>(ids[rows.back()]) == key.id) {
      throw Error(ErrorKind::kInvalidArgument,
                  "ids: got " + std::to_string(static_cast<std::int64_t>(key.id)) + " twice");
    }
    rows.push_back(key.row);
  }
  return rows;
}

}  // namespace mexport
