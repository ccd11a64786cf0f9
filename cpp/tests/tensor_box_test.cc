#include "core/tensor_box.h"

#include "tests/testing.h"

namespace mexport {
namespace {

using testing::ElementsAre;
using Sizes = std::vector<std::uint64_t>;

// Begin and end of each run.
Sizes Runs(const TensorBox& box, std::uint64_t at_once = UINT64_MAX) {
  Sizes runs;
  for (TensorBox::Runs run(box); !run.done();) {
    runs.push_back(run.begin());
    const std::uint64_t take = std::min(at_once, run.end() - run.begin());
    runs.push_back(run.begin() + take);
    run.Advance(take);
  }
  return runs;
}

TEST(TensorBox, RunsAreAsLongAsTheyCanBe) {
  EXPECT_THAT(Runs(TensorBox(4, {}, {}, {})), ElementsAre(0, 4));
  EXPECT_THAT(Runs(TensorBox(4, {5}, {1}, {3})), ElementsAre(4, 16));
  EXPECT_THAT(Runs(TensorBox(1, {2, 3, 4}, {0, 0, 0}, {2, 3, 4})), ElementsAre(0, 24));
  EXPECT_THAT(Runs(TensorBox(1, {2, 3, 4}, {1, 0, 0}, {1, 3, 4})), ElementsAre(12, 24));
  EXPECT_THAT(Runs(TensorBox(1, {2, 3, 4}, {0, 1, 0}, {2, 2, 4})), ElementsAre(4, 12, 16, 24));
  EXPECT_THAT(Runs(TensorBox(2, {2, 2, 3}, {0, 0, 1}, {2, 2, 1})), ElementsAre(2, 4, 8, 10, 14, 16, 20, 22));
  EXPECT_THAT(Runs(TensorBox(1, {4}, {0}, {4}), 3), ElementsAre(0, 3, 3, 4));
}

TEST(TensorBox, EmptyBoxesHaveNoRuns) {
  EXPECT_THAT(Runs(TensorBox(4, {3, 0}, {0, 0}, {3, 0})), ElementsAre());
  EXPECT_THAT(Runs(TensorBox(4, {3, 5}, {3, 0}, {0, 5})), ElementsAre());
  EXPECT_THAT(Runs(TensorBox(4, {3, 5}, {0, 5}, {3, 0})), ElementsAre());
}

TEST(TensorBox, EveryBoxOfASmallTensor) {
  for (std::uint64_t a = 0; a <= 3; ++a) {
    for (std::uint64_t b = 0; b <= 4; ++b) {
      for (std::uint64_t i = 0; i <= 3 - a; ++i) {
        for (std::uint64_t j = 0; j <= 4 - b; ++j) {
          Sizes want;
          for (std::uint64_t r = a; r < a + i; ++r) {
            for (std::uint64_t c = b; c < b + j; ++c) want.push_back(r * 4 + c);
          }
          const TensorBox box(1, {3, 4}, {a, b}, {i, j});
          ASSERT_EQ(box.BoxBytes(), want.size());
          Sizes got;
          for (TensorBox::Runs run(box); !run.done(); run.Advance(1)) got.push_back(run.begin());
          ASSERT_EQ(got, want) << a << " " << b << " " << i << " " << j;
        }
      }
    }
  }
}

TEST(TensorBox, RefusesWhatMakesNoSense) {
  const auto fails = [](Sizes shape, Sizes starts, Sizes lengths, const char* text, std::uint64_t element_size = 1) {
    EXPECT_THAT(Caught([&] { TensorBox(element_size, shape, starts, lengths); }),
                Is(ErrorKind::kInvalidArgument, text));
  };
  fails({4}, {}, {}, "differ in rank");
  fails({4}, {0}, {}, "differ in rank");
  fails({4}, {0}, {5}, "leaves the tensor");
  fails({4}, {5}, {0}, "leaves the tensor");
  fails({4}, {UINT64_MAX}, {5}, "leaves the tensor");
  fails({4}, {2}, {UINT64_MAX}, "leaves the tensor");
  fails({UINT64_MAX}, {0}, {1}, "too many bytes");
  fails({std::uint64_t{1} << 40, std::uint64_t{1} << 40}, {0, 0}, {1, 1}, "too many bytes");
  fails({std::uint64_t{1} << 61}, {0}, {1}, "too many bytes", 4);
}

}  // namespace
}  // namespace mexport
