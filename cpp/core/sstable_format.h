// Numbers of the sorted table that reader and writer share. See docs/formats/sstable.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mexport {

constexpr std::size_t kDataBlockSize = 262144;  // a data block ends with the entry that reaches this
constexpr std::size_t kDataRestartInterval = 16;
constexpr std::size_t kIndexRestartInterval = 1;

constexpr std::size_t kBlockTrailerSize = 5;  // type, crc
constexpr char kUncompressed = 0;

constexpr std::size_t kFooterSize = 48;
constexpr std::size_t kFooterHandlesSize = 40;
constexpr std::string_view kTableMagic{"\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8};

// Far above any index in use (some 10^7 tensors), far below what would hurt.
constexpr std::uint64_t kMaxTableSize = std::uint64_t{1} << 30;

}  // namespace mexport
