#include "core/entry_tags.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mexport {
namespace {

bool StripPortable(const std::uint8_t* in, std::size_t count, std::uint8_t tag, float* out) {
  return StripTagsInline(in, count, tag, out);
}

void InsertPortable(const float* in, std::size_t count, std::uint8_t tag, std::uint8_t* out) {
  InsertTagsInline(in, count, tag, out);
}

#if defined(__x86_64__)

// A vector of 64 bytes holds so many tagged floats.
constexpr std::size_t kVectorFloats = 12;

struct Shuffles {
  alignas(64) std::array<std::uint8_t, 64> strip{};
  alignas(64) std::array<std::uint8_t, 64> insert{};
  std::uint64_t tags = 0;  // a bit for each byte of the vector that is a tag
};

constexpr Shuffles MakeShuffles() {
  Shuffles shuffles;
  for (std::size_t i = 0; i < kVectorFloats; ++i) {
    shuffles.tags |= std::uint64_t{1} << (kTaggedFloatBytes * i);
    for (std::size_t byte = 0; byte < sizeof(float); ++byte) {
      const std::size_t plain = sizeof(float) * i + byte;
      const std::size_t tagged = kTaggedFloatBytes * i + 1 + byte;
      shuffles.strip[plain] = static_cast<std::uint8_t>(tagged);
      shuffles.insert[tagged] = static_cast<std::uint8_t>(plain);
    }
  }
  return shuffles;
}

constexpr Shuffles kShuffles = MakeShuffles();

// All bytes, by a mask: gcc 12 takes the operand that the plain intrinsic leaves undefined for a mistake of ours.
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) inline __m512i Permute(__m512i shuffle, __m512i bytes) {
  return _mm512_maskz_permutexvar_epi8(~__mmask64{0}, shuffle, bytes);
}

__attribute__((target("avx512f,avx512bw,avx512vbmi"))) bool StripAvx512(const std::uint8_t* in, std::size_t count,
                                                                        std::uint8_t tag, float* out) {
  const __m512i shuffle = _mm512_load_si512(kShuffles.strip.data());
  const __m512i tags = _mm512_set1_epi8(static_cast<char>(tag));
  __mmask64 wrong = 0;
  while (count > 0) {
    const std::size_t n = count < kVectorFloats ? count : kVectorFloats;
    const __mmask64 bytes = (std::uint64_t{1} << (kTaggedFloatBytes * n)) - 1;
    const __m512i tagged = _mm512_maskz_loadu_epi8(bytes, in);
    wrong |= _mm512_mask_cmpneq_epi8_mask(bytes & kShuffles.tags, tagged, tags);
    const auto floats = static_cast<__mmask16>((1u << n) - 1);
    _mm512_mask_storeu_epi32(out, floats, Permute(shuffle, tagged));
    in += kTaggedFloatBytes * n;
    out += n;
    count -= n;
  }
  return wrong == 0;
}

// Loads end where the floats do: even a masked load waits for the line behind them, which nobody asked for in time.
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) void InsertAvx512(const float* in, std::size_t count,
                                                                         std::uint8_t tag, std::uint8_t* out) {
  const __m512i shuffle = _mm512_load_si512(kShuffles.insert.data());
  const __m512i tags = _mm512_set1_epi8(static_cast<char>(tag));
  for (; count >= kVectorFloats; in += kVectorFloats, count -= kVectorFloats) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 8));
    const __m512i plain =
        _mm512_maskz_inserti32x4(0xffff, _mm512_maskz_inserti64x4(0xff, _mm512_setzero_si512(), low, 0), high, 2);
    const __m512i tagged = _mm512_mask_permutexvar_epi8(tags, ~kShuffles.tags, shuffle, plain);
    // Whole words: byte-wise masked stores are slow.
    _mm512_mask_storeu_epi32(out, 0x7fff, tagged);
    out += kTaggedFloatBytes * kVectorFloats;
  }
  // 16 of the 20 bytes of four floats; the byte at a tag's place becomes 0.
  const __m128i few = _mm_setr_epi8(-1, 0, 1, 2, 3, -1, 4, 5, 6, 7, -1, 8, 9, 10, 11, -1);
  const auto t = static_cast<char>(tag);
  const __m128i few_tags = _mm_setr_epi8(t, 0, 0, 0, 0, t, 0, 0, 0, 0, t, 0, 0, 0, 0, t);
  for (; count >= 4; in += 4, count -= 4) {
    const __m128i plain = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_or_si128(_mm_shuffle_epi8(plain, few), few_tags));
    std::memcpy(out + 16, in + 3, sizeof(float));
    out += kTaggedFloatBytes * 4;
  }
  InsertTagsInline(in, count, tag, out);
}

bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vbmi");
}

#endif

struct Present {
  std::array<EntryTagsImplementation, 2> list;
  std::size_t count;
};

Present FindPresent() {
  Present present{};
  present.list[present.count++] = {"portable", StripPortable, InsertPortable};
#if defined(__x86_64__)
  if (HasAvx512()) present.list[present.count++] = {"avx512", StripAvx512, InsertAvx512};
#endif
  return present;
}

}  // namespace

std::span<const EntryTagsImplementation> EntryTagsImplementations() {
  static const Present present = FindPresent();
  return {present.list.data(), present.count};
}

}  // namespace mexport
