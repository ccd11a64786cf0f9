#include "core/file.h"

#include <fcntl.h>
#include <sys/resource.h>

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
  EXPECT_EQ(again.Read(buffer, 4), 4u);
  EXPECT_EQ(again.ReadAt(6, buffer + 4, 5), 5u);
  EXPECT_EQ(again.Read(buffer + 9, 20 - 9), 7u);  // ReadAt left the position alone
  EXPECT_STREQ(buffer, "hellworldo world");
  EXPECT_EQ(again.Read(buffer, 1), 0u);
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
  const int old = b.descriptor();
  b = std::move(a);
  EXPECT_EQ(b.path(), dir / "a");
  EXPECT_EQ(::fcntl(old, F_GETFD), -1);  // closed by the assignment
  File c(std::move(b));
  c.Write("x", 1);
  c.Close();
  EXPECT_EQ(ReadAll(dir / "a"), "x");
}

TEST(File, ChildrenDoNotInheritIt) {
  const TempDir dir;
  const File file = File::Create(dir / "f");
  EXPECT_EQ(::fcntl(file.descriptor(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
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
  EXPECT_EQ(ErrorNumber(folder, [&] { directory.Read(&byte, 1); }), EISDIR);
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

  File twice = File::Create(path);
  ::close(twice.descriptor());
  EXPECT_EQ(ErrorNumber(path, [&] { twice.Close(); }), EBADF);
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
