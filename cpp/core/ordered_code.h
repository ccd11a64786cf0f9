// Byte strings that sort as the values that they stand for: the keys of a partitioned tensor's parts. See
// docs/formats/bundle.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mexport {

void AppendOrderedNumber(std::string* out, std::uint64_t value);
void AppendOrderedString(std::string* out, std::string_view value);
void AppendOrderedSigned(std::string* out, std::int64_t value);

// Each takes one value off the front of `in`; false when what is there is not the code of a value.
bool ReadOrderedNumber(std::string_view* in, std::uint64_t* value);
bool ReadOrderedString(std::string_view* in, std::string* value);
bool ReadOrderedSigned(std::string_view* in, std::int64_t* value);

// One dimension of a part; a length of kWholeDimension takes all of it.
struct SliceExtent {
  std::int64_t start = 0;
  std::int64_t length = 0;
};
constexpr std::int64_t kWholeDimension = -1;

std::string EncodeSliceKey(std::string_view name, const std::vector<SliceExtent>& extents);
// False when `key` is not the key of a part.
bool DecodeSliceKey(std::string_view key, std::string* name, std::vector<SliceExtent>* extents);

}  // namespace mexport
