// The wire format of protobuf: a reader that trusts no length, and a writer. Both know fields by number only.
//
// The reader takes what protobuf's own parsers take: integers in more bytes than they need, unknown fields, groups. Its
// errors name an offset within the bytes that it was given; whoever knows the file and the record adds the rest.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mexport {

static_assert(std::endian::native == std::endian::little, "fixed-width fields are read in the machine's byte order");

enum class WireType : std::uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

constexpr std::uint32_t WireTag(std::uint32_t field, WireType type) {
  return field << 3 | static_cast<std::uint32_t>(type);
}

// Bytes that are no message. what() is a lower-case phrase.
class WireError : public std::runtime_error {
 public:
  WireError(const std::string& message, std::size_t offset) : std::runtime_error(message), offset_(offset) {}

  // Where the trouble begins, in the bytes of the outermost reader.
  std::size_t offset() const { return offset_; }

 private:
  std::size_t offset_;
};

// Walks the fields of one message:
//
//   while (reader.Next()) {
//     if (reader.Is(1, WireType::kFixed64)) id = reader.ReadFixed64();
//     else reader.Skip();
//   }
//
// After Next() returned true exactly one Read… or Skip() must follow. Every method throws WireError. The bytes must
// outlive the reader and what it returned.
class WireReader {
 public:
  // As deep as protobuf's parsers go: messages within messages, groups within groups.
  static constexpr int kMaxDepth = 100;

  explicit WireReader(std::span<const std::uint8_t> bytes) : WireReader(bytes, 0, kMaxDepth) {}

  // Reads the next tag; false at the end of the message.
  bool Next() {
    if (position_ == end_) return false;
    tag_begin_ = position_;
    const std::uint64_t tag = position_[0] < 0x80 ? *position_++ : ReadVarintOf(5, "tag");
    if (tag > UINT32_MAX || tag >> 3 == 0 || (tag & 7) > 5) Fail("illegal tag", tag_begin_);
    tag_ = static_cast<std::uint32_t>(tag);
    return true;
  }

  std::uint32_t field() const { return tag_ >> 3; }
  WireType type() const { return static_cast<WireType>(tag_ & 7); }
  // Whether the field has this number and comes in this form; protobuf takes other forms for unknown fields.
  bool Is(std::uint32_t field, WireType type) const { return tag_ == WireTag(field, type); }
  // Of the current tag, in the bytes of the outermost reader.
  std::size_t offset() const { return base_ + static_cast<std::size_t>(tag_begin_ - begin_); }

  std::uint64_t ReadVarint() { return ReadVarintOf(10, "integer"); }
  std::uint32_t ReadFixed32() { return ReadFixed<std::uint32_t>(); }
  std::uint64_t ReadFixed64() { return ReadFixed<std::uint64_t>(); }
  float ReadFloat() { return std::bit_cast<float>(ReadFixed32()); }

  // The bytes of a string, a packed field or a message.
  std::span<const std::uint8_t> ReadBytes() {
    const std::uint8_t* const begin = position_;
    const std::uint64_t size = ReadVarintOf(5, "length");
    if (size > Left()) {
      Fail("length: got " + std::to_string(size) + ", want at most " + std::to_string(Left()), begin);
    }
    const std::span<const std::uint8_t> bytes(position_, static_cast<std::size_t>(size));
    position_ += size;
    return bytes;
  }

  // Packed floats or other packed 4-byte values: the bytes, whose number is a multiple of 4.
  std::span<const std::uint8_t> ReadPacked32() {
    const std::uint8_t* const begin = position_;
    const std::span<const std::uint8_t> bytes = ReadBytes();
    if (bytes.size() % 4 != 0) {
      Fail("length of packed values: got " + std::to_string(bytes.size()) + ", want a multiple of 4", begin);
    }
    return bytes;
  }

  // A reader of the message within.
  WireReader ReadMessage() {
    const std::span<const std::uint8_t> bytes = ReadBytes();
    if (depth_ < 1) Fail("messages within messages: want at most " + std::to_string(kMaxDepth), tag_begin_);
    return WireReader(bytes, base_ + static_cast<std::size_t>(bytes.data() - begin_), depth_ - 1);
  }

  // Passes over the field, whatever it is.
  void Skip() { SkipField(depth_); }

 private:
  WireReader(std::span<const std::uint8_t> bytes, std::size_t base, int depth)
      : begin_(bytes.data()),
        position_(begin_),
        end_(begin_ + bytes.size()),
        tag_begin_(begin_),
        base_(base),
        depth_(depth) {}

  std::size_t Left() const { return static_cast<std::size_t>(end_ - position_); }

  [[noreturn]] void Fail(const std::string& message, const std::uint8_t* at) const {
    throw WireError(message, base_ + static_cast<std::size_t>(at - begin_));
  }

  // Bits beyond the 64th are dropped, as protobuf's parsers do.
  std::uint64_t ReadVarintOf(int max_size, const char* what) {
    const std::uint8_t* const begin = position_;
    std::uint64_t value = 0;
    for (int i = 0; i < max_size; ++i) {
      if (position_ == end_) Fail(std::string("the bytes end within a ") + what, begin);
      const std::uint8_t byte = *position_++;
      value |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) return value;
    }
    Fail(std::string(what) + ": got more than " + std::to_string(max_size) + " bytes", begin);
  }

  template <typename T>
  T ReadFixed() {
    if (Left() < sizeof(T)) {
      Fail("fixed-width value: got " + std::to_string(Left()) + " bytes, want " + std::to_string(sizeof(T)), position_);
    }
    T value;
    std::memcpy(&value, position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  void SkipField(int depth) {
    switch (type()) {
      case WireType::kVarint:
        ReadVarint();
        return;
      case WireType::kFixed64:
        ReadFixed64();
        return;
      case WireType::kBytes:
        ReadBytes();
        return;
      case WireType::kFixed32:
        ReadFixed32();
        return;
      case WireType::kEndGroup:
        Fail("the end of a group that did not begin", tag_begin_);
      case WireType::kStartGroup:
        break;
    }
    const std::uint32_t group = field();
    const std::uint8_t* const begin = tag_begin_;
    if (depth < 1) Fail("groups within groups: want at most " + std::to_string(kMaxDepth), begin);
    while (Next()) {
      if (type() != WireType::kEndGroup) {
        SkipField(depth - 1);
      } else if (field() == group) {
        return;
      } else {
        Fail("end of group: got " + std::to_string(field()) + ", want " + std::to_string(group), tag_begin_);
      }
    }
    Fail("the bytes end within a group", begin);
  }

  const std::uint8_t* begin_;
  const std::uint8_t* position_;
  const std::uint8_t* end_;
  const std::uint8_t* tag_begin_;
  std::size_t base_;
  int depth_;
  std::uint32_t tag_ = 0;
};

constexpr std::size_t VarintSize(std::uint64_t value) {
  return (static_cast<std::size_t>(std::bit_width(value | 1)) + 6) / 7;
}

// Writes at least 1 and at most 10 bytes and returns their end. REQUIRES: room for VarintSize(value) bytes
inline std::uint8_t* StoreVarint(std::uint8_t* to, std::uint64_t value) {
  while (value >= 0x80) {
    *to++ = static_cast<std::uint8_t>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<std::uint8_t>(value);
  return to;
}

// Appends fields to a message. The bytes are what protobuf's serialisers write, if the caller puts the fields in the
// order of their numbers.
class WireWriter {
 public:
  void Varint(std::uint32_t field, std::uint64_t value) {
    Raw(WireTag(field, WireType::kVarint));
    Raw(value);
  }
  void Fixed32(std::uint32_t field, std::uint32_t value) { Fixed(WireTag(field, WireType::kFixed32), value); }
  void Fixed64(std::uint32_t field, std::uint64_t value) { Fixed(WireTag(field, WireType::kFixed64), value); }
  void Float(std::uint32_t field, float value) { Fixed32(field, std::bit_cast<std::uint32_t>(value)); }
  // Repeated floats of a proto2 file: not packed.
  void Floats(std::uint32_t field, std::span<const float> values) {
    for (const float value : values) Float(field, value);
  }
  void Bytes(std::uint32_t field, std::span<const std::uint8_t> bytes) {
    Raw(WireTag(field, WireType::kBytes));
    Raw(bytes.size());
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void String(std::uint32_t field, std::string_view text) {
    Bytes(field, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  }
  void Message(std::uint32_t field, const WireWriter& message) { Bytes(field, message.bytes()); }

  std::span<const std::uint8_t> bytes() const { return bytes_; }
  void Clear() { bytes_.clear(); }

 private:
  void Raw(std::uint64_t value) {
    std::uint8_t buffer[10];
    bytes_.insert(bytes_.end(), buffer, StoreVarint(buffer, value));
  }

  template <typename T>
  void Fixed(std::uint32_t tag, T value) {
    Raw(tag);
    std::uint8_t buffer[sizeof(T)];
    std::memcpy(buffer, &value, sizeof(T));
    bytes_.insert(bytes_.end(), buffer, buffer + sizeof(T));
  }

  std::vector<std::uint8_t> bytes_;
};

}  // namespace mexport
