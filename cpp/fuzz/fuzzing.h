// What fuzz targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/record_format.h"

namespace mexport {

// A property that must hold for every input.
#define MEXPORT_FUZZ_CHECK(condition)                                              \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

// Takes numbers off the front of an input; zeros when nothing is left.
class FuzzInput {
 public:
  FuzzInput(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  std::uint8_t TakeByte() {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }
  // A number of any magnitude, small ones in two bytes: one byte says how many more follow.
  std::uint64_t TakeNumber() {
    std::uint64_t value = 0;
    for (int bytes = TakeByte() % 9; bytes > 0; --bytes) value = value << 8 | TakeByte();
    return value;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// Makes the checksums of records right, as far as their lengths lead: no mutation would find them.
inline void RepairRecords(std::string* file) {
  auto* const begin = reinterpret_cast<std::uint8_t*>(file->data());
  for (std::size_t at = 0; file->size() - at >= record_format::kHeaderBytes;) {
    const std::uint64_t length = record_format::LoadLength(begin + at);
    record_format::StoreHeader(begin + at, length);
    at += record_format::kHeaderBytes;
    if (length > file->size() - at || file->size() - at - length < record_format::kFooterBytes) return;
    record_format::StoreFooter(begin + at + length, begin + at, length);
    at += length + record_format::kFooterBytes;
  }
}

// An error as text, to compare two runs; empty when `work` throws none.
template <typename Work>
std::string ErrorOf(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return std::to_string(static_cast<int>(error.kind())) + " " + error.what() + " at " +
           std::to_string(error.offset());
  }
  return {};
}

}  // namespace mexport
