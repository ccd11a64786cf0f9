// Reads records from a source, checking every checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/byte_buffer.h"
#include "core/byte_stream.h"
#include "core/error.h"

namespace mexport {

// Records in a row, without what was around them.
struct RecordColumns {
  ByteBuffer data;
  std::vector<std::int64_t> offsets;  // record i is data[offsets[i], offsets[i + 1])
};

// Every method that reads throws one of the kRecord… errors, with `path` and the offset of the record at fault, or
// IoError; from then on it throws the same one again. An exception of anybody else's (memory, a codec, the interrupt
// hook) passes through once, and an Error(kInvalidArgument) stands for it from then on.
class RecordReader {
 public:
  RecordReader(std::unique_ptr<ByteSource> source, std::string path, std::uint64_t max_record_bytes);

  // The next record, checked, which stays the next one until Skip(); nothing at the end. The bytes are valid until the
  // next call. Memory grows with the data that came, never with a length alone.
  std::optional<std::span<const std::uint8_t>> Peek();
  // REQUIRES: Peek() returned a record
  void Skip();
  // Whether Peek() needs to read nothing.
  bool Buffered() const;
  // Moves the next records into columns: at least one unless the end is reached, no more than max_records (at least 1),
  // and no more than max_bytes of data unless the first one alone is larger. Once it has some, it does not wait for the
  // writer of a pipe. Whatever is thrown is thrown by the next call where there are records before it.
  RecordColumns ReadBatch(std::size_t max_records, std::size_t max_bytes);

  // Where the next record begins in the uncompressed stream.
  std::uint64_t offset() const { return offset_; }

 private:
  std::optional<std::span<const std::uint8_t>> PeekUnguarded();
  // Runs `read` and remembers how it failed.
  template <typename Read>
  auto Guard(Read read);
  bool Fill(std::size_t size);
  [[noreturn]] void Fail(ErrorKind kind, const std::string& message) const;
  [[noreturn]] void FailTruncated(std::uint64_t length) const;

  InputWindow window_;
  std::string path_;
  std::uint64_t max_record_bytes_;
  std::uint64_t offset_ = 0;
  // The size of the record that Peek() checked.
  std::optional<std::size_t> checked_;
  std::exception_ptr failure_;
  // What ReadBatch() has not thrown yet.
  std::exception_ptr pending_;
};

}  // namespace mexport
