#include "core/sstable_writer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/little_endian.h"
#include "core/sstable_format.h"
#include "core/varint.h"

namespace mexport {
namespace {

std::size_t SharedPrefix(std::string_view a, std::string_view b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

// A short key that is not less than `last` and less than `next`.
std::string Separator(const std::string& last, std::string_view next) {
  const std::size_t i = SharedPrefix(last, next);
  if (i >= last.size() || i >= next.size()) return last;
  const auto byte = static_cast<unsigned char>(last[i]);
  if (byte == 0xff || byte + 1 >= static_cast<unsigned char>(next[i])) return last;
  return last.substr(0, i) + static_cast<char>(byte + 1);
}

// A short key that is not less than `last`.
std::string Successor(const std::string& last) {
  const std::size_t i = last.find_first_not_of('\xff');
  if (i == std::string::npos) return last;
  return last.substr(0, i) + static_cast<char>(static_cast<unsigned char>(last[i]) + 1);
}

}  // namespace

void BlockBuilder::Add(std::string_view key, std::string_view value) {
  std::size_t shared = 0;
  if (since_restart_ < restart_interval_) {
    shared = SharedPrefix(last_key_, key);
  } else {
    restarts_.push_back(static_cast<std::uint32_t>(entries_.size()));
    since_restart_ = 0;
  }
  AppendVarint(&entries_, shared);
  AppendVarint(&entries_, key.size() - shared);
  AppendVarint(&entries_, value.size());
  entries_.append(key.substr(shared));
  entries_.append(value);
  last_key_.assign(key);
  ++since_restart_;
}

std::string BlockBuilder::Finish() {
  std::string block = std::move(entries_);
  for (const std::uint32_t restart : restarts_) AppendU32(&block, restart);
  AppendU32(&block, static_cast<std::uint32_t>(restarts_.size()));
  entries_.clear();
  restarts_.assign(1, 0);
  since_restart_ = 0;
  last_key_.clear();
  return block;
}

SstableWriter::SstableWriter() : data_(kDataRestartInterval), index_(kIndexRestartInterval) {}

void SstableWriter::Add(std::string_view key, std::string_view value) {
  if (any_ && key <= last_key_) {
    throw Error(ErrorKind::kInvalidArgument, "keys of a sorted table must ascend strictly");
  }
  // Readers accept no more, and offsets within a block are of 32 bits.
  if (file_.size() + data_.Size() + key.size() + value.size() > kMaxTableSize / 2) {
    throw Error(ErrorKind::kInvalidArgument,
                "sorted table is too large: want at most " + std::to_string(kMaxTableSize / 2) + " bytes");
  }
  if (!pending_handle_.empty()) {
    index_.Add(Separator(last_key_, key), pending_handle_);
    pending_handle_.clear();
  }
  data_.Add(key, value);
  last_key_.assign(key);
  any_ = true;
  if (data_.Size() >= kDataBlockSize) FlushDataBlock();
}

void SstableWriter::FlushDataBlock() {
  if (!data_.empty()) AppendBlock(data_.Finish(), &pending_handle_);
}

void SstableWriter::AppendBlock(const std::string& block, std::string* handle) {
  AppendVarint(handle, file_.size());
  AppendVarint(handle, block.size());
  const std::uint32_t crc = ExtendCrc32c(Crc32c(block.data(), block.size()), &kUncompressed, 1);
  file_ += block;
  file_.push_back(kUncompressed);
  AppendU32(&file_, MaskCrc(crc));
}

std::string SstableWriter::Finish() {
  FlushDataBlock();
  std::string footer;
  AppendBlock(BlockBuilder(kDataRestartInterval).Finish(), &footer);
  if (!pending_handle_.empty()) index_.Add(Successor(last_key_), pending_handle_);
  AppendBlock(index_.Finish(), &footer);
  footer.resize(kFooterHandlesSize, '\0');
  footer += kTableMagic;
  file_ += footer;
  return std::move(file_);
}

}  // namespace mexport
