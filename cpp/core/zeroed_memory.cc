#include "core/zeroed_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace mexport {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kSmallPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t RoundUp(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

ZeroedMemory::ZeroedMemory(std::size_t bytes, PageSize pages) {
  if (bytes == 0) return;
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
  if (bytes < kHugePage) {
    // A process may have some 65,000 mappings; the small indexes of many tables must not use them up.
    bytes_ = RoundUp(bytes, kAlignment);
    data_ = static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, bytes_));
    if (data_ == nullptr) throw std::bad_alloc();
    std::memset(data_, 0, bytes_);
    return;
  }
  bytes = RoundUp(bytes, kSmallPage);
  const bool huge = pages == PageSize::kHuge;
  const std::size_t reserved = huge ? bytes + kHugePage : bytes;
  void* mapped = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::uint8_t*>(mapped);
  mapped_ = true;
  bytes_ = bytes;
  if (!huge) {
    // Where the system gives huge pages unasked, a small table would take 2 MiB at its first row.
    static_cast<void>(madvise(data_, bytes_, MADV_NOHUGEPAGE));
    return;
  }
  const std::size_t front =
      RoundUp(reinterpret_cast<std::uintptr_t>(mapped), kHugePage) - reinterpret_cast<std::uintptr_t>(mapped);
  if (front > 0) munmap(mapped, front);
  data_ += front;
  if (front < kHugePage) munmap(data_ + bytes, kHugePage - front);
  static_cast<void>(madvise(data_, bytes_, MADV_HUGEPAGE));
}

ZeroedMemory::~ZeroedMemory() {
  if (!mapped_) {
    std::free(data_);
  } else {
    munmap(data_, bytes_);
  }
}

}  // namespace mexport
