#include "core/embedding_table.h"

#include <array>
#include <cmath>
#include <ctime>
#include <numeric>

#include "core/entry_format.h"
#include "core/multi_table.h"
#include "tests/table_testing.h"

namespace mexport {
namespace {

using testing::Each;
using testing::ElementsAre;
using Kind = OptimizerKind;
using Ids = std::vector<std::uint64_t>;
using Floats = std::vector<float>;

std::unique_ptr<EmbeddingTable> Make(const WireWriter& message) {
  return std::make_unique<EmbeddingTable>(message.bytes());
}

std::unique_ptr<EmbeddingTable> Ones(std::uint64_t dim, const WireWriter& optimizer = Alternative(Kind::kSgd)) {
  return Make(TableMessage({TrainingSegment(dim, optimizer, Alternative(InitializerConfig::Kind::kOnes))}));
}

Floats Lookup(const EmbeddingTable& table, const Ids& ids, std::size_t hits) {
  Floats values(ids.size() * table.dim(), -777.0f);
  EXPECT_EQ(table.Lookup(ids, values.data()), hits);
  return values;
}

// A config whose slot 1 expires after 0 days, slot 2 after 5, others after 2.
WireWriter Expiring() {
  WireWriter message = TableMessage({TrainingSegment(1, Alternative(Kind::kSgd))});
  WireWriter expire;
  for (const auto& [slot, days] : {std::pair{1u, 0u}, std::pair{2u, 5u}}) {
    WireWriter one;
    one.Varint(1, slot);
    one.Varint(2, days);
    expire.Message(1, one);
  }
  expire.Varint(2, 2);
  message.Message(3, expire);
  return message;
}

TEST(EmbeddingTable, LookupOfWhatIsNotThereIsZeroAndMakesNothing) {
  const auto table = Ones(2);
  EXPECT_THAT(Lookup(*table, {1, 2, 1}, 0), Each(0.0f));
  EXPECT_EQ(table->size(), 0u);
  EXPECT_EQ(Lookup(*table, {}, 0).size(), 0u);
}

TEST(EmbeddingTable, AssignAddAndOptimizeBeginWithTheInitializer) {
  const auto table = Ones(2);
  table->Assign(Ids{1}, Floats{3, 4}.data(), 10);
  table->AssignAdd(Ids{1, 2, 2}, Floats{1, 1, 5, 5, 5, 5}.data(), 20);
  table->Optimize(Ids{3, 3}, Floats{1, 2, 1, 2}.data(), Floats{0.5f}, 15, 0);
  EXPECT_THAT(Lookup(*table, {1, 2, 3, UINT64_MAX}, 3), ElementsAre(4, 5, 11, 11, 0, -1, 0, 0));
  EXPECT_EQ(table->max_update_time(), 20);
  std::array<std::uint8_t, 2> present{};
  EXPECT_EQ(table->Contains(Ids{9, 3}, present.data()), 1u);
  EXPECT_THAT(present, ElementsAre(0, 1));
  EXPECT_EQ(table->Ids(), (Ids{1, 2, 3}));
}

TEST(EmbeddingTable, OfSeveralValuesForOneIdTheLastStays) {
  const auto table = Ones(1);
  table->Assign(Ids{5, 5, 5}, Floats{1, 2, 3}.data(), 0);
  EXPECT_THAT(Lookup(*table, {5}, 1), ElementsAre(3));
}

TEST(EmbeddingTable, RefusesWrongArgumentsBeforeItChangesAnything) {
  const auto table = Ones(1);
  const float one = 1;
  const Floats rates = {1};
  for (const std::int64_t time : {std::int64_t{-1}, std::int64_t{1} << 32, INT64_MAX}) {
    EXPECT_THAT(Caught([&] { table->Assign(Ids{1}, &one, time); }), Is(ErrorKind::kInvalidArgument, "update time"));
    EXPECT_THAT(Caught([&] { table->AssignAdd(Ids{1}, &one, time); }), Is(ErrorKind::kInvalidArgument, "update time"));
    EXPECT_THAT(Caught([&] { table->Optimize(Ids{1}, &one, rates, time, 0); }),
                Is(ErrorKind::kInvalidArgument, "update time"));
    EXPECT_THAT(Caught([&] { table->Evict(time); }), Is(ErrorKind::kInvalidArgument, "update time"));
  }
  EXPECT_THAT(Caught([&] { table->Optimize(Ids{1}, &one, Floats{1, 2}, 0, 0); }),
              Is(ErrorKind::kInvalidArgument, "learning rates: got 2, want 1"));
  EXPECT_THAT(Caught([&] { table->Optimize(Ids{1}, &one, rates, 0, -1); }),
              Is(ErrorKind::kInvalidArgument, "global step: got -1"));
  EXPECT_EQ(table->size(), 0u);
  EXPECT_EQ(table->max_update_time(), 0);
}

TEST(EmbeddingTable, ServingTablesRefuseWhatNeedsState) {
  const auto table = Make(ServingMessage({ServingSegment(1, Alternative(CompressorConfig::Kind::kFp16))}));
  const float one = 1;
  EXPECT_THAT(Caught([&] { table->Optimize(Ids{1}, &one, Floats{1}, 0, 0); }),
              Is(ErrorKind::kInvalidArgument, "got a serving table"));
  EXPECT_THAT(Caught([&] { table->Save(); }), Is(ErrorKind::kInvalidArgument, "got a serving table"));
  EXPECT_THAT(Caught([&] { table->Save(Ids{1}); }), Is(ErrorKind::kInvalidArgument, "got a serving table"));
  EXPECT_THAT(Caught([&] { table->LookupEntry(Ids{1}); }), Is(ErrorKind::kInvalidArgument, "got a serving table"));
  table->AssignAdd(Ids{1}, &one, 0);
  EXPECT_THAT(Lookup(*table, {1}, 1), ElementsAre(1));
}

TEST(EmbeddingTable, SkipsZerosInServingTables) {
  WireWriter message = ServingMessage({ServingSegment(2, Alternative(CompressorConfig::Kind::kFp32))});
  message.Varint(10, 1);
  const auto table = Make(message);
  table->Assign(Ids{1, 2, 3, 4}, Floats{1, 0, 0, 0, 1e-25f, 1e-25f, NAN, 0}.data(), 0);
  EXPECT_EQ(table->Ids(), (Ids{1, 4}));
  table->Assign(Ids{1}, Floats{0, -0.0f}.data(), 0);
  EXPECT_EQ(table->Ids(), (Ids{4}));
  table->AssignAdd(Ids{5}, Floats{0, 0}.data(), 0);
  EXPECT_EQ(table->Ids(), (Ids{4, 5}));
  EntryBatch batch(EntryLayout({}, 2));
  batch.Reserve(2);
  const std::array<float, 4> values = {0, 0, 1, 1};
  std::memcpy(batch.target().values, values.data(), sizeof(values));
  for (int i = 0; i < 2; ++i) {
    batch.target().ids[i] = 6 + i;
    batch.target().timestamps[i] = 100 - i;
  }
  table->Restore(SourceOf(batch), 2, true);
  EXPECT_EQ(table->Ids(), (Ids{7}));
  EXPECT_EQ(table->max_update_time(), 100);  // of what was skipped, too
}

TEST(EmbeddingTable, EvictsByTheDaysOfASlot) {
  const auto table = Make(Expiring());
  const std::int64_t day = 86400;
  const std::int64_t now = 10 * day;
  const Ids ids = {1,
                   2,
                   std::uint64_t{1} << 48,
                   std::uint64_t{2} << 48,
                   std::uint64_t{2} << 48 | 1,
                   std::uint64_t{1} << 63 | std::uint64_t{2} << 48 | 2};
  const std::array<std::int64_t, 6> times = {now - 2 * day, now - 2 * day + 1, now,
                                             now - 5 * day, now - 5 * day + 1, now - 5 * day + 1};
  const float one = 1;
  for (std::size_t i = 0; i < ids.size(); ++i) table->Assign(std::span(ids).subspan(i, 1), &one, times[i]);
  EXPECT_EQ(table->Evict(now - 3 * day - 1), 0u);
  EXPECT_EQ(table->Evict(std::nullopt), 3u);  // by the latest time, which 0 days do not survive
  EXPECT_EQ(table->Ids(), (Ids{ids[1], ids[4], ids[5]}));
}

TEST(EmbeddingTable, ReinitializeStartsAnew) {
  const auto table = Ones(2, Alternative(Kind::kAdagrad, {{3, 0.5f}}));
  table->Optimize(Ids{1}, Floats{1, 1}.data(), Floats{1}, 7, 0);
  std::array<std::int32_t, 2> existed{};
  const std::int64_t before = std::time(nullptr);
  table->Reinitialize(Ids{1, 2}, existed.data());
  EXPECT_THAT(existed, ElementsAre(1, 0));
  EXPECT_THAT(Lookup(*table, {1, 2}, 2), Each(1.0f));
  const EntryBatch batch = table->Save();
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_GE(batch.target().timestamps[i], before);
    EXPECT_EQ(static_cast<const float*>(batch.target().states[0])[2 * i], 0.5f);
  }
}

// Every optimizer that a table may have.
WireWriter AllKinds() {
  std::vector<WireWriter> segments;
  for (const OptimizerTraits& traits : AllOptimizers()) {
    if (traits.kind == Kind::kDynamicWdAdagrad || traits.kind == Kind::kDc || traits.kind == Kind::kGroupFtrl) continue;
    const bool single = traits.kind == Kind::kBatchSoftmax;
    segments.push_back(TrainingSegment(single ? 1 : 1 + segments.size() % 3, Alternative(traits.kind),
                                       Alternative(InitializerConfig::Kind::kRandomUniform)));
  }
  return TableMessage(segments);
}

void Train(EmbeddingTable& table, const Ids& ids, std::int64_t step) {
  Floats gradients(ids.size() * table.dim());
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    gradients[i] = static_cast<float>(static_cast<int>(i * 7 % 13) - 6) / 8;
  }
  const Floats rates(table.format().segments(), 0.1f);
  table.Optimize(ids, gradients.data(), rates, 1000 + step, step);
}

TEST(EmbeddingTable, ARestoredTableGoesOnLikeTheSavedOne) {
  const auto table = Make(AllKinds());
  Ids ids(500);
  std::iota(ids.begin(), ids.end(), std::uint64_t{0} - 250);
  Train(*table, ids, 3);
  const EntryBatch saved = table->Save();
  EXPECT_EQ(saved.rows(), 500u);
  EXPECT_TRUE(std::is_sorted(saved.target().ids, saved.target().ids + 500, [](std::int64_t a, std::int64_t b) {
    return static_cast<std::uint64_t>(a) < static_cast<std::uint64_t>(b);
  }));
  EXPECT_EQ(saved.target().timestamps[0], 1003);
  const auto restored = table->EmptyLike();
  restored->Restore(SourceOf(saved), saved.rows(), true);
  EXPECT_EQ(ColumnsOf(restored->Save()), ColumnsOf(saved));
  EXPECT_EQ(restored->max_update_time(), 1003);
  for (std::int64_t step = 4; step < 8; ++step) {
    Train(*table, ids, step);
    Train(*restored, ids, step);
  }
  EXPECT_EQ(ColumnsOf(restored->Save()), ColumnsOf(table->Save()));
  EXPECT_NE(ColumnsOf(restored->Save()), ColumnsOf(saved));

  // By way of records, too.
  const EntryBatch now = table->Save();
  EntryBatch decoded(now.layout());
  decoded.Reserve(now.rows());
  for (std::size_t i = 0; i < now.rows(); ++i) {
    EntryDecoder(now.layout()).Decode(AsBytes(Encoded(now, i)), decoded.target(), i);
  }
  decoded.SetRows(now.rows());
  EXPECT_EQ(ColumnsOf(decoded), ColumnsOf(now));
}

TEST(EmbeddingTable, EntriesAreTheRecordsOfTheDumpWithoutTheId) {
  const auto table = Make(AllKinds());
  const Ids ids = {3, 4};
  Train(*table, ids, 300);
  const std::vector<std::string> entries = table->LookupEntry(Ids{4, 99, 3});
  const EntryBatch saved = table->Save();
  EXPECT_EQ(entries[0], Encoded(saved, 1).substr(9));
  EXPECT_EQ(entries[1], "");
  EXPECT_EQ(entries[2], Encoded(saved, 0).substr(9));
}

TEST(EmbeddingTable, SavesIdsInTheOrderGiven) {
  const auto table = Ones(1);
  table->Assign(Ids{1, 2, 3}, Floats{10, 20, 30}.data(), 5);
  const EntryBatch some = table->Save(Ids{3, 7, 1});
  ASSERT_EQ(some.rows(), 2u);
  EXPECT_EQ(some.target().ids[0], 3);
  EXPECT_EQ(some.target().values[0], 30.0f);
  EXPECT_EQ(some.target().ids[1], 1);
  EXPECT_EQ(some.target().timestamps[1], 5);
}

TEST(EmbeddingTable, RestoreIsAllOrNothing) {
  const auto table = Ones(1, Alternative(Kind::kAdagrad));
  table->Assign(Ids{1}, Floats{10}.data(), 5);
  EntryBatch batch = NoiseBatch(table->format().layout(), {1, 2});
  batch.target().timestamps[1] = -1;
  for (const bool clear : {false, true}) {
    EXPECT_THAT(Caught([&] { table->Restore(SourceOf(batch), 2, clear); }),
                Is(ErrorKind::kInvalidArgument, "update time: got -1"));
  }
  EntrySource without_state = SourceOf(batch);
  without_state.states.clear();
  EXPECT_THAT(Caught([&] { table->Restore(without_state, 1, true); }),
              Is(ErrorKind::kInvalidArgument, "optimizer state: got 0 columns, want 1"));
  EXPECT_THAT(Lookup(*table, {1, 2}, 1), ElementsAre(10, 0));
  batch.target().timestamps[1] = 6;
  const Ids three = {3};
  table->Assign(three, Floats{1}.data(), 0);
  table->Restore(SourceOf(batch), 2, false);
  EXPECT_EQ(table->Ids(), (Ids{1, 2, 3}));
  table->Restore(SourceOf(batch), 2, true);
  EXPECT_EQ(table->Ids(), (Ids{1, 2}));
}

TEST(EmbeddingTable, ClearAndSwap) {
  const auto a = Ones(1);
  const auto b = a->EmptyLike();
  a->Assign(Ids{1}, Floats{10}.data(), 5);
  a->Swap(*b);
  EXPECT_EQ(a->size(), 0u);
  EXPECT_THAT(Lookup(*b, {1}, 1), ElementsAre(10));
  EXPECT_EQ(b->max_update_time(), 5);
  b->Swap(*b);
  EXPECT_EQ(b->size(), 1u);
  EXPECT_THAT(Caught([&] { b->Swap(*Ones(2)); }), Is(ErrorKind::kInvalidArgument, "different configurations"));
  b->Clear();
  EXPECT_EQ(b->size(), 0u);
  b->Assign(Ids{2}, Floats{1}.data(), 0);
  EXPECT_EQ(b->Ids(), (Ids{2}));
}

TEST(EmbeddingTable, ManyRowsTakeLittleMoreThanTheirBytes) {
  const auto table = Make(TableMessage({TrainingSegment(8, Alternative(Kind::kSgd))}));
  Ids ids(200'000);
  std::iota(ids.begin(), ids.end(), 0);
  const Floats values(ids.size() * 8, 1.0f);
  table->Assign(ids, values.data(), 1);
  // Payload, key and timestamp are 44 bytes; the index has a fifth of its slots free, and a half more after it grew.
  EXPECT_LT(static_cast<double>(table->memory_bytes()) / 2e5, 44 + 24);
}

}  // namespace
}  // namespace mexport
