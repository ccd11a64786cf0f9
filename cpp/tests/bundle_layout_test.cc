#include "core/bundle_layout.h"

#include "core/crc32c.h"
#include "core/little_endian.h"
#include "core/varint.h"
#include "tests/testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;

TensorPlace Place(TensorLayout layout, std::uint64_t elements, std::uint64_t size) {
  return {.layout = layout, .offset = 7, .size = size, .elements = elements, .name = "t"};
}

std::uint32_t Checksum(TensorLayout layout, std::uint64_t elements, std::string_view stored,
                       std::size_t step = SIZE_MAX) {
  TensorChecksum checksum(Place(layout, elements, stored.size()), "p");
  for (std::size_t i = 0; i < stored.size(); i += std::min(step, stored.size() - i)) {
    checksum.Update(stored.data() + i, std::min(step, stored.size() - i));
  }
  return checksum.Finish();
}

// ["ab", ""], as docs/formats/bundle.md shows it.
std::string Strings() { return FromHex("02 00 78 27 0b 34 61 62"); }

// Two variants whose messages are "xyz" and "".
std::string Variants() {
  std::string stored;
  std::uint32_t crc = 0;
  for (const std::string_view message : {"xyz", ""}) {
    const std::uint64_t length = message.size();
    crc = ExtendCrc32c(crc, &length, sizeof(length));
    crc = ExtendCrc32c(crc, message.data(), message.size());
    AppendVarint(&stored, length);
    stored += message;
    const std::uint32_t masked = MaskCrc(crc);
    AppendU32(&stored, masked);
    crc = ExtendCrc32c(crc, &masked, sizeof(masked));
  }
  return stored;
}

TEST(TensorChecksum, OfTheFormatPage) {
  EXPECT_EQ(Checksum(TensorLayout::kStrings, 2, Strings()), 0x4db08891u);
  EXPECT_EQ(Checksum(TensorLayout::kFixed, 5, FromHex("0000803f 0000803f 0000803f 0000803f 0000803f")), 0x106140a1u);
  EXPECT_EQ(Checksum(TensorLayout::kFixed, 0, ""), kCrcMaskDelta);
  EXPECT_NO_THROW(Checksum(TensorLayout::kStrings, 0, FromHex("d8 ea 82 a2")));
  EXPECT_EQ(Checksum(TensorLayout::kVariants, 0, ""), kCrcMaskDelta);
}

TEST(TensorChecksum, IsTheSameHoweverTheBytesAreSplit) {
  const std::string variants = Variants();
  for (std::size_t step = 1; step < variants.size(); ++step) {
    EXPECT_EQ(Checksum(TensorLayout::kStrings, 2, Strings(), step), 0x4db08891u);
    EXPECT_EQ(Checksum(TensorLayout::kVariants, 2, variants, step), Checksum(TensorLayout::kVariants, 2, variants));
  }
}

TEST(TensorChecksum, EveryChangeOfAByteIsFoundOrMovesTheChecksum) {
  const std::vector<std::pair<TensorLayout, std::string>> tensors = {{TensorLayout::kStrings, Strings()},
                                                                     {TensorLayout::kVariants, Variants()}};
  for (const auto& [layout, stored] : tensors) {
    const std::uint32_t right = Checksum(layout, 2, stored);
    for (std::size_t i = 0; i < stored.size(); ++i) {
      for (int mask = 1; mask < 256; ++mask) {
        std::string damaged = stored;
        damaged[i] = static_cast<char>(damaged[i] ^ mask);
        try {
          ASSERT_NE(Checksum(layout, 2, damaged), right) << i << " " << mask;
        } catch (const Error& error) {
          ASSERT_TRUE(error.kind() == ErrorKind::kBundle || error.kind() == ErrorKind::kBundleCrc);
          ASSERT_EQ(error.path(), "p");
          ASSERT_EQ(error.offset(), 7);
        }
      }
    }
  }
}

TEST(TensorChecksum, BelievesNoLengthAndNoCount) {
  const auto fails = [](TensorLayout layout, std::uint64_t elements, std::string_view stored, const char* text) {
    EXPECT_THAT(Caught([&] { Checksum(layout, elements, stored); }), IsAt(ErrorKind::kBundle, text, 7));
  };
  for (const std::uint64_t elements : {std::uint64_t{5}, std::uint64_t{1} << 60, UINT64_MAX}) {
    fails(TensorLayout::kStrings, elements, Strings(), "size too small");
    fails(TensorLayout::kVariants, elements, Variants(), "size too small");
  }
  fails(TensorLayout::kStrings, 0, "", "size too small: got 0 bytes for 0 elements");
  fails(TensorLayout::kStrings, 1, FromHex("ff ff ff ff ff ff ff ff ff 01 00 00 00 00"), "longer than the tensor");
  fails(TensorLayout::kStrings, 2, FromHex("06 06 00 00 00 00 00 00 00 00"), "longer than the tensor");
  fails(TensorLayout::kStrings, 1, FromHex("ff ff ff ff ff ff ff ff ff 02 00 00 00 00"), "malformed length");
  fails(TensorLayout::kStrings, 1, FromHex("80 00 00 00 00 00"), "malformed length");
  fails(TensorLayout::kVariants, 1, FromHex("08 00 00 00 00"), "longer than the tensor");
  fails(TensorLayout::kVariants, 1, Variants(), "do not add up");
  fails(TensorLayout::kVariants, 0, "x", "bytes behind the last element");
  fails(TensorLayout::kStrings, 2, Strings() + "x", "do not add up");
  fails(TensorLayout::kVariants, 1, FromHex("04 61 62 63 64"), "size too small for its elements");
}

TEST(TensorChecksum, WantsExactlyThePlace) {
  TensorChecksum few(Place(TensorLayout::kFixed, 3, 3), "p");
  few.Update("ab", 2);
  EXPECT_THAT(Caught([&] { few.Finish(); }), IsAt(ErrorKind::kBundle, "cut short: 1 bytes", 7));
  TensorChecksum many(Place(TensorLayout::kFixed, 3, 3), "p");
  EXPECT_THAT(Caught([&] { many.Update("abcd", 4); }), IsAt(ErrorKind::kBundle, "more bytes than the entry says", 7));
}

TEST(Strings, SplitAsTheyWerePut) {
  const std::string long_string = Noise(300);
  const std::vector<std::string_view> strings = {"ab", "", long_string, std::string_view("\0", 1)};
  const StringsHeader header = MakeStringsHeader(strings);
  std::string stored = header.bytes;
  std::uint32_t crc = header.crc;
  for (const std::string_view s : strings) {
    stored += s;
    crc = ExtendCrc32c(crc, s.data(), s.size());
  }
  EXPECT_EQ(Checksum(TensorLayout::kStrings, 4, stored), MaskCrc(crc));
  EXPECT_EQ(SplitStrings(stored, 4), strings);
  EXPECT_THAT(SplitStrings(FromHex("d8 ea 82 a2"), 0), ElementsAre());
}

}  // namespace
}  // namespace mexport
