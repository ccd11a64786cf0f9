// Zeroed memory, aligned to 64 bytes. Large blocks come straight from the system: touched only where they are used, and
// on huge pages where those pay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace mexport {

enum class PageSize { kSmall, kHuge };

class ZeroedMemory {
 public:
  ZeroedMemory() = default;
  // Throws std::bad_alloc. Huge pages are asked for, not insisted on; without them the memory is only slower.
  ZeroedMemory(std::size_t bytes, PageSize pages);
  ~ZeroedMemory();
  ZeroedMemory(ZeroedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        mapped_(std::exchange(other.mapped_, false)) {}
  ZeroedMemory& operator=(ZeroedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }

  std::uint8_t* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t bytes_ = 0;
  bool mapped_ = false;  // otherwise from the heap
};

}  // namespace mexport
