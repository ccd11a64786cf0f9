#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "core/byte_buffer.h"
#include "core/error.h"
#include "core/huge_pages.h"
#include "core/parallel.h"
#include "core/table_writer.h"

namespace mexport {
namespace {

constexpr std::int64_t kDaySeconds = 86400;
// So many places fit a core's second-level cache with a line of memory each.
constexpr int kMaxDigitBits = 11;
constexpr std::size_t kMaxDigits = std::size_t{1} << kMaxDigitBits;
// Up to here insertion is fastest.
constexpr std::size_t kFewKeys = 24;
// Below this there is no work for a second thread.
constexpr std::size_t kMinRowsPerThread = std::size_t{1} << 14;

struct Keyed {
  std::uint64_t id;
  std::uint64_t row;
};

bool Expired(const TableExpiry& expiry, std::int64_t id, std::int64_t timestamp) {
  const auto age = static_cast<__int128>(expiry.max_update_time) - timestamp;
  return age >= static_cast<__int128>(expiry.days[TableExpiry::SlotOf(id)]) * kDaySeconds;
}

void InsertionSort(Keyed* keys, std::size_t n) {
  for (std::size_t i = 1; i < n; ++i) {
    const Keyed key = keys[i];
    std::size_t k = i;
    for (; k > 0 && keys[k - 1].id > key.id; --k) keys[k] = keys[k - 1];
    keys[k] = key;
  }
}

// Sorts by the highest digit in which the ids differ, then each digit's keys by themselves: after the first such round
// the rest happens in a core's caches. `other` has room for as many keys.
void SortKeys(Keyed* keys, Keyed* other, std::size_t n) {
  if (n <= kFewKeys) return InsertionSort(keys, n);
  std::uint64_t low = UINT64_MAX;
  std::uint64_t high = 0;
  for (std::size_t i = 0; i < n; ++i) {
    low = std::min(low, keys[i].id);
    high = std::max(high, keys[i].id);
  }
  if (low == high) return;
  const int bits = static_cast<int>(std::bit_width(high - low));
  // A few keys for each digit.
  const int digit_bits = std::min({bits, kMaxDigitBits, static_cast<int>(std::bit_width(n)) - 2});
  const int shift = bits - digit_bits;
  const std::size_t digits = ((high - low) >> shift) + 1;
  std::array<std::size_t, kMaxDigits + 1> ends;
  std::fill_n(ends.begin(), digits + 1, std::size_t{0});
  for (std::size_t i = 0; i < n; ++i) ++ends[((keys[i].id - low) >> shift) + 1];
  for (std::size_t d = 1; d < digits; ++d) ends[d] += ends[d - 1];
  for (std::size_t i = 0; i < n; ++i) other[ends[(keys[i].id - low) >> shift]++] = keys[i];
  std::memcpy(keys, other, n * sizeof(Keyed));
  if (shift == 0) return;
  std::size_t begin = 0;
  for (std::size_t d = 0; d < digits; ++d) {
    SortKeys(keys + begin, other + begin, ends[d] - begin);
    begin = ends[d];
  }
}

class KeyBuffer {
 public:
  explicit KeyBuffer(std::size_t size) : buffer_(std::max<std::size_t>(1, size * sizeof(Keyed))) {
    WishForHugePages(buffer_);
  }

  Keyed* data() { return reinterpret_cast<Keyed*>(buffer_.data()); }

 private:
  ByteBuffer buffer_;
};

class RowOrder {
 public:
  RowOrder(std::span<const std::int64_t> ids, const std::int64_t* timestamps, const TableExpiry* expiry,
           std::size_t threads)
      : ids_(ids),
        timestamps_(timestamps),
        expiry_(expiry),
        threads_(threads),
        parts_(std::clamp<std::size_t>(ids.size() / kMinRowsPerThread, 1, threads)),
        keys_(ids.size()) {}

  std::vector<std::uint64_t> Make() {
    RunTasks(parts_.size(), threads_, [&](std::size_t i) { Take(i); });
    bool sorted = true;
    std::size_t count = 0;
    const Part* before = nullptr;
    for (Part& part : parts_) {
      part.first_row = count;
      count += part.keys.size();
      if (part.keys.empty()) continue;
      sorted = sorted && part.sorted && (before == nullptr || before->keys.back().id < part.keys.front().id);
      low_ = std::min(low_, part.low);
      high_ = std::max(high_, part.high);
      before = &part;
    }
    rows_.resize(count);
    if (count == 0) return std::move(rows_);
    if (sorted) {
      RunTasks(parts_.size(), threads_, [&](std::size_t i) { Put(parts_[i].keys, parts_[i].first_row); });
    } else {
      Sort();
    }
    return std::move(rows_);
  }

 private:
  // Some rows, those of one task.
  struct Part {
    std::span<const Keyed> keys;  // of those that have not expired
    std::size_t first_row = 0;
    bool sorted = true;
    std::uint64_t low = UINT64_MAX;
    std::uint64_t high = 0;
    std::vector<std::size_t> places;  // of the next key of each digit
  };

  // Reads the caller's memory just once: somebody may change it.
  void Take(std::size_t i) {
    const std::size_t begin = ids_.size() * i / parts_.size();
    const std::size_t end = ids_.size() * (i + 1) / parts_.size();
    Keyed* key = keys_.data() + begin;
    std::uint64_t last = 0;
    Part part;
    for (std::size_t row = begin; row < end; ++row) {
      if (expiry_ != nullptr && Expired(*expiry_, ids_[row], timestamps_[row])) continue;
      const auto id = static_cast<std::uint64_t>(ids_[row]);
      part.sorted &= last <= id;
      last = id;
      part.low = std::min(part.low, id);
      part.high = std::max(part.high, id);
      *key++ = {id, row};
    }
    part.keys = {keys_.data() + begin, key};
    parts_[i] = std::move(part);
  }

  void Sort() {
    const std::size_t n = rows_.size();
    const int shift = std::max(0, static_cast<int>(std::bit_width(high_ - low_)) - kMaxDigitBits);
    const std::size_t digits = ((high_ - low_) >> shift) + 1;
    const auto digit = [this, shift](const Keyed& key) { return (key.id - low_) >> shift; };
    RunTasks(parts_.size(), threads_, [&](std::size_t i) {
      parts_[i].places.resize(digits);
      for (const Keyed& key : parts_[i].keys) ++parts_[i].places[digit(key)];
    });
    std::vector<std::size_t> begins(digits + 1);
    std::size_t place = 0;
    for (std::size_t d = 0; d < digits; ++d) {
      begins[d] = place;
      for (Part& part : parts_) place += std::exchange(part.places[d], place);
    }
    begins[digits] = place;
    KeyBuffer ordered(n);
    Keyed* const keys = ordered.data();
    RunTasks(parts_.size(), threads_, [&](std::size_t i) {
      for (const Keyed& key : parts_[i].keys) keys[parts_[i].places[digit(key)]++] = key;
    });
    RunTasks(digits, threads_, [&](std::size_t d) {
      const std::size_t size = begins[d + 1] - begins[d];
      SortKeys(keys + begins[d], keys_.data() + begins[d], size);
      Put({keys + begins[d], size}, begins[d]);
    });
  }

  void Put(std::span<const Keyed> keys, std::size_t first_row) {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i > 0 && keys[i].id == keys[i - 1].id) FailTwice(keys[i].id);
      rows_[first_row + i] = keys[i].row;
    }
  }

  [[noreturn]] static void FailTwice(std::uint64_t id) {
    throw Error(ErrorKind::kInvalidArgument, "ids: got " + std::to_string(static_cast<std::int64_t>(id)) + " twice");
  }

  std::span<const std::int64_t> ids_;
  const std::int64_t* timestamps_;
  const TableExpiry* expiry_;
  std::size_t threads_;
  std::vector<Part> parts_;
  KeyBuffer keys_;
  std::uint64_t low_ = UINT64_MAX;
  std::uint64_t high_ = 0;
  std::vector<std::uint64_t> rows_;
};

}  // namespace

std::vector<std::uint64_t> OrderRows(std::span<const std::int64_t> ids, const std::int64_t* timestamps,
                                     const TableExpiry* expiry, std::size_t threads) {
  return RowOrder(ids, timestamps, expiry, threads).Make();
}

}  // namespace mexport
