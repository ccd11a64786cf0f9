#include <utility>

#include "core/crc32c.h"
#include "core/little_endian.h"
#include "core/sstable_format.h"
#include "core/sstable_reader.h"
#include "core/sstable_writer.h"
#include "core/varint.h"
#include "tests/testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using Entries = std::vector<std::pair<std::string, std::string>>;

std::string Write(const Entries& entries) {
  SstableWriter writer;
  for (const auto& [key, value] : entries) writer.Add(key, value);
  return writer.Finish();
}

Entries Read(std::string_view file) {
  Entries entries;
  ReadSstable(file, "p", [&](std::string_view key, std::string_view value) { entries.emplace_back(key, value); });
  return entries;
}

// A block with its trailer, under a right checksum.
std::string WithTrailer(std::string block, char type = kUncompressed) {
  block.push_back(type);
  AppendU32(&block, MaskCrc(Crc32c(block.data(), block.size())));
  return block;
}

std::string Handle(std::uint64_t offset, std::uint64_t size) {
  std::string handle;
  AppendVarint(&handle, offset);
  AppendVarint(&handle, size);
  return handle;
}

// A table of one data block, given without its trailer, and an index that names it.
std::string Table(const std::string& data, const std::string& handle_of_data, char type = kUncompressed) {
  std::string file = WithTrailer(data, type);
  std::string footer = Handle(file.size(), 8);
  file += WithTrailer(BlockBuilder(1).Finish());
  BlockBuilder index(1);
  index.Add("\xff", handle_of_data);
  const std::string block = index.Finish();
  footer += Handle(file.size(), block.size());
  file += WithTrailer(block);
  footer.resize(kFooterHandlesSize, '\0');
  return file + footer + std::string(kTableMagic);
}

std::string Table(const std::string& data) { return Table(data, Handle(0, data.size())); }

// Entries and restarts as hex; the count of restarts comes last.
std::string Block(std::string_view entries, std::vector<std::uint32_t> restarts) {
  std::string block = FromHex(entries);
  const auto count = static_cast<std::uint32_t>(restarts.size());
  for (const std::uint32_t restart : restarts) AppendU32(&block, restart);
  AppendU32(&block, count);
  return block;
}

TEST(SstableWriter, WritesTheWorkedExample) {
  const Entries entries = {{"", FromHex("08011a020801")}, {"s", FromHex("080112002804355e2fe1a7")}};
  const std::string file = Write(entries);
  EXPECT_EQ(file, FromHex("00 00 06 08 01 1a 02 08 01  00 01 0b 73 08 01 12 00 28 04 35 5e 2f e1 a7"
                          "00 00 00 00 01 00 00 00  00 8e f0 cd 17  00 00 00 00 01 00 00 00  00 c0 f2 a1 b0"
                          "00 01 02 74 00 20  00 00 00 00 01 00 00 00  00 1a 7f 04 db  25 08 32 0e") +
                      std::string(36, '\0') + FromHex("57 fb 80 8b 24 75 47 db"));
  EXPECT_EQ(Read(file), entries);
}

TEST(SstableWriter, EmptyTable) { EXPECT_THAT(Read(Write({})), ElementsAre()); }

TEST(SstableWriter, KeysAscend) {
  for (const Entries& entries : {Entries{{"b", ""}, {"a", ""}}, Entries{{"a", ""}, {"a", ""}},
                                 Entries{{"", ""}, {"", ""}}, Entries{{"\xff", ""}, {"\x7f", ""}}}) {
    EXPECT_THAT(Caught([&] { Write(entries); }), Is(ErrorKind::kInvalidArgument, "ascend strictly"));
  }
}

TEST(SstableWriter, EverySixteenthKeyOfABlockIsWhole) {
  BlockBuilder block(kDataRestartInterval);
  EXPECT_TRUE(block.empty());
  for (int i = 0; i < 33; ++i) block.Add("key" + std::to_string(100 + i), "");
  const std::size_t size = block.Size();
  const std::string bytes = block.Finish();
  EXPECT_EQ(bytes.size(), size);
  EXPECT_EQ(LoadU32(bytes.data() + bytes.size() - 4), 3u);
  const std::uint32_t second = LoadU32(bytes.data() + bytes.size() - 12);
  EXPECT_EQ(bytes.substr(second, 9), FromHex("00 06 00") + "key116");
  // A used builder begins anew.
  EXPECT_TRUE(block.empty());
  block.Add("key", "");
  EXPECT_EQ(block.Finish(), Block("00 03 00 6b6579", {0}));
}

TEST(Sstable, RoundTripsManyBlocks) {
  // Values that end blocks early, late and at once; keys that make separators of every kind.
  Entries entries;
  for (int i = 0; i < 400; ++i) {
    std::string key(static_cast<std::size_t>(i / 7), '\xff');
    key.push_back(static_cast<char>(i % 7 * 40));
    entries.emplace_back(key, Noise(static_cast<std::size_t>(i * 7919 % 9000), static_cast<std::uint64_t>(i)));
  }
  entries[50].second = Noise(3 * kDataBlockSize);
  std::sort(entries.begin(), entries.end());
  EXPECT_EQ(Read(Write(entries)), entries);
}

TEST(Sstable, BlockEndsWithTheEntryThatReachesItsSize) {
  // An entry is three varints (5 bytes here), a key of one byte and a value; 8 bytes of restarts follow.
  for (const std::size_t spare : {0u, 1u}) {
    const Entries entries = {{"a", std::string(kDataBlockSize - 8 - 6 - spare, 'x')}, {"c", ""}};
    const std::string file = Write(entries);
    EXPECT_EQ(Read(file), entries);
    // The trailer of the first block, or the second entry, which begins with its lengths 0, 1, 0.
    const std::string behind = file.substr(kDataBlockSize - 8 - spare, 3);
    EXPECT_EQ(behind == FromHex("00 01 00"), spare == 1) << spare;
  }
}

TEST(SstableReader, FindsEachChangedByteAndEachCut) {
  const std::string file = Write({{"", "header"}, {"a/b", "1"}, {"a/c", "2"}});
  for (std::size_t i = 0; i < file.size(); ++i) {
    for (const int mask : {1, 0x80, 0xff}) {
      std::string damaged = file;
      damaged[i] = static_cast<char>(damaged[i] ^ mask);
      const Error error = Caught([&] { Read(damaged); });
      ASSERT_TRUE(error.kind() == ErrorKind::kBundle || error.kind() == ErrorKind::kBundleCrc) << i;
      ASSERT_EQ(error.path(), "p");
      ASSERT_GE(error.offset(), 0);
    }
    ASSERT_EQ(Caught([&] { Read(file.substr(0, i)); }).kind(), ErrorKind::kBundle) << i;
    ASSERT_EQ(Caught([&] { Read(file.substr(i + 1)); }).kind(), ErrorKind::kBundle) << i;
  }
  EXPECT_EQ(Caught([&] { Read(file + '\0'); }).kind(), ErrorKind::kBundle);
}

TEST(SstableReader, ReadsAHandmadeTable) {
  const std::string good = Block("00 02 01 6161 31  01 01 01 62 32", {0});
  EXPECT_THAT(Read(Table(good)), ElementsAre(testing::Pair("aa", "1"), testing::Pair("ab", "2")));
}

TEST(SstableReader, TakesNothingForGrantedUnderRightChecksums) {
  const std::string huge = "ffffffffffffffffff01";  // 2^64 - 1
  const std::vector<std::pair<std::string, const char*>> broken = {
      {Block("", {0}), "empty data block"},
      {std::string(7, '\0'), "too short"},
      {Block("00 01 00 61", {}), "impossible number of restarts"},
      {FromHex("00 01 00 61 00000000 ffffffff"), "impossible number of restarts"},
      {Block("00 01 00 61", {0, 1}), "restart that no entry begins at"},
      {Block("00 01 00 61  00 01 00 62", {4}), "restart that shares"},
      {Block("00 01 00 61  01 01 00 62", {0, 4}), "restart that shares"},
      {Block("01 01 00 61", {0}), "malformed entry"},
      {Block("00 01 00 61  02 01 00 62", {0}), "malformed entry"},
      {Block("00 02 00 61", {0}), "malformed entry"},
      {Block("00 01 01 61", {0}), "malformed entry"},
      {Block("00", {0}), "malformed entry"},
      {Block("00 8100 00 61", {0}), "malformed entry"},  // not the shortest form
      {Block(huge + "01 00 61", {0}), "malformed entry"},
      {Block("00" + huge + "00 61", {0}), "malformed entry"},
      {Block("00 01" + huge + "61", {0}), "malformed entry"},
      {Block("00 01 00 62  00 01 00 61", {0}), "keys do not ascend"},
      {Block("00 01 00 61  01 00 00", {0}), "keys do not ascend"},
      {Block("00 02 00 ffff", {0}), "key above the index key"},
  };
  for (const auto& [data, message] : broken) {
    const std::string file = Table(data);
    ASSERT_THAT(Caught([&] { Read(file); }), Is(ErrorKind::kBundle, message)) << message;
  }
  const std::string good = Block("00 01 00 61", {0});
  EXPECT_THAT(Caught([&] { Read(Table(good, Handle(0, good.size()), 1)); }),
              Is(ErrorKind::kBundle, "compressed, which no writer of bundles does: got type 1"));
}

TEST(SstableReader, HandlesLeadNowhereElse) {
  const std::string good = Block("00 01 00 61", {0});
  for (const std::uint64_t huge :
       {std::uint64_t{1000}, std::uint64_t{1} << 31, std::uint64_t{1} << 60, UINT64_MAX - 4, UINT64_MAX}) {
    EXPECT_THAT(Caught([&] { Read(Table(good, Handle(0, huge))); }), Is(ErrorKind::kBundle, "ends beyond the file"));
    EXPECT_THAT(Caught([&] { Read(Table(good, Handle(huge, 4))); }), Is(ErrorKind::kBundle, "is not where"));
  }
  EXPECT_THAT(Caught([&] { Read(Table(good, "")); }), Is(ErrorKind::kBundle, "malformed handle"));
  EXPECT_THAT(Caught([&] { Read(Table(good, Handle(0, good.size()) + "x")); }),
              Is(ErrorKind::kBundle, "malformed handle"));
}

TEST(Varint, TakesTheShortestFormOnly) {
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128}, std::uint64_t{16383},
                                    std::uint64_t{1} << 63, UINT64_MAX}) {
    std::string code;
    AppendVarint(&code, value);
    code += "rest";
    std::string_view in = code;
    std::uint64_t got = 1;
    ASSERT_TRUE(ReadVarint(&in, &got));
    EXPECT_EQ(got, value);
    EXPECT_EQ(in, "rest");
  }
  for (const char* code : {"", "80", "80 00", "ff 80 00", "ff ff ff ff ff ff ff ff ff 02",
                           "ff ff ff ff ff ff ff ff ff 81 00", "80 80 80 80 80 80 80 80 80 80 01"}) {
    const std::string bytes = FromHex(code);
    std::string_view in = bytes;
    std::uint64_t got = 0;
    EXPECT_FALSE(ReadVarint(&in, &got)) << code;
    EXPECT_EQ(in, bytes);
  }
}

}  // namespace
}  // namespace mexport
