// Files as core uses them: whole reads and writes, every status checked, errors that carry the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace mexport {

// What happens when a signal interrupts a system call, before the call is made again: nothing unless a hook is set. The
// hook may throw, which gives the call up. Interruptible work makes its own check instead. Not to be called while files
// are in use.
void SetInterruptHook(void (*hook)());

// Owns one open descriptor. Every method throws IoError with the path.
class File {
 public:
  // Both throw Error(kInvalidArgument) for a path with a null byte in it.
  static File OpenForRead(const std::string& path);
  // Creates `path`, or empties it when it is there.
  static File Create(const std::string& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  // Closes without looking at the status: a writer must have called Close().
  ~File();

  const std::string& path() const { return path_; }
  std::uint64_t Size() const;
  bool IsRegular() const;

  // Reads 1 to `size` bytes at the descriptor's position and returns how many came; 0 only at the end. A pipe gives
  // what it holds.
  std::size_t ReadSome(void* buffer, std::size_t size);
  // Whether ReadSome() would not wait.
  bool Ready() const;
  // Reads `size` bytes at `offset` and returns how many came; fewer only at the end of the file.
  std::size_t ReadAt(std::uint64_t offset, void* buffer, std::size_t size) const;
  void Write(const void* data, std::size_t size);
  // Leaves the descriptor's position alone; threads may share a file.
  void WriteAt(std::uint64_t offset, const void* data, std::size_t size);
  // Reserves `size` bytes from the start and makes the file that long; the caller writes them all. A file system that
  // cannot reserve leaves the file as it is.
  void Allocate(std::uint64_t size);
  void Truncate(std::uint64_t size);
  // Returns when the storage device has the bytes; where there is none (a pipe, a terminal), at once.
  void Sync();
  void Close();

 private:
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_ = -1;
  std::string path_;
};

}  // namespace mexport
