// Files as core uses them: whole reads and writes, every status checked, errors that carry the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace mexport {

// Owns one open descriptor. Every method throws IoError with the path.
class File {
 public:
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
  int descriptor() const { return fd_; }
  std::uint64_t Size() const;

  // Reads up to `size` bytes at the descriptor's position and returns how many came; fewer only at the end of the file.
  std::size_t Read(void* buffer, std::size_t size);
  std::size_t ReadAt(std::uint64_t offset, void* buffer, std::size_t size) const;
  void Write(const void* data, std::size_t size);
  // Leaves the descriptor's position alone; threads may share a file.
  void WriteAt(std::uint64_t offset, const void* data, std::size_t size);
  // Reserves `size` bytes from the start and makes the file that long; the caller writes them all. A file system that
  // cannot reserve leaves the file as it is.
  void Allocate(std::uint64_t size);
  void Truncate(std::uint64_t size);
  void Sync();
  void Close();

 private:
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_ = -1;
  std::string path_;
};

}  // namespace mexport
