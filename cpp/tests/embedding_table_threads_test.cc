// Tables under several threads at once. ThreadSanitizer runs these too: they are small, and end after so many steps.
#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <random>
#include <thread>

#include "core/embedding_table.h"
#include "core/multi_table.h"
#include "tests/table_testing.h"

namespace mexport {
namespace {

using Ids = std::vector<std::uint64_t>;
using Floats = std::vector<float>;

constexpr std::size_t kDim = 7;  // an odd number of words

WireWriter Message() { return TableMessage({TrainingSegment(kDim, Alternative(OptimizerKind::kSgd))}); }

std::unique_ptr<EmbeddingTable> Make() { return std::make_unique<EmbeddingTable>(Message().bytes()); }

Ids Range(std::uint64_t n) {
  Ids ids(n);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

Floats Rows(const Ids& ids, const std::function<float(std::uint64_t)>& value) {
  Floats rows;
  for (const std::uint64_t id : ids) rows.insert(rows.end(), kDim, value(id));
  return rows;
}

// Runs the work of readers again and again until the writers are done; at least once.
void RunBeside(const std::vector<std::function<void()>>& writers, const std::vector<std::function<void()>>& readers) {
  std::atomic<bool> done{false};
  std::vector<std::jthread> reading;
  for (const auto& read : readers) {
    reading.emplace_back([&] {
      do {
        read();
      } while (!done.load());
    });
  }
  {
    std::vector<std::jthread> writing;
    for (const auto& write : writers) writing.emplace_back(write);
  }
  done = true;
}

// All floats of a row are the same, or the row was seen half written; its value.
float Whole(const Floats& values, std::size_t row) {
  const float* const first = &values[row * kDim];
  EXPECT_TRUE(std::all_of(first, first + kDim, [&](float value) { return value == *first; })) << "a torn row";
  return *first;
}

TEST(EmbeddingTableThreads, ReadersSeeWholeRowsOfTheirIdsWhileTheTableGrows) {
  const auto table = Make();
  constexpr std::uint64_t kIds = 20'000;
  const auto write = [&](std::uint64_t part) {
    return [&, part] {
      for (std::uint64_t id = part; id < kIds; id += 2 * 50) {
        Ids ids;
        for (std::uint64_t i = id; i < std::min(kIds, id + 2 * 50); i += 2) ids.push_back(i);
        // Once as itself, and as itself and a half.
        table->Assign(ids, Rows(ids, [](std::uint64_t i) { return static_cast<float>(i); }).data(), 1);
        table->Assign(ids, Rows(ids, [](std::uint64_t i) { return static_cast<float>(i) + 0.5f; }).data(), 2);
      }
    };
  };
  const Ids ids = Range(kIds);
  const auto read = [&] {
    Floats values(kIds * kDim);
    table->Lookup(ids, values.data());
    for (std::uint64_t id = 0; id < kIds; ++id) {
      const float value = Whole(values, id);
      ASSERT_TRUE(value == 0 || value == static_cast<float>(id) || value == static_cast<float>(id) + 0.5f) << id;
    }
  };
  RunBeside({write(0), write(1)}, {read, read});
  EXPECT_EQ(table->size(), kIds);
  Floats values(kIds * kDim);
  EXPECT_EQ(table->Lookup(ids, values.data()), kIds);
  for (std::uint64_t id = 0; id < kIds; ++id) ASSERT_EQ(Whole(values, id), static_cast<float>(id) + 0.5f);
}

TEST(EmbeddingTableThreads, NoUpdateIsLost) {
  const auto table = Make();
  const Ids ids = Range(500);
  const Floats ones(ids.size() * kDim, 1.0f);
  const Floats minus(ids.size() * kDim, -1.0f);
  constexpr int kRounds = 100;
  const auto add = [&] {
    for (int i = 0; i < kRounds; ++i) table->AssignAdd(ids, ones.data(), i);
  };
  const auto optimize = [&] {
    const Floats rates = {2};
    for (int i = 0; i < kRounds; ++i) table->Optimize(ids, minus.data(), rates, i, i);
  };
  RunBeside({add, add, optimize}, {[&] {
              Floats values(ids.size() * kDim);
              table->Lookup(ids, values.data());
              for (std::size_t i = 0; i < ids.size(); ++i) Whole(values, i);
            }});
  Floats values(ids.size() * kDim);
  table->Lookup(ids, values.data());
  EXPECT_THAT(values, testing::Each(4.0f * kRounds));
}

TEST(EmbeddingTableThreads, RowsThatWanderBetweenIdsAreNeverMistaken) {
  // 0 days for slot 1: each eviction takes all of its ids, and their rows go to the next ones.
  WireWriter slot;
  slot.Varint(1, 1);
  slot.Varint(2, 0);
  WireWriter expire;
  expire.Message(1, slot);
  WireWriter message = Message();
  message.Message(3, expire);
  EmbeddingTable table(message.bytes());
  constexpr std::uint64_t kSlot = std::uint64_t{1} << 48;
  constexpr std::uint64_t kIds = 2000;
  const auto id_of = [](std::uint64_t i) { return kSlot | i; };
  const auto value_of = [](std::uint64_t id) { return static_cast<float>(id & 0xffff) + 1; };
  const auto churn = [&](unsigned seed) {
    return [&, seed] {
      std::mt19937_64 random(seed);
      for (int round = 0; round < 60; ++round) {
        Ids ids;
        for (int i = 0; i < 100; ++i) ids.push_back(id_of(random() % kIds));
        table.Assign(ids, Rows(ids, value_of).data(), 1);
        if (round % 3 == 0) table.Evict(1);
      }
    };
  };
  Ids ids;
  for (std::uint64_t i = 0; i < kIds; ++i) ids.push_back(id_of(i));
  const auto read = [&] {
    Floats values(kIds * kDim);
    table.Lookup(ids, values.data());
    for (std::uint64_t i = 0; i < kIds; ++i) {
      const float value = Whole(values, i);
      ASSERT_TRUE(value == 0 || value == value_of(ids[i])) << i << " " << value;
    }
  };
  const auto read_entries = [&] {
    const EntryBatch batch = table.Save(ids);
    for (std::size_t i = 0; i < batch.rows(); ++i) {
      ASSERT_EQ(batch.target().values[i * kDim], value_of(static_cast<std::uint64_t>(batch.target().ids[i])));
      ASSERT_EQ(batch.target().timestamps[i], 1);
    }
    std::vector<std::uint8_t> present(kIds);
    table.Contains(ids, present.data());
    table.LookupEntry(std::span(ids).first(50));
  };
  RunBeside({churn(1), churn(2)}, {read, read_entries});
  table.Evict(1);
  EXPECT_EQ(table.size(), 0u);
}

TEST(EmbeddingTableThreads, ASaveIsOneMoment) {
  const auto table = Make();
  const Ids ids = Range(300);
  const Floats zeros(ids.size() * kDim, 0.0f);
  table->Assign(ids, zeros.data(), 0);
  const Floats ones(ids.size() * kDim, 1.0f);
  const auto write = [&] {
    for (int i = 0; i < 200; ++i) table->AssignAdd(ids, ones.data(), 1);  // id after id
  };
  const auto save = [&] {
    const EntryBatch batch = table->Save();
    ASSERT_EQ(batch.rows(), ids.size());
    // The writer was somewhere: those before have one more than those behind.
    const float* const values = batch.target().values;
    const float first = values[0];
    bool behind = false;
    for (std::size_t i = 0; i < batch.rows(); ++i) {
      for (std::size_t d = 0; d < kDim; ++d) ASSERT_EQ(values[i * kDim + d], values[i * kDim]);
      behind = behind || values[i * kDim] != first;
      ASSERT_EQ(values[i * kDim], behind ? first - 1 : first) << i;
    }
  };
  RunBeside({write}, {save});
  const EntryBatch batch = table->Save();
  EXPECT_EQ(batch.target().values[0], 200.0f);
}

TEST(EmbeddingTableThreads, SeveralTablesAreSavedAsOfOneMoment) {
  WireWriter config;
  for (const char* name : {"a", "b"}) {
    config.String(1, name);
    config.Message(2, Message());
  }
  MultiTable multi(config.bytes());
  const Ids ids = {1};
  const Floats one(kDim, 1.0f);
  const auto add = [&](const char* name) { multi.Find(name)->AssignAdd(ids, one.data(), 1); };
  add("a");
  add("b");
  const auto write = [&] {
    for (int i = 0; i < 2000; ++i) {
      add("a");
      add("b");
    }
  };
  const auto save = [&] {
    const std::vector<EntryBatch> batches = multi.Save();
    const float ahead = batches[0].target().values[0] - batches[1].target().values[0];
    ASSERT_TRUE(ahead == 0 || ahead == 1) << ahead;
  };
  RunBeside({write}, {save, save});
}

TEST(EmbeddingTableThreads, ALookupSeesATableBeforeOrAfterARestore) {
  const auto table = Make();
  const Ids ids = Range(3000);
  const auto batch_of = [&](float value) {
    EntryBatch batch = NoiseBatch(table->format().layout(), ids);
    std::fill_n(batch.target().values, ids.size() * kDim, value);
    return batch;
  };
  const EntryBatch first = batch_of(1);
  const EntryBatch second = batch_of(2);
  table->Restore(SourceOf(first), ids.size(), true);
  const auto write = [&] {
    for (int i = 0; i < 20; ++i) {
      table->Restore(SourceOf(i % 2 == 0 ? second : first), ids.size(), true);
      const auto other = table->EmptyLike();
      other->Restore(SourceOf(first), ids.size(), false);
      table->Swap(*other);
    }
    table->Clear();
  };
  const auto read = [&] {
    Floats values(ids.size() * kDim);
    const std::size_t hits = table->Lookup(ids, values.data());
    ASSERT_TRUE(hits == ids.size() || hits == 0) << hits;
    ASSERT_EQ(std::count(values.begin(), values.end(), values[0]), static_cast<std::ptrdiff_t>(values.size()));
    static_cast<void>(table->memory_bytes());
    ASSERT_TRUE(table->Save().rows() % ids.size() == 0);
  };
  RunBeside({write}, {read, read});
  EXPECT_EQ(table->size(), 0u);
}

TEST(EmbeddingTableThreads, EverythingAtOnce) {
  // What no single number can tell: that nothing crashes, hangs or races.
  const WireWriter one_bit = Alternative(CompressorConfig::Kind::kOneBit);
  EmbeddingTable table(TableMessage({TrainingSegment(3, Alternative(OptimizerKind::kAdam),
                                                     Alternative(InitializerConfig::Kind::kRandomUniform), &one_bit)})
                           .bytes());
  const auto work = [&](unsigned seed) {
    return [&, seed] {
      std::mt19937_64 random(seed);
      std::vector<std::int32_t> existed(64);
      for (int step = 0; step < 150; ++step) {
        Ids ids(64);
        for (std::uint64_t& id : ids) id = random() % 5000;
        Floats values(ids.size() * 3, 0.5f);
        switch (random() % 10) {
          case 0:
            table.Assign(ids, values.data(), step);
            break;
          case 1:
            table.AssignAdd(ids, values.data(), step);
            break;
          case 2:
            table.Reinitialize(ids, existed.data());
            break;
          case 3:
            table.Evict(4'000'000'000);
            break;
          case 4:
            static_cast<void>(table.Save());
            break;
          case 5:
            static_cast<void>(table.LookupEntry(ids));
            break;
          case 6:
            if (step % 50 == 0) table.Clear();
            static_cast<void>(table.Ids());
            break;
          default:
            table.Optimize(ids, values.data(), Floats{0.1f}, step, step);
            table.Lookup(ids, values.data());
            break;
        }
      }
    };
  };
  RunBeside({work(1), work(2), work(3)}, {[&] { EXPECT_LE(table.size(), 5000u); }});
  EXPECT_EQ(table.Save().rows(), table.size());
}

}  // namespace
}  // namespace mexport
