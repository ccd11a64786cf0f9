// What a bundle is made of. The first byte of an input chooses: a sorted table (as it is, or with its checksums made
// right), a slice key, the stored bytes of a tensor (likewise), a box of a tensor.
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "core/bundle_layout.h"
#include "core/crc32c.h"
#include "core/ordered_code.h"
#include "core/sstable_format.h"
#include "core/sstable_reader.h"
#include "core/sstable_writer.h"
#include "core/tensor_box.h"
#include "core/varint.h"
#include "fuzz/fuzzing.h"

namespace mexport {
namespace {

void StoreU32(std::string* bytes, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) (*bytes)[at + i] = static_cast<char>(value >> (8 * i));
}

// Makes the checksum of the block at a handle right, if it lies in the file.
bool RepairBlock(std::string* file, std::string_view* handle, std::uint64_t* offset, std::uint64_t* size) {
  if (!ReadVarint(handle, offset) || !ReadVarint(handle, size)) return false;
  if (*offset > file->size() || *size > file->size() - *offset) return false;
  if (file->size() - *offset - *size < kBlockTrailerSize) return false;
  StoreU32(file, *offset + *size + 1, MaskCrc(Crc32c(file->data() + *offset, *size + 1)));
  return true;
}

// Makes the footer's magic and the checksums of metaindex and index right, and those of the blocks that the index
// names.
void RepairTable(std::string* file) {
  if (file->size() < kFooterSize) return;
  file->replace(file->size() - kTableMagic.size(), kTableMagic.size(), kTableMagic);
  const std::string footer = file->substr(file->size() - kFooterSize, kFooterHandlesSize);
  std::string_view handles = footer;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  if (!RepairBlock(file, &handles, &offset, &size) || !RepairBlock(file, &handles, &offset, &size)) return;
  // Index entries share nothing, so a walk over them is short. The index is repaired last: it may lie in another block.
  const std::string index = file->substr(offset, size);
  for (std::string_view rest = index; !rest.empty();) {
    std::array<std::uint64_t, 3> lengths{};
    for (std::uint64_t& length : lengths) {
      if (!ReadVarint(&rest, &length)) return;
    }
    if (lengths[1] > rest.size() || lengths[2] > rest.size() - lengths[1]) return;
    std::string_view handle = rest.substr(lengths[1], lengths[2]);
    std::uint64_t block_offset = 0;
    std::uint64_t block_size = 0;
    if (!RepairBlock(file, &handle, &block_offset, &block_size)) return;
    rest.remove_prefix(lengths[1] + lengths[2]);
  }
}

using Entries = std::vector<std::pair<std::string, std::string>>;

std::string ReadTable(const std::string& file, Entries* entries) {
  return ErrorOf([&] {
    ReadSstable(file, "p", [&](std::string_view key, std::string_view value) {
      MEXPORT_FUZZ_CHECK(entries->empty() || entries->back().first < key);
      entries->emplace_back(key, value);
    });
  });
}

void Table(FuzzInput input, bool repair) {
  std::string file(input.rest());
  if (repair) RepairTable(&file);
  Entries entries;
  if (!ReadTable(file, &entries).empty()) return;
  SstableWriter writer;
  for (const auto& [key, value] : entries) writer.Add(key, value);
  Entries again;
  MEXPORT_FUZZ_CHECK(ReadTable(writer.Finish(), &again).empty());
  MEXPORT_FUZZ_CHECK(again == entries);
}

void SliceKey(FuzzInput input) {
  std::string name;
  std::vector<SliceExtent> extents;
  if (!DecodeSliceKey(input.rest(), &name, &extents)) return;
  MEXPORT_FUZZ_CHECK(EncodeSliceKey(name, extents) == input.rest());
}

// Makes the checksum behind the lengths of strings right.
void RepairStrings(std::string* stored, std::uint64_t elements) {
  std::uint32_t crc = 0;
  std::string_view rest = *stored;
  for (std::uint64_t i = 0; i < elements; ++i) {
    std::uint64_t length = 0;
    if (!ReadVarint(&rest, &length)) return;
    const auto narrow = static_cast<std::uint32_t>(length);
    crc = ExtendCrc32c(crc, &narrow, sizeof(narrow));
  }
  if (rest.size() >= 4) StoreU32(stored, stored->size() - rest.size(), MaskCrc(crc));
}

std::string Checksum(const TensorPlace& place, std::string_view stored, std::size_t piece, std::uint32_t* crc) {
  return ErrorOf([&] {
    TensorChecksum checksum(place, "p");
    while (!stored.empty()) {
      const std::size_t size = std::min(piece, stored.size());
      checksum.Update(stored.data(), size);
      stored.remove_prefix(size);
    }
    *crc = checksum.Finish();
  });
}

void Stored(FuzzInput input, bool repair) {
  TensorPlace place;
  place.layout = static_cast<TensorLayout>(input.TakeByte() % 3);
  const std::size_t piece = input.TakeByte() % 16 + std::size_t{1};
  place.elements = input.TakeNumber();
  const std::uint64_t surplus = input.TakeNumber();
  std::string stored(input.rest());
  if (repair && place.layout == TensorLayout::kStrings) RepairStrings(&stored, place.elements);
  place.size = stored.size() + (surplus < 4 ? surplus : 0);

  std::uint32_t whole = 0;
  std::uint32_t split = 0;
  const std::string error = Checksum(place, stored, SIZE_MAX, &whole);
  // Messages may count what was left of a piece; whether there is one may not depend on pieces.
  MEXPORT_FUZZ_CHECK(Checksum(place, stored, piece, &split).empty() == error.empty());
  MEXPORT_FUZZ_CHECK(whole == split);
  if (!error.empty() || place.layout != TensorLayout::kStrings) return;
  const std::vector<std::string_view> strings = SplitStrings(stored, place.elements);
  const StringsHeader header = MakeStringsHeader(strings);
  std::string again = header.bytes;
  std::uint32_t crc = header.crc;
  for (const std::string_view s : strings) {
    again += s;
    crc = ExtendCrc32c(crc, s.data(), s.size());
  }
  MEXPORT_FUZZ_CHECK(again == stored);
  MEXPORT_FUZZ_CHECK(MaskCrc(crc) == whole);
}

void Box(FuzzInput input) {
  const std::uint64_t element_size = input.TakeByte() % 16 + std::uint64_t{1};
  const std::size_t rank = input.TakeByte() % 6;
  std::vector<std::uint64_t> shape(rank);
  std::vector<std::uint64_t> starts(rank);
  std::vector<std::uint64_t> lengths(rank);
  for (std::size_t d = 0; d < rank; ++d) {
    shape[d] = input.TakeNumber();
    starts[d] = input.TakeNumber();
    lengths[d] = input.TakeNumber();
  }
  ErrorOf([&] {
    const TensorBox box(element_size, shape, starts, lengths);
    MEXPORT_FUZZ_CHECK(box.BoxBytes() <= box.TensorBytes());
    std::uint64_t bytes = 0;
    std::uint64_t last = 0;
    int runs = 0;
    TensorBox::Runs run(box);
    for (; !run.done() && runs < 1000; ++runs) {
      MEXPORT_FUZZ_CHECK(runs == 0 || last < run.begin());  // with a gap: or they would be one run
      MEXPORT_FUZZ_CHECK(run.begin() < run.end() && run.end() <= box.TensorBytes());
      bytes += run.end() - run.begin();
      last = run.end();
      run.Advance(run.end() - run.begin());
    }
    MEXPORT_FUZZ_CHECK(run.done() ? bytes == box.BoxBytes() : bytes < box.BoxBytes());
  });
}

void Run(const std::uint8_t* data, std::size_t size) {
  FuzzInput input(data, size);
  switch (input.TakeByte() % 6) {
    case 0:
      return Table(input, false);
    case 1:
      return Table(input, true);
    case 2:
      return SliceKey(input);
    case 3:
      return Stored(input, false);
    case 4:
      return Stored(input, true);
    case 5:
      return Box(input);
  }
}

}  // namespace
}  // namespace mexport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mexport::Run(data, size);
  return 0;
}
