// Unpacked floats: on the wire each has its own one-byte tag in front. These pass over or put in many tags at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mexport {

constexpr std::size_t kTaggedFloatBytes = 5;

// Copies `count` floats from `in`, which has kTaggedFloatBytes for each, and returns whether every tag was `tag`. Reads
// and writes nothing beyond.
using StripTagsFunction = bool (*)(const std::uint8_t* in, std::size_t count, std::uint8_t tag, float* out);
// The inverse.
using InsertTagsFunction = void (*)(const float* in, std::size_t count, std::uint8_t tag, std::uint8_t* out);

struct EntryTagsImplementation {
  const char* name;
  StripTagsFunction strip;
  InsertTagsFunction insert;
};

// Those that this processor can run, the fastest last; "portable" is always the first.
std::span<const EntryTagsImplementation> EntryTagsImplementations();

}  // namespace mexport
