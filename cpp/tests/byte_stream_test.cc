#include "core/byte_stream.h"

#include <sys/stat.h>

#include <thread>

#include "tests/testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;

TEST(ByteSink, CutsNoPieceThatFitsItsBuffer) {
  MemorySink::Log log;
  MemorySink sink(&log, 8);
  sink.Append("aaaaa", 5);
  sink.Append("", 0);
  sink.Append("bbb", 3);  // fits exactly
  EXPECT_EQ(sink.Room(), 0u);
  sink.Append("cc", 2);
  sink.Append("ddddddd", 7);  // does not fit behind cc
  sink.Flush();
  sink.Flush();  // nothing is drained twice
  EXPECT_THAT(log.pieces, ElementsAre("aaaaabbb", "cc", "ddddddd"));
}

TEST(ByteSink, CutsPiecesLargerThanItsBuffer) {
  MemorySink::Log log;
  MemorySink sink(&log, 4);
  sink.Append("x", 1);
  sink.Append("0123456789", 10);
  EXPECT_EQ(sink.Room(), 2u);
  sink.Append("abcd", 4);
  sink.Close();
  EXPECT_THAT(log.pieces, ElementsAre("x", "0123", "4567", "89", "abcd"));
}

TEST(ByteSink, ExtendLendsTheBuffer) {
  MemorySink::Log log;
  MemorySink sink(&log, 4);
  std::copy_n("abc", 3, sink.Extend(3));
  sink.Append("d", 1);
  sink.Close();
  EXPECT_THAT(log.pieces, ElementsAre("abcd"));
}

TEST(FileSink, FlushWritesAndCloseEnds) {
  const TempDir dir;
  FileSink sink(File::Create(dir / "f"));
  sink.Append("abc", 3);
  EXPECT_EQ(ReadAll(dir / "f"), "");
  sink.Flush();
  EXPECT_EQ(ReadAll(dir / "f"), "abc");
  sink.Append("d", 1);
  sink.Sync();
  EXPECT_EQ(ReadAll(dir / "f"), "abcd");
  const std::string large = Noise(3'000'000);
  sink.Append(large.data(), large.size());
  sink.Close();
  EXPECT_EQ(ReadAll(dir / "f"), "abcd" + large);
}

TEST(FileSource, TellsWhatIsLeftOfAFile) {
  const TempDir dir;
  WriteAll(dir / "f", "abcdef");
  FileSource source(File::OpenForRead(dir / "f"));
  std::uint8_t buffer[4];
  EXPECT_EQ(source.Remaining(), 6u);
  EXPECT_EQ(source.ReadSome(buffer, 4), 4u);
  EXPECT_EQ(source.Remaining(), 2u);
  std::filesystem::resize_file(dir / "f", 3);
  EXPECT_EQ(source.Remaining(), 0u);  // not a huge number
  EXPECT_EQ(source.ReadSome(buffer, 4), 0u);
}

TEST(FileSource, KnowsNoSizeOfAPipe) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  std::jthread writer([&] {
    File pipe = File::Create(dir / "pipe");
    pipe.Write("abc", 3);
    pipe.Close();
  });
  FileSource source(File::OpenForRead(dir / "pipe"));
  EXPECT_EQ(source.Remaining(), std::nullopt);
  std::uint8_t buffer[8];
  EXPECT_EQ(source.ReadSome(buffer, 8), 3u);
  EXPECT_EQ(source.ReadSome(buffer, 8), 0u);
}

TEST(MemorySource, HandsOutPieces) {
  const auto source = Source("abcdefgh", {1, 3}, true);
  std::uint8_t buffer[8];
  EXPECT_EQ(source->ReadSome(buffer, 8), 1u);
  EXPECT_EQ(source->ReadSome(buffer, 2), 2u);
  EXPECT_EQ(source->Remaining(), 5u);
  EXPECT_EQ(source->ReadSome(buffer, 8), 5u);
  EXPECT_EQ(AsString({buffer, 5}), "defgh");
  EXPECT_EQ(source->ReadSome(buffer, 8), 0u);
  EXPECT_EQ(Source("abc", {}, false)->Remaining(), std::nullopt);
}

TEST(InputWindow, FillsAndConsumesAcrossItsBuffer) {
  const std::string noise = Noise(3'000'000);
  InputWindow window(Source(noise, {1, 2, 3, 100, 70'000}));
  std::string got;
  // Sizes below and above what the window begins with.
  for (std::size_t size = 1; window.Fill(size); size = size * 3 + 1) {
    ASSERT_GE(window.bytes().size(), size);
    got += AsString(window.bytes().first(size));
    window.Consume(size);
  }
  got += AsString(window.bytes());  // a failed Fill() keeps what came
  EXPECT_EQ(got, noise);
  EXPECT_EQ(window.Remaining(), 0u);
}

TEST(InputWindow, GrowsWithWhatCameOnly) {
  InputWindow window(Source("abc", {}, false));
  EXPECT_FALSE(window.Fill(std::size_t{1} << 60));
  EXPECT_EQ(AsString(window.bytes()), "abc");
}

TEST(InputWindow, GivesTheMemoryOfALargeRecordBack) {
  const std::size_t large = std::size_t{40} << 20;
  const std::string noise = Noise(large + 10);
  InputWindow window(Source(noise));
  ASSERT_TRUE(window.Fill(large));
  window.Consume(large);
  ASSERT_TRUE(window.Fill(10));
  EXPECT_EQ(AsString(window.bytes()), noise.substr(large));
  EXPECT_FALSE(window.Fill(11));
  EXPECT_EQ(AsString(window.bytes()), noise.substr(large));
}

}  // namespace
}  // namespace mexport
