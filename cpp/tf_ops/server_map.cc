#include "tf_ops/server_map.h"

#include <cstdint>

#include "tf_ops/platform.h"

namespace mexport {
namespace {

// JSON as far as the map needs it: objects, arrays and strings.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  ServerMap Parse() {
    ServerMap servers;
    List('{', '}', "an object of addresses by model", [&] {
      const std::size_t begin = at_;
      std::string model = String();
      if (servers.count(model) > 0) Fail("'" + model + "' comes twice", begin);
      Space();
      if (!Take(':')) Fail("want ':'", at_);
      Space();
      std::vector<std::string>& addresses = servers[std::move(model)];
      List('[', ']', "a list of addresses", [&] { addresses.push_back(String()); });
    });
    Space();
    if (at_ != text_.size()) Fail("want nothing more", at_);
    return servers;
  }

 private:
  template <typename Item>
  void List(char begin, char end, const char* want, const Item& item) {
    Space();
    if (!Take(begin)) Fail(std::string("want ") + want, at_);
    Space();
    if (Take(end)) return;
    do {
      Space();
      item();
      Space();
    } while (Take(','));
    if (!Take(end)) Fail(std::string("want ',' or '") + end + "'", at_);
  }

  std::string String() {
    const std::size_t begin = at_;
    if (!Take('"')) Fail("want a string", at_);
    std::string value;
    for (;;) {
      if (at_ == text_.size()) Fail("want the end of the string", begin);
      const char c = text_[at_++];
      if (c == '"') return value;
      if (static_cast<unsigned char>(c) < 0x20) Fail("want no control character in a string", at_ - 1);
      if (c == '\\') {
        Escape(&value);
      } else {
        value += c;
      }
    }
  }

  void Escape(std::string* value) {
    const std::size_t begin = at_ - 1;
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    switch (c) {
      case '"':
      case '\\':
      case '/':
        *value += c;
        return;
      case 'b':
        *value += '\b';
        return;
      case 'f':
        *value += '\f';
        return;
      case 'n':
        *value += '\n';
        return;
      case 'r':
        *value += '\r';
        return;
      case 't':
        *value += '\t';
        return;
      case 'u':
        break;
      default:
        Fail("want an escape of JSON", begin);
    }
    std::uint32_t point = Hex(begin);
    if (point >= 0xd800 && point < 0xdc00) {
      const bool pair = Take('\\') && Take('u');
      const std::uint32_t low = pair ? Hex(begin) : 0;
      if (low < 0xdc00 || low > 0xdfff) Fail("want a pair of surrogates", begin);
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    } else if (point >= 0xdc00 && point < 0xe000) {
      Fail("want a pair of surrogates", begin);
    }
    AppendUtf8(point, value);
  }

  std::uint32_t Hex(std::size_t begin) {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = at_ < text_.size() ? text_[at_++] : '\0';
      std::uint32_t digit = 16;
      if (c >= '0' && c <= '9') digit = static_cast<std::uint32_t>(c - '0');
      if (c >= 'a' && c <= 'f') digit = static_cast<std::uint32_t>(c - 'a' + 10);
      if (c >= 'A' && c <= 'F') digit = static_cast<std::uint32_t>(c - 'A' + 10);
      if (digit == 16) Fail("want four hexadecimal digits", begin);
      value = value << 4 | digit;
    }
    return value;
  }

  static void AppendUtf8(std::uint32_t point, std::string* to) {
    const auto append = [&](std::uint32_t byte) { to->push_back(static_cast<char>(byte)); };
    if (point < 0x80) {
      append(point);
    } else if (point < 0x800) {
      append(0xc0 | point >> 6);
      append(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
      append(0xe0 | point >> 12);
      append(0x80 | (point >> 6 & 0x3f));
      append(0x80 | (point & 0x3f));
    } else {
      append(0xf0 | point >> 18);
      append(0x80 | (point >> 12 & 0x3f));
      append(0x80 | (point >> 6 & 0x3f));
      append(0x80 | (point & 0x3f));
    }
  }

  bool Take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void Space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  [[noreturn]] static void Fail(const std::string& what, std::size_t at) {
    throw OpError(OpError::kInvalidArgument, "offset " + std::to_string(at) + ": " + what);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

ServerMap ParseServerMap(std::string_view json) { return Parser(json).Parse(); }

}  // namespace mexport
