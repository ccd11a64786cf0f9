#include "core/wire.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/testing.h"

namespace mexport {
namespace {

// Reads a message to its end, skipping every field; the offset and the text of what is wrong with it.
std::pair<std::size_t, std::string> Trouble(std::string_view bytes) {
  WireReader reader(AsBytes(bytes));
  try {
    while (reader.Next()) reader.Skip();
  } catch (const WireError& error) {
    return {error.offset(), error.what()};
  }
  return {SIZE_MAX, ""};
}

std::string Bytes(const WireWriter& writer) { return AsString(writer.bytes()); }

TEST(WireWriter, WritesWhatProtobufDoes) {
  WireWriter inner;
  inner.Varint(1, 300);
  WireWriter writer;
  writer.Varint(1, 150);
  writer.Fixed32(2, 0x04030201);
  writer.Fixed64(3, 0x0807060504030201);
  writer.Float(4, 1.0f);
  const std::vector<float> floats = {0.0f, -1.0f};
  writer.Floats(5, floats);
  writer.String(16, "ab");
  writer.Message(6, inner);
  writer.Varint(536870911, UINT64_MAX);
  EXPECT_EQ(Bytes(writer), FromHex("08 9601  15 01020304  19 0102030405060708  25 0000803f  2d 00000000 2d 000080bf"
                                   "82 01 02 6162  32 03 08 ac02  f8ffffff0f ffffffffffffffffff01"));
  writer.Clear();
  EXPECT_TRUE(writer.bytes().empty());
}

TEST(WireReader, ReadsEachForm) {
  const std::string bytes =
      FromHex("08 9601  15 01020304  19 0102030405060708  25 0000803f  2a 02 6162  32 03 08 ac02");
  WireReader reader(AsBytes(bytes));
  ASSERT_TRUE(reader.Next());
  EXPECT_TRUE(reader.Is(1, WireType::kVarint));
  EXPECT_FALSE(reader.Is(1, WireType::kFixed32));
  EXPECT_FALSE(reader.Is(2, WireType::kVarint));
  EXPECT_EQ(reader.ReadVarint(), 150u);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.offset(), 3u);
  EXPECT_EQ(reader.ReadFixed32(), 0x04030201u);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.ReadFixed64(), 0x0807060504030201u);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.ReadFloat(), 1.0f);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.field(), 5u);
  EXPECT_EQ(reader.type(), WireType::kBytes);
  EXPECT_EQ(AsString(reader.ReadBytes()), "ab");
  ASSERT_TRUE(reader.Next());
  WireReader inner = reader.ReadMessage();
  ASSERT_TRUE(inner.Next());
  EXPECT_EQ(inner.offset(), 28u);  // in the outermost bytes
  EXPECT_EQ(inner.ReadVarint(), 300u);
  EXPECT_FALSE(inner.Next());
  EXPECT_FALSE(reader.Next());
}

TEST(WireReader, TakesLongForms) {
  // Tag, length and value in more bytes than they need.
  const std::string bytes = FromHex("88 80 80 80 00 81 80 00  92 00 82 00 6162  08 ffffffffffffffffff 7f");
  WireReader reader(AsBytes(bytes));
  ASSERT_TRUE(reader.Next());
  EXPECT_TRUE(reader.Is(1, WireType::kVarint));
  EXPECT_EQ(reader.ReadVarint(), 1u);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(AsString(reader.ReadBytes()), "ab");
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.ReadVarint(), UINT64_MAX);  // bits beyond the 64th are dropped
  EXPECT_FALSE(reader.Next());
}

TEST(WireReader, SkipsAnything) {
  for (const char* hex : {"", "08 00", "11 0000000000000000", "12 00", "12 03 ffffff", "15 00000000", "0b 0c",
                          "0b 08 05 13 14 12 01 ff 0c", "f8ffffff0f 00"}) {
    EXPECT_EQ(Trouble(FromHex(hex)).second, "") << hex;
  }
}

TEST(WireReader, TellsWhatIsWrongAndWhere) {
  const std::vector<std::tuple<const char*, std::size_t, const char*>> cases = {
      {"00", 0, "illegal tag"},                             // field 0
      {"0e", 0, "illegal tag"},                             // type 6
      {"0f", 0, "illegal tag"},                             // type 7
      {"08 01 80 80 80 80 10 01", 2, "illegal tag"},        // beyond 32 bits
      {"80", 0, "end within a tag"},                        //
      {"80 80 80 80 80 00", 0, "tag: got more than 5"},     //
      {"08", 1, "end within a integer"},                    //
      {"08 ff", 1, "end within a integer"},                 //
      {"08 80808080808080808080 00", 1, "more than 10"},    //
      {"15 000000", 1, "got 3 bytes, want 4"},              //
      {"11 00000000000000", 1, "got 7 bytes, want 8"},      //
      {"12", 1, "end within a length"},                     //
      {"12 02 00", 1, "length: got 2, want at most 1"},     //
      {"12 ffffffff0f 00", 1, "got 4294967295, want at"},   //
      {"12 ffffffff7f", 1, "length: got 34359738367"},      //
      {"12 808080808000", 1, "length: got more than 5"},    //
      {"0c", 0, "end of a group that did not begin"},       //
      {"0b", 0, "end within a group"},                      //
      {"08 00 0b 08 00", 2, "end within a group"},          //
      {"0b 14", 1, "end of group: got 2, want 1"},          //
      {"0b 12 05 00 0c", 2, "length: got 5, want at most"}  //
  };
  for (const auto& [hex, offset, text] : cases) {
    const auto [at, what] = Trouble(FromHex(hex));
    EXPECT_THAT(what, testing::HasSubstr(text)) << hex;
    EXPECT_EQ(at, offset) << hex;
  }
}

TEST(WireReader, OffsetsOfNestedMessagesAreThoseOfTheWhole) {
  const std::string bytes = FromHex("08 00 12 05 12 03 12 05 00");
  WireReader reader(AsBytes(bytes));
  ASSERT_TRUE(reader.Next());
  reader.Skip();
  ASSERT_TRUE(reader.Next());
  WireReader one = reader.ReadMessage();
  ASSERT_TRUE(one.Next());
  WireReader two = one.ReadMessage();
  ASSERT_TRUE(two.Next());
  try {
    two.ReadBytes();
    FAIL();
  } catch (const WireError& error) {
    EXPECT_EQ(error.offset(), 7u);
  }
}

TEST(WireReader, PackedValuesAreWhole) {
  const std::string bytes = FromHex("12 08 0102030405060708 12 00 12 07 01020304050607");
  WireReader reader(AsBytes(bytes));
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.ReadPacked32().size(), 8u);
  ASSERT_TRUE(reader.Next());
  EXPECT_EQ(reader.ReadPacked32().size(), 0u);
  ASSERT_TRUE(reader.Next());
  EXPECT_THROW(reader.ReadPacked32(), WireError);
}

TEST(WireReader, DepthIsLimited) {
  const auto limit = static_cast<std::size_t>(WireReader::kMaxDepth);
  for (const std::size_t depth : {limit, limit + 1}) {
    const std::string groups = std::string(depth, '\x0b') + std::string(depth, '\x0c');
    EXPECT_EQ(Trouble(groups).second.empty(), depth == limit) << depth;

    WireWriter message;
    for (std::size_t i = 0; i < depth; ++i) {
      WireWriter outer;
      outer.Message(1, message);
      message = outer;
    }
    WireReader reader(message.bytes());
    const auto descend = [&] {
      for (std::size_t i = 0; i < depth; ++i) {
        ASSERT_TRUE(reader.Next());
        reader = reader.ReadMessage();
      }
    };
    if (depth == limit) {
      descend();
    } else {
      EXPECT_THROW(descend(), WireError);
    }
  }
  // A million groups are no million stack frames.
  EXPECT_THAT(Trouble(std::string(1'000'000, '\x0b')).second, testing::HasSubstr("want at most 100"));
}

TEST(WireReader, EveryCutEndsBetweenFieldsOrFails) {
  const std::string bytes = FromHex("08 9601  15 01020304  19 0102030405060708  2a 02 6162  33 08 01 34");
  const std::vector<std::size_t> boundaries = {0, 3, 8, 17, 21, 25};
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    const bool boundary = std::find(boundaries.begin(), boundaries.end(), size) != boundaries.end();
    EXPECT_EQ(Trouble(std::string_view(bytes).substr(0, size)).second.empty(), boundary) << size;
  }
}

TEST(Wire, VarintsRoundTripInTheSizeThatIsTold) {
  for (int bits = 0; bits <= 64; ++bits) {
    for (const int delta : {-1, 0}) {
      const std::uint64_t value =
          (bits == 64 ? std::uint64_t{0} : std::uint64_t{1} << bits) + static_cast<std::uint64_t>(delta);
      std::uint8_t buffer[10];
      const std::size_t size = static_cast<std::size_t>(StoreVarint(buffer, value) - buffer);
      EXPECT_EQ(size, VarintSize(value));
      WireWriter writer;
      writer.Varint(1, value);
      EXPECT_EQ(writer.bytes().size(), 1 + size);
      WireReader reader(writer.bytes());
      ASSERT_TRUE(reader.Next());
      EXPECT_EQ(reader.ReadVarint(), value);
    }
  }
}

}  // namespace
}  // namespace mexport
