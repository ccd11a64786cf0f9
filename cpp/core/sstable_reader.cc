#include "core/sstable_reader.h"

#include <cstddef>
#include <cstdint>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/hex.h"
#include "core/little_endian.h"
#include "core/sstable_format.h"
#include "core/varint.h"

namespace mexport {
namespace {

struct Handle {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

class Reader {
 public:
  using Visit = std::function<void(std::string_view, std::string_view)>;

  Reader(std::string_view file, const std::string& path) : file_(file), path_(path) {}

  void Run(const Visit& visit) {
    Handle metaindex;
    Handle index;
    ReadFooter(&metaindex, &index);
    if (!ReadEntries(metaindex, "metaindex", [](auto, auto) {})) {
      Fail("metaindex block is not empty", metaindex.offset);
    }
    std::uint64_t end = 0;
    bool any = false;
    std::string last_key;
    ReadEntries(index, "index", [&](std::string_view separator, std::string_view value) {
      Handle block;
      if (!ReadHandle(&value, &block) || !value.empty()) Fail("malformed handle in the index block", index.offset);
      if (block.offset != end) {
        Fail("data block is not where the one before it ends: got offset " + std::to_string(block.offset) + ", want " +
                 std::to_string(end),
             index.offset);
      }
      const bool empty = ReadEntries(block, "data", [&](std::string_view key, std::string_view entry) {
        if (any && key <= last_key) Fail("keys do not ascend", block.offset);
        if (key > separator) Fail("key above the index key of its block", block.offset);
        last_key.assign(key);
        any = true;
        visit(key, entry);
      });
      if (empty) Fail("empty data block", block.offset);
      end = block.offset + block.size + kBlockTrailerSize;
      // The next block's keys must be above this separator.
      last_key.assign(separator);
    });
    if (metaindex.offset != end) Fail("gap before the metaindex block", end);
  }

 private:
  [[noreturn]] void Fail(const std::string& message, std::uint64_t offset) const {
    throw Error(ErrorKind::kBundle, message, path_, static_cast<std::int64_t>(offset));
  }

  static bool ReadHandle(std::string_view* in, Handle* handle) {
    return ReadVarint(in, &handle->offset) && ReadVarint(in, &handle->size);
  }

  void ReadFooter(Handle* metaindex, Handle* index) const {
    if (file_.size() < kFooterSize) {
      Fail("too short for an index: got " + std::to_string(file_.size()) + " bytes, want at least " +
               std::to_string(kFooterSize),
           0);
    }
    if (file_.size() > kMaxTableSize) {
      Fail("index too large: got " + std::to_string(file_.size()) + " bytes, want at most " +
               std::to_string(kMaxTableSize),
           0);
    }
    const std::uint64_t footer = file_.size() - kFooterSize;
    std::string_view handles = file_.substr(footer, kFooterHandlesSize);
    if (file_.substr(footer + kFooterHandlesSize) != kTableMagic) {
      Fail("not an index, or cut short: wrong magic number", footer + kFooterHandlesSize);
    }
    if (!ReadHandle(&handles, metaindex) || !ReadHandle(&handles, index) ||
        handles.find_first_not_of('\0') != std::string_view::npos) {
      Fail("malformed footer", footer);
    }
    // Sizes first, so that no sum can wrap.
    if (metaindex->size > file_.size() || metaindex->offset > file_.size() || index->size > file_.size() ||
        index->offset != metaindex->offset + metaindex->size + kBlockTrailerSize ||
        index->offset + index->size + kBlockTrailerSize != footer) {
      Fail("metaindex and index block do not end the file", footer);
    }
  }

  // The contents of a block, after its checksum has been compared.
  std::string_view ReadBlock(const Handle& handle, const std::string& what) {
    const std::uint64_t limit = file_.size() - kFooterSize;
    if (handle.size > limit || handle.offset > limit || limit - handle.offset < handle.size + kBlockTrailerSize) {
      Fail(what + " block ends beyond the file: got size " + std::to_string(handle.size), handle.offset);
    }
    const std::string_view block = file_.substr(handle.offset, handle.size);
    const std::uint32_t want = LoadU32(file_.data() + handle.offset + handle.size + 1);
    const std::uint32_t got = MaskCrc(Crc32c(block.data(), block.size() + 1));
    if (got != want) {
      throw Error(ErrorKind::kBundleCrc, "checksum of the " + what + " block: got " + Hex(got) + ", want " + Hex(want),
                  path_, static_cast<std::int64_t>(handle.offset));
    }
    const auto type = static_cast<unsigned char>(file_[handle.offset + handle.size]);
    if (type != kUncompressed) {
      Fail(
          what + " block is compressed, which no writer of bundles does: got type " + std::to_string(type) + ", want 0",
          handle.offset + handle.size);
    }
    return block;
  }

  // Visits the entries of a block; true when there are none.
  bool ReadEntries(const Handle& handle, const std::string& what, const Visit& visit) {
    const std::string_view block = ReadBlock(handle, what);
    const std::uint64_t start = handle.offset;
    if (block.size() < 8) Fail(what + " block is too short", start);
    const std::uint64_t restarts = LoadU32(block.data() + block.size() - 4);
    if (restarts == 0 || restarts > (block.size() - 4) / 4) {
      Fail(what + " block has an impossible number of restarts: got " + std::to_string(restarts), start);
    }
    const std::size_t entries_size = block.size() - 4 - 4 * restarts;
    const char* restart = block.data() + entries_size;
    const char* const restarts_end = block.data() + block.size() - 4;

    std::string_view rest = block.substr(0, entries_size);
    std::string key;
    bool any = false;
    while (!rest.empty()) {
      const std::size_t position = entries_size - rest.size();
      std::uint64_t shared = 0;
      std::uint64_t unshared = 0;
      std::uint64_t value_size = 0;
      if (!ReadVarint(&rest, &shared) || !ReadVarint(&rest, &unshared) || !ReadVarint(&rest, &value_size) ||
          shared > key.size() || unshared > rest.size() || value_size > rest.size() - unshared) {
        Fail("malformed entry in the " + what + " block", start + position);
      }
      const bool restarts_here = restart < restarts_end && LoadU32(restart) == position;
      if (restarts_here) restart += 4;
      if (restarts_here ? shared != 0 : !any) Fail("restart that shares a prefix", start + position);
      const std::string_view suffix = rest.substr(0, unshared);
      if (any && suffix <= std::string_view(key).substr(shared)) Fail("keys do not ascend", start + position);
      key.resize(shared);
      key.append(suffix);
      any = true;
      visit(key, rest.substr(unshared, value_size));
      rest.remove_prefix(unshared + value_size);
    }
    if (!any && restart < restarts_end && LoadU32(restart) == 0) restart += 4;
    if (restart != restarts_end) Fail("restart that no entry begins at", start + entries_size);
    return !any;
  }

  std::string_view file_;
  const std::string& path_;
};

}  // namespace

void ReadSstable(std::string_view file, const std::string& path,
                 const std::function<void(std::string_view key, std::string_view value)>& visit) {
  Reader(file, path).Run(visit);
}

}  // namespace mexport
