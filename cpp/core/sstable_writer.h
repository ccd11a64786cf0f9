// Writes the sorted table of a bundle index, as TensorFlow's writer would. See docs/formats/sstable.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mexport {

// Entries of one block, with keys that share prefixes.
class BlockBuilder {
 public:
  explicit BlockBuilder(std::size_t restart_interval) : restart_interval_(restart_interval) {}

  void Add(std::string_view key, std::string_view value);
  bool empty() const { return entries_.empty(); }
  // Bytes that Finish() would return.
  std::size_t Size() const { return entries_.size() + 4 * restarts_.size() + 4; }
  // Returns the block without its trailer and starts the next one.
  std::string Finish();

 private:
  std::size_t restart_interval_;
  std::string entries_;
  std::vector<std::uint32_t> restarts_{0};
  std::size_t since_restart_ = 0;
  std::string last_key_;
};

class SstableWriter {
 public:
  SstableWriter();

  // REQUIRES: key is above every key added before; throws Error (invalid argument) otherwise.
  void Add(std::string_view key, std::string_view value);
  // Returns the whole file. REQUIRES: called once, last.
  std::string Finish();

 private:
  // Ends the data block; its index entry waits for the first key of the next one.
  void FlushDataBlock();
  // Appends block and trailer to the file, and the handle to `handle`.
  void AppendBlock(const std::string& block, std::string* handle);

  std::string file_;
  BlockBuilder data_;
  BlockBuilder index_;
  std::string last_key_;
  std::string pending_handle_;
  bool any_ = false;
};

}  // namespace mexport
