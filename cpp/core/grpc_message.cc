#include "core/grpc_message.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

namespace mexport::grpc {
namespace {

constexpr std::size_t kMaxTimeoutDigits = 8;
constexpr std::int64_t kMaxTimeoutNumber = 99'999'999;

struct Unit {
  char letter;
  std::chrono::nanoseconds time;
};

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::array<Unit, 6> kUnits = {{{'n', nanoseconds(1)},
                                         {'u', microseconds(1)},
                                         {'m', milliseconds(1)},
                                         {'S', seconds(1)},
                                         {'M', minutes(1)},
                                         {'H', hours(1)}}};

std::string Sizes(std::size_t got, std::size_t want) {
  return "got " + std::to_string(got) + " bytes, want at most " + std::to_string(want);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::size_t EncodedBytes(char c) { return c >= 0x20 && c <= 0x7e && c != '%' ? 1 : 3; }

}  // namespace

RpcStatus MessageReader::Append(std::string_view bytes) {
  if (!has_prefix()) {
    const std::size_t size = std::min(bytes.size(), kPrefixBytes - prefix_.size());
    prefix_.append(bytes.substr(0, size));
    bytes.remove_prefix(size);
    if (!has_prefix()) return {};
    if (prefix_[0] == 1) return {compressed_code_, "message: got a compressed one, want none of them"};
    if (prefix_[0] != 0) return {rpc_code::kInternal, "message: got a flag that is neither 0 nor 1"};
    for (std::size_t i = 1; i < kPrefixBytes; ++i) size_ = size_ << 8 | static_cast<std::uint8_t>(prefix_[i]);
    if (size_ > max_bytes_) return {rpc_code::kResourceExhausted, "message: " + Sizes(size_, max_bytes_)};
  }
  if (bytes.size() > size_ - message_.size()) return {rpc_code::kInternal, "message: got more than one"};
  const std::size_t wanted = message_.size() + bytes.size();
  // As much memory as twice what came, and never more than is to come.
  if (wanted > message_.capacity()) message_.reserve(std::min(size_, 2 * wanted));
  message_.append(bytes);
  return {};
}

RpcStatus MessageReader::Finish() const {
  if (prefix_.empty()) return {rpc_code::kInternal, "message: got none, want one"};
  if (!has_prefix() || message_.size() != size_) return {rpc_code::kInternal, "message: got one that is cut"};
  return {};
}

MessageWriter::MessageWriter(std::string_view message) : prefix_(1, '\0'), message_(message) {
  for (int shift = 24; shift >= 0; shift -= 8) prefix_.push_back(static_cast<char>(message.size() >> shift));
}

void MessageWriter::Take(std::size_t bytes, std::string* out) {
  const std::size_t of_prefix = std::min(bytes, prefix_.size());
  out->append(prefix_, 0, of_prefix);
  prefix_.erase(0, of_prefix);
  out->append(message_.substr(0, bytes - of_prefix));
  message_.remove_prefix(bytes - of_prefix);
}

std::string EncodeStatusText(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (std::size_t begin = 0; begin < text.size();) {
    // A character of UTF-8 goes in as a whole.
    std::size_t end = begin + 1;
    while (end < text.size() && (text[end] & 0xc0) == 0x80) ++end;
    std::size_t size = 0;
    for (std::size_t i = begin; i < end; ++i) size += EncodedBytes(text[i]);
    if (encoded.size() + size > kMaxStatusText) break;
    for (; begin < end; ++begin) {
      const auto byte = static_cast<std::uint8_t>(text[begin]);
      if (EncodedBytes(text[begin]) == 1) {
        encoded.push_back(text[begin]);
      } else {
        encoded.push_back('%');
        encoded.push_back(kDigits[byte >> 4]);
        encoded.push_back(kDigits[byte & 15]);
      }
    }
  }
  return encoded;
}

std::string DecodeStatusText(std::string_view encoded) {
  std::string text;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    const int high = encoded[i] == '%' && encoded.size() - i > 2 ? HexDigit(encoded[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(encoded[i + 2]) : -1;
    if (low < 0) {  // what is badly encoded stays as it is
      text.push_back(encoded[i]);
      continue;
    }
    text.push_back(static_cast<char>(high << 4 | low));
    i += 2;
  }
  return text;
}

std::string EncodeTimeout(milliseconds time) {
  const std::array<std::pair<std::int64_t, char>, 4> numbers = {{
      {time.count(), 'm'},
      {std::chrono::ceil<seconds>(time).count(), 'S'},
      {std::chrono::ceil<minutes>(time).count(), 'M'},
      {std::chrono::ceil<hours>(time).count(), 'H'},
  }};
  for (const auto& [number, unit] : numbers) {
    if (number <= kMaxTimeoutNumber) return std::to_string(std::max<std::int64_t>(number, 1)) + unit;
  }
  return std::to_string(kMaxTimeoutNumber) + 'H';
}

std::optional<nanoseconds> DecodeTimeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kMaxTimeoutDigits + 1) return std::nullopt;
  const char* const end = text.data() + text.size() - 1;
  std::uint32_t number = 0;
  if (const auto [stop, error] = std::from_chars(text.data(), end, number); stop != end || error != std::errc()) {
    return std::nullopt;
  }
  const auto* const unit = std::ranges::find(kUnits, *end, &Unit::letter);
  if (unit == kUnits.end()) return std::nullopt;
  if (number > nanoseconds::max() / unit->time) return nanoseconds::max();
  return number * unit->time;
}

int DecodeStatusCode(std::string_view text) {
  unsigned code = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, code);
  if (stop != end || error != std::errc() || code > rpc_code::kUnauthenticated) return rpc_code::kUnknown;
  return static_cast<int>(code);
}

int CodeOfHttpStatus(std::string_view http_status) {
  constexpr std::array<std::pair<std::string_view, int>, 8> kCodes = {{
      {"400", rpc_code::kInternal},
      {"401", rpc_code::kUnauthenticated},
      {"403", rpc_code::kPermissionDenied},
      {"404", rpc_code::kUnimplemented},
      {"429", rpc_code::kUnavailable},
      {"502", rpc_code::kUnavailable},
      {"503", rpc_code::kUnavailable},
      {"504", rpc_code::kUnavailable},
  }};
  for (const auto& [status, code] : kCodes) {
    if (status == http_status) return code;
  }
  return rpc_code::kUnknown;
}

int CodeOfReset(Http2Code code) {
  switch (code) {
    case Http2Code::kRefusedStream:
      return rpc_code::kUnavailable;
    case Http2Code::kCancel:
      return rpc_code::kCancelled;
    case Http2Code::kEnhanceYourCalm:
      return rpc_code::kResourceExhausted;
    case Http2Code::kInadequateSecurity:
      return rpc_code::kPermissionDenied;
    default:
      return rpc_code::kInternal;
  }
}

bool IsGrpcContentType(std::string_view content_type) {
  if (!content_type.starts_with(kContentType)) return false;
  const std::string_view rest = content_type.substr(kContentType.size());
  return rest.empty() || rest[0] == '+' || rest[0] == ';';
}

}  // namespace mexport::grpc
