// Unpacked floats: on the wire each has its own one-byte tag in front. These pass over or put in many tags at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace mexport {

constexpr std::size_t kTaggedFloatBytes = 5;

// Copies `count` floats from `in`, which has kTaggedFloatBytes for each, and returns whether every tag was `tag`. Reads
// and writes nothing beyond.
using StripTagsFunction = bool (*)(const std::uint8_t* in, std::size_t count, std::uint8_t tag, float* out);
// The inverse.
using InsertTagsFunction = void (*)(const float* in, std::size_t count, std::uint8_t tag, std::uint8_t* out);

// The same in place, for so few floats that a call costs more.
constexpr std::size_t kFewFloats = 3;

inline bool StripTagsInline(const std::uint8_t* in, std::size_t count, std::uint8_t tag, float* out) {
  unsigned wrong = 0;
  for (std::size_t i = 0; i < count; ++i, in += kTaggedFloatBytes) {
    wrong |= static_cast<unsigned>(in[0] ^ tag);
    std::memcpy(out + i, in + 1, sizeof(float));
  }
  return wrong == 0;
}

inline void InsertTagsInline(const float* in, std::size_t count, std::uint8_t tag, std::uint8_t* out) {
  for (std::size_t i = 0; i < count; ++i, out += kTaggedFloatBytes) {
    out[0] = tag;
    std::memcpy(out + 1, in + i, sizeof(float));
  }
}

struct EntryTagsImplementation {
  const char* name;
  StripTagsFunction strip;
  InsertTagsFunction insert;
};

// Those that this processor can run, the fastest last; "portable" is always the first.
std::span<const EntryTagsImplementation> EntryTagsImplementations();

}  // namespace mexport
