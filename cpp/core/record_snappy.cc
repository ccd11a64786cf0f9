#include "core/record_snappy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/record_format.h"
#include "core/snappy.h"
#include "core/snappy_format.h"

namespace mexport {
namespace {

using snappy_format::kBlockBytes;
using snappy_format::kPrefixBytes;

constexpr std::uint64_t kFramingBytes = record_format::kHeaderBytes + record_format::kFooterBytes;
// Snappy's densest element makes 64 bytes of 3, its wasteful ones 1 byte of 6.
constexpr std::uint64_t kMaxExpansion = 64;
constexpr std::uint64_t kMaxWaste = 6;

Error Damaged(const std::string& what) { return Error(ErrorKind::kRecordCompression, "damaged snappy block: " + what); }

}  // namespace

std::size_t snappy_format::PlainSize(std::span<const std::uint8_t> front, std::uint64_t size) {
  std::uint64_t plain = 0;
  for (std::size_t i = 0; i < front.size(); ++i) {
    plain |= static_cast<std::uint64_t>(front[i] & 0x7f) << (7 * i);
    if (front[i] >= 0x80) continue;
    if (plain > kMaxExpansion * size) {
      throw Damaged("uncompressed size: got " + std::to_string(plain) + ", want at most " +
                    std::to_string(kMaxExpansion * size) + " for " + std::to_string(size) + " bytes");
    }
    if (size > snappy_format::kMaxSizeBytes + kMaxWaste * plain) {
      throw Damaged("size: got " + std::to_string(size) + ", want at most " +
                    std::to_string(snappy_format::kMaxSizeBytes + kMaxWaste * plain) + " for " + std::to_string(plain) +
                    " uncompressed bytes");
    }
    return static_cast<std::size_t>(plain);
  }
  throw Damaged("no uncompressed size");
}

SnappySink::SnappySink(std::unique_ptr<ByteSink> inner, std::unique_ptr<BlockCodec> codec)
    : ByteSink(kBlockBytes), inner_(std::move(inner)), codec_(std::move(codec)), block_(MaxSnappyBytes(kBlockBytes)) {}

void SnappySink::Drain(std::span<const std::uint8_t> bytes) {
  const std::size_t size = codec_->Compress(bytes, {block_.data(), block_.capacity()});
  std::array<std::uint8_t, kPrefixBytes> prefix;
  snappy_format::StorePrefix(prefix.data(), size);
  inner_->Append(prefix.data(), prefix.size());
  inner_->Append(block_.data(), size);
}

void SnappySink::Flush() {
  DrainBuffer();
  inner_->Flush();
}

void SnappySink::Sync() {
  DrainBuffer();
  inner_->Sync();
}

void SnappySink::Close() {
  DrainBuffer();
  inner_->Close();
}

SnappySource::SnappySource(std::unique_ptr<ByteSource> inner, std::unique_ptr<BlockCodec> codec,
                           std::uint64_t max_record_bytes)
    : input_(std::move(inner)),
      codec_(std::move(codec)),
      max_plain_(std::max<std::uint64_t>(kBlockBytes,
                                         std::min(max_record_bytes, record_format::kMaxRecordBytes) + kFramingBytes)) {}

SnappySource::Block SnappySource::NextBlock() {
  if (!input_.Fill(kPrefixBytes)) {
    if (input_.bytes().empty()) return {};
    throw Error(ErrorKind::kRecordTruncated, "the file ends within the size of a snappy block: got " +
                                                 std::to_string(input_.bytes().size()) + " bytes, want 4");
  }
  const std::span<const std::uint8_t> prefix = input_.bytes();
  const std::size_t size = snappy_format::LoadPrefix(prefix.data());
  if (size == 0) throw Damaged("size 0");
  const std::size_t front = std::min(size, snappy_format::kMaxSizeBytes);
  bool complete = input_.Fill(kPrefixBytes + front);
  std::size_t plain = 0;
  if (complete) {
    plain = snappy_format::PlainSize(input_.bytes().subspan(kPrefixBytes, front), size);
    if (plain > max_plain_) {
      throw Error(ErrorKind::kRecordTooLarge, "snappy block: got " + std::to_string(plain) +
                                                  " uncompressed bytes, want at most " + std::to_string(max_plain_) +
                                                  " by the reader's limit");
    }
    complete = input_.Fill(kPrefixBytes + size);
  }
  if (!complete) {
    throw Error(ErrorKind::kRecordTruncated, "the file ends within a snappy block: got " +
                                                 std::to_string(input_.bytes().size() - kPrefixBytes) +
                                                 " bytes, want " + std::to_string(size));
  }
  return {input_.bytes().subspan(kPrefixBytes, size), plain};
}

std::size_t SnappySource::ReadSome(std::uint8_t* buffer, std::size_t size) {
  while (rest_begin_ == rest_end_) {
    const Block block = NextBlock();
    if (block.bytes.empty()) return 0;
    const bool direct = block.plain <= size;
    if (!direct && block.plain > rest_.capacity()) rest_.Resize(block.plain);
    codec_->Decompress(block.bytes, {direct ? buffer : rest_.data(), block.plain});
    input_.Consume(kPrefixBytes + block.bytes.size());
    if (direct && block.plain > 0) return block.plain;
    rest_begin_ = 0;
    rest_end_ = direct ? 0 : block.plain;
  }
  const std::size_t n = std::min(size, rest_end_ - rest_begin_);
  std::memcpy(buffer, rest_.data() + rest_begin_, n);
  rest_begin_ += n;
  return n;
}

}  // namespace mexport
