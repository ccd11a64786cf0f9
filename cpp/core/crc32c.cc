#include "core/crc32c.h"

#include <array>
#include <atomic>

#include "core/crc32c_implementations.h"

namespace mexport {
namespace {

struct Present {
  std::array<Crc32cImplementation, 3> list;
  std::size_t count;
};

Present FindPresent() {
  Present present{};
  present.list[present.count++] = {"portable", ExtendCrc32cPortable};
#if defined(__x86_64__)
  if (HasCrc32cSse42()) present.list[present.count++] = {"sse4.2", ExtendCrc32cSse42};
  if (HasCrc32cAvx512()) present.list[present.count++] = {"avx512", ExtendCrc32cAvx512};
#endif
  return present;
}

std::uint32_t ChooseAndExtend(std::uint32_t crc, const void* data, std::size_t size);

// Constant-initialised, so that another file's static initialiser may use it; two threads that choose at once store the
// same value.
constinit std::atomic<ExtendCrc32cFunction> g_extend{ChooseAndExtend};

std::uint32_t ChooseAndExtend(std::uint32_t crc, const void* data, std::size_t size) {
  const ExtendCrc32cFunction extend = Crc32cImplementations().back().extend;
  g_extend.store(extend, std::memory_order_relaxed);
  return extend(crc, data, size);
}

}  // namespace

std::span<const Crc32cImplementation> Crc32cImplementations() {
  static const Present present = FindPresent();
  return {present.list.data(), present.count};
}

std::uint32_t ExtendCrc32c(std::uint32_t crc, const void* data, std::size_t size) {
  return g_extend.load(std::memory_order_relaxed)(crc, data, size);
}

}  // namespace mexport
