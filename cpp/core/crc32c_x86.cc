// The crc32 instruction in one or three streams, and carry-less multiplication of 64-byte vectors.
//
// Moving a checksum A over n zero bits is A * x^n modulo the polynomial. For reflected 32-bit values the carry-less
// product of A and B, read as an 8-byte message, is A * B * x, and the crc32 instruction multiplies by x^32: so A is
// moved by n bits with B = x^(n - 33). The same constants, in the low half of each 64-bit operand, move the two halves
// of a 128-bit value.
#if defined(__x86_64__)

#include <immintrin.h>

#include <array>
#include <cstring>

#include "core/crc32c_implementations.h"
#include "core/crc32c_polynomial.h"

namespace mexport {
namespace {

using crc32c_polynomial::PowerOfX;

inline std::uint64_t Load64(const unsigned char* p) {
  std::uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// Below this, one stream is as fast as three and their combination.
constexpr std::size_t kThreeStreamsFrom = 192;
// Words of 8 bytes in each of the three streams, at most.
constexpr std::size_t kMaxStreamWords = 128;

// kMove[w] moves a checksum over w words.
constexpr std::array<std::uint32_t, 2 * kMaxStreamWords + 1> MakeMove() {
  std::array<std::uint32_t, 2 * kMaxStreamWords + 1> move{};
  for (std::size_t words = 1; words < move.size(); ++words) move[words] = PowerOfX(64 * words - 33);
  return move;
}

constexpr auto kMove = MakeMove();

// Works on the inverted checksum, as the instruction does.
__attribute__((target("sse4.2"))) inline std::uint32_t ExtendOneStream(std::uint32_t state, const unsigned char* p,
                                                                       std::size_t size) {
  std::uint64_t crc = state;
  for (; size >= 8; size -= 8, p += 8) crc = _mm_crc32_u64(crc, Load64(p));
  auto narrow = static_cast<std::uint32_t>(crc);
  for (; size > 0; --size) narrow = _mm_crc32_u8(narrow, *p++);
  return narrow;
}

__attribute__((target("sse4.2,pclmul"))) inline std::uint64_t Move(std::uint64_t crc, std::size_t words) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(crc)),
                                               _mm_cvtsi32_si128(static_cast<int>(kMove[words])), 0);
  return _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(product)));
}

}  // namespace

bool HasCrc32cSse42() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"); }

bool HasCrc32cAvx512() {
  return HasCrc32cSse42() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("vpclmulqdq");
}

__attribute__((target("sse4.2,pclmul"))) std::uint32_t ExtendCrc32cSse42(std::uint32_t crc, const void* data,
                                                                         std::size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
  std::uint64_t first = static_cast<std::uint32_t>(~crc);
  while (size >= kThreeStreamsFrom) {
    // The instruction has a latency of three cycles and starts every cycle: three streams keep it busy.
    const std::size_t words = size / 24 < kMaxStreamWords ? size / 24 : kMaxStreamWords;
    const std::size_t bytes = 8 * words;
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (const unsigned char* end = p + bytes; p < end; p += 8) {
      first = _mm_crc32_u64(first, Load64(p));
      second = _mm_crc32_u64(second, Load64(p + bytes));
      third = _mm_crc32_u64(third, Load64(p + 2 * bytes));
    }
    first = Move(first, 2 * words) ^ Move(second, words) ^ third;
    p += 2 * bytes;
    size -= 3 * bytes;
  }
  return ~ExtendOneStream(static_cast<std::uint32_t>(first), p, size);
}

#define MEXPORT_AVX512 __attribute__((target("sse4.2,pclmul,avx512f,avx512vl,vpclmulqdq")))

namespace {

// Below this the folding does not pay its set-up.
constexpr std::size_t kFoldFrom = 256;

// Multiplies each 128-bit lane by x^bits: `low` is x^(bits + 31) for its first 8 bytes, `high` x^(bits - 33) for its
// last.
struct FoldConstants {
  long long low;
  long long high;
};

constexpr FoldConstants FoldBy(std::uint64_t bits) {
  return {static_cast<long long>(PowerOfX(bits + 31)), static_cast<long long>(PowerOfX(bits - 33))};
}

constexpr FoldConstants kBy256Bytes = FoldBy(2048);
constexpr FoldConstants kBy64Bytes = FoldBy(512);
constexpr FoldConstants kBy48Bytes = FoldBy(384);
constexpr FoldConstants kBy32Bytes = FoldBy(256);
constexpr FoldConstants kBy16Bytes = FoldBy(128);

MEXPORT_AVX512 inline __m512i Load512(const unsigned char* p) { return _mm512_loadu_si512(p); }

MEXPORT_AVX512 inline __m512i Spread(FoldConstants k) {
  return _mm512_set_epi64(k.high, k.low, k.high, k.low, k.high, k.low, k.high, k.low);
}

// lanes * x^bits + data, where `constants` belongs to `bits`.
MEXPORT_AVX512 inline __m512i Fold(__m512i lanes, __m512i constants, __m512i data) {
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(lanes, constants, 0x00),
                                   _mm512_clmulepi64_epi128(lanes, constants, 0x11), data, kXorOfThree);
}

}  // namespace

MEXPORT_AVX512 std::uint32_t ExtendCrc32cAvx512(std::uint32_t crc, const void* data, std::size_t size) {
  if (size < kFoldFrom) return ExtendCrc32cSse42(crc, data, size);
  const auto* p = static_cast<const unsigned char*>(data);

  // Four vectors hide the latency of the multiplication. The checksum so far is added to the first four bytes.
  const __m512i state = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~crc)));
  __m512i a = _mm512_xor_si512(Load512(p), state);
  __m512i b = Load512(p + 64);
  __m512i c = Load512(p + 128);
  __m512i d = Load512(p + 192);
  p += 256;
  size -= 256;
  const __m512i by_256_bytes = Spread(kBy256Bytes);
  for (; size >= 256; size -= 256, p += 256) {
    a = Fold(a, by_256_bytes, Load512(p));
    b = Fold(b, by_256_bytes, Load512(p + 64));
    c = Fold(c, by_256_bytes, Load512(p + 128));
    d = Fold(d, by_256_bytes, Load512(p + 192));
  }
  const __m512i by_64_bytes = Spread(kBy64Bytes);
  b = Fold(a, by_64_bytes, b);
  c = Fold(b, by_64_bytes, c);
  d = Fold(c, by_64_bytes, d);
  for (; size >= 64; size -= 64, p += 64) d = Fold(d, by_64_bytes, Load512(p));

  // The first three lanes move onto the last one, which is left as it is.
  const __m512i to_last_lane = _mm512_set_epi64(0, 0, kBy16Bytes.high, kBy16Bytes.low, kBy32Bytes.high, kBy32Bytes.low,
                                                kBy48Bytes.high, kBy48Bytes.low);
  const __m512i last_lane = _mm512_maskz_mov_epi64(0xc0, d);
  const __m512i moved = Fold(d, to_last_lane, last_lane);
  alignas(64) std::array<std::uint64_t, 8> words;
  _mm512_store_si512(words.data(), moved);
  std::uint64_t folded = _mm_crc32_u64(0, words[0] ^ words[2] ^ words[4] ^ words[6]);
  folded = _mm_crc32_u64(folded, words[1] ^ words[3] ^ words[5] ^ words[7]);
  return ~ExtendOneStream(static_cast<std::uint32_t>(folded), p, size);
}

}  // namespace mexport

#endif  // defined(__x86_64__)
