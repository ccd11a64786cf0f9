#include "core/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "tests/testing.h"

namespace mexport {
namespace {

// The errno of the IoError that `work` throws, which must name `path`; 0 if there is none.
template <typename Work>
int ErrorNumber(const std::string& path, Work work) {
  try {
    work();
  } catch (const IoError& error) {
    EXPECT_EQ(error.path(), path);
    return error.error_number();
  }
  return 0;
}

// The descriptor that this process has open on `path`, or -1.
int DescriptorOf(const std::string& path) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) == path) return std::stoi(entry.path().filename());
  }
  return -1;
}

TEST(File, WritesAndReadsBack) {
  const TempDir dir;
  const std::string path = dir / "f";
  File file = File::Create(path);
  file.Write("hello", 5);
  file.Sync();
  file.Write(" world", 6);
  file.Close();
  File again = File::OpenForRead(path);
  EXPECT_EQ(again.Size(), 11u);
  char buffer[20] = {};
  EXPECT_EQ(again.ReadSome(buffer, 4), 4u);
  EXPECT_EQ(again.ReadAt(6, buffer + 4, 5), 5u);
  EXPECT_EQ(again.ReadSome(buffer + 9, 20 - 9), 7u);  // ReadAt left the position alone
  EXPECT_STREQ(buffer, "hellworldo world");
  EXPECT_EQ(again.ReadSome(buffer, 1), 0u);
  EXPECT_EQ(again.ReadAt(11, buffer, 1), 0u);
  EXPECT_EQ(again.ReadAt(9, buffer, 5), 2u);
}

TEST(File, CreateEmptiesWhatWasThere) {
  const TempDir dir;
  WriteAll(dir / "f", "old bytes");
  File::Create(dir / "f").Close();
  EXPECT_EQ(ReadAll(dir / "f"), "");
}

TEST(File, AllocateMakesTheFileLongAndTruncateCutsIt) {
  const TempDir dir;
  File file = File::Create(dir / "f");
  file.Allocate(0);
  EXPECT_EQ(file.Size(), 0u);
  file.Allocate(1 << 20);
  file.Write("abc", 3);
  file.Truncate(3);
  file.Close();
  EXPECT_EQ(ReadAll(dir / "f"), "abc");
}

TEST(File, MovesItsDescriptor) {
  const TempDir dir;
  File a = File::Create(dir / "a");
  File b = File::Create(dir / "b");
  b = std::move(a);
  EXPECT_EQ(b.path(), dir / "a");
  EXPECT_EQ(DescriptorOf(dir / "b"), -1);
  EXPECT_NE(DescriptorOf(dir / "a"), -1);
  File c(std::move(b));
  c.Write("x", 1);
  c.Close();
  EXPECT_EQ(ReadAll(dir / "a"), "x");
  {
    const File d = File::OpenForRead(dir / "b");
  }
  EXPECT_EQ(DescriptorOf(dir / "b"), -1);
}

TEST(File, ChildrenDoNotInheritIt) {
  const TempDir dir;
  const File file = File::Create(dir / "f");
  EXPECT_EQ(::fcntl(DescriptorOf(dir / "f"), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(File, EveryFailureCarriesErrnoAndPath) {
  const TempDir dir;
  const std::string absent = dir / "absent/f";
  EXPECT_EQ(ErrorNumber(absent, [&] { File::OpenForRead(absent); }), ENOENT);
  EXPECT_EQ(ErrorNumber(absent, [&] { File::Create(absent); }), ENOENT);
  const std::string folder = dir / "";
  EXPECT_EQ(ErrorNumber(folder, [&] { File::Create(folder); }), EISDIR);

  char byte = 0;
  File directory = File::OpenForRead(folder);
  EXPECT_EQ(ErrorNumber(folder, [&] { directory.ReadSome(&byte, 1); }), EISDIR);
  EXPECT_EQ(ErrorNumber(folder, [&] { directory.ReadAt(0, &byte, 1); }), EISDIR);

  const std::string path = dir / "f";
  WriteAll(path, "abc");
  File reader = File::OpenForRead(path);
  EXPECT_EQ(ErrorNumber(path, [&] { reader.Write("x", 1); }), EBADF);
  EXPECT_NE(ErrorNumber(path, [&] { reader.Truncate(1); }), 0);
  EXPECT_EQ(ErrorNumber(path, [&] { reader.Allocate(10); }), EBADF);

  File closed = File::OpenForRead(path);
  closed.Close();
  closed.Close();  // nothing left to do
  EXPECT_EQ(ErrorNumber(path, [&] { closed.Size(); }), EBADF);
  EXPECT_EQ(ErrorNumber(path, [&] { closed.Sync(); }), EBADF);

  const std::string other = dir / "g";
  File twice = File::Create(other);
  ::close(DescriptorOf(other));
  EXPECT_EQ(ErrorNumber(other, [&] { twice.Close(); }), EBADF);
}

TEST(File, PathsHaveNoNullByte) {
  const TempDir dir;
  for (const auto open : {File::OpenForRead, File::Create}) {
    EXPECT_THAT(Caught([&] { open(dir / std::string("f\0x", 3)); }), Is(ErrorKind::kInvalidArgument, "null byte"));
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "f"));
}

TEST(File, APipeGivesWhatItHolds) {
  const TempDir dir;
  const std::string path = dir / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int both_ends = ::open(path.c_str(), O_RDWR | O_CLOEXEC);  // neither open below waits
  File reader = File::OpenForRead(path);
  File writer = File::Create(path);
  ::close(both_ends);
  EXPECT_FALSE(reader.IsRegular());
  EXPECT_FALSE(reader.Ready());
  writer.Write("abc", 3);
  writer.Sync();  // nothing to wait for
  EXPECT_TRUE(reader.Ready());
  char buffer[8];
  EXPECT_EQ(reader.ReadSome(buffer, 8), 3u);
  EXPECT_FALSE(reader.Ready());
  writer.Close();
  EXPECT_TRUE(reader.Ready());
  EXPECT_EQ(reader.ReadSome(buffer, 8), 0u);
}

TEST(File, AHookMayGiveAnInterruptedCallUp) {
  const TempDir dir;
  const std::string path = dir / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int both_ends = ::open(path.c_str(), O_RDWR | O_CLOEXEC);  // so that reading waits
  struct sigaction nothing{};
  nothing.sa_handler = [](int) {};  // without SA_RESTART
  ASSERT_EQ(::sigaction(SIGALRM, &nothing, nullptr), 0);
  static std::atomic<int> interrupts;
  interrupts = 0;
  SetInterruptHook([] {
    if (++interrupts == 3) throw std::runtime_error("given up");
  });
  const itimerval often{{0, 20'000}, {0, 20'000}};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
  File reader = File::OpenForRead(path);
  char byte = 0;
  EXPECT_THROW(reader.ReadSome(&byte, 1), std::runtime_error);
  const itimerval never{};
  ::setitimer(ITIMER_REAL, &never, nullptr);
  SetInterruptHook(nullptr);
  ::close(both_ends);
  EXPECT_EQ(interrupts, 3);
}

TEST(File, AFullDeviceFailsTheWrite) {
  File full = File::Create("/dev/full");
  EXPECT_EQ(ErrorNumber("/dev/full", [&] { full.Write("x", 1); }), ENOSPC);
}

TEST(File, AWriteThatIsCutShortGoesOnToTheError) {
  const TempDir dir;
  const std::string path = dir / "f";
  File file = File::Create(path);
  // The kernel takes the first 10 bytes and refuses the rest: a writer that trusts the first status loses them
  // unnoticed.
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit ten{10, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &ten), 0);
  const int number = ErrorNumber(path, [&] { file.Write("0123456789abcdef", 16); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(number, EFBIG);
  EXPECT_EQ(ReadAll(path), "0123456789");
}

}  // namespace
}  // namespace mexport
