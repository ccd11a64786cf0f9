// Writes records to a sink.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/byte_stream.h"

namespace mexport {

// After a call that threw anything but Error(kInvalidArgument), the file is damaged: only destruction is allowed, which
// closes it as it is.
class RecordWriter {
 public:
  explicit RecordWriter(std::unique_ptr<ByteSink> sink) : sink_(std::move(sink)) {}

  // Whether Write() of `size` bytes only fills a buffer.
  bool FitsBuffer(std::size_t size) const;
  void Write(const void* data, std::size_t size);
  // Writes data[offsets[i], offsets[i + 1]) for each i. Throws Error(kInvalidArgument), before anything is written,
  // unless the offsets ascend and lie within the data. Another thread may change them meanwhile: the same error then
  // comes after whole records.
  void WriteBatch(std::span<const std::uint8_t> data, std::span<const std::int64_t> offsets);
  void Flush() { sink_->Flush(); }
  void Sync() { sink_->Sync(); }
  void Close() { sink_->Close(); }

 private:
  std::unique_ptr<ByteSink> sink_;
};

}  // namespace mexport
