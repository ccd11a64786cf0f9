// Fresh memory in pages of 4 KiB costs more than what is done to it; scattered access costs a page walk each.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "core/byte_buffer.h"

namespace mexport {

// Asks for huge pages where the memory has room for some. Only a wish: a kernel without them says no.
inline void WishForHugePages(const ByteBuffer& buffer) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  constexpr std::size_t kPage = 4096;
  if (buffer.capacity() < 2 * kHugePage) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(buffer.data());
  const std::uintptr_t first = (begin + kPage - 1) & ~(kPage - 1);
  static_cast<void>(::madvise(reinterpret_cast<void*>(first), buffer.capacity() - (first - begin), MADV_HUGEPAGE));
}

}  // namespace mexport
