// What the ops need of whoever runs them: files and snappy. TensorFlow lends both, so that its file systems work.
//
// This header is C++17: it is shared by sources that are compiled as TensorFlow is and by those over core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace mexport {

// An operation failed; what() is the whole message, the path included. `code` is one of TensorFlow's.
class OpError : public std::runtime_error {
 public:
  enum Code {
    kCancelled = 1,
    kInvalidArgument = 3,
    kNotFound = 5,
    kResourceExhausted = 8,
    kFailedPrecondition = 9,
    kUnimplemented = 12,
    kInternal = 13,
    kUnavailable = 14,
    kDataLoss = 15,
  };

  OpError(int code, const std::string& message) : std::runtime_error(message), code_(code) {}

  int code() const { return code_; }

 private:
  int code_;
};

// All methods throw OpError.
class InputFile {
 public:
  virtual ~InputFile() = default;
  // Reads `size` bytes at `offset` and returns how many came; fewer only at the end of the file.
  virtual std::size_t ReadAt(std::uint64_t offset, std::uint8_t* buffer, std::size_t size) = 0;
  virtual std::uint64_t Size() const = 0;
};

class OutputFile {
 public:
  // Closes without looking at the status: a writer must have called Close().
  virtual ~OutputFile() = default;
  virtual void Append(const void* data, std::size_t size) = 0;
  virtual void Sync() = 0;
  virtual void Close() = 0;
};

// Any method may run in any number of threads. All throw OpError.
class Platform {
 public:
  virtual ~Platform() = default;

  virtual std::unique_ptr<InputFile> OpenForRead(const std::string& path) = 0;
  // Creates `path`, or empties it when it is there.
  virtual std::unique_ptr<OutputFile> Create(const std::string& path) = 0;
  // The names in a folder; none where there is no such folder.
  virtual std::vector<std::string> List(const std::string& folder) = 0;
  virtual void CreateFolder(const std::string& path) = 0;
  // Replaces `to`.
  virtual void Rename(const std::string& from, const std::string& to) = 0;
  virtual void Remove(const std::string& path) = 0;

  virtual void SnappyCompress(const std::uint8_t* data, std::size_t size, std::string* out) = 0;
  // Whether the block is whole and holds `size` bytes, which were written to `out`.
  virtual bool SnappyUncompress(const std::uint8_t* block, std::size_t block_size, std::uint8_t* out,
                                std::size_t size) = 0;

  // Throws OpError(kCancelled) when nobody waits for the result any more. Long work asks now and then.
  virtual void CheckCancelled() = 0;
};

}  // namespace mexport
