#include "core/record_format.h"
#include "core/record_reader.h"
#include "core/record_writer.h"
#include "tests/testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 31;

// "" and "hello": the worked example of docs/formats/tfrecord.md.
const std::string& Example() {
  static const std::string example = FromHex(
      "00 00 00 00 00 00 00 00 29 03 98 07 d8 ea 82 a2 05 00 00 00 00 00 00 00 ea b2 04 3e 68 65 6c 6c 6f bb 1f 1c 19");
  return example;
}

std::string Encode(const std::vector<std::string>& records, std::size_t sink_capacity = 1 << 16) {
  MemorySink::Log log;
  RecordWriter writer(std::make_unique<MemorySink>(&log, sink_capacity));
  for (const std::string& record : records) writer.Write(record.data(), record.size());
  writer.Close();
  return log.bytes();
}

std::vector<std::string> ReadRest(RecordReader& reader) {
  std::vector<std::string> records;
  while (const auto record = reader.Peek()) {
    records.push_back(AsString(*record));
    reader.Skip();
  }
  return records;
}

TEST(RecordWriter, WritesTheWorkedExample) {
  EXPECT_EQ(Encode({"", "hello"}), Example());
  EXPECT_EQ(Encode({}), "");
}

TEST(RecordWriter, WritesTheSameThroughABufferOfAnySize) {
  const std::vector<std::string> records = {"", "a", Noise(15), Noise(300), "", Noise(40)};
  const std::string want = Encode(records);
  for (std::size_t capacity = 1; capacity < 120; ++capacity) ASSERT_EQ(Encode(records, capacity), want) << capacity;
}

TEST(RecordWriter, PassesFlushSyncAndCloseOn) {
  MemorySink::Log log;
  RecordWriter writer(std::make_unique<MemorySink>(&log));
  writer.Write("a", 1);
  writer.Flush();
  writer.Sync();
  writer.Close();
  EXPECT_EQ(log.calls, "fsc");
}

TEST(RecordWriter, FitsBufferCountsTheFrame) {
  MemorySink::Log log;
  const RecordWriter writer(std::make_unique<MemorySink>(&log, 20));
  EXPECT_TRUE(writer.FitsBuffer(4));
  EXPECT_FALSE(writer.FitsBuffer(5));
  EXPECT_FALSE(writer.FitsBuffer(SIZE_MAX));
  EXPECT_FALSE(RecordWriter(std::make_unique<MemorySink>(&log, 15)).FitsBuffer(0));
}

TEST(RecordWriter, WritesABatchOrNothing) {
  MemorySink::Log log;
  RecordWriter writer(std::make_unique<MemorySink>(&log));
  const auto batch = [&](std::vector<std::int64_t> offsets) { writer.WriteBatch(AsBytes("xhelloy"), offsets); };
  EXPECT_THAT(Caught([&] { batch({}); }), Is(ErrorKind::kInvalidArgument, "offsets: got none"));
  EXPECT_THAT(Caught([&] { batch({0, 3, 2}); }), Is(ErrorKind::kInvalidArgument, "offsets[2]: got 2, want 3 to 7"));
  EXPECT_THAT(Caught([&] { batch({0, 8}); }), Is(ErrorKind::kInvalidArgument, "offsets[1]: got 8, want 0 to 7"));
  EXPECT_THAT(Caught([&] { batch({-1, 8}); }), Is(ErrorKind::kInvalidArgument, "offsets[0]: got -1"));
  batch({1, 1, 6});
  writer.Close();
  EXPECT_EQ(log.bytes(), Example());
}

TEST(RecordReader, ReadsTheWorkedExampleCutAnywhere) {
  for (const bool knows_size : {true, false}) {
    for (std::size_t cut = 1; cut < Example().size(); ++cut) {
      RecordReader reader(Source(Example(), {cut}, knows_size), "p", kNoLimit);
      ASSERT_THAT(ReadRest(reader), ElementsAre("", "hello")) << cut;
      EXPECT_EQ(reader.offset(), Example().size());
      EXPECT_EQ(reader.Peek(), std::nullopt);
    }
    RecordReader reader(Source(Example(), std::vector<std::size_t>(Example().size(), 1), knows_size), "p", kNoLimit);
    EXPECT_THAT(ReadRest(reader), ElementsAre("", "hello"));
  }
}

TEST(RecordReader, PeekStaysUntilSkip) {
  RecordReader reader(Source(Example()), "p", kNoLimit);
  EXPECT_FALSE(reader.Buffered());
  EXPECT_EQ(reader.Peek()->size(), 0u);
  EXPECT_EQ(reader.Peek()->size(), 0u);
  EXPECT_EQ(reader.offset(), 0u);
  reader.Skip();
  EXPECT_TRUE(reader.Buffered());
  EXPECT_EQ(reader.offset(), 16u);
  EXPECT_EQ(AsString(*reader.Peek()), "hello");
}

TEST(RecordReader, FindsEachFlippedBit) {
  for (std::size_t bit = 0; bit < 8 * Example().size(); ++bit) {
    std::string damaged = Example();
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const std::size_t byte = bit / 8;
    const bool second = byte >= 16;
    const std::size_t in_record = second ? byte - 16 : byte;
    const ErrorKind kind = in_record < 12 ? ErrorKind::kRecordLengthCrc : ErrorKind::kRecordDataCrc;
    RecordReader reader(Source(damaged), "p", kNoLimit);
    ASSERT_THAT(Caught([&] { ReadRest(reader); }), IsAt(kind, "checksum of a record's", second ? 16 : 0)) << bit;
  }
}

TEST(RecordReader, FindsEachCut) {
  for (std::size_t size = 1; size < Example().size(); ++size) {
    if (size == 16) continue;  // one record, whole
    for (const bool knows_size : {true, false}) {
      RecordReader reader(Source(Example().substr(0, size), {}, knows_size), "p", kNoLimit);
      const Error error = Caught([&] { ReadRest(reader); });
      EXPECT_EQ(error.path(), "p");
      ASSERT_EQ(error.offset(), size < 16 ? 0 : 16) << size;
      // The data do not fit what is known to be left of the file.
      const bool within_data = size >= 28 && size < 33;
      ASSERT_EQ(error.kind(), knows_size && within_data ? ErrorKind::kRecordTooLarge : ErrorKind::kRecordTruncated)
          << size;
    }
  }
}

std::string Header(std::uint64_t length) {
  std::string header(record_format::kHeaderBytes, '\0');
  record_format::StoreHeader(reinterpret_cast<std::uint8_t*>(header.data()), length);
  return header;
}

TEST(RecordReader, BelievesNoLength) {
  for (const std::uint64_t length :
       {std::uint64_t{1} << 32, std::uint64_t{1} << 62, UINT64_MAX - 16, UINT64_MAX - 8, UINT64_MAX - 4, UINT64_MAX}) {
    const std::string file = Header(length) + std::string(100, 'x');
    for (const std::uint64_t limit : {kNoLimit, UINT64_MAX}) {
      RecordReader sized(Source(file, {}, true), "p", limit);
      EXPECT_THAT(Caught([&] { sized.Peek(); }), IsAt(ErrorKind::kRecordTooLarge, "the rest of the file", 0));
      RecordReader pipe(Source(file, {}, false), "p", limit);
      const Error error = Caught([&] { pipe.Peek(); });
      EXPECT_TRUE(error.kind() == ErrorKind::kRecordTooLarge || error.kind() == ErrorKind::kRecordTruncated) << length;
    }
  }
}

TEST(RecordReader, HoldsItsLimit) {
  RecordReader exact(Source(Example()), "p", 5);
  EXPECT_THAT(ReadRest(exact), ElementsAre("", "hello"));
  RecordReader below(Source(Example()), "p", 4);
  EXPECT_THAT(Caught([&] { ReadRest(below); }),
              IsAt(ErrorKind::kRecordTooLarge, "got 5, want at most 4, the reader's limit", 16));
}

TEST(RecordReader, RepeatsItsError) {
  std::string damaged = Example();
  damaged.back() ^= 1;
  RecordReader reader(Source(damaged), "p", kNoLimit);
  reader.Peek();
  reader.Skip();
  const Error first = Caught([&] { reader.Peek(); });
  const Error second = Caught([&] { reader.ReadBatch(1, 1); });
  EXPECT_STREQ(first.what(), second.what());
  EXPECT_EQ(second.offset(), 16);
  EXPECT_TRUE(reader.Buffered());
}

std::vector<std::string> Split(const RecordColumns& columns) {
  std::vector<std::string> records;
  for (std::size_t i = 0; i + 1 < columns.offsets.size(); ++i) {
    const auto begin = static_cast<std::size_t>(columns.offsets[i]);
    const auto end = static_cast<std::size_t>(columns.offsets[i + 1]);
    records.push_back(begin == end ? "" : AsString({columns.data.data() + begin, end - begin}));
  }
  return records;
}

TEST(RecordReader, BatchesHoldTheirLimits) {
  std::vector<std::string> records;
  for (std::size_t i = 0; i < 50; ++i) records.push_back(Noise(i * 7 % 40, i));
  const std::string file = Encode(records);
  for (const std::size_t max_records : {1u, 2u, 7u, 1000u}) {
    for (const std::size_t max_bytes : {1u, 39u, 64u, 100'000u}) {
      RecordReader reader(Source(file), "p", kNoLimit);
      std::vector<std::string> got;
      for (;;) {
        const RecordColumns columns = reader.ReadBatch(max_records, max_bytes);
        const std::vector<std::string> batch = Split(columns);
        if (batch.empty()) break;
        ASSERT_LE(batch.size(), max_records);
        ASSERT_TRUE(batch.size() == 1 || columns.offsets.back() <= static_cast<std::int64_t>(max_bytes));
        got.insert(got.end(), batch.begin(), batch.end());
      }
      ASSERT_THAT(got, ElementsAreArray(records)) << max_records << " " << max_bytes;
    }
  }
}

TEST(RecordReader, ABatchBeforeDamageComesOutFirst) {
  std::string damaged = Encode({"a", "b", "c"});
  damaged.back() ^= 1;
  RecordReader reader(Source(damaged), "p", kNoLimit);
  EXPECT_THAT(Split(reader.ReadBatch(10, 100)), ElementsAre("a", "b"));
  EXPECT_THAT(Caught([&] { reader.ReadBatch(10, 100); }), IsAt(ErrorKind::kRecordDataCrc, "data", 34));
}

}  // namespace
}  // namespace mexport
