#include "core/record_writer.h"

#include <array>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/record_format.h"

namespace mexport {

using record_format::kFooterBytes;
using record_format::kHeaderBytes;
using record_format::StoreFooter;
using record_format::StoreHeader;

namespace {

// offsets[i], which must lie between `low` and `size`. The caller's memory is read just once.
std::int64_t CheckedOffset(std::span<const std::int64_t> offsets, std::size_t i, std::int64_t low, std::size_t size) {
  const std::int64_t offset = __atomic_load_n(&offsets[i], __ATOMIC_RELAXED);
  if (offset < low || static_cast<std::uint64_t>(offset) > size) {
    throw Error(ErrorKind::kInvalidArgument, "offsets[" + std::to_string(i) + "]: got " + std::to_string(offset) +
                                                 ", want " + std::to_string(low) + " to " + std::to_string(size));
  }
  return offset;
}

}  // namespace

bool RecordWriter::FitsBuffer(std::size_t size) const {
  const std::size_t room = sink_->Room();
  return room >= kHeaderBytes + kFooterBytes && size <= room - kHeaderBytes - kFooterBytes;
}

void RecordWriter::Write(const void* data, std::size_t size) {
  if (FitsBuffer(size)) {
    std::uint8_t* p = sink_->Extend(kHeaderBytes + size + kFooterBytes);
    StoreHeader(p, size);
    if (size > 0) std::memcpy(p + kHeaderBytes, data, size);
    // Of the caller's bytes: the copy's loads would wait for its stores.
    StoreFooter(p + kHeaderBytes + size, data, size);
    return;
  }
  // Three pieces, because a snappy block ends between pieces.
  std::array<std::uint8_t, kHeaderBytes> header;
  StoreHeader(header.data(), size);
  sink_->Append(header.data(), header.size());
  sink_->Append(data, size);
  std::array<std::uint8_t, kFooterBytes> footer;
  StoreFooter(footer.data(), data, size);
  sink_->Append(footer.data(), footer.size());
}

void RecordWriter::WriteBatch(std::span<const std::uint8_t> data, std::span<const std::int64_t> offsets) {
  if (offsets.empty()) throw Error(ErrorKind::kInvalidArgument, "offsets: got none, want one more than records");
  std::int64_t last = 0;
  for (std::size_t i = 0; i < offsets.size(); ++i) last = CheckedOffset(offsets, i, last, data.size());
  // Each is read once more and checked as it is used.
  std::int64_t start = CheckedOffset(offsets, 0, 0, data.size());
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    const std::int64_t end = CheckedOffset(offsets, i, start, data.size());
    Write(data.data() + start, static_cast<std::size_t>(end - start));
    start = end;
  }
}

}  // namespace mexport
