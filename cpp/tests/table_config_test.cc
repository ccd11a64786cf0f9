#include "core/table_config.h"

#include <cmath>

#include "core/multi_table.h"
#include "tests/table_testing.h"

namespace mexport {
namespace {

using Kind = OptimizerKind;
using Initializer = InitializerConfig::Kind;
using Codec = CompressorConfig::Kind;

TableConfig Parse(const WireWriter& message) { return ParseTableConfig(message.bytes()); }

testing::AssertionResult Refused(const WireWriter& message, const std::string& text) {
  try {
    Parse(message);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInvalidArgument && std::string(error.what()).find(text) != std::string::npos) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << error.what();
  }
  return testing::AssertionFailure() << "no error";
}

TEST(TableConfig, ReadsEachSetting) {
  const WireWriter retriever = Alternative(Codec::kFixedR8, {{2, 5.0f}});
  WireWriter message =
      TableMessage({TrainingSegment(3, Alternative(Kind::kAdagrad, {{2, 9.0f}, {3, 0.5f}, {5, 0.25f}}),
                                    Alternative(Initializer::kRandomUniform, {{2, -1.0f}, {3, 2.0f}}), &retriever),
                    TrainingSegment(1, Alternative(Kind::kSgd), Alternative(Initializer::kConstants, {{2, 7.0f}}))});
  message.Varint(2, 1000);
  WireWriter slot;
  slot.Varint(1, 7);
  slot.Varint(2, 3);
  WireWriter expire;
  expire.Message(1, slot);
  expire.Varint(2, 10);
  message.Message(3, expire);
  message.Varint(7, 1);
  message.Varint(8, 5);
  message.Varint(100, 1);  // unknown

  const TableConfig config = Parse(message);
  EXPECT_TRUE(config.training());
  EXPECT_EQ(config.initial_capacity, 1000u);
  EXPECT_TRUE(config.enable_feature_eviction);
  EXPECT_EQ(config.feature_evict_every_n_hours, 5);
  EXPECT_EQ(config.expire.Seconds(std::uint64_t{7} << 48), 3 * 86400);
  EXPECT_EQ(config.expire.Seconds(std::uint64_t{7} << 48 | std::uint64_t{1} << 63), 3 * 86400);
  EXPECT_EQ(config.expire.Seconds(std::uint64_t{8} << 48), 10 * 86400);
  ASSERT_EQ(config.segments.size(), 2u);
  const SegmentConfig& first = config.segments[0];
  EXPECT_EQ(first.dim, 3);
  EXPECT_EQ(first.optimizer->kind, Kind::kAdagrad);
  EXPECT_EQ(first.optimizer->initial_accumulator_value, 0.5f);
  EXPECT_EQ(first.optimizer->weight_decay_factor, 0.25f);
  EXPECT_EQ(first.initializer->minval, -1.0f);
  EXPECT_EQ(first.initializer->maxval, 2.0f);
  EXPECT_EQ(first.compressor->r, 5.0f);
  EXPECT_EQ(config.segments[1].initializer->constant, 7.0f);
  EXPECT_FALSE(config.segments[1].compressor.has_value());
}

TEST(TableConfig, Defaults) {
  const auto optimizer = [](Kind kind) {
    return *Parse(TableMessage({TrainingSegment(1, Alternative(kind))})).segments[0].optimizer;
  };
  EXPECT_EQ(optimizer(Kind::kAdagrad).initial_accumulator_value, 0.1f);
  EXPECT_EQ(optimizer(Kind::kFtrl).initial_accumulator_value, 0.1f);
  EXPECT_EQ(optimizer(Kind::kFtrl).beta, 0.0f);
  EXPECT_EQ(optimizer(Kind::kAdam).beta1, 0.9f);
  EXPECT_EQ(optimizer(Kind::kAdam).beta2, 0.99f);
  EXPECT_EQ(optimizer(Kind::kAmsgrad).epsilon, 0.01f);
  EXPECT_EQ(optimizer(Kind::kAdadelta).averaging_ratio, 0.9f);
  EXPECT_EQ(optimizer(Kind::kRmsprop).learning_rate, 0.01f);
  EXPECT_FALSE(optimizer(Kind::kMomentum).use_nesterov);
  const TableConfig config = Parse(TableMessage({TrainingSegment(1, Alternative(Kind::kSgd))}));
  EXPECT_EQ(config.expire.Seconds(0), std::int64_t{36500} * 86400);
  EXPECT_EQ(config.initial_capacity, 1u);
  const TableConfig serving = Parse(ServingMessage({ServingSegment(2, Alternative(Codec::kOneBit))}));
  EXPECT_FALSE(serving.training());
  EXPECT_EQ(serving.segments[0].compressor->step_size, 200);
  EXPECT_EQ(serving.segments[0].compressor->amplitude, 0.1f);
}

TEST(TableConfig, LastOneOfAOneofCounts) {
  WireWriter optimizer = Alternative(Kind::kAdagrad, {{3, 0.5f}});
  optimizer.Message(static_cast<std::uint32_t>(Kind::kAdagrad), FloatMessage({{5, 0.25f}}));  // merged
  const auto merged = Parse(TableMessage({TrainingSegment(1, optimizer)})).segments[0].optimizer;
  EXPECT_EQ(merged->initial_accumulator_value, 0.5f);
  EXPECT_EQ(merged->weight_decay_factor, 0.25f);
  optimizer.Message(static_cast<std::uint32_t>(Kind::kFtrl), {});
  optimizer.Message(static_cast<std::uint32_t>(Kind::kAdagrad), {});
  const auto replaced = Parse(TableMessage({TrainingSegment(1, optimizer)})).segments[0].optimizer;
  EXPECT_EQ(replaced->initial_accumulator_value, 0.1f);
}

TEST(TableConfig, RefusesWhatMakesNoTable) {
  const WireWriter sgd = Alternative(Kind::kSgd);
  const WireWriter fp16 = Alternative(Codec::kFp16);
  const WireWriter good = TrainingSegment(1, sgd);
  EXPECT_TRUE(Refused({}, "EmbeddingHashTableConfig must be set type"));
  EXPECT_TRUE(Refused(TableMessage({}), "no segments"));
  EXPECT_TRUE(Refused(TableMessage({TrainingSegment(0, sgd)}), "dim_size: got 0, want at least 1"));
  EXPECT_TRUE(Refused(TableMessage({TrainingSegment(UINT64_MAX, sgd)}), "dim_size: got -1"));
  EXPECT_TRUE(Refused(TableMessage({TrainingSegment((1 << 20) + 1, sgd)}), "want at most 1048576"));
  EXPECT_TRUE(Refused(TableMessage({TrainingSegment(1 << 20, sgd), good}), "want at most 1048576"));
  EXPECT_TRUE(Refused(TableMessage({TrainingSegment(1, {})}), "OptimizerConfig must be set type"));
  EXPECT_TRUE(Refused(TableMessage({TrainingSegment(1, sgd, {})}), "InitializerConfig must be set type"));
  EXPECT_TRUE(Refused(ServingMessage({ServingSegment(1, {})}), "FloatCompressorConfig must be set type"));
  EXPECT_TRUE(Refused(ServingMessage({good}), "segment 0: FloatCompressorConfig must be set type"));
  EXPECT_TRUE(Refused(TableMessage({good, ServingSegment(2, fp16)}), "got 1, 1 and 3, want the same"));
  EXPECT_TRUE(Refused(TableMessage({TrainingSegment(2, Alternative(Kind::kBatchSoftmax))}), "batch_softmax: got 2"));
  for (const Kind kind : {Kind::kGroupFtrl, Kind::kDynamicWdAdagrad, Kind::kDc}) {
    EXPECT_TRUE(Refused(TableMessage({TrainingSegment(1, Alternative(kind))}), "is not implemented"));
  }
  for (const FloatFields& range :
       {FloatFields{{2, 1.0f}, {3, 0.0f}}, FloatFields{{2, NAN}}, FloatFields{{3, INFINITY}}}) {
    EXPECT_TRUE(Refused(TableMessage({TrainingSegment(1, sgd, Alternative(Initializer::kRandomUniform, range))}),
                        "want a finite range"));
  }
  EXPECT_TRUE(Refused(TableMessage({good}, static_cast<TableConfig::EntryType>(3)), "entry_type: got 3"));
  EXPECT_TRUE(Refused(TableMessage({good}, static_cast<TableConfig::EntryType>(0)), "entry_type: got 0"));
  WireWriter skips = TableMessage({good});
  skips.Varint(10, 1);
  EXPECT_TRUE(Refused(skips, "Only EntryConfig_EntryType_SERVING supports skip_zero_embedding"));
  WireWriter one_bit;
  WireWriter step;
  step.Varint(2, 0);
  one_bit.Message(static_cast<std::uint32_t>(Codec::kOneBit), step);
  EXPECT_TRUE(Refused(ServingMessage({ServingSegment(1, one_bit)}), "step_size: got 0"));
  WireWriter slot;
  slot.Varint(1, 32768);
  WireWriter expire;
  expire.Message(1, slot);
  WireWriter expires = TableMessage({good});
  expires.Message(3, expire);
  EXPECT_TRUE(Refused(expires, "slot: got 32768, want less than 32768"));
}

TEST(TableConfig, BytesThatAreNoMessageNameTheirOffset) {
  const WireWriter message = TableMessage({TrainingSegment(2, Alternative(Kind::kAdam))});
  const std::string whole = AsString(message.bytes());
  EXPECT_EQ(ParseTableConfig(AsBytes(whole)).segments.size(), 1u);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(Caught([&] { ParseTableConfig(AsBytes(whole.substr(0, size))); }).kind(), ErrorKind::kInvalidArgument);
  }
  EXPECT_THAT(Caught([&] { ParseTableConfig(AsBytes(whole + '\0')); }),
              Is(ErrorKind::kInvalidArgument, "offset " + std::to_string(whole.size()) + ": illegal tag"));
}

TEST(MultiTable, TablesByName) {
  const auto multi = [](const std::vector<std::string>& names, std::size_t configs) {
    WireWriter message;
    for (const std::string& name : names) message.String(1, name);
    for (std::size_t i = 0; i < configs; ++i) {
      message.Message(2, TableMessage({TrainingSegment(i + 1, Alternative(Kind::kSgd))}));
    }
    return message;
  };
  const MultiTable tables(multi({"b", "a"}, 2).bytes());
  ASSERT_EQ(tables.tables().size(), 2u);
  EXPECT_EQ(tables.tables()[0].first, "a");
  EXPECT_EQ(tables.Find("a")->dim(), 2u);
  EXPECT_EQ(tables.Find("b")->dim(), 1u);
  EXPECT_EQ(tables.Find("c"), nullptr);
  EXPECT_EQ(tables.Save().size(), 2u);
  EXPECT_THAT(Caught([&] { MultiTable(multi({"a", "a"}, 2).bytes()); }),
              Is(ErrorKind::kInvalidArgument, "two tables are named 'a'"));
  EXPECT_THAT(Caught([&] { MultiTable(multi({"a"}, 2).bytes()); }),
              Is(ErrorKind::kInvalidArgument, "got 1 names and 2 configs"));
}

}  // namespace
}  // namespace mexport
