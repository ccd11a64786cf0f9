#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/interrupt.h"

namespace mexport {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::atomic<int> checks{0};
std::thread::id checked_by;

void Count() {
  ++checks;
  checked_by = std::this_thread::get_id();
}

void FailAtThird() {
  Count();
  if (checks == 3) throw std::runtime_error("interrupted");
}

class Interrupts : public testing::Test {
 protected:
  void SetUp() override { checks = 0; }

  // What `work` throws when it is interrupted at the third check, or "".
  template <typename Work>
  static std::string Interrupt(Work work) {
    Interruptible interruptible(FailAtThird);
    try {
      interruptible.Run(work);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }
};

TEST(RunTasks, RunsEachTaskOnce) {
  for (const std::size_t threads : {1u, 3u, 8u}) {
    std::vector<std::atomic<int>> runs(100);
    RunTasks(runs.size(), threads, [&](std::size_t i) { ++runs[i]; });
    for (const std::atomic<int>& n : runs) EXPECT_EQ(n, 1);
  }
}

TEST(RunTasks, ThrowsTheFirstError) {
  for (int i = 0; i < 50; ++i) {
    const auto task = [](std::size_t k) {
      if (k % 7 == 5) throw std::runtime_error(std::to_string(k));
    };
    try {
      RunTasks(100, 4, task);
      FAIL();
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "5");
    }
  }
}

TEST_F(Interrupts, ChecksAreTheCallersAndRare) {
  Interruptible interruptible(Count);
  const auto start = steady_clock::now();
  RunTasks(2000, 4, [](std::size_t) { std::this_thread::sleep_for(milliseconds(1)); });
  EXPECT_GE(checks, 2);
  EXPECT_LE(checks, (steady_clock::now() - start) / Interruptible::kInterval);
  EXPECT_EQ(checked_by, std::this_thread::get_id());
}

TEST_F(Interrupts, EndTasks) {
  for (const std::size_t threads : {1u, 4u}) {
    checks = 0;
    std::atomic<int> runs{0};
    EXPECT_EQ(Interrupt([&] {
                RunTasks(100'000, threads, [&](std::size_t) {
                  ++runs;
                  std::this_thread::sleep_for(milliseconds(1));
                });
              }),
              "interrupted");
    EXPECT_LT(runs, 50'000);
  }
}

TEST_F(Interrupts, EndTasksOfTasks) {
  std::atomic<int> runs{0};
  EXPECT_EQ(Interrupt([&] {
              RunTasks(3, 3, [&](std::size_t) {
                RunTasks(100'000, 2, [&](std::size_t) {
                  ++runs;
                  std::this_thread::sleep_for(milliseconds(1));
                });
              });
            }),
            "interrupted");
  EXPECT_LT(runs, 100'000);
}

TEST_F(Interrupts, EndLoopsOfOtherThreads) {
  // The caller has a short task, and only waits.
  EXPECT_EQ(Interrupt([] {
              RunTasks(2, 2, [](std::size_t i) {
                const auto end = steady_clock::now() + milliseconds(i == 0 ? 20 : 60'000);
                while (steady_clock::now() < end) {
                  PollInterrupt();
                  std::this_thread::sleep_for(milliseconds(1));
                }
              });
            }),
            "interrupted");
}

TEST_F(Interrupts, ComeBeforeWhatTheWorkMakesOfThem) {
  EXPECT_EQ(Interrupt([] {
              try {
                for (;;) PollInterrupt();
              } catch (...) {
                throw std::runtime_error("something else");
              }
            }),
            "interrupted");
}

TEST_F(Interrupts, OthersStay) {
  EXPECT_EQ(Interrupt([] { throw std::runtime_error("damage"); }), "damage");
  EXPECT_EQ(checks, 0);
}

TEST_F(Interrupts, EndWithTheirScope) {
  Interrupt([] {});
  EXPECT_EQ(Interruptible::Current(), nullptr);
  PollInterrupt();
  EXPECT_EQ(checks, 0);
}

}  // namespace
}  // namespace mexport
