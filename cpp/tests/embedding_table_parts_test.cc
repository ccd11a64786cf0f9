// What training adds to a table beyond single values: sums of gradients, ids that are not admitted, saving in parts.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <stop_token>
#include <thread>

#include "core/distinct_ids.h"
#include "core/embedding_table.h"
#include "core/entry_dump.h"
#include "core/wire.h"
#include "tests/testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;
using testing::Pair;
using Ids = std::vector<std::uint64_t>;
using Floats = std::vector<float>;

constexpr std::size_t kDim = 3;
const Floats kRate = {1};

// A table of one segment, sgd or serving.
std::unique_ptr<EmbeddingTable> Make(bool training = true) {
  WireWriter zeros;
  zeros.Message(1, {});
  WireWriter segment;
  segment.Message(1, zeros);
  WireWriter sgd;
  sgd.Message(2, {});
  segment.Message(2, sgd);
  segment.Message(3, zeros);
  segment.Varint(7, kDim);
  WireWriter entry;
  entry.Message(1, segment);
  entry.Varint(2, training ? 1 : 2);
  WireWriter table;
  table.Message(1, entry);
  table.Message(5, {});
  return std::make_unique<EmbeddingTable>(table.bytes());
}

Floats Rows(const Ids& ids) {
  Floats rows;
  for (const std::uint64_t id : ids) rows.insert(rows.end(), kDim, static_cast<float>(id % 1000));
  return rows;
}

Ids Range(std::uint64_t begin, std::uint64_t n) {
  Ids ids(n);
  std::iota(ids.begin(), ids.end(), begin);
  return ids;
}

Floats LookUp(const EmbeddingTable& table, const Ids& ids) {
  Floats values(ids.size() * kDim);
  table.Lookup(ids, values.data());
  Floats firsts;
  for (std::size_t i = 0; i < ids.size(); ++i) firsts.push_back(values[i * kDim]);
  return firsts;
}

TEST(DistinctIds, CountsAndAddsInTheOrderOfTheBatch) {
  const Ids ids = {7, UINT64_MAX, 7, 0, 7};
  const DistinctIds distinct(ids);
  EXPECT_THAT(distinct.ids(), ElementsAre(0, 7, UINT64_MAX));
  EXPECT_EQ(distinct.count(0), 1u);
  EXPECT_EQ(distinct.count(1), 3u);
  EXPECT_EQ(distinct.count(2), 1u);
  // In floats, 1e8 + 1 is 1e8: the order shows.
  const Floats rows = {1e8f, 1, 2, 2, 1, 3, 4, 4, -1e8f, 5};
  EXPECT_THAT(distinct.Sum(rows.data(), 2), ElementsAre(4, 4, 0, 9, 2, 2));
  EXPECT_TRUE(DistinctIds({}).ids().empty());
  EXPECT_TRUE(DistinctIds({}).Sum(nullptr, 2).empty());
}

TEST(EmbeddingTable, GradientsOfOneIdAreOneStepOrSeveral) {
  const Ids ids = {1, 2, 1};
  const Floats gradients = {1, 1, 1, 2, 2, 2, 4, 4, 4};
  for (const bool sum : {false, true}) {
    const auto table = Make();
    int asked = 0;
    table->Optimize(ids, gradients.data(),
                    {.learning_rates = kRate,
                     .update_time = 9,
                     .sum_gradients = sum,
                     .admit = [&](std::uint64_t id, std::uint64_t occurrences) {
                       ++asked;
                       EXPECT_EQ(occurrences, sum && id == 1 ? 2u : 1u);
                       return true;
                     }});
    EXPECT_EQ(asked, 2);  // an id that is there is not asked for
    EXPECT_THAT(LookUp(*table, {1, 2}), ElementsAre(-5, -2));
    EXPECT_EQ(table->max_update_time(), 9);
  }
}

TEST(EmbeddingTable, IdsThatAreNotAdmittedAreLeftOut) {
  const Admit odd = [](std::uint64_t id, std::uint64_t) { return id % 2 == 1; };
  const Ids ids = {1, 2, 3, 4};
  const Floats ones(ids.size() * kDim, 1.0f);
  for (int way = 0; way < 3; ++way) {
    const auto table = Make();
    table->Assign(Ids{4}, Floats(kDim, 10.0f).data(), 0);
    if (way == 0) table->Assign(ids, ones.data(), 0, odd);
    if (way == 1) table->AssignAdd(ids, ones.data(), 0, odd);
    if (way == 2) table->Optimize(ids, ones.data(), {.learning_rates = kRate, .admit = odd});
    EXPECT_THAT(table->Ids(), ElementsAre(1, 3, 4)) << way;
    EXPECT_THAT(LookUp(*table, {4}), ElementsAre(way == 0 ? 1 : way == 1 ? 11 : 9));
  }
}

TEST(EmbeddingTable, SignedIdsAreTheSameBits) {
  const std::vector<std::int64_t> ids = {-1, 5};
  EXPECT_THAT(AsIds(ids), ElementsAre(UINT64_MAX, 5));
  EXPECT_TRUE(AsIds({}).empty());
}

TEST(EmbeddingTable, LiveIdsAreThoseThatHaveNotExpired) {
  constexpr std::uint64_t kSlot = std::uint64_t{2} << 48;
  constexpr std::int64_t kDay = 86400;
  ExpireConfig expire;
  expire.default_days = 3;
  expire.days_of_slot[2] = 1;
  const auto table = Make();
  const Ids slow = Range(0, 5000);
  const Ids fast = Range(kSlot, 5000);
  table->Assign(slow, Rows(slow).data(), 100);
  table->Assign(fast, Rows(fast).data(), 100);
  table->Assign(Ids{7, kSlot + 9}, Rows({7, 9}).data(), 101);
  const auto live = [&](std::int64_t days) { return table->LiveIds(expire, 100 + days * kDay); };
  Ids all = slow;
  all.insert(all.end(), fast.begin(), fast.end());
  EXPECT_EQ(table->LiveIds(expire, 99 + kDay), all);
  Ids rest = slow;
  rest.push_back(kSlot + 9);
  EXPECT_EQ(live(1), rest);
  EXPECT_EQ(live(2), slow);
  EXPECT_THAT(live(3), ElementsAre(7));
  EXPECT_THAT(live(4), ElementsAre());
  EXPECT_EQ(table->size(), 10'000u);
}

// The ids of all parts, in pieces of `limit`.
std::multiset<std::uint64_t> SaveInParts(const EmbeddingTable& table, std::uint64_t parts, std::size_t limit) {
  std::multiset<std::uint64_t> ids;
  for (std::uint64_t part = 0; part < parts; ++part) {
    std::uint64_t position = 0;
    while (true) {
      const EntryBatch batch = table.SavePart(part, parts, &position, limit);
      EXPECT_LE(batch.rows(), limit);
      for (std::size_t i = 0; i < batch.rows(); ++i) {
        const auto id = static_cast<std::uint64_t>(batch.target().ids[i]);
        ids.insert(id);
        EXPECT_EQ(batch.target().values[i * kDim + kDim - 1], static_cast<float>(id % 1000));
        EXPECT_EQ(batch.target().timestamps[i], 7);
      }
      if (batch.rows() < limit) break;
    }
    EXPECT_EQ(table.SavePart(part, parts, &position, limit).rows(), 0u) << "after the end";
  }
  return ids;
}

TEST(EmbeddingTable, PartsAreTheWholeTable) {
  const auto table = Make();
  for (const std::uint64_t parts : {1u, 3u, 64u, 1000u}) EXPECT_TRUE(SaveInParts(*table, parts, 2).empty());
  std::uint64_t next = 0;
  for (const std::uint64_t n : {1u, 5u, 100u, 3000u, 30000u}) {
    const Ids ids = Range(next, n - next);
    next = n;
    table->Assign(ids, Rows(ids).data(), 7);
    for (const std::uint64_t parts : {1u, 2u, 5u, 64u, 300u}) {
      for (const std::size_t limit : {std::size_t{1}, std::size_t{64}, std::size_t{100'000}}) {
        if (limit == 1 && n > 5000) continue;
        const auto got = SaveInParts(*table, parts, limit);
        ASSERT_EQ(Ids(got.begin(), got.end()), Range(0, n))
            << n << " ids, " << parts << " parts, limit " << limit << ": got " << got.size();
      }
    }
  }
}

TEST(EmbeddingTable, PartsAndPositionsOutOfRange) {
  const auto table = Make();
  const Ids ids = Range(0, 100);
  table->Assign(ids, Rows(ids).data(), 7);
  std::uint64_t position = 0;
  EXPECT_THAT(Caught([&] { table->SavePart(2, 2, &position, 1); }), Is(ErrorKind::kInvalidArgument, "got 2 of 2"));
  EXPECT_THAT(Caught([&] { table->SavePart(0, 0, &position, 1); }), Is(ErrorKind::kInvalidArgument, "got 0 of 0"));
  EXPECT_THAT(Caught([&] { Make(false)->SavePart(0, 1, &position, 1); }),
              Is(ErrorKind::kInvalidArgument, "got a serving table"));
  EXPECT_EQ(table->SavePart(0, 1, &position, 0).rows(), 0u);
  EXPECT_EQ(position, 0u);
  for (const std::uint64_t part : {0u, 1u}) {
    position = UINT64_MAX;
    EXPECT_EQ(table->SavePart(part, 2, &position, 10).rows(), 0u);
  }
}

TEST(EmbeddingTable, PartsBecomeRecordsAndATableAgain) {
  const auto table = Make();
  const Ids ids = {3, UINT64_MAX};
  table->Assign(ids, Floats{1, 2, 3, 4, 5, 6}.data(), 7);
  std::map<std::int64_t, std::string> records;
  const auto other = table->EmptyLike(1000);
  std::uint64_t position = 0;
  while (true) {
    const EntryBatch batch = table->SavePart(0, 1, &position, 1);
    if (batch.rows() == 0) break;
    records[batch.target().ids[0]] = SerializeEntries(batch).at(0);
    other->Restore(batch, false);
  }
  EXPECT_THAT(records, ElementsAre(Pair(-1, FromHex("09 ffffffffffffffff 15 00008040 15 0000a040 15 0000c040"
                                                    "1a 04 0a 02 12 00 20 07")),
                                   Pair(3, FromHex("09 0300000000000000 15 0000803f 15 00000040 15 00004040"
                                                   "1a 04 0a 02 12 00 20 07"))));
  table->Swap(*other);
  EXPECT_EQ(table->Ids(), ids);
  EXPECT_THAT(LookUp(*table, ids), ElementsAre(1, 4));
  EXPECT_EQ(other->Save().target().timestamps[1], 7);
  // The values of lookups that are given by id have everything but the id.
  EXPECT_EQ(table->LookupEntry(ids)[0], records[3].substr(9));
}

TEST(EmbeddingTable, BatchesOfAnotherLayoutAreRefused) {
  const EntryLayout narrow({{2, OptimizerKind::kSgd}});
  const EntryLayout momentum({{3, OptimizerKind::kMomentum}});
  const auto one = [](const EntryLayout& layout) {
    EntryBatch batch(layout);
    batch.Reserve(1);
    std::fill_n(batch.target().values, layout.dim(), 1.0f);
    *batch.target().ids = 5;
    *batch.target().timestamps = 7;
    batch.SetRows(1);
    return batch;
  };
  for (const bool clear : {false, true}) {
    const auto table = Make();
    EXPECT_THAT(Caught([&] { table->Restore(one(narrow), clear); }),
                Is(ErrorKind::kInvalidArgument, "dimensions of the entries: got 2, want 3"));
    EXPECT_THAT(Caught([&] { table->Restore(one(momentum), clear); }),
                Is(ErrorKind::kInvalidArgument, "other optimizers"));
    EXPECT_EQ(table->size(), 0u);
    // Without state it does not matter in which segments a dump was written.
    table->Restore(one(EntryLayout({{1, OptimizerKind::kMovingAverage}, {2, OptimizerKind::kSgd}})), clear);
    EXPECT_EQ(table->size(), 1u);
    table->Restore(EntryBatch(), clear);  // of empty files
    EXPECT_EQ(table->size(), clear ? 0u : 1u);
    const auto serving = Make(false);
    serving->Restore(one(momentum), clear);
    EXPECT_THAT(LookUp(*serving, {5}), ElementsAre(1));
  }
}

TEST(EmbeddingTable, AnEntryIsSavedOnceWhileTheTableGrows) {
  const auto table = Make();
  const Ids kept = Range(0, 2000);
  table->Assign(kept, Rows(kept).data(), 7);
  const std::jthread writer([&](const std::stop_token& stop) {
    // Other ids come between them; what was there is written again.
    for (std::uint64_t round = 0; !stop.stop_requested(); ++round) {
      const Ids others = Range(1'000'000 + round % 60 * 1000, 1000);
      table->Assign(others, Rows(others).data(), 7);
      table->Assign(kept, Rows(kept).data(), 7);
    }
  });
  for (const std::size_t limit : {std::size_t{50}, std::size_t{10'000}}) {
    for (const std::uint64_t parts : {1u, 7u}) {
      const auto got = SaveInParts(*table, parts, limit);
      for (const std::uint64_t id : kept) ASSERT_EQ(got.count(id), 1u) << id;
      for (const std::uint64_t id : got) ASSERT_EQ(got.count(id), 1u) << id;
    }
  }
}

}  // namespace
}  // namespace mexport
