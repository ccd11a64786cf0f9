#include "core/record_reader.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/record_format.h"

namespace mexport {

using record_format::kFooterBytes;
using record_format::kHeaderBytes;
using record_format::kLengthBytes;
using record_format::LoadCrc;
using record_format::LoadLength;
using record_format::MaskedCrc;

namespace {

constexpr std::size_t kFirstBatchBytes = std::size_t{1} << 20;

std::string GotWant(const char* what, std::uint32_t got, std::uint32_t want) {
  char text[64];
  std::snprintf(text, sizeof text, "%s: got 0x%08" PRIx32 ", want 0x%08" PRIx32, what, got, want);
  return text;
}

}  // namespace

RecordReader::RecordReader(std::unique_ptr<ByteSource> source, std::string path, std::uint64_t max_record_bytes)
    : window_(std::move(source)), path_(std::move(path)), max_record_bytes_(max_record_bytes) {}

void RecordReader::Fail(ErrorKind kind, const std::string& message) const {
  throw Error(kind, message, path_, static_cast<std::int64_t>(offset_));
}

void RecordReader::FailTruncated(std::uint64_t length) const {
  const std::uint64_t got = window_.bytes().size() - kHeaderBytes;
  if (got < length) {
    Fail(ErrorKind::kRecordTruncated,
         "the file ends within a record's data: got " + std::to_string(got) + " bytes, want " + std::to_string(length));
  }
  Fail(ErrorKind::kRecordTruncated, "the file ends within a record's data checksum: got " +
                                        std::to_string(got - length) + " bytes, want " + std::to_string(kFooterBytes));
}

// A source knows neither the path nor the record that it fails.
bool RecordReader::Fill(std::size_t size) {
  try {
    return window_.Fill(size);
  } catch (const Error& error) {
    Fail(error.kind(), error.what());
  }
}

bool RecordReader::Buffered() const {
  if (failure_ || checked_) return true;
  const std::span<const std::uint8_t> bytes = window_.bytes();
  if (bytes.size() < kHeaderBytes + kFooterBytes) return false;
  return LoadLength(bytes.data()) <= bytes.size() - kHeaderBytes - kFooterBytes;
}

std::optional<std::span<const std::uint8_t>> RecordReader::PeekUnguarded() {
  if (!checked_) {
    if (!Fill(kHeaderBytes)) {
      const std::size_t got = window_.bytes().size();
      if (got == 0) return std::nullopt;
      Fail(ErrorKind::kRecordTruncated, "the file ends within a record's header: got " + std::to_string(got) +
                                            " bytes, want " + std::to_string(kHeaderBytes));
    }
    const std::uint8_t* header = window_.bytes().data();
    const std::uint32_t length_crc = LoadCrc(header + kLengthBytes);
    const std::uint32_t want_length_crc = MaskedCrc(header, kLengthBytes);
    if (length_crc != want_length_crc) {
      Fail(ErrorKind::kRecordLengthCrc, GotWant("checksum of a record's length", length_crc, want_length_crc));
    }
    const std::uint64_t length = LoadLength(header);
    if (length > window_.bytes().size() - kHeaderBytes) {
      if (const std::optional<std::uint64_t> behind = window_.Remaining()) {
        const std::uint64_t rest = window_.bytes().size() - kHeaderBytes + *behind;
        if (length > rest) {
          Fail(ErrorKind::kRecordTooLarge, "length of a record: got " + std::to_string(length) + ", want at most " +
                                               std::to_string(rest) + ", the rest of the file");
        }
      }
    }
    if (length > max_record_bytes_) {
      Fail(ErrorKind::kRecordTooLarge, "length of a record: got " + std::to_string(length) + ", want at most " +
                                           std::to_string(max_record_bytes_) + ", the reader's limit");
    }
    const auto size = static_cast<std::size_t>(length);
    if (!Fill(kHeaderBytes + size + kFooterBytes)) FailTruncated(length);
    const std::uint8_t* data = window_.bytes().data() + kHeaderBytes;
    const std::uint32_t data_crc = LoadCrc(data + size);
    const std::uint32_t want_data_crc = MaskedCrc(data, size);
    if (data_crc != want_data_crc) {
      Fail(ErrorKind::kRecordDataCrc, GotWant("checksum of a record's data", data_crc, want_data_crc));
    }
    checked_ = size;
  }
  return window_.bytes().subspan(kHeaderBytes, *checked_);
}

template <typename Read>
auto RecordReader::Guard(Read read) {
  if (pending_) std::rethrow_exception(std::exchange(pending_, nullptr));
  if (failure_) std::rethrow_exception(failure_);
  try {
    return read();
  } catch (const Error&) {
    failure_ = std::current_exception();
    throw;
  } catch (const IoError&) {
    failure_ = std::current_exception();
    throw;
  } catch (...) {
    // It may not be one that can be thrown twice.
    failure_ = std::make_exception_ptr(Error(
        ErrorKind::kInvalidArgument, "the record reader is of no use any more: an exception ended an earlier call"));
    throw;
  }
}

std::optional<std::span<const std::uint8_t>> RecordReader::Peek() {
  return Guard([this] { return PeekUnguarded(); });
}

void RecordReader::Skip() {
  const std::size_t size = kHeaderBytes + *std::exchange(checked_, std::nullopt) + kFooterBytes;
  window_.Consume(size);
  offset_ += size;
}

RecordColumns RecordReader::ReadBatch(std::size_t max_records, std::size_t max_bytes) {
  RecordColumns columns;
  columns.offsets.push_back(0);
  std::size_t size = 0;
  const auto read = [&] {
    while (columns.offsets.size() <= max_records) {
      if (columns.offsets.size() > 1 && !Buffered() && !window_.Ready()) break;
      const std::optional<std::span<const std::uint8_t>> record = PeekUnguarded();
      if (!record) break;
      const std::size_t end = size + record->size();
      if (end > max_bytes && columns.offsets.size() > 1) break;
      if (end > columns.data.capacity()) {
        // As much as the batch needs if all its records are like this one.
        const std::size_t first =
            record->size() < kFirstBatchBytes / max_records ? record->size() * max_records : kFirstBatchBytes;
        columns.data.Resize(std::max(end, std::min(max_bytes, std::max(first, 2 * columns.data.capacity()))));
      }
      if (!record->empty()) std::memcpy(columns.data.data() + size, record->data(), record->size());
      size = end;
      columns.offsets.push_back(static_cast<std::int64_t>(size));
      Skip();
    }
  };
  try {
    Guard(read);
  } catch (...) {
    if (columns.offsets.size() == 1) throw;
    pending_ = std::current_exception();
  }
  return columns;
}

}  // namespace mexport
