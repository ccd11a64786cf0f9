// Entries of tables as the records of a file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/record_format.h"
#include "core/table_writer.h"

namespace mexport {

constexpr std::size_t kFrameBytes = record_format::kHeaderBytes + record_format::kFooterBytes;

// Checks headers; a header that equals the last good one costs next to nothing.
class HeaderCheck {
 public:
  bool Accept(const std::uint8_t* header) {
    if (std::memcmp(header, last_.data(), record_format::kHeaderBytes) == 0) return true;
    if (record_format::LoadCrc(header + record_format::kLengthBytes) !=
        record_format::MaskedCrc(header, record_format::kLengthBytes)) {
      return false;
    }
    std::memcpy(last_.data(), header, record_format::kHeaderBytes);
    return true;
  }

 private:
  // Not a good header: the checksum of zeros is not zero.
  std::array<std::uint8_t, record_format::kHeaderBytes> last_{};
};

// The bytes of the records of rows[begin, end).
std::size_t FramedSize(const TableToWrite& table, std::size_t begin, std::size_t end);
// How many bytes EncodeFrames() may touch behind `out + size`.
std::size_t FramedSlack(const TableToWrite& table);
// Writes the records of rows[begin, end). Throws Error(kInvalidArgument) where they do not take `size` bytes because
// somebody changes the columns. REQUIRES: room for size + FramedSlack() bytes
void EncodeFrames(const TableToWrite& table, std::size_t begin, std::size_t end, std::uint8_t* out, std::size_t size);

}  // namespace mexport
