#include "core/entry_batch.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace mexport {
namespace {

constexpr std::size_t kFirstCapacity = 1024;
constexpr std::size_t kIds = 0;
constexpr std::size_t kValues = 1;
constexpr std::size_t kTimestamps = 2;
constexpr std::size_t kStates = 3;

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kPage = 4096;

// Fresh memory in pages of 4 KiB costs more than decoding into it.
void WishForHugePages(const ByteBuffer& buffer) {
  if (buffer.capacity() < 2 * kHugePage) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(buffer.data());
  const std::uintptr_t first = (begin + kPage - 1) & ~(kPage - 1);
  // Only a wish: a kernel without huge pages says no.
  static_cast<void>(::madvise(reinterpret_cast<void*>(first), buffer.capacity() - (first - begin), MADV_HUGEPAGE));
}

}  // namespace

EntryBatch::EntryBatch(EntryLayout layout) : layout_(std::move(layout)), buffers_(kStates + layout_.columns().size()) {
  target_.states.resize(layout_.columns().size());
}

std::size_t EntryBatch::RowBytes(std::size_t buffer) const {
  if (buffer == kValues) return layout_.dim() * sizeof(float);
  if (buffer < kStates) return sizeof(std::int64_t);
  const StateColumn& column = layout_.columns()[buffer - kStates];
  return column.count * (column.is_integer() ? sizeof(std::int64_t) : sizeof(float));
}

void EntryBatch::Reserve(std::size_t capacity) {
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const std::size_t row = RowBytes(i);
    if (row > 0 && capacity > SIZE_MAX / row) throw std::bad_alloc();
    buffers_[i].Resize(std::max<std::size_t>(1, capacity * row));
    WishForHugePages(buffers_[i]);
  }
  capacity_ = capacity;
  target_.ids = reinterpret_cast<std::int64_t*>(buffers_[kIds].data());
  target_.values = reinterpret_cast<float*>(buffers_[kValues].data());
  target_.timestamps = reinterpret_cast<std::int64_t*>(buffers_[kTimestamps].data());
  for (std::size_t i = 0; i < target_.states.size(); ++i) target_.states[i] = buffers_[kStates + i].data();
}

EntrySource EntryBatch::source() const {
  return {target_.ids, target_.values, target_.timestamps, {target_.states.begin(), target_.states.end()}};
}

void EntryBatch::ReserveOneMore() {
  if (rows_ == capacity_) Reserve(std::max(kFirstCapacity, 2 * capacity_));
}

void EntryBatch::Append(const EntryBatch& other) {
  if (other.rows_ == 0) return;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const std::size_t row = RowBytes(i);
    std::memcpy(buffers_[i].data() + rows_ * row, other.buffers_[i].data(), other.rows_ * row);
  }
  rows_ += other.rows_;
}

std::vector<ByteBuffer> EntryBatch::Release() {
  rows_ = 0;
  capacity_ = 0;
  target_ = {};
  return std::move(buffers_);
}

}  // namespace mexport
