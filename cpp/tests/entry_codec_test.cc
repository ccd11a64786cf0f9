#include "core/entry_codec.h"

#include <bit>
#include <memory>
#include <numeric>

#include "core/entry_format.h"
#include "core/entry_tags.h"
#include "tests/table_testing.h"

namespace mexport {
namespace {

using testing::HasSubstr;
using Kind = OptimizerKind;

// The one of docs/formats/hash_table.md, with its 17 values written out.
std::string WorkedExample() {
  std::string values = FromHex("15 000080bf");
  for (int i = 1; i < 17; ++i) values += FromHex("15 0000003f");
  return FromHex("09 1c00000000000000") + values + FromHex("1a12 0a0c1a0a 0d00000000 15cdcccc3d 0a021200 2000");
}

const EntryLayout kExampleLayout({{1, Kind::kFtrl}, {16, Kind::kSgd}});

std::string ErrorOf(const EntryLayout& layout, std::string_view record) {
  EntryBatch batch(layout);
  batch.Reserve(1);
  try {
    EntryDecoder(layout).Decode(AsBytes(record), batch.target(), 0);
  } catch (const WireError& error) {
    EXPECT_LE(error.offset(), record.size());
    return error.what();
  }
  return "";
}

EntryBatch Decoded(const EntryLayout& layout, std::string_view record) {
  EntryBatch batch(layout);
  batch.Reserve(1);
  // Bytes on the heap that end where the record does: a read beyond shows under AddressSanitizer.
  const auto exact = std::make_unique<std::uint8_t[]>(record.size());
  std::copy(record.begin(), record.end(), exact.get());
  EntryDecoder(layout).Decode({exact.get(), record.size()}, batch.target(), 0);
  batch.SetRows(1);
  return batch;
}

// An entry of id 5 with these fields behind the id.
std::string Entry(std::string_view hex) { return FromHex("09 0500000000000000") + FromHex(hex); }

TEST(EntryCodec, WorkedExample) {
  const std::string record = WorkedExample();
  ASSERT_EQ(record.size(), 116u);
  EXPECT_EQ(LearnEntryLayout(AsBytes(record)), kExampleLayout);
  const EntryBatch batch = Decoded(kExampleLayout, record);
  EXPECT_EQ(batch.target().ids[0], 28);
  EXPECT_EQ(batch.target().timestamps[0], 0);
  EXPECT_EQ(batch.target().values[0], -1.0f);
  EXPECT_EQ(batch.target().values[16], 0.5f);
  EXPECT_EQ(*static_cast<const float*>(batch.target().states[0]), 0.0f);
  EXPECT_EQ(*static_cast<const float*>(batch.target().states[1]), 0.1f);
  EXPECT_EQ(Encoded(batch), record);
}

TEST(EntryCodec, EachOptimizerRoundTripsBothWays) {
  for (const OptimizerTraits& traits : AllOptimizers()) {
    for (const std::int32_t dim : {1, 2, 11, 12, 13, 40}) {
      const EntryLayout layout({{dim, traits.kind}});
      EntryBatch batch = NoiseBatch(layout, {0, UINT64_MAX, 1, 2});
      const std::int64_t times[] = {0, 127, INT64_MAX, -1};  // of 1, 1, 9 and 10 bytes
      std::copy(std::begin(times), std::end(times), batch.target().timestamps);
      for (std::size_t row = 0; row < batch.rows(); ++row) {
        const std::string record = Encoded(batch, row);
        const EntryBatch fast = Decoded(layout, record);
        EXPECT_EQ(Encoded(fast), record) << traits.name << dim;
        // An unknown field in front: no record has the canonical form then.
        const EntryBatch careful = Decoded(layout, FromHex("7801") + record);
        EXPECT_EQ(ColumnsOf(careful), ColumnsOf(fast)) << traits.name << dim;
        EXPECT_EQ(fast.target().timestamps[0], times[row]);
      }
    }
  }
}

TEST(EntryCodec, AllOptimizersInOneEntry) {
  const EntryLayout layout = LayoutOfAllKinds();
  const EntryBatch batch = NoiseBatch(layout, {77});
  const std::string record = Encoded(batch);
  EXPECT_EQ(ColumnsOf(Decoded(layout, record)), ColumnsOf(batch));
  EXPECT_EQ(ColumnsOf(Decoded(layout, FromHex("7801") + record)), ColumnsOf(batch));
}

TEST(EntryCodec, RowsBesideStayAsTheyAre) {
  const EntryLayout layout({{3, Kind::kAdam}, {1, Kind::kBatchSoftmax}, {13, Kind::kAmsgrad}});
  for (const char* front : {"", "7801"}) {
    EntryBatch batch = NoiseBatch(layout, {1, 2, 3});
    const std::vector<std::string> before = ColumnsOf(batch);
    const EntryBatch other = NoiseBatch(layout, {9}, 100);
    const std::string record = FromHex(front) + Encoded(other);
    EntryDecoder(layout).Decode(AsBytes(record), batch.target(), 1);
    const std::vector<std::string> after = ColumnsOf(batch);
    const std::vector<std::string> want = ColumnsOf(other);
    for (std::size_t c = 0; c < after.size(); ++c) {
      const std::size_t row = want[c].size();
      EXPECT_EQ(after[c], before[c].substr(0, row) + want[c] + before[c].substr(2 * row)) << c;
    }
  }
}

TEST(EntryDecoder, TakesAnyOrderAndForm) {
  const EntryLayout layout({{2, Kind::kAdagrad}});
  const std::vector<std::string> want =
      ColumnsOf(Decoded(layout, Entry("15 0000803f 15 00000040 1a 0e 0a0c 0a0a 0d 0000003f 0d 0000803e 20 07")));
  for (const char* hex : {
           "1208 0000803f00000040 1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2007",               // packed values
           "15 0000803f 1204 00000040 1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2007",           // both forms
           "1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2007 15 0000803f 15 00000040",             // another order
           "15 0000803f 1a0e 0a0c 0a0a 0d0000003f 0d0000803e 15 00000040 2007",             // values apart
           "15 0000803f 15 00000040 1a0e 0a0c 0a0a 0a08 0000003f0000803e 2007",             // packed state
           "15 0000803f 15 00000040 1a10 0a0e 0a05 0d0000003f 0a05 0d0000803e 2007",        // merged state
           "15 0000803f 15 00000040 1a00 1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2007",        // opt in two pieces
           "15 0000803f 15 00000040 1a12 0a10 1200 1800 0a0a 0d0000003f 0d0000803e 2007",   // the last of a oneof
           "15 0000803f 15 00000040 1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2001 2007",        // the last timestamp
           "15 0000803f 15 00000040 1a0e 0a0c 0a0a 0d0000003f 0d0000803e 208700",           // a long varint
           "090900000000000000 09 0500000000000000 1208 0000803f00000040"                   // the last id
           "1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2007",                                     //
           "15 0000803f 15 00000040 1a10 0801 0a0c 0a0a 0d0000003f 0d0000803e 2007",        // unknown within opt
           "15 0000803f 15 00000040 1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2007 7b 0801 7c",  // an unknown group
       }) {
    SCOPED_TRACE(hex);
    EXPECT_EQ(ColumnsOf(Decoded(layout, Entry(hex))), want);
  }
}

TEST(EntryDecoder, WhatMayBeMissing) {
  const EntryLayout sgd({{1, Kind::kSgd}});
  for (const char* hex : {"15 0000803f", "15 0000803f 2000", "15 0000803f 1a02 0a00 2000"}) {
    const std::string error = ErrorOf(sgd, Entry(hex));
    // An empty SingleOptimizerDump is of no kind.
    EXPECT_EQ(error.empty(), std::string(hex).find("0a00") == std::string::npos) << hex << error;
  }
  EXPECT_EQ(Decoded(sgd, Entry("15 0000803f")).target().timestamps[0], 0);
  // moving_average has nothing in a dump.
  EXPECT_EQ(ErrorOf(EntryLayout({{1, Kind::kMovingAverage}}), Entry("15 0000803f")), "");
}

TEST(EntryDecoder, RefusesOtherEntries) {
  const EntryLayout layout({{2, Kind::kAdagrad}});
  const std::string values = "15 0000803f 15 00000040";
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"15 0000803f 1a0e 0a0c 0a0a 0d0000003f 0d0000803e", "values of the entry: got 1, want 2"},
      {values + "15 00000000 1a0e 0a0c 0a0a 0d0000003f 0d0000803e", "values of the entry: got 3, want 2"},
      {values, "optimizer states of the entry: got 0, want 1"},
      {values + "1a00", "optimizer states of the entry: got 0, want 1"},
      {values + "1a09 0a07 0a05 0d0000003f", "values of adagrad's norm of segment 0: got 1, want 2"},
      {values + "1a13 0a11 0a0f 0d0000003f 0d0000803e 0d00000000", "norm of segment 0: got 3, want 2"},
      {values + "1a04 0a02 1200", "optimizer state of segment 0: got sgd, want adagrad"},
      {values + "1a02 0a00", "optimizer state of segment 0: got one of no known kind, want adagrad"},
      {values + "1a1c 0a0c 0a0a 0d0000003f 0d0000803e 0a0c 0a0a 0d0000003f 0d0000803e", "got 2, want 1"},
      {values + "1a13 0a11 0a0a 0d0000003f 0d0000803e 0a03 0a0100", "multiple of 4"},
      {values + "1a10 0a0e 0a0a 0d0000003f 0d0000803e 1200", "got sgd, want adagrad"},
      {"12 03 000000", "multiple of 4"},
      {values + "20", "end within a integer"},
  };
  for (const auto& [hex, text] : cases) EXPECT_THAT(ErrorOf(layout, Entry(hex)), HasSubstr(text)) << hex;
  const std::string whole = Entry(values + "1a0e 0a0c 0a0a 0d0000003f 0d0000803e 2007");
  EXPECT_EQ(ErrorOf(layout, whole), "");
  EXPECT_THAT(ErrorOf(layout, whole.substr(9)), HasSubstr("without an id"));
}

TEST(EntryDecoder, TakesNoCutButThatOfTheTimestamp) {
  const EntryBatch batch = NoiseBatch(EntryLayout({{2, Kind::kAdam}, {3, Kind::kMomentum}}), {8});
  const std::string record = Encoded(batch);
  const std::size_t timestamp = 1 + VarintSize(1'600'000'000);
  for (std::size_t size = 0; size < record.size(); ++size) {
    EXPECT_EQ(ErrorOf(batch.layout(), record.substr(0, size)).empty(), size == record.size() - timestamp) << size;
  }
}

TEST(EntryDecoder, ColumnsAreNoLargerThanTheFile) {
  for (const OptimizerTraits& traits : AllOptimizers()) {
    const EntryLayout layout({{5, traits.kind}});
    EntryBatch batch = NoiseBatch(layout, {1});
    EXPECT_LE(EntryDecoder(layout).MinEntryBytes(), Encoded(batch).size()) << traits.name;
    EXPECT_GE(EntryDecoder(layout).MinEntryBytes(), layout.dim() * sizeof(float));
  }
}

TEST(EntryEncoder, SizesAreExactForIntegersOfAnySize) {
  const EntryLayout layout({{1, Kind::kBatchSoftmax}, {2, Kind::kDynamicWdAdagrad}});
  EntryBatch batch = NoiseBatch(layout, {1});
  for (const std::int64_t step : {std::int64_t{0}, std::int64_t{127}, std::int64_t{128}, INT64_MAX, std::int64_t{-1}}) {
    *static_cast<std::int64_t*>(batch.target().states[0]) = step;
    *static_cast<std::int64_t*>(batch.target().states[2]) = -step;
    EXPECT_EQ(ColumnsOf(Decoded(layout, Encoded(batch))), ColumnsOf(batch)) << step;
  }
}

TEST(LearnEntryLayout, FindsWhatADumpTells) {
  for (const std::vector<SegmentLayout>& segments : {
           std::vector<SegmentLayout>{{4, Kind::kAdagrad}},
           std::vector<SegmentLayout>{{1, Kind::kFtrl}, {7, Kind::kSgd}, {2, Kind::kAdam}},
           std::vector<SegmentLayout>{{3, Kind::kGroupAdaGrad}},  // its state has no array
           std::vector<SegmentLayout>{{1, Kind::kBatchSoftmax}, {2, Kind::kRmsprop}},
       }) {
    const EntryLayout layout(segments);
    EXPECT_EQ(LearnEntryLayout(AsBytes(Encoded(NoiseBatch(layout, {1})))), layout);
  }
  // Of two segments without arrays nobody knows where one ends.
  const EntryLayout two({{3, Kind::kSgd}, {4, Kind::kGroupAdaGrad}});
  const EntryLayout learned = LearnEntryLayout(AsBytes(Encoded(NoiseBatch(two, {1}))));
  EXPECT_EQ(learned, EntryLayout({{0, Kind::kSgd}, {0, Kind::kGroupAdaGrad}}, 7));
  // Nor of what is in no dump.
  EXPECT_EQ(LearnEntryLayout(AsBytes(Encoded(NoiseBatch(EntryLayout({{3, Kind::kMovingAverage}}), {1})))),
            EntryLayout({}, 3));
  EXPECT_EQ(LearnEntryLayout({}), EntryLayout({}, 0));
}

TEST(LearnEntryLayout, RefusesWhatMakesNoLayout) {
  const auto error_of = [](std::string_view hex) -> std::string {
    try {
      LearnEntryLayout(AsBytes(FromHex(hex)));
    } catch (const WireError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(error_of("1a07 0a05 0a03 0a0100"), HasSubstr("multiple of 4"));
  EXPECT_THAT(error_of("1a09 0a07 0a05 0d00000000"), HasSubstr("got 1, want 0"));
  EXPECT_THAT(error_of("1a02 0a00"), HasSubstr("no known kind"));
  EXPECT_THAT(error_of("1a05 0a00"), HasSubstr("length"));
}

TEST(EntryLayout, StateColumnsInTheOrderOfADump) {
  const EntryLayout layout({{2, Kind::kAmsgrad}, {3, Kind::kSgd}, {1, Kind::kDynamicWdAdagrad}});
  EXPECT_EQ(layout.dim(), 6u);
  std::string text;
  for (const StateColumn& column : layout.columns()) {
    text += std::to_string(column.segment) + std::string(column.field->name) + std::to_string(column.count) +
            (column.is_integer() ? "i " : " ");
  }
  EXPECT_EQ(text, "0m2 0v2 0vhat2 0beta1_power1 0beta2_power1 2norm1 2last_update_step1i ");
  EXPECT_TRUE(layout.HasState());
  EXPECT_FALSE(EntryLayout({{3, Kind::kSgd}}).HasState());
}

TEST(EntryLayout, TraitsAreFoundByNameAndNumber) {
  for (const OptimizerTraits& traits : AllOptimizers()) {
    EXPECT_EQ(FindOptimizer(traits.name), &traits);
    EXPECT_EQ(&TraitsOf(traits.kind), &traits);
    EXPECT_EQ(FindOptimizerByDumpField(traits.dump_field), traits.dump_field == 0 ? nullptr : &traits);
  }
  EXPECT_EQ(FindOptimizer("none"), nullptr);
  EXPECT_EQ(FindOptimizerByDumpField(5), nullptr);
}

TEST(EntryTags, EachImplementationStripsAndInserts) {
  const std::size_t most = 100;
  const std::string noise = Noise(most * sizeof(float));
  for (const EntryTagsImplementation& implementation : EntryTagsImplementations()) {
    SCOPED_TRACE(implementation.name);
    for (std::size_t count = 0; count <= most; ++count) {
      const auto floats = std::make_unique<float[]>(count);
      std::copy_n(noise.data(), count * sizeof(float), reinterpret_cast<char*>(floats.get()));
      const auto tagged = std::make_unique<std::uint8_t[]>(count * kTaggedFloatBytes);
      implementation.insert(floats.get(), count, 0x15, tagged.get());
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(tagged[i * kTaggedFloatBytes], 0x15);
        ASSERT_EQ(std::memcmp(&tagged[i * kTaggedFloatBytes + 1], &floats[i], sizeof(float)), 0);
      }
      const auto back = std::make_unique<float[]>(count);
      ASSERT_TRUE(implementation.strip(tagged.get(), count, 0x15, back.get()));
      ASSERT_EQ(std::memcmp(back.get(), floats.get(), count * sizeof(float)), 0);
      for (std::size_t i = 0; i < count; ++i) {
        tagged[i * kTaggedFloatBytes] ^= 0x80;
        ASSERT_FALSE(implementation.strip(tagged.get(), count, 0x15, back.get())) << i;
        tagged[i * kTaggedFloatBytes] ^= 0x80;
      }
    }
  }
}

TEST(EntryBatch, KeepsRowsWhileItGrows) {
  const EntryLayout layout({{2, Kind::kAdam}, {1, Kind::kBatchSoftmax}});
  EntryBatch batch = NoiseBatch(layout, {1, 2, 3});
  const std::vector<std::string> want = ColumnsOf(batch);
  batch.Reserve(100'000);
  EXPECT_EQ(batch.capacity(), 100'000u);
  EXPECT_EQ(ColumnsOf(batch), want);
  batch.Reserve(3);
  EXPECT_EQ(ColumnsOf(batch), want);
  batch.ReserveOneMore();
  EXPECT_GT(batch.capacity(), 3u);
  EXPECT_EQ(ColumnsOf(batch), want);
  EXPECT_THROW(batch.Reserve(SIZE_MAX / 2), std::bad_alloc);
}

TEST(EntryBatch, AppendsAndReleases) {
  const EntryLayout layout({{2, Kind::kAdagrad}});
  EntryBatch batch = NoiseBatch(layout, {1, 2});
  const EntryBatch other = NoiseBatch(layout, {3}, 50);
  std::vector<std::string> want = ColumnsOf(batch);
  for (std::size_t c = 0; c < want.size(); ++c) want[c] += ColumnsOf(other)[c];
  batch.Reserve(3);
  batch.Append(other);
  batch.Append(EntryBatch(layout));
  EXPECT_EQ(ColumnsOf(batch), want);
  const std::vector<ByteBuffer> buffers = batch.Release();
  ASSERT_EQ(buffers.size(), want.size());
  for (std::size_t c = 0; c < want.size(); ++c) {
    EXPECT_EQ(AsString({buffers[c].data(), want[c].size()}), want[c]);
  }
  EXPECT_EQ(batch.rows(), 0u);
}

}  // namespace
}  // namespace mexport
