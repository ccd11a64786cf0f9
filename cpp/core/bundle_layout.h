// How the elements of a tensor are stored in a data file, and the checksum that goes with it. See
// docs/formats/bundle.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mexport {

enum class TensorLayout { kFixed, kStrings, kVariants };

// A tensor's place, and its name for messages.
struct TensorPlace {
  TensorLayout layout = TensorLayout::kFixed;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t elements = 0;  // of no account for kFixed
  std::string name;
};

// Follows the stored bytes of one tensor, in pieces of any size, and computes the checksum that its entry should have.
// Memory use does not depend on the tensor.
class TensorChecksum {
 public:
  // Throws Error (bundle), with `path` and the place's offset, if the size cannot hold so many elements.
  TensorChecksum(const TensorPlace& place, const std::string& path);

  // Throws Error (bundle, bundle crc) when lengths or inner checksums are wrong.
  void Update(const void* data, std::size_t size);
  // Returns the masked checksum. REQUIRES: all place.size bytes have gone through Update().
  std::uint32_t Finish();

 private:
  enum class State { kLength, kInnerChecksum, kBytes };

  [[noreturn]] void Fail(const std::string& message) const;
  void TakeLengthByte(unsigned char byte);
  void EndLength();
  void TakeChecksumByte(unsigned char byte);

  TensorPlace place_;
  std::string path_;
  std::uint32_t crc_ = 0;
  State state_ = State::kBytes;
  std::uint64_t left_;            // stored bytes that have not come yet
  std::uint64_t bytes_left_ = 0;  // of the run of plain bytes that is under way
  std::uint64_t lengths_left_ = 0;
  std::uint64_t strings_size_ = 0;
  std::uint64_t length_ = 0;
  int length_bytes_ = 0;
  std::uint32_t stored_checksum_ = 0;
  int checksum_bytes_ = 0;
};

// What a string tensor stores ahead of its strings.
struct StringsHeader {
  std::string bytes;      // lengths and mask(L)
  std::uint32_t crc = 0;  // to be continued over the strings; not masked
};
StringsHeader MakeStringsHeader(const std::vector<std::string_view>& strings);

// Splits the stored bytes of a string tensor. REQUIRES: they have passed TensorChecksum, and views end with `stored`.
std::vector<std::string_view> SplitStrings(std::string_view stored, std::uint64_t elements);

}  // namespace mexport
