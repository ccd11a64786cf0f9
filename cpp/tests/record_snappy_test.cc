#include "core/record_snappy.h"

#include "tests/literal_snappy.h"
#include "tests/testing.h"

namespace mexport {
namespace {

constexpr std::size_t kBlock = 262144;

std::unique_ptr<SnappySource> Decompress(std::string_view file, std::vector<std::size_t> pieces = {},
                                         std::uint64_t max_record_bytes = UINT64_MAX) {
  return std::make_unique<SnappySource>(Source(file, std::move(pieces)), std::make_unique<LiteralSnappy>(),
                                        max_record_bytes);
}

std::string Drain(ByteSource& source, std::size_t at_once) {
  std::string all;
  std::vector<std::uint8_t> buffer(at_once);
  while (const std::size_t n = source.ReadSome(buffer.data(), buffer.size())) all += AsString({buffer.data(), n});
  return all;
}

Error Damage(std::string_view file) {
  return Caught([&] {
    const auto source = Decompress(file);
    Drain(*source, 1000);
  });
}

TEST(SnappySink, PrefixesBlocksWithTheirSize) {
  MemorySink::Log log;
  SnappySink sink(std::make_unique<MemorySink>(&log), std::make_unique<LiteralSnappy>());
  sink.Append("abc", 3);
  sink.Flush();
  sink.Flush();  // no empty block
  sink.Append("d", 1);
  sink.Sync();
  sink.Close();
  EXPECT_EQ(log.bytes(), FromHex("00 00 00 05 03 08 61 62 63  00 00 00 03 01 00 64"));
  EXPECT_EQ(log.calls, "ffsc");
}

TEST(SnappySink, NoBlockHoldsMoreThanItsLimit) {
  const std::string noise = Noise(2 * kBlock + 5);
  MemorySink::Log log;
  SnappySink sink(std::make_unique<MemorySink>(&log), std::make_unique<LiteralSnappy>());
  sink.Append("x", 1);
  sink.Append(noise.data(), noise.size());
  sink.Close();
  const std::string file = log.bytes();
  std::vector<std::uint64_t> sizes;
  for (std::string_view rest = file; !rest.empty();) {
    const auto prefix = AsBytes(rest);
    const std::size_t size = std::size_t{prefix[1]} << 16 | std::size_t{prefix[2]} << 8 | prefix[3];
    std::string_view block = rest.substr(4, size);
    std::uint64_t plain = 0;
    ASSERT_TRUE(ReadVarint(&block, &plain));
    sizes.push_back(plain);
    rest.remove_prefix(4 + size);
  }
  EXPECT_THAT(sizes, testing::ElementsAre(1, kBlock, kBlock, 5));
  EXPECT_EQ(Drain(*Decompress(file), 1 << 20), "x" + noise);
  EXPECT_EQ(Drain(*Decompress(file, {1, 3, 4, 5, 100'000}), 977), "x" + noise);
}

TEST(SnappySource, ReadsEmptyBlocks) {
  EXPECT_EQ(Drain(*Decompress(""), 10), "");
  EXPECT_EQ(Drain(*Decompress(FromHex("00 00 00 01 00  00 00 00 03 01 00 64  00 00 00 01 00")), 10), "d");
}

TEST(SnappySource, ReportsDamage) {
  const std::string good = FromHex("00 00 00 05 03 08 61 62 63");
  for (std::size_t size = 1; size < good.size(); ++size) {
    ASSERT_THAT(Damage(good.substr(0, size)), Is(ErrorKind::kRecordTruncated, "the file ends within")) << size;
  }
  EXPECT_THAT(Damage(FromHex("00 00 00 00")), Is(ErrorKind::kRecordCompression, "size 0"));
  EXPECT_THAT(Damage(FromHex("00 00 00 02 02 00")), Is(ErrorKind::kRecordCompression, "literal beyond"));
  EXPECT_THAT(Damage(FromHex("00 00 00 05 80 80 80 80 80")), Is(ErrorKind::kRecordCompression, "no uncompressed size"));
  // 129 bytes from two: beyond what snappy's densest element makes.
  EXPECT_THAT(Damage(FromHex("00 00 00 02 81 01")), Is(ErrorKind::kRecordCompression, "got 129, want at most 128"));
  // A huge uncompressed size, then a huge block for one byte: refused before anyone makes room.
  EXPECT_THAT(Damage(FromHex("00 00 00 06 ff ff ff ff 7f 00")), Is(ErrorKind::kRecordCompression, "uncompressed size"));
  EXPECT_THAT(Damage(FromHex("ff ff ff ff 01 00 61 00 00")), Is(ErrorKind::kRecordCompression, "size: got 4294967295"));
}

TEST(SnappySource, ABlockIsNoLargerThanARecordMayBe) {
  const std::string noise = Noise(kBlock + 17);
  std::string block(2 * noise.size(), '\0');
  block.resize(LiteralSnappy().Compress(AsBytes(noise), {reinterpret_cast<std::uint8_t*>(block.data()), block.size()}));
  std::string file = FromHex("00 04");
  file.push_back(static_cast<char>(block.size() >> 8));
  file.push_back(static_cast<char>(block.size()));
  ASSERT_EQ(block.size() >> 16, 4u);
  file += block;
  // A record and its frame of 16 bytes.
  for (const std::uint64_t limit : {std::uint64_t{kBlock + 1}, UINT64_MAX}) {
    EXPECT_EQ(Drain(*Decompress(file, {}, limit), 1000), noise);
  }
  for (const std::uint64_t limit : {std::uint64_t{0}, std::uint64_t{kBlock}}) {
    EXPECT_THAT(Caught([&] { Drain(*Decompress(file, {}, limit), 1000); }),
                Is(ErrorKind::kRecordTooLarge, "snappy block: got 262161 uncompressed bytes"));
  }
}

}  // namespace
}  // namespace mexport
