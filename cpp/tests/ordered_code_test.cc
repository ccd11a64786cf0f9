#include "core/ordered_code.h"

#include <limits>

#include "tests/testing.h"

namespace mexport {
namespace {

constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

std::string Signed(std::int64_t value) {
  std::string code;
  AppendOrderedSigned(&code, value);
  return code;
}

// Around every power of two, in ascending order.
std::vector<std::int64_t> Values() {
  std::vector<std::int64_t> values = {kMin, kMax, 0};
  for (int bit = 0; bit < 63; ++bit) {
    const std::int64_t power = std::int64_t{1} << bit;
    for (const std::int64_t delta : {-2, -1, 0, 1}) {
      values.push_back(power + delta);
      values.push_back(-power - delta);
    }
  }
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

TEST(OrderedCode, SignedNumbersOfTheFormatPage) {
  EXPECT_EQ(Signed(-1), FromHex("7f"));
  EXPECT_EQ(Signed(0), FromHex("80"));
  EXPECT_EQ(Signed(63), FromHex("bf"));
  EXPECT_EQ(Signed(64), FromHex("c040"));
  EXPECT_EQ(Signed(-65), FromHex("3fbf"));
  EXPECT_EQ(Signed(20000), FromHex("e04e20"));
  EXPECT_EQ(Signed(70000), FromHex("e11170"));
  EXPECT_EQ(Signed(kMax), FromHex("ffc07fffffffffffffff"));
  EXPECT_EQ(Signed(kMin), FromHex("003f8000000000000000"));
}

TEST(OrderedCode, SignedNumbersRoundTripAndSort) {
  std::string last;
  for (const std::int64_t value : Values()) {
    const std::string code = Signed(value);
    ASSERT_LT(last, code) << value;  // std::string compares unsigned bytes
    last = code;
    const std::string padded = code + "\x80\xff";
    std::string_view in = padded;
    std::int64_t got = 0;
    ASSERT_TRUE(ReadOrderedSigned(&in, &got)) << value;
    ASSERT_EQ(got, value);
    ASSERT_EQ(in.size(), 2u);
    for (std::size_t size = 0; size < code.size(); ++size) {
      std::string_view cut = std::string_view(code).substr(0, size);
      ASSERT_FALSE(ReadOrderedSigned(&cut, &got)) << value << " cut to " << size;
    }
  }
}

TEST(OrderedCode, EachSignedNumberHasOneCode) {
  for (const char* code : {"c000", "c03f", "3fc0", "3fff", "e00000", "ffc0ffffffffffffffff", "00000000000000000000",
                           "ffffffffffffffffffff", "ffe0000000000000000000"}) {
    const std::string bytes = FromHex(code);
    std::string_view in = bytes;
    std::int64_t got = 0;
    EXPECT_FALSE(ReadOrderedSigned(&in, &got)) << code << " reads as " << got;
  }
}

TEST(OrderedCode, Numbers) {
  for (const auto& [value, code] : std::vector<std::pair<std::uint64_t, const char*>>{
           {0, "00"}, {1, "01 01"}, {255, "01 ff"}, {256, "02 01 00"}, {UINT64_MAX, "08 ff ff ff ff ff ff ff ff"}}) {
    std::string bytes;
    AppendOrderedNumber(&bytes, value);
    EXPECT_EQ(bytes, FromHex(code));
    std::string_view in = bytes;
    std::uint64_t got = 1;
    EXPECT_TRUE(ReadOrderedNumber(&in, &got));
    EXPECT_EQ(got, value);
    EXPECT_TRUE(in.empty());
  }
  for (const char* code : {"", "01", "01 00", "02 01", "02 00 01", "09 01 01 01 01 01 01 01 01 01", "ff"}) {
    const std::string bytes = FromHex(code);
    std::string_view in = bytes;
    std::uint64_t got = 0;
    EXPECT_FALSE(ReadOrderedNumber(&in, &got)) << code;
  }
}

TEST(OrderedCode, Strings) {
  const std::string value = FromHex("00 ff 61 00 01");
  std::string code;
  AppendOrderedString(&code, value);
  EXPECT_EQ(code, FromHex("00 ff ff 00 61 00 ff 01 00 01"));
  std::string got = "old";
  std::string_view in = code;
  EXPECT_TRUE(ReadOrderedString(&in, &got));
  EXPECT_EQ(got, value);
  for (const char* bad : {"", "61", "61 00", "61 00 02", "61 ff", "61 ff 01 00 01", "00 00 00 01"}) {
    const std::string bytes = FromHex(bad);
    in = bytes;
    EXPECT_FALSE(ReadOrderedString(&in, &got)) << bad;
  }
}

TEST(SliceKey, OfTheFormatPage) {
  const std::string key = EncodeSliceKey("p", {{0, kWholeDimension}, {0, 1}});
  EXPECT_EQ(key, FromHex("00 70 00 01 01 02 80 7f 80 81"));
  std::string name;
  std::vector<SliceExtent> extents;
  ASSERT_TRUE(DecodeSliceKey(key, &name, &extents));
  EXPECT_EQ(name, "p");
  ASSERT_EQ(extents.size(), 2u);
  EXPECT_EQ(extents[0].length, kWholeDimension);
  EXPECT_EQ(extents[1].length, 1);
  EXPECT_FALSE(DecodeSliceKey(key + '\x80', &name, &extents));
  for (std::size_t size = 0; size < key.size(); ++size) {
    EXPECT_FALSE(DecodeSliceKey(std::string_view(key).substr(0, size), &name, &extents)) << size;
  }
  EXPECT_FALSE(DecodeSliceKey("p", &name, &extents));
}

TEST(SliceKey, AHostileRankAllocatesNothing) {
  std::string name;
  std::vector<SliceExtent> extents;
  EXPECT_FALSE(DecodeSliceKey(FromHex("00 70 00 01 08 7f ff ff ff ff ff ff ff 80 80"), &name, &extents));
  EXPECT_EQ(extents.capacity(), 0u);
}

}  // namespace
}  // namespace mexport
