#include "core/exclusive.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/testing.h"

namespace mexport {
namespace {

// What `work` returns in a fork of this process; -1 if it dies.
template <typename Work>
int InAFork(Work work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Exclusive, ThreadsTakeTurns) {
  Exclusive exclusive("thing");
  std::int64_t count = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 5000; ++i) {
          const std::lock_guard lock(exclusive);
          ++count;
        }
      });
    }
  }
  EXPECT_EQ(count, 20'000);
}

TEST(Exclusive, RefusesItsOwnHolder) {
  Exclusive exclusive("thing");
  {
    const std::lock_guard lock(exclusive);
    EXPECT_FALSE(exclusive.try_lock());
    EXPECT_THAT(Caught([&] { exclusive.lock(); }), Is(ErrorKind::kInvalidArgument, "the thing is in use by this very"));
    std::jthread([&] { EXPECT_FALSE(exclusive.try_lock()); });
  }
  EXPECT_TRUE(exclusive.try_lock());
  exclusive.unlock();
}

TEST(Exclusive, BelongsToTheProcessThatMadeIt) {
  Exclusive exclusive("thing");
  EXPECT_FALSE(exclusive.Inherited());
  EXPECT_EQ(InAFork([&] {
              if (!exclusive.Inherited() || exclusive.try_lock()) return 1;
              try {
                exclusive.lock();
                return 2;
              } catch (const Error& error) {
                if (error.kind() != ErrorKind::kInvalidArgument) return 3;
              }
              Exclusive own("own");
              if (own.Inherited() || !own.try_lock()) return 4;
              return exclusive.InheritedInUse() ? 5 : 0;
            }),
            0);
  const std::lock_guard lock(exclusive);
  EXPECT_EQ(InAFork([&] { return exclusive.InheritedInUse() ? 0 : 1; }), 0);
}

}  // namespace
}  // namespace mexport
