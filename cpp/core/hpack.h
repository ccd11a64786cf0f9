// HPACK, the compression of HTTP/2's header lists (RFC 7541).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace mexport {

struct HeaderField {
  bool operator==(const HeaderField&) const = default;

  std::string name;
  std::string value;
};

using HeaderList = std::vector<HeaderField>;

// The first field of that name, or nullptr.
const HeaderField* FindHeader(const HeaderList& list, std::string_view name);

namespace hpack {

struct StaticField {
  std::string_view name;
  std::string_view value;
};

constexpr std::size_t kStaticFields = 61;
// A field counts as its bytes and so many more, in tables and in lists.
constexpr std::size_t kFieldOverhead = 32;
constexpr std::size_t kDefaultTableBytes = 4096;
// The first byte of a block that sets the table's size to 0.
constexpr char kTableSizeZero = 0x20;

// Index 1 is at place 0.
extern const std::array<StaticField, kStaticFields> kStaticTable;

// Appends what the Huffman code `bytes` stands for. Throws Http2Error(kCompressionError).
void DecodeHuffman(std::string_view bytes, std::string* text);

// Appends a header block that leaves the dynamic table alone.
void EncodeHeaders(const HeaderList& list, std::string* block);

}  // namespace hpack

// The receiving end of one connection: its dynamic table lives as long as that.
class HpackDecoder {
 public:
  // `max_table_bytes`: what this end's SETTINGS_HEADER_TABLE_SIZE says.
  explicit HpackDecoder(std::size_t max_table_bytes = hpack::kDefaultTableBytes)
      : max_table_bytes_(max_table_bytes), table_limit_(max_table_bytes) {}

  // Appends the fields of a whole block to `list` as long as they count no more than `max_list_bytes`, and returns
  // whether that was all of them; the table is right either way. Throws Http2Error(kCompressionError).
  bool Decode(std::string_view block, std::size_t max_list_bytes, HeaderList* list);

  std::size_t table_bytes() const { return table_bytes_; }
  std::size_t table_fields() const { return table_.size(); }

 private:
  // What an index stands for, valid until the table changes.
  hpack::StaticField Lookup(std::uint32_t index) const;
  void Insert(HeaderField field);
  void Evict(std::size_t limit);

  std::deque<HeaderField> table_;  // the newest first
  std::size_t table_bytes_ = 0;
  std::size_t max_table_bytes_;
  std::size_t table_limit_;
};

}  // namespace mexport
