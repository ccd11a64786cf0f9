#include "core/http2_frame.h"

#include <algorithm>

namespace mexport::http2 {
namespace {

[[noreturn]] void Fail(Http2Code code, const char* message) { throw Http2Error(code, message); }

std::uint32_t Load(std::string_view bytes, std::size_t at, int count) {
  std::uint32_t value = 0;
  for (int i = 0; i < count; ++i)
    value = value << 8 | static_cast<std::uint8_t>(bytes[at + static_cast<std::size_t>(i)]);
  return value;
}

void Store(std::uint32_t value, int count, std::string* out) {
  for (int shift = 8 * (count - 1); shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

void WantSize(const Frame& frame, std::size_t size, const char* message) {
  if (frame.payload.size() != size) Fail(Http2Code::kFrameSizeError, message);
}

void WantStream(const Frame& frame, const char* message) {
  if (frame.stream == 0) Fail(Http2Code::kProtocolError, message);
}

void WantNoStream(const Frame& frame, const char* message) {
  if (frame.stream != 0) Fail(Http2Code::kProtocolError, message);
}

void CheckSetting(Setting setting, std::uint32_t value) {
  if (setting == Setting::kEnablePush && value > 1)
    Fail(Http2Code::kProtocolError, "SETTINGS: got a wrong ENABLE_PUSH");
  if (setting == Setting::kInitialWindowSize && value > kMaxWindow) {
    Fail(Http2Code::kFlowControlError, "SETTINGS: got an INITIAL_WINDOW_SIZE of 2^31 or more");
  }
  if (setting == Setting::kMaxFrameSize && (value < kMinMaxFrameBytes || value > kMaxMaxFrameBytes)) {
    Fail(Http2Code::kProtocolError, "SETTINGS: got a wrong MAX_FRAME_SIZE");
  }
}

}  // namespace

std::optional<Frame> ParseFrame(std::string_view bytes, std::size_t max_frame_bytes) {
  if (bytes.size() < kFrameHeaderBytes) return std::nullopt;
  const std::size_t size = Load(bytes, 0, 3);
  if (size > max_frame_bytes) Fail(Http2Code::kFrameSizeError, "got a frame that is longer than the setting");
  if (size > bytes.size() - kFrameHeaderBytes) return std::nullopt;
  return Frame{static_cast<FrameType>(bytes[3]), static_cast<std::uint8_t>(bytes[4]), Load(bytes, 5, 4) & kMaxStream,
               bytes.substr(kFrameHeaderBytes, size)};
}

std::string_view Content(const Frame& frame) {
  WantStream(frame, "got DATA or HEADERS on stream 0");
  std::string_view content = frame.payload;
  std::size_t padding = 0;
  if (frame.Has(kPadded)) {
    if (content.empty()) Fail(Http2Code::kFrameSizeError, "got a padded frame without a length of padding");
    padding = Load(content, 0, 1);
    content.remove_prefix(1);
  }
  if (frame.type == FrameType::kHeaders && frame.Has(kPriorityFields)) {
    if (content.size() < 5) Fail(Http2Code::kFrameSizeError, "HEADERS: got no room for the priority");
    content.remove_prefix(5);
  }
  if (padding > content.size()) Fail(Http2Code::kProtocolError, "got a frame with more padding than bytes");
  content.remove_suffix(padding);
  return content;
}

Settings ParseSettings(const Frame& frame) {
  WantNoStream(frame, "SETTINGS: got a stream");
  if (frame.Has(kAck)) WantSize(frame, 0, "SETTINGS: got an acknowledgement with a payload");
  if (frame.payload.size() % 6 != 0) Fail(Http2Code::kFrameSizeError, "SETTINGS: got a wrong length");
  Settings settings;
  for (std::size_t at = 0; at < frame.payload.size(); at += 6) {
    settings.emplace_back(static_cast<Setting>(Load(frame.payload, at, 2)), Load(frame.payload, at + 2, 4));
    CheckSetting(settings.back().first, settings.back().second);
  }
  return settings;
}

std::uint32_t ParseWindowUpdate(const Frame& frame) {
  WantSize(frame, 4, "WINDOW_UPDATE: got a wrong length");
  const std::uint32_t increment = Load(frame.payload, 0, 4) & 0x7fffffff;
  if (increment == 0) Fail(Http2Code::kProtocolError, "WINDOW_UPDATE: got an increment of 0");
  return increment;
}

Http2Code ParseRstStream(const Frame& frame) {
  WantStream(frame, "RST_STREAM: got stream 0");
  WantSize(frame, 4, "RST_STREAM: got a wrong length");
  return static_cast<Http2Code>(Load(frame.payload, 0, 4));
}

GoAway ParseGoAway(const Frame& frame) {
  WantNoStream(frame, "GOAWAY: got a stream");
  if (frame.payload.size() < 8) Fail(Http2Code::kFrameSizeError, "GOAWAY: got a wrong length");
  return {Load(frame.payload, 0, 4) & kMaxStream, static_cast<Http2Code>(Load(frame.payload, 4, 4))};
}

void CheckPing(const Frame& frame) {
  WantNoStream(frame, "PING: got a stream");
  WantSize(frame, 8, "PING: got a wrong length");
}

void CheckPriority(const Frame& frame) {
  WantStream(frame, "PRIORITY: got stream 0");
  WantSize(frame, 5, "PRIORITY: got a wrong length");
}

void AppendFrameHeader(std::size_t size, FrameType type, std::uint8_t flags, std::uint32_t stream, std::string* out) {
  Store(static_cast<std::uint32_t>(size), 3, out);
  Store(static_cast<std::uint8_t>(type), 1, out);
  Store(flags, 1, out);
  Store(stream, 4, out);
}

void AppendSettings(const Settings& settings, std::string* out) {
  AppendFrameHeader(settings.size() * 6, FrameType::kSettings, 0, 0, out);
  for (const auto& [setting, value] : settings) {
    Store(static_cast<std::uint16_t>(setting), 2, out);
    Store(value, 4, out);
  }
}

void AppendSettingsAck(std::string* out) { AppendFrameHeader(0, FrameType::kSettings, kAck, 0, out); }

void AppendPingAck(std::string_view payload, std::string* out) {
  AppendFrameHeader(payload.size(), FrameType::kPing, kAck, 0, out);
  out->append(payload);
}

void AppendWindowUpdate(std::uint32_t stream, std::uint32_t increment, std::string* out) {
  AppendFrameHeader(4, FrameType::kWindowUpdate, 0, stream, out);
  Store(increment, 4, out);
}

void AppendRstStream(std::uint32_t stream, Http2Code code, std::string* out) {
  AppendFrameHeader(4, FrameType::kRstStream, 0, stream, out);
  Store(static_cast<std::uint32_t>(code), 4, out);
}

void AppendGoAway(std::uint32_t last_stream, Http2Code code, std::string* out) {
  AppendFrameHeader(8, FrameType::kGoAway, 0, 0, out);
  Store(last_stream, 4, out);
  Store(static_cast<std::uint32_t>(code), 4, out);
}

void AppendHeaderBlock(std::string_view block, bool end_stream, std::uint32_t stream, std::size_t max_frame_bytes,
                       std::string* out) {
  FrameType type = FrameType::kHeaders;
  std::uint8_t flags = end_stream ? kEndStream : 0;
  do {
    const std::size_t size = std::min(block.size(), max_frame_bytes);
    if (size == block.size()) flags |= kEndHeaders;
    AppendFrameHeader(size, type, flags, stream, out);
    out->append(block.substr(0, size));
    block.remove_prefix(size);
    type = FrameType::kContinuation;
    flags = 0;
  } while (!block.empty());
}

}  // namespace mexport::http2
