#include <cstdint>

#include "core/hpack.h"

namespace mexport::hpack {
namespace {

// RFC 7541, section 5.1; `pattern` are the bits before the prefix.
void AppendInteger(std::uint8_t pattern, int prefix_bits, std::size_t value, std::string* block) {
  const std::size_t full = (std::size_t{1} << prefix_bits) - 1;
  if (value < full) {
    block->push_back(static_cast<char>(pattern | value));
    return;
  }
  block->push_back(static_cast<char>(pattern | full));
  for (value -= full; value >= 0x80; value >>= 7) block->push_back(static_cast<char>(value | 0x80));
  block->push_back(static_cast<char>(value));
}

void AppendString(std::string_view text, std::string* block) {
  AppendInteger(0, 7, text.size(), block);
  block->append(text);
}

void EncodeField(const HeaderField& field, std::string* block) {
  std::size_t name = 0;
  for (std::size_t i = 0; i < kStaticFields; ++i) {
    if (kStaticTable[i].name != field.name) continue;
    if (kStaticTable[i].value == field.value) return AppendInteger(0x80, 7, i + 1, block);
    if (name == 0) name = i + 1;
  }
  AppendInteger(0, 4, name, block);
  if (name == 0) AppendString(field.name, block);
  AppendString(field.value, block);
}

}  // namespace

void EncodeHeaders(const HeaderList& list, std::string* block) {
  for (const HeaderField& field : list) EncodeField(field, block);
}

}  // namespace mexport::hpack
