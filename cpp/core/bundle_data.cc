#include "core/bundle_data.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/crc32c.h"
#include "core/error.h"

namespace mexport {

BundleDataReader::BundleDataReader(const std::string& path) : file_(File::OpenForRead(path)), size_(file_.Size()) {}

void BundleDataReader::CheckPlace(const TensorPlace& place) const {
  if (place.offset <= size_ && place.size <= size_ - place.offset) return;
  throw Error(ErrorKind::kBundle,
              "tensor '" + place.name + "' ends beyond the file: got offset " + std::to_string(place.offset) +
                  " and size " + std::to_string(place.size) + ", want at most " + std::to_string(size_) + " bytes",
              path(), static_cast<std::int64_t>(place.offset));
}

void BundleDataReader::ReadExactly(const TensorPlace& place, std::uint64_t offset, void* out, std::size_t size) const {
  const std::size_t got = file_.ReadAt(offset, out, size);
  if (got == size) return;
  throw Error(ErrorKind::kBundle, "tensor '" + place.name + "': the file became shorter while it was read", path(),
              static_cast<std::int64_t>(place.offset));
}

std::uint32_t BundleDataReader::Read(const TensorPlace& place, void* out) const {
  CheckPlace(place);
  auto* to = static_cast<char*>(out);
  std::uint32_t crc = 0;
  for (std::uint64_t done = 0; done < place.size;) {
    const auto chunk = static_cast<std::size_t>(std::min<std::uint64_t>(kBundleChunkSize, place.size - done));
    ReadExactly(place, place.offset + done, to + done, chunk);
    crc = ExtendCrc32c(crc, to + done, chunk);
    done += chunk;
  }
  return MaskCrc(crc);
}

std::uint32_t BundleDataReader::ReadBox(const TensorPlace& place, const TensorBox& box, void* out) const {
  CheckPlace(place);
  if (box.TensorBytes() != place.size) {
    throw Error(ErrorKind::kInvalidArgument, "tensor '" + place.name + "': the shape does not match the size");
  }
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kBundleChunkSize, place.size)));
  auto* to = static_cast<char*>(out);
  TensorBox::Runs runs(box);
  std::uint32_t crc = 0;
  for (std::uint64_t done = 0; done < place.size;) {
    const auto chunk = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), place.size - done));
    ReadExactly(place, place.offset + done, buffer.data(), chunk);
    crc = ExtendCrc32c(crc, buffer.data(), chunk);
    // A run may begin in one chunk and go on in the next: take what is here of it.
    while (!runs.done() && runs.begin() < done + chunk) {
      const auto take = static_cast<std::size_t>(std::min(runs.end(), done + chunk) - runs.begin());
      std::memcpy(to, buffer.data() + (runs.begin() - done), take);
      to += take;
      runs.Advance(take);
    }
    done += chunk;
  }
  return MaskCrc(crc);
}

std::uint32_t BundleDataReader::ReadStored(const TensorPlace& place, std::string* stored) const {
  CheckPlace(place);
  TensorChecksum checksum(place, path());
  stored->resize(static_cast<std::size_t>(place.size));
  ReadExactly(place, place.offset, stored->data(), stored->size());
  checksum.Update(stored->data(), stored->size());
  return checksum.Finish();
}

std::uint32_t BundleDataReader::Check(const TensorPlace& place) const {
  CheckPlace(place);
  TensorChecksum checksum(place, path());
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kBundleChunkSize, place.size)));
  for (std::uint64_t done = 0; done < place.size;) {
    const auto chunk = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), place.size - done));
    ReadExactly(place, place.offset + done, buffer.data(), chunk);
    checksum.Update(buffer.data(), chunk);
    done += chunk;
  }
  return checksum.Finish();
}

BundleDataWriter::BundleDataWriter(const std::string& path, std::uint64_t expected_size)
    : path_(path), file_(File::Create(path)), expected_size_(expected_size), buffer_(kBundleChunkSize) {
  file_.Allocate(expected_size_);
}

void BundleDataWriter::CheckOpen() const {
  if (!open_) throw Error(ErrorKind::kInvalidArgument, "data file '" + path_ + "' is closed");
}

void BundleDataWriter::Flush() {
  file_.Write(buffer_.data(), buffered_);
  buffered_ = 0;
}

void BundleDataWriter::Put(const void* data, std::size_t size) {
  if (size == 0) return;
  if (size > buffer_.size() - buffered_) Flush();
  if (size >= buffer_.size()) {
    file_.Write(data, size);
  } else {
    std::memcpy(buffer_.data() + buffered_, data, size);
    buffered_ += size;
  }
  position_ += size;
}

AppendedTensor BundleDataWriter::Append(const void* data, std::size_t size) {
  const std::lock_guard lock(exclusive_);
  CheckOpen();
  const std::uint64_t start = position_;
  const auto* from = static_cast<const char*>(data);
  std::uint32_t crc = 0;
  for (std::size_t done = 0; done < size;) {
    const std::size_t chunk = std::min(kBundleChunkSize, size - done);
    crc = ExtendCrc32c(crc, from + done, chunk);
    Put(from + done, chunk);
    done += chunk;
  }
  return {start, size, MaskCrc(crc)};
}

AppendedTensor BundleDataWriter::AppendStrings(const std::vector<std::string_view>& strings) {
  const std::lock_guard lock(exclusive_);
  CheckOpen();
  const std::uint64_t start = position_;
  const StringsHeader header = MakeStringsHeader(strings);
  Put(header.bytes.data(), header.bytes.size());
  std::uint32_t crc = header.crc;
  for (const std::string_view s : strings) {
    crc = ExtendCrc32c(crc, s.data(), s.size());
    Put(s.data(), s.size());
  }
  return {start, position_ - start, MaskCrc(crc)};
}

AppendedTensor BundleDataWriter::AppendFrom(const BundleDataReader& reader, const TensorPlace& place) {
  const std::lock_guard lock(exclusive_);
  CheckOpen();
  reader.CheckPlace(place);
  const std::uint64_t start = position_;
  TensorChecksum checksum(place, reader.path());
  // Straight into the buffer of the writer: no byte is copied twice.
  for (std::uint64_t done = 0; done < place.size;) {
    if (buffered_ == buffer_.size()) Flush();
    const auto chunk = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size() - buffered_, place.size - done));
    char* to = buffer_.data() + buffered_;
    reader.ReadExactly(place, place.offset + done, to, chunk);
    checksum.Update(to, chunk);
    buffered_ += chunk;
    position_ += chunk;
    done += chunk;
  }
  return {start, place.size, checksum.Finish()};
}

void BundleDataWriter::Close() {
  const std::lock_guard lock(exclusive_);
  CheckOpen();
  open_ = false;
  Flush();
  if (position_ < expected_size_) file_.Truncate(position_);
  file_.Close();
}

}  // namespace mexport
