#include "core/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"

namespace mexport {
namespace {

void (*interrupt_hook)() = nullptr;

void Interrupted() {
  if (Interruptible* const work = Interruptible::Current()) return work->PollNow();
  if (interrupt_hook != nullptr) interrupt_hook();
}

// Whether the call that failed with `error_number` is to be made again.
bool Again(int error_number) {
  if (error_number != EINTR) return false;
  Interrupted();
  return true;
}

int OpenOrThrow(const std::string& path, int flags, mode_t mode) {
  if (path.find('\0') != std::string::npos) throw Error(ErrorKind::kInvalidArgument, "path: got a null byte in it");
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return fd;
    const int error_number = errno;
    if (!Again(error_number)) throw IoError(error_number, path);
  }
}

}  // namespace

void SetInterruptHook(void (*hook)()) { interrupt_hook = hook; }

File File::OpenForRead(const std::string& path) { return File(OpenOrThrow(path, O_RDONLY, 0), path); }

File File::Create(const std::string& path) { return File(OpenOrThrow(path, O_WRONLY | O_CREAT | O_TRUNC, 0666), path); }

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

std::uint64_t File::Size() const {
  struct stat info;
  if (::fstat(fd_, &info) != 0) throw IoError(errno, path_);
  return static_cast<std::uint64_t>(info.st_size);
}

bool File::IsRegular() const {
  struct stat info;
  return ::fstat(fd_, &info) == 0 && S_ISREG(info.st_mode);
}

std::size_t File::ReadSome(void* buffer, std::size_t size) {
  for (;;) {
    const ssize_t n = ::read(fd_, buffer, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    const int error_number = errno;
    if (!Again(error_number)) throw IoError(error_number, path_);
  }
}

bool File::Ready() const {
  pollfd state = {fd_, POLLIN, 0};
  // Hang-ups and errors do not wait either.
  return ::poll(&state, 1, 0) != 0;
}

std::size_t File::ReadAt(std::uint64_t offset, void* buffer, std::size_t size) const {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd_, static_cast<char*>(buffer) + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      const int error_number = errno;
      if (Again(error_number)) continue;
      throw IoError(error_number, path_);
    }
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

void File::Write(const void* data, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::write(fd_, static_cast<const char*>(data) + done, size - done);
    if (n < 0) {
      const int error_number = errno;
      if (Again(error_number)) continue;
      throw IoError(error_number, path_);
    }
    done += static_cast<std::size_t>(n);
    // A signal that finds some bytes written cuts the call short instead.
    if (done < size) Interrupted();
  }
}

void File::WriteAt(std::uint64_t offset, const void* data, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n =
        ::pwrite(fd_, static_cast<const char*>(data) + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      throw IoError(errno, path_);
    }
    done += static_cast<std::size_t>(n);
  }
}

void File::Allocate(std::uint64_t size) {
  if (size == 0) return;
  while (::fallocate(fd_, 0, 0, static_cast<off_t>(size)) != 0) {
    const int error_number = errno;
    if (error_number == EOPNOTSUPP || error_number == ENOSYS) return;
    if (!Again(error_number)) throw IoError(error_number, path_);
  }
}

void File::Truncate(std::uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) throw IoError(errno, path_);
}

void File::Sync() {
  while (::fsync(fd_) != 0) {
    const int error_number = errno;
    const bool unsupported = error_number == EINVAL || error_number == EROFS || error_number == ENOTSUP;
    if (unsupported && !IsRegular()) return;
    if (!Again(error_number)) throw IoError(error_number, path_);
  }
}

void File::Close() {
  const int fd = std::exchange(fd_, -1);
  if (fd >= 0 && ::close(fd) != 0) throw IoError(errno, path_);
}

}  // namespace mexport
