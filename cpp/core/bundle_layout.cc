#include "core/bundle_layout.h"

#include <algorithm>
#include <limits>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/hex.h"
#include "core/little_endian.h"
#include "core/varint.h"

namespace mexport {
namespace {

constexpr std::uint64_t kChecksumSize = 4;

// Lengths enter the checksum as u32 where they fit, as u64 where not.
std::uint32_t ExtendWithLength(std::uint32_t crc, std::uint64_t length) {
  if (length > std::numeric_limits<std::uint32_t>::max()) return ExtendCrc32c(crc, &length, sizeof(length));
  const auto narrow = static_cast<std::uint32_t>(length);
  return ExtendCrc32c(crc, &narrow, sizeof(narrow));
}

}  // namespace

TensorChecksum::TensorChecksum(const TensorPlace& place, const std::string& path)
    : place_(place), path_(path), left_(place.size) {
  switch (place_.layout) {
    case TensorLayout::kFixed:
      bytes_left_ = left_;
      return;
    case TensorLayout::kStrings:
      if (left_ < kChecksumSize || place_.elements > left_ - kChecksumSize) break;
      state_ = place_.elements == 0 ? State::kInnerChecksum : State::kLength;
      lengths_left_ = place_.elements;
      return;
    case TensorLayout::kVariants:
      if (place_.elements > left_ / (1 + kChecksumSize)) break;
      if (place_.elements > 0) state_ = State::kLength;
      lengths_left_ = place_.elements;
      return;
  }
  Fail("size too small: got " + std::to_string(left_) + " bytes for " + std::to_string(place_.elements) + " elements");
}

void TensorChecksum::Fail(const std::string& message) const {
  throw Error(ErrorKind::kBundle, "tensor '" + place_.name + "': " + message, path_,
              static_cast<std::int64_t>(place_.offset));
}

void TensorChecksum::Update(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  while (size > 0) {
    if (left_ == 0) Fail("more bytes than the entry says");
    if (state_ != State::kBytes) {
      --left_;
      --size;
      const unsigned char byte = *bytes++;
      state_ == State::kLength ? TakeLengthByte(byte) : TakeChecksumByte(byte);
      continue;
    }
    const std::size_t run = static_cast<std::size_t>(std::min<std::uint64_t>(size, bytes_left_));
    if (run == 0) Fail("bytes behind the last element: got " + std::to_string(left_));
    crc_ = ExtendCrc32c(crc_, bytes, run);
    bytes += run;
    size -= run;
    left_ -= run;
    bytes_left_ -= run;
    if (bytes_left_ == 0 && place_.layout == TensorLayout::kVariants) state_ = State::kInnerChecksum;
  }
}

void TensorChecksum::TakeLengthByte(unsigned char byte) {
  if (length_bytes_ == kMaxVarintSize - 1 && byte > 1) Fail("malformed length of an element");
  length_ |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * length_bytes_);
  ++length_bytes_;
  if (byte >= 0x80) return;
  if (byte == 0 && length_bytes_ > 1) Fail("malformed length of an element");
  EndLength();
  length_ = 0;
  length_bytes_ = 0;
}

void TensorChecksum::EndLength() {
  --lengths_left_;
  if (length_ > left_ || strings_size_ > left_ - length_) {
    Fail("element longer than the tensor: got length " + std::to_string(length_) + ", want at most " +
         std::to_string(left_));
  }
  if (place_.layout == TensorLayout::kVariants) {
    crc_ = ExtendCrc32c(crc_, &length_, sizeof(length_));
    bytes_left_ = length_;
    state_ = length_ == 0 ? State::kInnerChecksum : State::kBytes;
    return;
  }
  crc_ = ExtendWithLength(crc_, length_);
  strings_size_ += length_;
  if (lengths_left_ == 0) state_ = State::kInnerChecksum;
}

void TensorChecksum::TakeChecksumByte(unsigned char byte) {
  stored_checksum_ |= static_cast<std::uint32_t>(byte) << (8 * checksum_bytes_);
  if (++checksum_bytes_ < static_cast<int>(kChecksumSize)) return;
  if (stored_checksum_ != MaskCrc(crc_)) {
    throw Error(ErrorKind::kBundleCrc,
                "tensor '" + place_.name + "': checksum of " +
                    (place_.layout == TensorLayout::kStrings ? "the string lengths" : "an element") + ": got " +
                    Hex(MaskCrc(crc_)) + ", want " + Hex(stored_checksum_),
                path_, static_cast<std::int64_t>(place_.offset));
  }
  crc_ = ExtendCrc32c(crc_, &stored_checksum_, sizeof(stored_checksum_));
  stored_checksum_ = 0;
  checksum_bytes_ = 0;
  if (place_.layout == TensorLayout::kVariants && lengths_left_ > 0) {
    state_ = State::kLength;
    return;
  }
  state_ = State::kBytes;
  bytes_left_ = place_.layout == TensorLayout::kStrings ? strings_size_ : 0;
  if (bytes_left_ != left_) {
    Fail("lengths of the elements do not add up: got " + std::to_string(bytes_left_) + " bytes, want " +
         std::to_string(left_));
  }
}

std::uint32_t TensorChecksum::Finish() {
  if (left_ != 0) Fail("cut short: " + std::to_string(left_) + " bytes are missing");
  if (state_ != State::kBytes || bytes_left_ != 0 || lengths_left_ != 0) Fail("size too small for its elements");
  return MaskCrc(crc_);
}

StringsHeader MakeStringsHeader(const std::vector<std::string_view>& strings) {
  StringsHeader header;
  for (const std::string_view s : strings) {
    AppendVarint(&header.bytes, s.size());
    header.crc = ExtendWithLength(header.crc, s.size());
  }
  const std::uint32_t checksum = MaskCrc(header.crc);
  AppendU32(&header.bytes, checksum);
  header.crc = ExtendCrc32c(header.crc, &checksum, sizeof(checksum));
  return header;
}

std::vector<std::string_view> SplitStrings(std::string_view stored, std::uint64_t elements) {
  std::vector<std::string_view> strings(static_cast<std::size_t>(elements));
  std::string_view lengths = stored;
  for (std::string_view& s : strings) {
    std::uint64_t length = 0;
    ReadVarint(&lengths, &length);
    s = stored.substr(0, static_cast<std::size_t>(length));
  }
  const char* next = lengths.data() + kChecksumSize;
  for (std::string_view& s : strings) {
    s = std::string_view(next, s.size());
    next += s.size();
  }
  return strings;
}

}  // namespace mexport
