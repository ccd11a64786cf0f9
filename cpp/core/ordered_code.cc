#include "core/ordered_code.h"

#include <array>
#include <cstddef>

namespace mexport {
namespace {

constexpr char kEscape0 = '\x00';    // followed by kZeroFollows, or by kEnd
constexpr char kEscape255 = '\xff';  // followed by k255Follows
constexpr char kEnd = '\x01';
constexpr char kZeroFollows = '\xff';
constexpr char k255Follows = '\x00';

constexpr int kMaxSignedSize = 10;

// The size of the code whose 7 * size - 1 value bits hold `value`.
int SignedSize(std::int64_t value) {
  const auto magnitude = static_cast<std::uint64_t>(value < 0 ? ~value : value);
  int size = 1;
  while (size < kMaxSignedSize && (magnitude >> (7 * size - 1)) != 0) ++size;
  return size;
}

// Byte `index` of the number whose top `size` bits are 1.
unsigned char HeaderByte(int size, int index) {
  const int ones = size - 8 * index;
  if (ones >= 8) return 0xff;
  if (ones <= 0) return 0;
  return static_cast<unsigned char>(0xff << (8 - ones));
}

// `value` as a `size`-byte two's complement number, big endian, under the header.
std::array<char, kMaxSignedSize> SignedCode(std::int64_t value, int size) {
  std::array<char, kMaxSignedSize> code{};
  for (int i = 0; i < size; ++i) {
    const int shift = 8 * (size - 1 - i);
    const auto byte = static_cast<unsigned char>(shift >= 64 ? (value < 0 ? 0xff : 0) : value >> shift);
    code[static_cast<std::size_t>(i)] = static_cast<char>(byte ^ HeaderByte(size, i));
  }
  return code;
}

}  // namespace

void AppendOrderedNumber(std::string* out, std::uint64_t value) {
  int size = 0;
  while (size < 8 && (value >> (8 * size)) != 0) ++size;
  out->push_back(static_cast<char>(size));
  while (size-- > 0) out->push_back(static_cast<char>(value >> (8 * size)));
}

void AppendOrderedString(std::string* out, std::string_view value) {
  for (const char c : value) {
    out->push_back(c);
    if (c == kEscape0) out->push_back(kZeroFollows);
    if (c == kEscape255) out->push_back(k255Follows);
  }
  out->push_back(kEscape0);
  out->push_back(kEnd);
}

void AppendOrderedSigned(std::string* out, std::int64_t value) {
  const int size = SignedSize(value);
  out->append(SignedCode(value, size).data(), static_cast<std::size_t>(size));
}

bool ReadOrderedNumber(std::string_view* in, std::uint64_t* value) {
  if (in->empty()) return false;
  const auto size = static_cast<unsigned char>(in->front());
  if (size > 8 || in->size() < 1u + size) return false;
  std::uint64_t result = 0;
  for (std::size_t i = 1; i <= size; ++i) result = result << 8 | static_cast<unsigned char>((*in)[i]);
  if (size > 0 && (*in)[1] == 0) return false;
  in->remove_prefix(1u + size);
  *value = result;
  return true;
}

bool ReadOrderedString(std::string_view* in, std::string* value) {
  value->clear();
  for (std::size_t i = 0; i < in->size(); ++i) {
    const char c = (*in)[i];
    if (c != kEscape0 && c != kEscape255) {
      value->push_back(c);
      continue;
    }
    if (++i == in->size()) return false;
    const char next = (*in)[i];
    if (c == kEscape0 && next == kEnd) {
      in->remove_prefix(i + 1);
      return true;
    }
    if (next != (c == kEscape0 ? kZeroFollows : k255Follows)) return false;
    value->push_back(c);
  }
  return false;
}

bool ReadOrderedSigned(std::string_view* in, std::int64_t* value) {
  if (in->empty()) return false;
  const auto byte_at = [in](std::size_t i) { return static_cast<unsigned char>((*in)[i]); };
  // The header's ones, or for a negative value its zeros, tell the size: count them in the first 16 bits.
  const bool negative = byte_at(0) < 0x80;
  const unsigned flip = negative ? 0xffff : 0;
  const unsigned head = (static_cast<unsigned>(byte_at(0)) << 8 | (in->size() > 1 ? byte_at(1) : 0u)) ^ flip;
  int size = 0;
  while (size < 16 && (head & (0x8000u >> size)) != 0) ++size;
  if (size > kMaxSignedSize || in->size() < static_cast<std::size_t>(size)) return false;
  std::uint64_t result = negative ? ~std::uint64_t{0} : 0;
  for (int i = 0; i < size; ++i) {
    result = result << 8 | static_cast<unsigned char>(byte_at(static_cast<std::size_t>(i)) ^ HeaderByte(size, i));
  }
  const auto decoded = static_cast<std::int64_t>(result);
  // One value has one code: this refuses longer forms and, of the ten-byte ones, those that need more than 64 bits.
  if (SignedSize(decoded) != size) return false;
  if (in->substr(0, static_cast<std::size_t>(size)) !=
      std::string_view(SignedCode(decoded, size).data(), static_cast<std::size_t>(size))) {
    return false;
  }
  in->remove_prefix(static_cast<std::size_t>(size));
  *value = decoded;
  return true;
}

std::string EncodeSliceKey(std::string_view name, const std::vector<SliceExtent>& extents) {
  std::string key;
  AppendOrderedNumber(&key, 0);
  AppendOrderedString(&key, name);
  AppendOrderedNumber(&key, extents.size());
  for (const SliceExtent& extent : extents) {
    AppendOrderedSigned(&key, extent.start);
    AppendOrderedSigned(&key, extent.length);
  }
  return key;
}

bool DecodeSliceKey(std::string_view key, std::string* name, std::vector<SliceExtent>* extents) {
  std::uint64_t tag = 0;
  std::uint64_t rank = 0;
  if (!ReadOrderedNumber(&key, &tag) || tag != 0) return false;
  if (!ReadOrderedString(&key, name) || !ReadOrderedNumber(&key, &rank)) return false;
  // A dimension takes two bytes at least, so a hostile rank ends here.
  if (rank > key.size() / 2) return false;
  extents->assign(static_cast<std::size_t>(rank), SliceExtent{});
  for (SliceExtent& extent : *extents) {
    if (!ReadOrderedSigned(&key, &extent.start) || !ReadOrderedSigned(&key, &extent.length)) return false;
  }
  return key.empty();
}

}  // namespace mexport
