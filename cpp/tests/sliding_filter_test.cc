#include "core/sliding_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/wire.h"

namespace mexport {
namespace {

std::string Thresholds(std::uint32_t of_all) {
  WireWriter message;
  message.Varint(2, of_all);
  return {message.bytes().begin(), message.bytes().end()};
}

using Records = std::vector<std::vector<std::uint8_t>>;

std::vector<Records> Save(const SlidingFilter& filter) {
  std::vector<Records> files(filter.splits());
  for (std::size_t i = 0; i < files.size(); ++i) {
    filter.Save(filter.position(), i,
                [&](const std::uint8_t* record, std::size_t size) { files[i].emplace_back(record, record + size); });
  }
  return files;
}

void Restore(SlidingFilter& filter, const std::vector<Records>& files) {
  SlidingFilter::Dump dump(filter);
  for (std::size_t i = 0; i < files.size(); ++i) {
    dump.ReadMeta(i, files[i][0].data(), files[i][0].size());
    for (std::size_t r = 1; r < files[i].size(); ++r) dump.ReadCells(i, files[i][r].data(), files[i][r].size());
  }
  filter.Restore(std::move(dump));
}

TEST(SlidingFilterTest, CountsUpTo15) {
  SlidingFilter filter(1000, 7, OccurrenceThresholds(""));
  for (std::uint32_t i = 0; i < 20; ++i) EXPECT_EQ(filter.Add(1 << 17, 1), std::min(i, 15u));
  EXPECT_EQ(filter.Add(2 << 17, 1000), 0u);
  EXPECT_EQ(filter.Add(2 << 17, 1), 15u);
}

TEST(SlidingFilterTest, FiltersBelowTheThreshold) {
  SlidingFilter filter(1000, 7, OccurrenceThresholds(Thresholds(3)));
  EXPECT_TRUE(filter.ShouldBeFiltered(5, 1));
  EXPECT_TRUE(filter.ShouldBeFiltered(5, 2));
  EXPECT_FALSE(filter.ShouldBeFiltered(5, 1));
  SlidingFilter none(1000, 7, OccurrenceThresholds(""));
  EXPECT_FALSE(none.ShouldBeFiltered(5, 1));
}

TEST(SlidingFilterTest, SmallSizesCountAsTheLeast) {
  SlidingFilter filter(-5, -5, OccurrenceThresholds(""));
  EXPECT_EQ(filter.splits(), 5u);
  for (std::uint64_t i = 0; i < 10000; ++i) filter.Add(i << 17, 1);
}

TEST(SlidingFilterTest, ADumpBringsCountsAndPositionBack) {
  SlidingFilter filter(300, 7, OccurrenceThresholds(""));
  for (std::uint64_t i = 0; i < 400; ++i) filter.Add(i << 17, i % 5 + 1);
  SlidingFilter other(300, 7, OccurrenceThresholds(""));
  Restore(other, Save(filter));
  EXPECT_EQ(other.position().head, filter.position().head);
  EXPECT_GT(other.position().head_increment, 0u);
  for (std::uint64_t i = 0; i < 500; ++i) EXPECT_EQ(other.Add(i << 17, 1), filter.Add(i << 17, 1));
}

TEST(SlidingFilterTest, PackedCellsAreRead) {
  SlidingFilter filter(300, 7, OccurrenceThresholds(""));
  filter.Add(9 << 17, 4);
  std::vector<Records> files = Save(filter);
  for (Records& file : files) {
    for (std::size_t r = 1; r < file.size(); ++r) {
      std::uint64_t offset = 0;
      std::vector<std::uint8_t> cells;
      WireReader reader(file[r]);
      while (reader.Next()) {
        const std::uint64_t value = reader.field() == 1 ? (offset = reader.ReadVarint()) : reader.ReadVarint();
        if (reader.field() == 1) continue;
        std::uint8_t bytes[10];
        cells.insert(cells.end(), bytes, StoreVarint(bytes, value));
      }
      WireWriter packed;
      packed.Varint(1, offset);
      packed.Bytes(2, cells);
      file[r].assign(packed.bytes().begin(), packed.bytes().end());
    }
  }
  SlidingFilter other(300, 7, OccurrenceThresholds(""));
  Restore(other, files);
  EXPECT_EQ(other.Add(9 << 17, 1), 4u);
}

TEST(SlidingFilterTest, RefusesWhatIsNoDumpOfIt) {
  SlidingFilter filter(300, 7, OccurrenceThresholds(""));
  filter.Add(9 << 17, 4);
  const std::vector<Records> files = Save(filter);
  SlidingFilter wide(3000, 7, OccurrenceThresholds(""));
  EXPECT_THROW(Restore(wide, files), Error);
  std::vector<Records> few = files;
  few[3].pop_back();
  EXPECT_THROW(Restore(filter, few), Error);
  std::vector<Records> heads = files;
  SlidingFilter moved(300, 7, OccurrenceThresholds(""));
  for (std::uint64_t i = 0; i < 400; ++i) moved.Add(i << 17, 1);
  heads[2] = Save(moved)[2];
  EXPECT_THROW(Restore(filter, heads), Error);
  for (std::size_t size = 0; size < files[0][1].size(); size += 7) {
    SlidingFilter::Dump dump(filter);
    dump.ReadMeta(0, files[0][0].data(), files[0][0].size());
    try {
      dump.ReadCells(0, files[0][1].data(), size);
    } catch (const WireError&) {
      continue;
    }
  }
  EXPECT_EQ(filter.Add(9 << 17, 1), 4u);
}

TEST(SlidingFilterTest, CountsFromManyThreads) {
  SlidingFilter filter(100000, 7, OccurrenceThresholds(""));
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < 1000; ++i) filter.Add(i << 17, 2);
    });
  }
  for (int i = 0; i < 5; ++i) Save(filter);
  threads.clear();
  for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(filter.Add(i << 17, 1), 8u);
}

TEST(OccurrenceThresholdsTest, RefusesSlotsBeyondTheLastAndOtherBytes) {
  WireWriter slot;
  slot.Varint(1, 32768);
  WireWriter message;
  message.Message(1, slot);
  EXPECT_THROW(OccurrenceThresholds({message.bytes().begin(), message.bytes().end()}), Error);
  EXPECT_THROW(OccurrenceThresholds("\xff"), Error);
}

}  // namespace
}  // namespace mexport
