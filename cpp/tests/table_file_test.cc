#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "core/byte_stream.h"
#include "core/file.h"
#include "core/table_reader.h"
#include "core/table_writer.h"
#include "tests/table_testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Kind = OptimizerKind;

std::shared_ptr<RecordReader> OpenPlain(const std::string& path) {
  return std::make_shared<RecordReader>(std::make_unique<FileSource>(File::OpenForRead(path)), path, kMaxEntryBytes);
}

std::shared_ptr<RecordWriter> OpenPlainWriter(const std::string& path) {
  return std::make_shared<RecordWriter>(std::make_unique<FileSink>(File::Create(path)));
}

std::vector<std::uint64_t> Range(std::uint64_t n) {
  std::vector<std::uint64_t> range(n);
  std::iota(range.begin(), range.end(), 0);
  return range;
}

// Rows of a table with timestamps of one size, or of all sizes.
EntryBatch Table(std::size_t n, bool one_size, const EntryLayout& layout) {
  EntryBatch batch = NoiseBatch(layout, Range(n));
  for (std::size_t i = 0; i < n && !one_size; ++i) {
    batch.target().timestamps[i] = i % 11 == 0 ? -1 : std::int64_t{1} << i % 63;
  }
  return batch;
}

void Write(const std::vector<std::string>& paths, const EntryBatch& batch, std::size_t threads = 2) {
  const std::vector<std::uint64_t> rows = Range(batch.rows());
  const EntryEncoder encoder(batch.layout());
  const EntrySource source = SourceOf(batch);
  WriteTableFiles(paths, {encoder, source, rows, encoder.CommonSize(source, batch.rows())}, threads);
}

// The error of a read, with the place that it names.
struct Failure {
  int kind = -1;
  std::int64_t offset = -1;
  std::string path;

  bool operator==(const Failure&) const = default;
};

void PrintTo(const Failure& failure, std::ostream* out) {
  *out << "kind " << failure.kind << " at " << failure.offset << " of " << failure.path;
}

template <typename Work>
Failure FailureOf(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return {static_cast<int>(error.kind()), error.offset(), error.path()};
  }
  return {};
}

TEST(TableFiles, RoundTripByFilesStreamsAndPieces) {
  const TempDir dir;
  // More rows than one thread takes at a time; records of one size, and of many.
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{70'000}}) {
    for (const bool one_size : {true, false}) {
      const EntryBatch batch = Table(n, one_size, EntryLayout({{1, Kind::kAdagrad}}));
      const std::vector<std::string> want = ColumnsOf(batch);
      for (const std::size_t shards : {1u, 3u}) {
        std::vector<std::string> paths;
        for (std::size_t i = 0; i < shards; ++i) paths.push_back(dir / ("t" + std::to_string(i)));
        Write(paths, batch);
        std::vector<std::string> bytes;
        for (const std::string& path : paths) bytes.push_back(ReadAll(path));
        // The same bytes on any number of threads, and record by record.
        Write(paths, batch, 1);
        for (std::size_t i = 0; i < shards; ++i) ASSERT_TRUE(ReadAll(paths[i]) == bytes[i]);
        const std::vector<std::uint64_t> rows = Range(n);
        WriteTableStreams(paths, {{EntryEncoder(batch.layout()), SourceOf(batch), rows}}, OpenPlainWriter, 2);
        for (std::size_t i = 0; i < shards; ++i) ASSERT_TRUE(ReadAll(paths[i]) == bytes[i]);

        for (const std::size_t threads : {1u, 4u}) {
          const EntryBatch got = ReadTableFiles(paths, std::nullopt, threads);
          ASSERT_EQ(got.rows(), n);
          ASSERT_TRUE(n == 0 || ColumnsOf(got) == want);
          const EntryBatch streamed = ReadTableStreams(paths, std::nullopt, OpenPlain, threads);
          ASSERT_EQ(streamed.rows(), n);
          ASSERT_TRUE(n == 0 || ColumnsOf(streamed) == want);
        }
        ASSERT_EQ(ReadTableFiles(paths, batch.layout(), 2).layout(), batch.layout());
      }
    }
  }
}

TEST(TableFiles, IteratorCutsAnywhere) {
  const TempDir dir;
  const EntryBatch batch = Table(10, false, EntryLayout({{2, Kind::kFtrl}}));
  const std::vector<std::string> paths = {dir / "a", dir / "b", dir / "c"};
  Write(paths, batch);
  WriteAll(dir / "empty", "");
  for (const std::size_t piece : {1u, 2u, 3u, 4u, 10u, 11u}) {
    TableIterator iterator({paths[0], dir / "empty", paths[1], paths[2]}, std::nullopt, OpenPlain);
    std::vector<std::string> columns(ColumnsOf(batch).size());
    std::size_t rows = 0;
    while (rows < 10) {
      const EntryBatch next = iterator.Next(piece);
      ASSERT_EQ(next.rows(), std::min<std::size_t>(piece, 10 - rows));
      for (std::size_t c = 0; c < columns.size(); ++c) columns[c] += ColumnsOf(next)[c];
      rows += next.rows();
    }
    EXPECT_EQ(columns, ColumnsOf(batch));
    EXPECT_EQ(iterator.Next(piece).rows(), 0u);
  }
}

TEST(TableFiles, FindsEachChangedByteAndEachCut) {
  const TempDir dir;
  const EntryLayout layout({{1, Kind::kAdagrad}});
  for (const bool one_size : {true, false}) {
    const EntryBatch batch = Table(3, one_size, layout);
    const std::string path = dir / "t";
    Write({path}, batch);
    const std::string good = ReadAll(path);
    const auto same_everywhere = [&](const std::string& bytes) {
      WriteAll(path, bytes);
      const Failure failure = FailureOf([&] { ReadTableFiles({path}, layout, 2); });
      EXPECT_EQ(failure, FailureOf([&] { ReadTableFiles({path}, std::nullopt, 1); }));
      EXPECT_EQ(failure, FailureOf([&] { ReadTableStreams({path}, std::nullopt, OpenPlain, 1); }));
      EXPECT_EQ(failure, FailureOf([&] {
                  TableIterator iterator({path}, std::nullopt, OpenPlain);
                  while (iterator.Next(2).rows() > 0) continue;
                }));
      return failure;
    };
    std::vector<std::int64_t> begins = {0};
    for (std::size_t row = 0; row < 3; ++row) {
      begins.push_back(begins.back() + 16 + static_cast<std::int64_t>(Encoded(batch, row).size()));
    }
    for (std::size_t i = 0; i < good.size(); ++i) {
      SCOPED_TRACE(i);
      const std::int64_t begin = *(std::upper_bound(begins.begin(), begins.end(), static_cast<std::int64_t>(i)) - 1);
      for (const int mask : {1, 0x80, 0xff}) {
        std::string damaged = good;
        damaged[i] = static_cast<char>(damaged[i] ^ mask);
        const Failure failure = same_everywhere(damaged);
        EXPECT_EQ(failure.offset, begin);
        EXPECT_EQ(failure.path, path);
        const bool in_header = static_cast<std::int64_t>(i) - begin < 12;
        EXPECT_EQ(failure.kind, static_cast<int>(in_header ? ErrorKind::kRecordLengthCrc : ErrorKind::kRecordDataCrc));
      }
      const auto got = static_cast<std::int64_t>(i) - begin;
      const Failure cut = same_everywhere(good.substr(0, i));
      // Without all of its data a record of a plain file is longer than the rest of the file.
      const std::int64_t end = *std::upper_bound(begins.begin(), begins.end(), static_cast<std::int64_t>(i));
      const bool has_data = static_cast<std::int64_t>(i) >= end - 4;
      const ErrorKind kind = got >= 12 && !has_data ? ErrorKind::kRecordTooLarge : ErrorKind::kRecordTruncated;
      EXPECT_EQ(cut, got == 0 ? Failure{} : (Failure{static_cast<int>(kind), begin, path}));
    }
  }
}

TEST(TableFiles, RecordsThatAreNoEntryOfTheTable) {
  const TempDir dir;
  const EntryBatch one = NoiseBatch(EntryLayout({{2, Kind::kAdagrad}}), {1, 2});
  const EntryBatch other = NoiseBatch(EntryLayout({{3, Kind::kAdagrad}}), {3});
  const EntryBatch sgd = NoiseBatch(EntryLayout({{2, Kind::kSgd}}), {3});
  const std::string path = dir / "t";
  const std::string short_record = "\x09";
  const std::vector<std::pair<std::string, const char*>> cases = {
      {Encoded(other), "got 3, want 2"},      {Encoded(sgd), "got sgd, want adagrad"}, {short_record, ""}, {"", ""},
      {std::string(64, '\0'), "illegal tag"},
  };
  for (const auto& [record, text] : cases) {
    RecordWriter writer(std::make_unique<FileSink>(File::Create(path)));
    for (const std::string& bytes : {Encoded(one, 0), Encoded(one, 1), record}) {
      writer.Write(bytes.data(), bytes.size());
    }
    writer.Close();
    const auto offset = static_cast<std::int64_t>(2 * (16 + Encoded(one).size()));
    for (const auto& read : std::vector<std::function<void()>>{
             [&] { ReadTableFiles({path}, std::nullopt, 2); },
             [&] { ReadTableFiles({path}, one.layout(), 2); },
             [&] { ReadTableStreams({path}, std::nullopt, OpenPlain, 2); },
         }) {
      const Error error = Caught(read);
      EXPECT_THAT(error, IsAt(ErrorKind::kTable, text, offset));
      EXPECT_EQ(error.path(), path);
    }
    TableIterator iterator({path}, std::nullopt, OpenPlain);
    EXPECT_EQ(iterator.Next(10).rows(), 2u);
    for (int again = 0; again < 2; ++again) {
      EXPECT_THAT(Caught([&] { iterator.Next(10); }), IsAt(ErrorKind::kTable, text, offset));
    }
  }
}

TEST(TableFiles, AllFilesHaveOneLayout) {
  const TempDir dir;
  const std::vector<std::string> paths = {dir / "a", dir / "b"};
  Write({paths[0]}, NoiseBatch(EntryLayout({{2, Kind::kAdagrad}}), {1}));
  Write({paths[1]}, NoiseBatch(EntryLayout({{3, Kind::kAdagrad}}), {2}));
  EXPECT_THAT(Caught([&] { ReadTableFiles(paths, std::nullopt, 2); }), IsAt(ErrorKind::kTable, "want 2", 0));
  const Error error = Caught([&] { ReadTableStreams(paths, std::nullopt, OpenPlain, 2); });
  EXPECT_THAT(error, IsAt(ErrorKind::kTable, "not that of the files before", 0));
  EXPECT_EQ(error.path(), paths[1]);
  EXPECT_THROW(ReadTableFiles({dir / "none"}, std::nullopt, 2), IoError);
}

TEST(TableFiles, SeveralTablesInAFile) {
  const TempDir dir;
  const EntryBatch a = NoiseBatch(EntryLayout({{2, Kind::kAdagrad}}), {1, 2, 3, 4, 5});
  const EntryBatch b = NoiseBatch(EntryLayout({{1, Kind::kSgd}, {1, Kind::kBatchSoftmax}}), {7, 8});
  const std::vector<std::uint64_t> rows = Range(5);
  const std::vector<std::string> paths = {dir / "0", dir / "1", dir / "2"};
  WriteTableStreams(paths,
                    {{EntryEncoder(a.layout()), SourceOf(a), rows},
                     {EntryEncoder(b.layout()), SourceOf(b), std::span(rows).first(2)}},
                    OpenPlainWriter, 2);
  const std::vector<MultiTableFile> files = {
      {paths[0], {{0, 2}, {1, 1}}}, {paths[1], {{0, 2}, {1, 1}}}, {paths[2], {{0, 1}, {1, 0}}}};
  const std::vector<EntryBatch> got = ReadMultiTableFiles(files, 3, OpenPlain, 2);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(ColumnsOf(got[0]), ColumnsOf(a));
  EXPECT_EQ(ColumnsOf(got[1]).front(), ColumnsOf(b).front());
  EXPECT_EQ(got[2].rows(), 0u);

  std::vector<MultiTableFile> wrong = files;
  wrong[1].parts[1].entries = 3;
  EXPECT_THAT(Caught([&] { ReadMultiTableFiles(wrong, 2, OpenPlain, 2); }),
              Is(ErrorKind::kTable, "entries: got 3, want 2 more by the meta file"));
  wrong[1].parts[1].entries = UINT64_MAX;
  EXPECT_THAT(Caught([&] { ReadMultiTableFiles(wrong, 2, OpenPlain, 2); }), Is(ErrorKind::kTable, "by the meta file"));
  wrong[1].parts[1].entries = 0;
  const Error error = Caught([&] { ReadMultiTableFiles(wrong, 2, OpenPlain, 2); });
  EXPECT_THAT(error, Is(ErrorKind::kTable, "entries: got more than the 2 of the meta file"));
  EXPECT_EQ(error.path(), paths[1]);
  wrong = files;
  std::swap(wrong[0].parts[0].table, wrong[0].parts[1].table);
  EXPECT_THAT(Caught([&] { ReadMultiTableFiles(wrong, 2, OpenPlain, 2); }).kind(), ErrorKind::kTable);
}

TEST(ShardOf, DividesContiguouslyTheFirstOnesLonger) {
  for (const std::size_t rows : {0u, 1u, 7u, 12u, 13u}) {
    for (const std::size_t n : {1u, 2u, 5u, 20u}) {
      std::size_t next = 0;
      std::size_t last = SIZE_MAX;
      for (std::size_t i = 0; i < n; ++i) {
        const RowRange range = ShardOf(3, rows, i, n);
        EXPECT_EQ(range.table, 3u);
        EXPECT_EQ(range.begin, next);
        const std::size_t size = range.end - range.begin;
        EXPECT_TRUE(size == rows / n || size == rows / n + 1);
        EXPECT_LE(size, last);
        last = size;
        next = range.end;
      }
      EXPECT_EQ(next, rows);
    }
  }
}

TEST(OrderRows, SortsByUnsignedIds) {
  const std::vector<std::int64_t> ids = {-1, 5, 0, INT64_MIN, INT64_MAX};
  EXPECT_THAT(OrderRows(ids, nullptr, nullptr, 2), ElementsAre(2, 1, 4, 3, 0));
  // Below and above the number of rows that two threads share.
  for (const std::size_t n : {20u, 100u, 20'000u, 40'000u}) {
    for (const std::uint64_t mask : {UINT64_MAX, std::uint64_t{0xffff'ffff}, std::uint64_t{0xffff'f000'0000'0000}}) {
      std::vector<std::int64_t> many(n);
      const std::string noise = Noise(n * 8, n);
      for (std::size_t i = 0; i < n; ++i) {
        std::uint64_t id;
        std::memcpy(&id, noise.data() + 8 * i, 8);
        many[i] = static_cast<std::int64_t>((id & mask) ^ (mask == UINT64_MAX ? 0 : static_cast<std::uint64_t>(i) * 2));
      }
      std::vector<std::uint64_t> unsigned_ids(many.begin(), many.end());
      std::sort(unsigned_ids.begin(), unsigned_ids.end());
      if (std::adjacent_find(unsigned_ids.begin(), unsigned_ids.end()) != unsigned_ids.end()) {
        EXPECT_THAT(Caught([&] { OrderRows(many, nullptr, nullptr, 2); }), Is(ErrorKind::kInvalidArgument, "twice"));
        continue;
      }
      const std::vector<std::uint64_t> rows = OrderRows(many, nullptr, nullptr, 2);
      ASSERT_EQ(rows.size(), n);
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(static_cast<std::uint64_t>(many[rows[i]]), unsigned_ids[i]);
    }
  }
}

TEST(OrderRows, RefusesAnIdThatComesTwice) {
  for (const std::size_t n : {2u, 5000u, 40'000u}) {
    std::vector<std::int64_t> ids(n);
    std::iota(ids.begin(), ids.end(), -3);
    std::reverse(ids.begin(), ids.end());
    EXPECT_EQ(OrderRows(ids, nullptr, nullptr, 2).size(), n);
    ids.front() = ids.back();
    EXPECT_THAT(Caught([&] { OrderRows(ids, nullptr, nullptr, 2); }),
                Is(ErrorKind::kInvalidArgument, "ids: got -3 twice"));
  }
}

TEST(OrderRows, LeavesOutWhatHasExpired) {
  TableExpiry expiry;
  expiry.days.assign(TableExpiry::kSlots, 2);
  expiry.days[1] = 0;
  expiry.days[0x7fff] = UINT32_MAX;
  expiry.max_update_time = 1'000'000;
  const std::int64_t slot1 = std::int64_t{1} << 48;
  const std::int64_t two_days = 2 * 86400;
  const std::vector<std::int64_t> ids = {0, 1, 2, slot1, -1, INT64_MIN};
  const std::vector<std::int64_t> times = {
      1'000'000 - two_days, 1'000'001 - two_days, INT64_MAX, 1'000'000, INT64_MIN / 2, 1'000'000};
  // Bit 63 is no part of the slot: the last id is of slot 0. Even 0 days keep what is newer than the newest.
  EXPECT_THAT(OrderRows(ids, times.data(), &expiry, 2), ElementsAre(1, 2, 5));
  expiry.max_update_time = 0;
  expiry.days[0x7fff] = UINT32_MAX;
  const std::vector<std::int64_t> one = {-1};
  const std::vector<std::int64_t> oldest = {INT64_MIN};
  const std::vector<std::int64_t> newest = {INT64_MAX};
  EXPECT_TRUE(OrderRows(one, oldest.data(), &expiry, 2).empty());
  EXPECT_THAT(OrderRows(one, newest.data(), &expiry, 2), ElementsAre(0));
}

}  // namespace
}  // namespace mexport
