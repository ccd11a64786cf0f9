#include "core/record_deflate.h"

#include <algorithm>

#include "tests/testing.h"

namespace mexport {
namespace {

// Stands for zlib: a stream is its bytes, each doubled, and ends with '.'; a flush writes '|'.
class Doubling final : public StreamEncoder, public StreamDecoder {
 public:
  void Encode(std::span<const std::uint8_t> in, ByteSink& out) override {
    for (const std::uint8_t byte : in) {
      out.Append(&byte, 1);
      out.Append(&byte, 1);
    }
  }
  void Flush(ByteSink& out) override { out.Append("|", 1); }
  void Finish(ByteSink& out) override { out.Append(".", 1); }

  Step Decode(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    EXPECT_FALSE(finished_) << "decodes behind the end";
    Step step{0, 0, false};
    while (!step.finished && (half_ != 0 || step.consumed < in.size()) && step.produced < out.size()) {
      const std::uint8_t byte = step.consumed < in.size() ? in[step.consumed] : std::uint8_t{0};
      if (half_ != 0) {
        if (step.consumed == in.size()) break;
        if (byte != half_) throw Error(ErrorKind::kRecordCompression, "not doubled");
        out[step.produced++] = byte;
        half_ = 0;
      } else if (byte == '.') {
        step.finished = finished_ = true;
      } else if (byte != '|') {
        half_ = byte;
      }
      ++step.consumed;
    }
    return step;
  }
  void Reset() override { finished_ = false; }

 private:
  std::uint8_t half_ = 0;
  bool finished_ = false;
};

std::string Inflate(std::string_view file, DeflateFormat format, std::vector<std::size_t> pieces = {},
                    std::size_t at_once = 7) {
  InflateSource source(Source(file, std::move(pieces)), std::make_unique<Doubling>(), format);
  EXPECT_EQ(source.Remaining(), std::nullopt);
  std::string all;
  std::vector<std::uint8_t> buffer(at_once);
  while (const std::size_t n = source.ReadSome(buffer.data(), buffer.size())) all += AsString({buffer.data(), n});
  EXPECT_EQ(source.ReadSome(buffer.data(), buffer.size()), 0u);
  return all;
}

TEST(DeflateSink, FlushesAndFinishesTheStream) {
  MemorySink::Log log;
  DeflateSink sink(std::make_unique<MemorySink>(&log), std::make_unique<Doubling>());
  sink.Append("ab", 2);
  sink.Flush();
  sink.Append("c", 1);
  sink.Sync();
  sink.Close();
  EXPECT_EQ(log.bytes(), "aabb|cc|.");
  EXPECT_EQ(log.calls, "fsc");
}

TEST(InflateSource, ReadsWhateverThePieces) {
  const std::string file = "aabb|ccddeeffgghhii|.";
  for (std::size_t cut = 1; cut <= file.size(); ++cut) {
    for (std::size_t at_once = 1; at_once < 12; ++at_once) {
      ASSERT_EQ(Inflate(file, DeflateFormat::kZlib, {cut}, at_once), "abcdefghi") << cut << " " << at_once;
    }
  }
  EXPECT_EQ(Inflate(".", DeflateFormat::kZlib), "");
}

TEST(InflateSource, OnlyGzipHasSeveralMembers) {
  EXPECT_EQ(Inflate("aa..bb.", DeflateFormat::kGzip), "ab");
  EXPECT_THAT(Caught([] { Inflate("aa.bb.", DeflateFormat::kZlib); }),
              Is(ErrorKind::kRecordCompression, "bytes after the end of the zlib stream"));
}

TEST(InflateSource, ReportsDamage) {
  for (const char* file : {"", "a", "aa", "aabb|", "aa|bb"}) {
    EXPECT_THAT(Caught([&] { Inflate(file, DeflateFormat::kGzip); }),
                Is(ErrorKind::kRecordTruncated, "the file ends within its gzip stream"))
        << file;
  }
  EXPECT_THAT(Caught([] { Inflate("ab.", DeflateFormat::kZlib); }), Is(ErrorKind::kRecordCompression, "not doubled"));
}

}  // namespace
}  // namespace mexport
