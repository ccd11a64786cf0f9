// Raw snappy blocks. Input: taken for a block, and taken for bytes to compress.
#include <algorithm>
#include <cstring>
#include <memory>
#include <span>

#include "core/snappy.h"
#include "core/snappy_format.h"
#include "fuzz/fuzzing.h"

namespace mexport {
namespace {

using Bytes = std::span<const std::uint8_t>;

// Memory of exactly so many bytes, so that a sanitizer sees every step beyond.
struct Exact {
  explicit Exact(std::size_t n) : size(n), data(std::make_unique<std::uint8_t[]>(n)) {}

  std::span<std::uint8_t> bytes() { return {data.get(), size}; }

  std::size_t size;
  std::unique_ptr<std::uint8_t[]> data;
};

// Whether the block holds what its front promises.
bool Decompress(Bytes block, std::span<std::uint8_t> plain) {
  try {
    Snappy().Decompress(block, plain);
    return true;
  } catch (const Error& error) {
    MEXPORT_FUZZ_CHECK(error.kind() == ErrorKind::kRecordCompression);
    return false;
  }
}

void CheckRoundTrip(Bytes plain) {
  Exact block(MaxSnappyBytes(plain.size()));
  const std::size_t size = Snappy().Compress(plain, block.bytes());
  MEXPORT_FUZZ_CHECK(size <= block.size);
  Exact cut(size);
  std::copy_n(block.data.get(), size, cut.data.get());
  Exact again(plain.size());
  MEXPORT_FUZZ_CHECK(Decompress(cut.bytes(), again.bytes()));
  MEXPORT_FUZZ_CHECK(std::equal(plain.begin(), plain.end(), again.data.get()));
}

void TryBlock(Bytes block) {
  std::size_t size = 0;
  try {
    size = snappy_format::PlainSize(block.first(std::min(block.size(), snappy_format::kMaxSizeBytes)), block.size());
  } catch (const Error& error) {
    MEXPORT_FUZZ_CHECK(error.kind() == ErrorKind::kRecordCompression);
    return;
  }
  Exact plain(size);
  if (Decompress(block, plain.bytes())) CheckRoundTrip(plain.bytes());
}

}  // namespace
}  // namespace mexport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mexport::TryBlock({data, size});
  mexport::CheckRoundTrip({data, size});
  return 0;
}
