#include "core/byte_stream.h"

#include <algorithm>
#include <utility>

namespace mexport {
namespace {

constexpr std::size_t kFileSinkBytes = std::size_t{1} << 20;
// Small enough to stay in a core's second-level cache, large enough to make the system calls cheap.
constexpr std::size_t kWindowBytes = std::size_t{256} << 10;
// A window that had to grow beyond this for one large record gives the memory back afterwards.
constexpr std::size_t kWindowKeepBytes = std::size_t{16} << 20;

}  // namespace

void ByteSink::DrainBuffer() {
  if (size_ == 0) return;
  Drain({buffer_.data(), size_});
  size_ = 0;
}

void ByteSink::AppendAfterDrain(const void* data, std::size_t size) {
  DrainBuffer();
  const auto* p = static_cast<const std::uint8_t*>(data);
  for (; size > buffer_.capacity(); p += buffer_.capacity(), size -= buffer_.capacity()) {
    Drain({p, buffer_.capacity()});
  }
  std::memcpy(buffer_.data(), p, size);
  size_ = size;
}

FileSink::FileSink(File file) : ByteSink(kFileSinkBytes), file_(std::move(file)) {}

void FileSink::Sync() {
  DrainBuffer();
  file_.Sync();
}

void FileSink::Close() {
  DrainBuffer();
  file_.Close();
}

std::size_t FileSource::ReadSome(std::uint8_t* buffer, std::size_t size) {
  const std::size_t n = file_.ReadSome(buffer, size);
  position_ += n;
  return n;
}

std::optional<std::uint64_t> FileSource::Remaining() const {
  if (!regular_) return std::nullopt;
  const std::uint64_t size = file_.Size();
  return size > position_ ? size - position_ : 0;
}

MemorySource::MemorySource(std::span<const std::uint8_t> bytes, std::vector<std::size_t> pieces, bool knows_size)
    : bytes_(bytes.begin(), bytes.end()), pieces_(std::move(pieces)), knows_size_(knows_size) {}

std::size_t MemorySource::ReadSome(std::uint8_t* buffer, std::size_t size) {
  std::size_t n = std::min(size, bytes_.size() - position_);
  if (next_piece_ < pieces_.size()) n = std::min(n, pieces_[next_piece_++]);
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(position_), n, buffer);
  position_ += n;
  return n;
}

std::optional<std::uint64_t> MemorySource::Remaining() const {
  if (!knows_size_) return std::nullopt;
  return bytes_.size() - position_;
}

InputWindow::InputWindow(std::unique_ptr<ByteSource> source) : source_(std::move(source)), buffer_(kWindowBytes) {}

bool InputWindow::Fill(std::size_t size) {
  if (end_ - begin_ >= size) return true;
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (buffer_.capacity() > kWindowKeepBytes && std::max(size, end_) <= kWindowBytes) buffer_.Resize(kWindowBytes);
  while (end_ < size) {
    if (end_ == buffer_.capacity()) buffer_.Resize(std::min(2 * buffer_.capacity(), std::max(size, 2 * kWindowBytes)));
    const std::size_t wanted = std::max(size - end_, kWindowBytes);
    const std::size_t n = source_->ReadSome(buffer_.data() + end_, std::min(wanted, buffer_.capacity() - end_));
    if (n == 0) return false;
    end_ += n;
  }
  return true;
}

}  // namespace mexport
