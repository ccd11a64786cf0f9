// The index and the memory of tables: zeroed memory, rows, buckets, epochs, and the map that they make.
#include "core/row_table.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/radix_sort.h"
#include "core/zeroed_memory.h"
#include "tests/testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;
using Timestamps = RowTable::Timestamps;
using Action = RowTable::Action;

TEST(ZeroedMemory, IsZeroAndAligned) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  for (const PageSize pages : {PageSize::kSmall, PageSize::kHuge}) {
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{64}, std::size_t{100'000}, kHuge, 3 * kHuge + 5}) {
      ZeroedMemory memory(bytes, pages);
      EXPECT_GE(memory.bytes(), bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % 64, 0u);
      if (pages == PageSize::kHuge && bytes >= kHuge) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % kHuge, 0u);
      }
      EXPECT_EQ(std::count(memory.data(), memory.data() + memory.bytes(), 0),
                static_cast<std::ptrdiff_t>(memory.bytes()));
      std::fill_n(memory.data(), memory.bytes(), std::uint8_t{1});
      ZeroedMemory moved(std::move(memory));
      EXPECT_EQ(moved.data()[bytes - 1], 1);
      ZeroedMemory other;
      other = std::move(moved);
      EXPECT_EQ(other.data()[0], 1);
    }
  }
  EXPECT_EQ(ZeroedMemory(0, PageSize::kHuge).bytes(), 0u);
  EXPECT_THROW(ZeroedMemory(SIZE_MAX, PageSize::kHuge), std::bad_alloc);
  EXPECT_THROW(ZeroedMemory(std::size_t{1} << 62, PageSize::kSmall), std::bad_alloc);
}

TEST(RadixSort, SortsAndIsStable) {
  std::mt19937_64 random(1);
  for (const std::size_t n : {0u, 1u, 2u, 1000u}) {
    for (const std::uint64_t mask : {UINT64_MAX, std::uint64_t{7}, std::uint64_t{0xff00'0000'0000'0000}}) {
      std::vector<std::pair<std::uint64_t, std::size_t>> values(n);
      for (std::size_t i = 0; i < n; ++i) values[i] = {random() & mask, i};
      auto want = values;
      std::stable_sort(want.begin(), want.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      RadixSort(values, [](const auto& value) { return value.first; });
      EXPECT_EQ(values, want);
    }
  }
}

TEST(ReaderEpochs, MemoryWaitsForTheReadersThatMaySeeIt) {
  ReaderEpochs epochs;
  auto memory = std::make_shared<int>(1);
  std::weak_ptr<int> watch = memory;
  epochs.Retire(std::move(memory));
  EXPECT_TRUE(watch.expired());  // nobody reads

  memory = std::make_shared<int>(2);
  watch = memory;
  {
    const ReaderEpochs::Guard early(epochs);
    epochs.Retire(std::move(memory));
    EXPECT_FALSE(watch.expired());
    {
      const ReaderEpochs::Guard again(epochs);
      epochs.Collect();
      EXPECT_FALSE(watch.expired());
    }
    epochs.Collect();
    EXPECT_FALSE(watch.expired());
  }
  epochs.Collect();
  EXPECT_TRUE(watch.expired());
}

TEST(ReaderEpochs, LaterReadersHoldNothingUp) {
  ReaderEpochs epochs;
  auto early = std::make_unique<ReaderEpochs::Guard>(epochs);
  auto memory = std::make_shared<int>(1);
  const std::weak_ptr<int> first = memory;
  epochs.Retire(std::move(memory));
  const ReaderEpochs::Guard late(epochs);
  memory = std::make_shared<int>(2);
  const std::weak_ptr<int> second = memory;
  epochs.Retire(std::move(memory));
  early.reset();
  epochs.Collect();
  EXPECT_TRUE(first.expired());
  EXPECT_FALSE(second.expired());
}

TEST(RowArena, RowsAreApartAndZero) {
  for (const std::size_t bytes : {1u, 4u, 5u, 31u, 32u, 33u, 100u, 9'000'000u}) {
    RowArena arena(bytes);
    EXPECT_GE(arena.stride(), bytes);
    EXPECT_LE(arena.stride() - bytes, bytes >= 32 ? 7u : 3u);
    EXPECT_EQ(arena.stride() % (bytes >= 32 ? 8 : 4), 0u);
    const std::uint32_t runs = bytes > 1'000'000 ? 2 : 100;
    for (std::uint32_t run = 0; run < runs; ++run) {
      ASSERT_EQ(arena.AllocateRun(), run * RowArena::kRun);
      for (std::uint32_t row = run * RowArena::kRun; row < (run + 1) * RowArena::kRun; ++row) {
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(arena.Row(row)) % (bytes >= 32 ? 8 : 4), 0u);
        if (bytes < 1'000'000) {
          ASSERT_EQ(std::count(arena.Row(row), arena.Row(row) + arena.stride(), 0),
                    static_cast<std::ptrdiff_t>(arena.stride()));
          std::memset(arena.Row(row), static_cast<int>(row % 255 + 1), arena.stride());
        } else {
          arena.Row(row)[0] = arena.Row(row)[bytes - 1] = static_cast<std::uint8_t>(row + 1);
        }
        ASSERT_EQ(*arena.Timestamp(row), 0u);
        *arena.Timestamp(row) = row + 7;
      }
    }
    EXPECT_EQ(arena.bytes(), std::size_t{runs} * RowArena::kRun * (arena.stride() + 4));
    for (std::uint32_t row = 0; row < runs * RowArena::kRun; ++row) {
      ASSERT_EQ(*arena.Timestamp(row), row + 7);
      ASSERT_EQ(arena.Row(row)[bytes - 1], bytes < 1'000'000 ? row % 255 + 1 : row + 1);
    }
  }
}

TEST(RowArena, ThreadsGetRunsOfTheirOwn) {
  RowArena arena(64 << 10);  // some chunks
  std::vector<std::vector<std::uint32_t>> runs(4);
  {
    std::vector<std::jthread> threads;
    for (std::vector<std::uint32_t>& mine : runs) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          mine.push_back(arena.AllocateRun());
          arena.Row(mine.back() + RowArena::kRun - 1)[0] = 1;
        }
      });
    }
  }
  std::set<std::uint32_t> all;
  for (const auto& mine : runs) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), 200u);
  EXPECT_EQ(*all.rbegin(), 199 * RowArena::kRun);
}

// Ids whose hash the test chooses.
TEST(BucketArray, FollowsAModelWhateverTheHashesAre) {
  std::mt19937_64 random(7);
  for (const std::uint64_t hash_bits : {0u, 1u, 3u, 64u}) {
    for (const std::uint64_t capacity : {1u, 4u, 60u, 200u}) {
      BucketArray array(capacity, std::make_shared<RowArena>(4));
      ASSERT_EQ(array.capacity(), capacity);
      ASSERT_GT(static_cast<double>(array.count() * Bucket::kSlots) * BucketArray::kMaxLoad,
                static_cast<double>(capacity) - 1e-9);
      const auto hash_of = [&](std::uint64_t id) {
        if (hash_bits == 0) return UINT64_MAX;  // all in the last bucket, so that searches wrap around
        return hash_bits == 64 ? id * 0x9e3779b97f4a7c15u : (id & ((std::uint64_t{1} << hash_bits) - 1)) << 61;
      };
      std::map<std::uint64_t, std::uint32_t> model;
      for (std::uint32_t step = 0; step < 4000; ++step) {
        const std::uint64_t id = random() % (capacity * 2);
        const BucketArray::Place place = array.Find(id, hash_of(id));
        const auto found = model.find(id);
        ASSERT_EQ(place.bucket != nullptr, found != model.end());
        if (found != model.end()) {
          ASSERT_EQ(place.row(), found->second);
          if (random() % 2 == 0) {
            array.Erase(place, hash_of(id));
            model.erase(found);
          }
        } else if (model.size() < capacity && (model.size() * 10 < capacity * 9 || random() % 4 == 0)) {
          array.Insert(id, hash_of(id), step);
          model.emplace(id, step);
        }
      }
      for (const auto& [id, row] : model) {
        const BucketArray::Place place = array.Find(id, hash_of(id));
        ASSERT_NE(place.bucket, nullptr);
        ASSERT_EQ(place.row(), row);
        array.Erase(place, hash_of(id));
      }
      for (std::uint64_t b = 0; b < array.count(); ++b) {
        // No lock, no move; whatever went past has come back, unless there were more than can be counted.
        ASSERT_EQ(array[b].state & (Bucket::kLocked | Bucket::kMoved), 0u);
        ASSERT_TRUE(capacity > 4 || (array[b].state & Bucket::kMaxOverflow) == 0);
      }
    }
  }
}

TEST(BucketArray, CountsThoseThatWentPast) {
  BucketArray array(40, std::make_shared<RowArena>(4));
  ASSERT_GE(array.count(), 10u);
  const auto overflow = [&](std::uint64_t b) { return (array[b].state & Bucket::kMaxOverflow) / Bucket::kOverflow; };
  for (std::uint64_t id = 0; id < 12; ++id) array.Insert(id, 0, static_cast<std::uint32_t>(id));
  EXPECT_EQ(overflow(0), 7u);
  EXPECT_EQ(overflow(1), 2u);
  EXPECT_EQ(overflow(2), 0u);
  // A place that becomes free in between is used; the counts follow.
  array.Erase(array.Find(0, 0), 0);
  array.Insert(100, 0, 100);
  EXPECT_EQ(array.Find(100, 0).bucket, &array[0]);
  EXPECT_EQ(overflow(0), 7u);
  array.Erase(array.Find(11, 0), 0);
  EXPECT_EQ(overflow(0), 6u);
  EXPECT_EQ(overflow(1), 1u);
  // A full counter stays full: nobody knows how many there were.
  for (std::uint64_t id = 200; id < 220; ++id) array.Insert(id, 0, 1);
  EXPECT_EQ(overflow(0), 15u);
  for (std::uint64_t id = 200; id < 220; ++id) array.Erase(array.Find(id, 0), 0);
  EXPECT_EQ(overflow(0), 15u);
  EXPECT_EQ(array.Find(300, 0).bucket, nullptr);
}

TEST(BucketArray, EachChangeIsANewVersion) {
  BucketArray array(4, std::make_shared<RowArena>(4));
  std::set<std::uint32_t> states;
  for (int i = 0; i < 10; ++i) {
    states.insert(array[0].state);
    const BucketLock lock(array[0]);
    EXPECT_EQ(array[0].state & Bucket::kLocked, Bucket::kLocked);
  }
  EXPECT_EQ(states.size(), 10u);
}

using Model = std::unordered_map<std::uint64_t, std::pair<std::uint64_t, std::uint32_t>>;

constexpr std::size_t kRowBytes = 20;

// A row of one value, everywhere.
void FillRow(RowTable::Entry& entry, std::uint64_t value) {
  for (std::size_t i = 0; i < kRowBytes; ++i) entry.row[i] = static_cast<std::uint8_t>(value >> (i % 8 * 8));
}

std::uint64_t ValueOf(const std::uint8_t* row) {
  std::uint64_t value;
  std::memcpy(&value, row, sizeof(value));
  for (std::size_t i = 0; i < kRowBytes; ++i) EXPECT_EQ(row[i], static_cast<std::uint8_t>(value >> (i % 8 * 8)));
  return value;
}

void ExpectEqual(const RowTable& table, const Model& model, std::uint64_t universe) {
  ASSERT_EQ(table.size(), model.size());
  std::vector<std::uint64_t> ids;
  for (std::uint64_t id = 0; id < universe; ++id) ids.push_back(id);
  std::vector<std::uint8_t> row(table.stride());
  std::size_t missing = 0;
  const std::size_t hits = table.Read<Timestamps::kRead>(
      ids, kRowBytes, [&](std::size_t) { return row.data(); },
      [&](std::size_t i, std::uint32_t timestamp) {
        const auto found = model.find(ids[i]);
        ASSERT_NE(found, model.end());
        ASSERT_EQ(ValueOf(row.data()), found->second.first);
        ASSERT_EQ(timestamp, found->second.second);
      },
      [&](std::size_t i) {
        ++missing;
        ASSERT_EQ(model.count(ids[i]), 0u);
      });
  EXPECT_EQ(hits, model.size());
  EXPECT_EQ(missing, universe - model.size());
  std::vector<std::uint64_t> sorted;
  for (const auto& [id, entry] : model) sorted.push_back(id);
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(table.Ids(), sorted);
  const RowTable::Snapshot snapshot(table);
  ASSERT_EQ(snapshot.entries().size(), sorted.size());
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    ASSERT_EQ(snapshot.entries()[i].id, sorted[i]);
    ASSERT_EQ(ValueOf(snapshot.Row(i)), model.at(sorted[i]).first);
    ASSERT_EQ(snapshot.Timestamp(i), model.at(sorted[i]).second);
  }
}

TEST(RowTable, FollowsAModel) {
  std::mt19937_64 random(3);
  for (const std::uint64_t hint : {1u, 100'000u}) {
    RowTable table(kRowBytes, hint);
    Model model;
    const std::uint64_t universe = 30'000;
    for (const std::size_t batch : {1u, 31u, 32u, 33u, 4096u, 4097u, 20'000u, 20'000u, 20'000u}) {
      std::vector<std::uint64_t> ids(batch);
      for (std::uint64_t& id : ids) id = random() % universe;  // some of them twice
      table.Update(ids, [&](std::size_t i, RowTable::Entry& entry) {
        const auto found = model.find(ids[i]);
        EXPECT_EQ(entry.existed, found != model.end());
        if (entry.existed) {
          EXPECT_EQ(ValueOf(entry.row), found->second.first);
          EXPECT_EQ(entry.timestamp, found->second.second);
        } else {
          EXPECT_EQ(std::count(entry.row, entry.row + table.stride(), 0), static_cast<std::ptrdiff_t>(table.stride()));
        }
        const std::uint64_t dice = random() % 8;
        if (dice == 0) return Action::kNothing;
        if (dice < 3) {
          model.erase(ids[i]);
          return Action::kErase;
        }
        const std::uint64_t value = random();
        const auto timestamp = static_cast<std::uint32_t>(random());
        FillRow(entry, value);
        entry.timestamp = timestamp;
        model[ids[i]] = {value, timestamp};
        return Action::kStore;
      });
      ExpectEqual(table, model, universe);
    }
    const std::uint64_t erased = table.EraseIf([](std::uint64_t id, std::uint32_t) { return id % 3 == 0; });
    EXPECT_EQ(erased, std::erase_if(model, [](const auto& entry) { return entry.first % 3 == 0; }));
    ExpectEqual(table, model, universe);
    EXPECT_EQ(table.EraseIf([](std::uint64_t, std::uint32_t timestamp) { return timestamp % 2 == 0; }),
              std::erase_if(model, [](const auto& entry) { return entry.second.second % 2 == 0; }));
    ExpectEqual(table, model, universe);
  }
}

TEST(RowTable, ErasedRowsAreUsedAgain) {
  RowTable table(100, 1);
  std::vector<std::uint64_t> ids(10'000);
  const auto store_all = [&](std::uint64_t from) {
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = from + i;
    table.Update(ids, [](std::size_t, RowTable::Entry&) { return Action::kStore; });
  };
  store_all(0);
  const std::size_t bytes = table.memory_bytes();
  for (std::uint64_t round = 1; round < 10; ++round) {
    EXPECT_EQ(table.EraseIf([](std::uint64_t, std::uint32_t) { return true; }), ids.size());
    store_all(round << 32);
    EXPECT_EQ(table.size(), ids.size());
  }
  // Stripes differ in how many ids they get; that is all.
  EXPECT_LT(table.memory_bytes(), bytes * 5 / 4);
}

TEST(RowTable, AnErrorLeavesTheIdsBeforeIt) {
  RowTable table(kRowBytes, 1);
  const std::vector<std::uint64_t> ids = {1, 2, 3};
  EXPECT_THROW(table.Update(ids,
                            [](std::size_t i, RowTable::Entry&) {
                              if (i == 2) throw Error(ErrorKind::kInvalidArgument, "stop");
                              return Action::kStore;
                            }),
               Error);
  EXPECT_THAT(table.Ids(), ElementsAre(1, 2));
  // Its locks are free.
  table.Update(ids, [](std::size_t, RowTable::Entry&) { return Action::kStore; });
  EXPECT_EQ(table.size(), 3u);
}

}  // namespace
}  // namespace mexport
