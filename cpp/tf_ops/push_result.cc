#include "tf_ops/push_result.h"

#include <cstdio>
#include <string_view>

namespace mexport {
namespace {

// How many bytes of a character of UTF-8 begin the text; 0 if none does.
std::size_t CharacterAt(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what is beyond the last character.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) || (first == 0xf0 && byte(1) < 0x90) ||
      (first == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return size;
}

void AppendString(std::string_view text, std::string* to) {
  *to += '"';
  while (!text.empty()) {
    const std::size_t size = CharacterAt(text);
    const auto c = static_cast<unsigned char>(text[0]);
    if (size == 0) {
      // Servers say what they like; JSON has only characters.
      *to += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      *to += '\\';
      *to += text[0];
    } else if (c < 0x20) {
      char escape[7];
      std::snprintf(escape, sizeof(escape), "\\u%04x", c);
      *to += escape;
    } else {
      *to += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  *to += '"';
}

}  // namespace

std::string PushResultJson(const std::vector<PushResponse>& responses) {
  if (responses.empty()) return "{}";
  std::string json = "{\n \"responses\": [";
  const char* separator = "\n";
  for (const PushResponse& response : responses) {
    json += separator;
    separator = ",\n";
    json += "  {\n   \"status_code\": " + std::to_string(response.status_code) + ",\n   \"error_message\": ";
    AppendString(response.error_message, &json);
    json += ",\n   \"target\": ";
    AppendString(response.target, &json);
    json += ",\n   \"update_num\": " + std::to_string(response.update_num) + "\n  }";
  }
  return json + "\n ]\n}\n";
}

}  // namespace mexport
