// What numbers become: optimizers, initializers, compressors, half precision.
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <thread>

#include "core/compressor.h"
#include "core/half.h"
#include "core/initializer.h"
#include "core/optimizer.h"
#include "core/row_format.h"
#include "core/stochastic_rounding.h"
#include "tests/table_testing.h"

namespace mexport {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::FloatEq;
using Kind = OptimizerKind;
using Codec = CompressorConfig::Kind;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

OptimizerConfig ConfigOf(Kind kind, const FloatFields& settings = {}) {
  return *ParseTableConfig(TableMessage({TrainingSegment(1, Alternative(kind, settings))}).bytes())
              .segments[0]
              .optimizer;
}

// A segment that begins with zeros, and its state.
class Trained {
 public:
  Trained(const OptimizerConfig& config, std::size_t dim)
      : optimizer_(MakeOptimizer(config)), values_(dim), state_(Optimizer::StateFloats(config.kind, dim)) {
    optimizer_->Initialize(dim, state_.data());
  }

  const std::vector<float>& Step(const std::vector<float>& gradients, float rate, std::int64_t step = 0) {
    optimizer_->Update(values_, state_.data(), gradients.data(), {rate, step});
    return values_;
  }
  std::vector<float>& values() { return values_; }
  const std::vector<float>& state() const { return state_; }

 private:
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<float> values_;
  std::vector<float> state_;
};

// Known answers of the system whose tables these are: its own tests' numbers, with their digits.
struct Golden {
  const char* name;
  Kind kind;
  FloatFields settings;
  float rate;
  std::vector<float> gradients;
  std::vector<std::vector<float>> values;  // after each step; empty where no answer is known
};

class GoldenVectors : public testing::TestWithParam<Golden> {};

TEST_P(GoldenVectors, Hold) {
  const Golden& golden = GetParam();
  Trained trained(ConfigOf(golden.kind, golden.settings), golden.gradients.size());
  for (const std::vector<float>& want : golden.values) {
    const std::vector<float>& got = trained.Step(golden.gradients, golden.rate);
    for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], std::fabs(want[i]) * 2e-4f) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, GoldenVectors,
    testing::Values(
        Golden{"adagrad", Kind::kAdagrad, {{3, 1}}, 0.1f, {1, 2}, {{-0.0707107f, -0.0894427f}}},
        Golden{"adagrad_decay", Kind::kAdagrad, {{3, 1}, {5, 0.1f}}, 0.1f, {1, 2}, {{}, {-0.128173f, -0.155943f}}},
        Golden{"adagrad_default", Kind::kAdagrad, {}, 1, {1}, {{-0.95346254f}, {-1.643528f}}},
        Golden{"ftrl", Kind::kFtrl, {}, 0.01f, {10, 1}, {{-0.009995f, -0.00953463f}, {-0.0170643f, -0.0164353f}}},
        Golden{
            "adadelta", Kind::kAdadelta, {}, 0.01f, {10, 1}, {{-0.0031607f, -0.0030151f}, {-0.0064035f, -0.0061047f}}},
        Golden{"adam", Kind::kAdam, {}, 0.01f, {10, 1}, {{-0.00990099f, -0.00909091f}, {-0.0198306f, -0.01842895f}}},
        Golden{
            "amsgrad", Kind::kAmsgrad, {}, 0.01f, {10, 1}, {{-0.00990099f, -0.00909091f}, {-0.0198306f, -0.01842895f}}},
        Golden{"momentum", Kind::kMomentum, {}, 0.01f, {10}, {{-0.1f}, {-0.29f}}},
        Golden{"rmsprop", Kind::kRmsprop, {}, 7, {10}, {{-0.024025f}, {-0.042686f}}},
        Golden{"rmspropv2", Kind::kRmspropV2, {}, 0.01f, {10, 1}, {{-0.0090909f, -0.005f}, {-0.0158549f, -0.0092045f}}},
        Golden{"moving_average", Kind::kMovingAverage, {}, 0.5f, {10}, {{1.0f}, {1.9f}}},
        Golden{
            "group_adagrad", Kind::kGroupAdaGrad, {{3, 1}, {4, 0}, {5, 1}}, 0.01f, {10}, {{-0.008182f}, {-0.014125f}}},
        Golden{"sgd", Kind::kSgd, {}, 0.5f, {2, -4}, {{-1, 2}, {-2, 4}}}),
    [](const testing::TestParamInfo<Golden>& golden) { return golden.param.name; });

TEST(Optimizer, BatchSoftmaxKeepsTheLastStep) {
  Trained trained(ConfigOf(Kind::kBatchSoftmax), 1);
  EXPECT_FLOAT_EQ(trained.Step({0}, 0.1f, 1)[0], 0.1f);
  EXPECT_FLOAT_EQ(trained.Step({0}, 0.1f, 11)[0], 0.9f * 0.1f + 0.1f * 10);
  std::int64_t step;
  std::memcpy(&step, trained.state().data(), sizeof(step));
  EXPECT_EQ(step, 11);
}

TEST(Optimizer, NesterovDiffers) {
  for (const Kind kind : {Kind::kMomentum, Kind::kAdam}) {
    OptimizerConfig config = ConfigOf(kind);
    config.use_nesterov = true;
    Trained trained(config, 1);
    Trained plain(ConfigOf(kind), 1);
    // momentum: n = -0.1, w += 1.9 n. adam: m becomes (1 - 0.9) g + 0.9 m = 1 + 0.9.
    const float want = kind == Kind::kMomentum ? -0.19f : plain.Step({10}, 0.01f)[0] * 1.9f;
    EXPECT_NEAR(trained.Step({10}, 0.01f)[0], want, 1e-6f);
  }
}

TEST(Optimizer, FtrlsL1PullsNegativeSumsOnly) {
  const OptimizerConfig config = ConfigOf(Kind::kFtrl, {{5, 5.0f}});
  // w = lr (s l1 - zero) / √norm with s = 1 for a negative sum; 0 where the sum is within l1.
  Trained trained(config, 3);
  const std::vector<float>& values = trained.Step({10, -10, 4}, 0.01f);
  EXPECT_NEAR(values[0], 0.01f * -10 / std::sqrt(100.1f), 1e-7f);
  EXPECT_NEAR(values[1], 0.01f * (5 + 10) / std::sqrt(100.1f), 1e-7f);
  EXPECT_EQ(values[2], 0.0f);
}

TEST(Optimizer, AmsgradDividesByTheLargest) {
  Trained amsgrad(ConfigOf(Kind::kAmsgrad), 1);
  Trained adam(ConfigOf(Kind::kAdam), 1);
  for (const float gradient : {10.0f, 0.0f, 0.0f}) {
    amsgrad.Step({gradient}, 0.01f);
    adam.Step({gradient}, 0.01f);
  }
  // v shrinks for adam, vhat does not: m, v, vhat, powers.
  EXPECT_GT(amsgrad.state()[2], amsgrad.state()[1]);
  EXPECT_FLOAT_EQ(amsgrad.state()[2], 100 * (1 - 0.99f));
  EXPECT_GT(amsgrad.values()[0], adam.values()[0]);
  EXPECT_FLOAT_EQ(amsgrad.state()[3], 0.9f * 0.9f * 0.9f * 0.9f);
}

TEST(Optimizer, GroupAdagradDropsTheWholeGroup) {
  Trained trained(ConfigOf(Kind::kGroupAdaGrad, {{5, 100.0f}}), 3);
  EXPECT_THAT(trained.Step({1, 2, 3}, 0.1f), Each(0.0f));
  EXPECT_FLOAT_EQ(trained.state()[0], 9.1f);  // the largest square
}

TEST(Optimizer, ARateOfZeroMakesNoNaN) {
  for (const OptimizerTraits& traits : AllOptimizers()) {
    const OptimizerConfig config{.kind = traits.kind};
    if (traits.kind == Kind::kDynamicWdAdagrad || traits.kind == Kind::kDc || traits.kind == Kind::kGroupFtrl) continue;
    Trained trained(config, 1);
    EXPECT_TRUE(std::isfinite(trained.Step({3}, 0)[0])) << traits.name;
  }
}

TEST(Optimizer, EachDimensionIsOnItsOwn) {
  for (const Kind kind : {Kind::kAdagrad, Kind::kFtrl, Kind::kAdadelta, Kind::kAdam, Kind::kAmsgrad, Kind::kMomentum,
                          Kind::kRmsprop, Kind::kRmspropV2, Kind::kSgd, Kind::kMovingAverage}) {
    const OptimizerConfig config = ConfigOf(kind);
    Trained wide(config, 19);
    std::vector<float> gradients(19);
    for (std::size_t i = 0; i < 19; ++i) gradients[i] = static_cast<float>(i) - 9;
    for (int step = 0; step < 3; ++step) wide.Step(gradients, 0.1f);
    for (std::size_t i = 0; i < 19; ++i) {
      Trained narrow(config, 1);
      for (int step = 0; step < 3; ++step) narrow.Step({gradients[i]}, 0.1f);
      EXPECT_EQ(wide.values()[i], narrow.values()[0]) << static_cast<int>(kind) << " " << i;
    }
  }
}

TEST(Optimizer, StateHasTheFloatsOfItsColumns) {
  for (const OptimizerTraits& traits : AllOptimizers()) {
    const EntryLayout layout({{5, traits.kind}});
    std::size_t floats = 0;
    for (const StateColumn& column : layout.columns()) floats += column.count * (column.is_integer() ? 2 : 1);
    EXPECT_EQ(Optimizer::StateFloats(traits.kind, 5), floats) << traits.name;
  }
}

TEST(Initializer, Values) {
  std::vector<float> values(1000, 5.0f);
  InitializeValues({.kind = InitializerConfig::Kind::kZeros}, values);
  EXPECT_THAT(values, Each(0.0f));
  InitializeValues({.kind = InitializerConfig::Kind::kOnes}, values);
  EXPECT_THAT(values, Each(1.0f));
  InitializeValues({.kind = InitializerConfig::Kind::kConstants, .constant = -2.5f}, values);
  EXPECT_THAT(values, Each(-2.5f));
  InitializeValues({.kind = InitializerConfig::Kind::kRandomUniform, .minval = -2, .maxval = 4}, values);
  EXPECT_GE(*std::min_element(values.begin(), values.end()), -2.0f);
  EXPECT_LT(*std::max_element(values.begin(), values.end()), 4.0f);
  EXPECT_GT(std::set<float>(values.begin(), values.end()).size(), 990u);
  double mean = 0;
  for (const float value : values) mean += value / 1000.0;
  EXPECT_NEAR(mean, 1, 0.2);
}

TEST(Initializer, EachThreadBeginsWithTheSameSeed) {
  std::array<std::vector<float>, 2> drawn;
  for (std::vector<float>& values : drawn) {
    values.resize(10);
    std::thread([&] { InitializeValues({.kind = InitializerConfig::Kind::kRandomUniform}, values); }).join();
  }
  EXPECT_EQ(drawn[0], drawn[1]);
}

TEST(Half, KnownAnswers) {
  const std::vector<std::pair<float, std::uint16_t>> exact = {
      {0.0f, 0x0000},     {-0.0f, 0x8000},    {1.0f, 0x3c00},         {-2.0f, 0xc000},     {65504.0f, 0x7bff},
      {0x1p-24f, 0x0001}, {0x1p-14f, 0x0400}, {0x1.ff8p-15f, 0x03ff}, {kInfinity, 0x7c00}, {-kInfinity, 0xfc00},
  };
  for (const auto& [value, half] : exact) {
    EXPECT_EQ(FloatToHalf(value), half) << value;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(HalfToFloat(half)), std::bit_cast<std::uint32_t>(value)) << value;
  }
  const std::vector<std::pair<float, std::uint16_t>> rounded = {
      {65519.996f, 0x7bff}, {65520.0f, 0x7c00},   {1e30f, 0x7c00},        {-65520.0f, 0xfc00},      {0x1p-25f, 0x0000},
      {0x1.8p-24f, 0x0002}, {0x1.1p-25f, 0x0001}, {1 + 0x1p-11f, 0x3c00}, {1 + 0x1.8p-10f, 0x3c02}, {0x1p-149f, 0x0000},
  };
  for (const auto& [value, half] : rounded) EXPECT_EQ(FloatToHalf(value), half) << value;
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(kNaN))));
  // A NaN whose mantissa is all in the bits that go.
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::bit_cast<float>(0x7f800001u)))));
}

TEST(Half, EachHalfComesBackAndValuesBetweenGoToTheNearest) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const auto half = static_cast<std::uint16_t>(bits | sign);
      const float value = HalfToFloat(half);
      ASSERT_EQ(FloatToHalf(value), half);
      if (bits == 0x7bff) continue;
      const float next = HalfToFloat(static_cast<std::uint16_t>(half + 1));
      const float middle = value + (next - value) / 2;
      ASSERT_EQ(FloatToHalf(middle), half + (bits & 1)) << half;  // ties to even
      ASSERT_EQ(FloatToHalf(std::nextafter(middle, value)), half);
      ASSERT_EQ(FloatToHalf(std::nextafter(middle, next)), half + 1);
    }
  }
}

TEST(StochasticRounding, ChoosesNeighboursByTheirDistance) {
  for (const float sign : {1.0f, -1.0f}) {
    int away = 0;
    for (int i = 0; i < 10'000; ++i) {
      const float got = RoundToHalfAtRandom(sign * (1 + 0x1p-12f));  // a quarter of the way
      ASSERT_TRUE(got == sign || got == sign * (1 + 0x1p-10f));
      away += got != sign;
    }
    EXPECT_NEAR(away, 2500, 200);
  }
  for (const float value : {0.0f, 1.0f, 65504.0f, -0x1p-24f, kInfinity, -kInfinity}) {
    EXPECT_EQ(RoundToHalfAtRandom(value), value);
  }
  EXPECT_EQ(RoundToHalfAtRandom(1e30f), 65504.0f);
  EXPECT_EQ(RoundToHalfAtRandom(-70000.0f), -65504.0f);
  EXPECT_TRUE(std::isnan(RoundToHalfAtRandom(kNaN)));
  for (int i = 0; i < 100; ++i) {
    const float tiny = RoundToHalfAtRandom(-0x1p-26f);
    EXPECT_TRUE(tiny == 0 || tiny == -0x1p-24f);
  }
  OptimizerConfig config = ConfigOf(Kind::kSgd);
  config.stochastic_rounding_float16 = true;
  Trained trained(config, 100);
  for (const float value : trained.Step(std::vector<float>(100, 0.1f), 1)) {
    EXPECT_EQ(HalfToFloat(FloatToHalf(value)), value);
  }
}

std::vector<float> Recoded(const CompressorConfig& config, const std::vector<float>& values) {
  const Compressor compressor(config);
  std::vector<std::uint8_t> bytes(compressor.BytesOf(values.size()));
  compressor.Encode(values.data(), values.size(), bytes.data());
  std::vector<float> back(values.size());
  compressor.Decode(bytes.data(), values.size(), back.data());
  return back;
}

TEST(Compressor, SizesAndExactness) {
  const std::vector<float> values = {0.1f, 0.2f, 10000.0f};
  EXPECT_EQ(Compressor({.kind = Codec::kFp32}).BytesOf(3), 12u);
  EXPECT_EQ(Compressor({.kind = Codec::kFp16}).BytesOf(3), 6u);
  EXPECT_EQ(Compressor({.kind = Codec::kFixedR8}).BytesOf(3), 3u);
  EXPECT_EQ(Compressor({.kind = Codec::kOneBit}).BytesOf(3), 3u);
  EXPECT_EQ(Recoded({.kind = Codec::kFp32}, values), values);
  const std::vector<float> halves = Recoded({.kind = Codec::kFp16}, values);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(halves[i], HalfToFloat(FloatToHalf(values[i])));
  EXPECT_TRUE(Compressor({.kind = Codec::kFp32}).raw());
  EXPECT_FALSE(Compressor({.kind = Codec::kFp16}).raw());
}

TEST(Compressor, FixedR8RoundsHalfAwayAndStaysInRange) {
  const CompressorConfig config{.kind = Codec::kFixedR8, .r = 5};
  const float step = 5.0f / 128;
  EXPECT_THAT(Recoded(config, {0, 100, -100, kInfinity, -kInfinity, 3e38f, -3e38f, kNaN}),
              ElementsAre(0, 127 * step, -5, 127 * step, -5, 127 * step, -5, 0));
  EXPECT_THAT(Recoded(config, {1.4f * step, -1.4f * step, 1.6f * step, -1.6f * step, 1.5f * step, -1.5f * step}),
              ElementsAre(step, -step, 2 * step, -2 * step, 2 * step, -2 * step));
  EXPECT_THAT(Recoded({.kind = Codec::kFixedR8, .r = 0}, {1.0f, -1.0f, 0.0f, kNaN}), ElementsAre(0, 0, 0, 0));
}

TEST(Compressor, OneBitKeepsTheSign) {
  CompressorConfig config{.kind = Codec::kOneBit};
  EXPECT_THAT(Recoded(config, {2, -2, 0, kNaN, 1e30f, -1e-20f}), ElementsAre(0.1f, -0.1f, -0.1f, -0.1f, 0.1f, -0.1f));
  config.amplitude = -1;
  EXPECT_THAT(Recoded(config, {2, -2, 0}), ElementsAre(1, -1, 1));
  // An entry that was never written.
  float value = 5;
  const std::uint8_t zero = 0;
  Compressor(config).Decode(&zero, 1, &value);
  EXPECT_EQ(value, 0.0f);
}

TEST(Retriever, OneBitScalesWithTheSteps) {
  const CompressorConfig config{.kind = Codec::kOneBit};
  Retriever retriever(&config);
  std::vector<float> values = {1, 2};
  retriever.Forward(values.data(), 2);
  EXPECT_THAT(values, ElementsAre(FloatEq(0.07615941f), FloatEq(0.09640275f)));
  const float at = 2;
  float gradient = 1;
  retriever.Backward(&at, &gradient, 1);
  EXPECT_NEAR(gradient, 0.00706508f, 1e-8f);
  retriever.SetStep(999);  // no multiple of 200
  values = {2};
  retriever.Forward(values.data(), 1);
  EXPECT_FLOAT_EQ(values[0], 0.09640275f);
  retriever.SetStep(1000);
  values = {2};
  retriever.Forward(values.data(), 1);
  EXPECT_FLOAT_EQ(values[0], 0.09998888f);
  const CompressorConfig bounded{.kind = Codec::kOneBit, .max_scale = 0.5f};
  Retriever limited(&bounded);
  limited.SetStep(1'000'000);
  values = {1};
  limited.Forward(values.data(), 1);
  EXPECT_FLOAT_EQ(values[0], 0.1f * std::tanh(0.5f));
}

TEST(Retriever, FixedR8QuantizesWhatIsSeen) {
  const CompressorConfig config{.kind = Codec::kFixedR8, .r = 128};
  const Retriever retriever(&config);
  EXPECT_FALSE(retriever.raw());
  std::vector<float> values = {1.4f, -2.6f};
  retriever.Forward(values.data(), 2);
  EXPECT_THAT(values, ElementsAre(1, -3));
  float gradient = 7;
  retriever.Backward(values.data(), &gradient, 1);
  EXPECT_EQ(gradient, 7.0f);
  const CompressorConfig fp16{.kind = Codec::kFp16};
  EXPECT_TRUE(Retriever(&fp16).raw());
  EXPECT_TRUE(Retriever(nullptr).raw());
}

TEST(RowFormat, SegmentsLieSideBySide) {
  const WireWriter retriever = Alternative(Codec::kFixedR8, {{2, 128.0f}});
  const RowFormat format(ParseTableConfig(
      TableMessage({TrainingSegment(1, Alternative(Kind::kAdagrad, {{3, 1.0f}})),
                    TrainingSegment(2, Alternative(Kind::kAdagrad, {{3, 2.0f}}),
                                    Alternative(InitializerConfig::Kind::kConstants, {{2, 0.25f}}), &retriever)})
          .bytes()));
  EXPECT_EQ(format.dim(), 3u);
  EXPECT_EQ(format.value_bytes(), 12u);
  EXPECT_EQ(format.row_bytes(), 24u);
  EXPECT_FALSE(format.raw());
  EXPECT_THAT(format.state_offsets(), ElementsAre(12, 16));
  std::vector<float> row(6);
  auto* const bytes = reinterpret_cast<std::uint8_t*>(row.data());
  format.Initialize(bytes);
  EXPECT_THAT(row, ElementsAre(0, 0.25f, 0.25f, 1, 2, 2));
  row[1] = row[2] = 0;
  const std::vector<float> gradients = {1, 2, 3};
  const std::vector<float> rates = {1, 2};
  std::vector<float> scratch;
  format.Optimize(bytes, gradients.data(), rates, 0, &scratch);
  EXPECT_THAT(std::vector<float>(row.begin(), row.begin() + 3),
              ElementsAre(FloatEq(-0.7071068f), FloatEq(-1.6329931f), FloatEq(-1.8090681f)));
  std::vector<float> seen(3);
  format.Decode(bytes, seen.data());
  EXPECT_THAT(seen, ElementsAre(row[0], -2, -2));
}

TEST(RowFormat, ServingEntriesAddByWayOfTheirCodes) {
  const RowFormat format(
      ParseTableConfig(ServingMessage({ServingSegment(1, Alternative(Codec::kFp16)),
                                       ServingSegment(2, Alternative(Codec::kFixedR8, {{2, 128.0f}}))})
                           .bytes()));
  EXPECT_EQ(format.row_bytes(), 4u);
  std::vector<std::uint8_t> row(4);
  format.Assign(row.data(), std::array{0.5f, 3.2f, -4.0f}.data());
  std::vector<float> scratch;
  format.AssignAdd(row.data(), std::array{0.25f, 200.0f, 1.6f}.data(), &scratch);
  std::vector<float> values(3);
  format.Decode(row.data(), values.data());
  EXPECT_THAT(values, ElementsAre(0.75f, 127, -2));
}

}  // namespace
}  // namespace mexport
