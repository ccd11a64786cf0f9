// The data files of a bundle: tensors go out, come in and move from file to file, with their checksums on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bundle_layout.h"
#include "core/exclusive.h"
#include "core/file.h"
#include "core/tensor_box.h"

namespace mexport {

// How much is read or written at once: enough for the system calls not to count, little enough to stay in the cache
// between the copy and the checksum.
constexpr std::size_t kBundleChunkSize = std::size_t{1} << 20;

// Reads one data file; any number of threads may use one object. Every method throws Error (bundle), before it
// allocates or reads anything, if the tensor does not lie within the file.
class BundleDataReader {
 public:
  explicit BundleDataReader(const std::string& path);

  const std::string& path() const { return file_.path(); }
  std::uint64_t size() const { return size_; }

  // Reads place.size bytes of a fixed-width tensor to `out` and returns their masked checksum.
  std::uint32_t Read(const TensorPlace& place, void* out) const;
  // Reads all of a fixed-width tensor, keeps the elements of `box` in `out`, row major, and returns the masked checksum
  // of the whole. REQUIRES: `out` has room for box.BoxBytes().
  std::uint32_t ReadBox(const TensorPlace& place, const TensorBox& box, void* out) const;
  // Reads the stored bytes of any tensor, checks its layout and returns the masked checksum.
  std::uint32_t ReadStored(const TensorPlace& place, std::string* stored) const;
  // The same without keeping the bytes.
  std::uint32_t Check(const TensorPlace& place) const;

 private:
  friend class BundleDataWriter;

  void CheckPlace(const TensorPlace& place) const;
  // Reads exactly `size` bytes at `offset`.
  void ReadExactly(const TensorPlace& place, std::uint64_t offset, void* out, std::size_t size) const;

  File file_;
  std::uint64_t size_;
};

// Where a tensor ended up.
struct AppendedTensor {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint32_t crc = 0;  // masked
};

// Writes one data file. Threads may share an object: calls take turns. Every method throws Error(kInvalidArgument) on a
// closed one, and where Exclusive refuses.
class BundleDataWriter {
 public:
  // Creates `path`. `expected_size`, when not 0, is reserved on the disk; the file ends up as long as what was
  // appended.
  BundleDataWriter(const std::string& path, std::uint64_t expected_size);

  const std::string& path() const { return path_; }

  // Each appends one tensor. After an exception the file is of no use.
  AppendedTensor Append(const void* data, std::size_t size);
  AppendedTensor AppendStrings(const std::vector<std::string_view>& strings);
  AppendedTensor AppendFrom(const BundleDataReader& reader, const TensorPlace& place);

  // Writes out what is buffered and closes. A writer that goes without this leaves a file of any length.
  void Close();

 private:
  void CheckOpen() const;
  void Put(const void* data, std::size_t size);
  void Flush();

  Exclusive exclusive_{"bundle data file"};
  std::string path_;
  File file_;
  std::uint64_t expected_size_;
  std::uint64_t position_ = 0;
  std::vector<char> buffer_;
  std::size_t buffered_ = 0;
  bool open_ = true;
};

}  // namespace mexport
