// Where bytes go to and come from: files, codecs around them, and memory in tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/byte_buffer.h"
#include "core/file.h"

namespace mexport {

// Gathers what is appended in a buffer and drains the buffer whenever the next piece does not fit. A piece is never
// cut, unless it is larger than the buffer.
class ByteSink {
 public:
  explicit ByteSink(std::size_t capacity) : buffer_(capacity) {}
  ByteSink(const ByteSink&) = delete;
  ByteSink& operator=(const ByteSink&) = delete;
  virtual ~ByteSink() = default;

  // The bytes that fit without a drain.
  std::size_t Room() const { return buffer_.capacity() - size_; }

  void Append(const void* data, std::size_t size) {
    if (size > Room()) {
      AppendAfterDrain(data, size);
    } else {
      if (size > 0) std::memcpy(buffer_.data() + size_, data, size);
      size_ += size;
    }
  }

  // Appends `size` bytes that the caller writes to the returned place. REQUIRES: size <= Room()
  std::uint8_t* Extend(std::size_t size) {
    std::uint8_t* place = buffer_.data() + size_;
    size_ += size;
    return place;
  }

  // Hands everything on as far as it goes; a codec may be changed by it.
  virtual void Flush() = 0;
  // Flush(), and makes it durable.
  virtual void Sync() = 0;
  // Ends the stream and checks that every byte was taken. Nothing may be appended afterwards.
  virtual void Close() = 0;

 protected:
  void DrainBuffer();
  // Takes at most the buffer's capacity, at least one byte.
  virtual void Drain(std::span<const std::uint8_t> bytes) = 0;

 private:
  void AppendAfterDrain(const void* data, std::size_t size);

  ByteBuffer buffer_;
  std::size_t size_ = 0;
};

class FileSink final : public ByteSink {
 public:
  explicit FileSink(File file);

  void Flush() override { DrainBuffer(); }
  void Sync() override;
  void Close() override;

 private:
  void Drain(std::span<const std::uint8_t> bytes) override { file_.Write(bytes.data(), bytes.size()); }

  File file_;
};

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Reads 1 to size bytes and returns how many; 0 only at the end. REQUIRES: size > 0
  virtual std::size_t ReadSome(std::uint8_t* buffer, std::size_t size) = 0;
  // The bytes that are left; nothing where nobody can know (a pipe, a compressed stream).
  virtual std::optional<std::uint64_t> Remaining() const = 0;
  // Whether ReadSome() finds bytes, or the end, without waiting for whoever writes a pipe. May say no too often.
  virtual bool Ready() const = 0;
};

class FileSource final : public ByteSource {
 public:
  explicit FileSource(File file) : file_(std::move(file)), regular_(file_.IsRegular()) {}

  std::size_t ReadSome(std::uint8_t* buffer, std::size_t size) override;
  std::optional<std::uint64_t> Remaining() const override;
  bool Ready() const override { return regular_ || file_.Ready(); }

 private:
  File file_;
  bool regular_;
  std::uint64_t position_ = 0;
};

// A copy of some bytes, handed out in pieces of the given sizes (each at least 1) and then of any size, so that tests
// can cut the input anywhere. Stands for a plain file where `knows_size`, for a pipe otherwise.
class MemorySource final : public ByteSource {
 public:
  MemorySource(std::span<const std::uint8_t> bytes, std::vector<std::size_t> pieces, bool knows_size);

  std::size_t ReadSome(std::uint8_t* buffer, std::size_t size) override;
  std::optional<std::uint64_t> Remaining() const override;
  bool Ready() const override { return true; }

 private:
  std::vector<std::uint8_t> bytes_;
  std::vector<std::size_t> pieces_;
  bool knows_size_;
  std::size_t position_ = 0;
  std::size_t next_piece_ = 0;
};

// A window onto a source, of any size that is asked for. Memory grows with the bytes that really came.
class InputWindow {
 public:
  explicit InputWindow(std::unique_ptr<ByteSource> source);

  // Reads until the window holds at least `size` bytes or the source ends; returns whether it does. Moves the window's
  // bytes.
  bool Fill(std::size_t size);
  std::span<const std::uint8_t> bytes() const { return {buffer_.data() + begin_, end_ - begin_}; }
  // Drops the first bytes. REQUIRES: size <= bytes().size()
  void Consume(std::size_t size) { begin_ += size; }
  // The bytes behind the window.
  std::optional<std::uint64_t> Remaining() const { return source_->Remaining(); }
  // Whether the source has more without waiting.
  bool Ready() const { return source_->Ready(); }

 private:
  std::unique_ptr<ByteSource> source_;
  ByteBuffer buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace mexport
