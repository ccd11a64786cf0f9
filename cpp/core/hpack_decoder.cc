#include <algorithm>
#include <utility>

#include "core/hpack.h"
#include "core/http2_error.h"

namespace mexport {
namespace {

[[noreturn]] void Fail(const char* message) { throw Http2Error(Http2Code::kCompressionError, message); }

// What is left of a block.
class Reader {
 public:
  explicit Reader(std::string_view block) : rest_(block) {}

  bool empty() const { return rest_.empty(); }
  std::uint8_t Peek() const { return static_cast<std::uint8_t>(rest_.front()); }

  std::uint32_t TakeInteger(int prefix_bits) {
    const std::uint32_t full = (1u << prefix_bits) - 1;
    std::uint64_t value = TakeByte() & full;
    if (value < full) return static_cast<std::uint32_t>(value);
    for (int shift = 0; shift <= 28; shift += 7) {
      const std::uint8_t byte = TakeByte();
      value += std::uint64_t{byte & 0x7fu} << shift;
      if (value > 0xffffffff) break;
      if (byte < 0x80) return static_cast<std::uint32_t>(value);
    }
    Fail("hpack: got an integer of more than 32 bits");
  }

  std::string TakeString() {
    if (empty()) Fail("hpack: got a block that is cut");
    const bool huffman = (Peek() & 0x80) != 0;
    const std::uint32_t size = TakeInteger(7);
    if (size > rest_.size()) Fail("hpack: got a block that is cut");
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    if (!huffman) return std::string(bytes);
    std::string text;
    hpack::DecodeHuffman(bytes, &text);
    return text;
  }

 private:
  std::uint8_t TakeByte() {
    if (empty()) Fail("hpack: got a block that is cut");
    const std::uint8_t byte = Peek();
    rest_.remove_prefix(1);
    return byte;
  }

  std::string_view rest_;
};

}  // namespace

const HeaderField* FindHeader(const HeaderList& list, std::string_view name) {
  const auto found = std::ranges::find(list, name, &HeaderField::name);
  return found == list.end() ? nullptr : &*found;
}

hpack::StaticField HpackDecoder::Lookup(std::uint32_t index) const {
  if (index == 0) Fail("hpack: got index 0");
  if (index <= hpack::kStaticFields) return hpack::kStaticTable[index - 1];
  const std::size_t place = index - hpack::kStaticFields - 1;
  if (place >= table_.size()) Fail("hpack: got an index beyond the table");
  return {table_[place].name, table_[place].value};
}

void HpackDecoder::Evict(std::size_t limit) {
  while (table_bytes_ > limit) {
    const HeaderField& oldest = table_.back();
    table_bytes_ -= oldest.name.size() + oldest.value.size() + hpack::kFieldOverhead;
    table_.pop_back();
  }
}

void HpackDecoder::Insert(HeaderField field) {
  const std::size_t bytes = field.name.size() + field.value.size() + hpack::kFieldOverhead;
  // A field that is larger than the table empties it.
  Evict(bytes > table_limit_ ? 0 : table_limit_ - bytes);
  if (bytes > table_limit_) return;
  table_bytes_ += bytes;
  table_.push_front(std::move(field));
}

bool HpackDecoder::Decode(std::string_view block, std::size_t max_list_bytes, HeaderList* list) {
  std::size_t list_bytes = 0;
  const auto fits = [&](std::string_view name, std::string_view value) {
    // Counted on and on; a block is far too short to overflow this.
    list_bytes += name.size() + value.size() + hpack::kFieldOverhead;
    return list_bytes <= max_list_bytes;
  };
  bool size_update_allowed = true;
  for (Reader reader(block); !reader.empty();) {
    const std::uint8_t first = reader.Peek();
    if ((first & 0xe0) == 0x20) {  // a new size of the table
      if (!size_update_allowed) Fail("hpack: got a table size within a block");
      const std::uint32_t limit = reader.TakeInteger(5);
      if (limit > max_table_bytes_) Fail("hpack: got a table size beyond the setting");
      table_limit_ = limit;
      Evict(limit);
      continue;
    }
    size_update_allowed = false;
    if ((first & 0x80) != 0) {  // a field of a table
      const hpack::StaticField field = Lookup(reader.TakeInteger(7));
      if (fits(field.name, field.value)) list->push_back({std::string(field.name), std::string(field.value)});
      continue;
    }
    const bool insert = (first & 0x40) != 0;
    const std::uint32_t name_index = reader.TakeInteger(insert ? 6 : 4);
    HeaderField field;
    field.name = name_index == 0 ? reader.TakeString() : std::string(Lookup(name_index).name);
    field.value = reader.TakeString();
    if (fits(field.name, field.value)) list->push_back(field);
    if (insert) Insert(std::move(field));
  }
  return list_bytes <= max_list_bytes;
}

}  // namespace mexport
