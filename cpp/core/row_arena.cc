#include "core/row_arena.h"

#include <bit>
#include <cstdlib>
#include <new>
#include <string>

#include "core/error.h"

namespace mexport {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{8} << 20;
constexpr std::size_t kWideRow = 32;

std::size_t Stride(std::size_t row_bytes) {
  const std::size_t unit = row_bytes >= kWideRow ? 8 : 4;
  return (row_bytes + unit - 1) / unit * unit;
}

}  // namespace

void RowArena::Free::operator()(std::atomic<std::uint8_t*>* chunks) const { std::free(chunks); }

RowArena::RowArena(std::size_t row_bytes) : stride_(Stride(row_bytes)) {
  const std::size_t rows = std::bit_ceil(std::max<std::size_t>(kChunkBytes / stride_, kRun));
  shift_ = static_cast<unsigned>(std::countr_zero(rows));
  row_mask_ = static_cast<std::uint32_t>(rows - 1);
  timestamps_ = rows * stride_;
  const std::size_t chunks = (kMaxRows >> shift_) + 1;
  void* memory = std::calloc(chunks, sizeof(std::atomic<std::uint8_t*>));
  if (memory == nullptr) throw std::bad_alloc();
  static_assert(std::atomic<std::uint8_t*>::is_always_lock_free);
  chunks_.reset(static_cast<std::atomic<std::uint8_t*>*>(memory));
}

std::uint32_t RowArena::AllocateRun() {
  std::lock_guard lock(mutex_);
  const std::uint64_t row = next_row_.load(std::memory_order_relaxed);
  if (row + kRun > kMaxRows) {
    throw Error(ErrorKind::kInvalidArgument, "table is full: want at most " + std::to_string(kMaxRows) + " rows");
  }
  const std::size_t chunk = row >> shift_;
  if (chunk == memory_.size()) {
    const std::size_t bytes = timestamps_ + (std::size_t{row_mask_} + 1) * sizeof(std::uint32_t);
    memory_.emplace_back(bytes, chunk == 0 ? PageSize::kSmall : PageSize::kHuge);
    chunks_[chunk].store(memory_.back().data(), std::memory_order_release);
  }
  next_row_.store(row + kRun, std::memory_order_relaxed);
  return static_cast<std::uint32_t>(row);
}

std::size_t RowArena::bytes() const {
  return next_row_.load(std::memory_order_relaxed) * (stride_ + sizeof(std::uint32_t));
}

}  // namespace mexport
