// HTTP/2's frames as bytes (RFC 9113, sections 4 and 6), without a connection's state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/http2_error.h"

namespace mexport::http2 {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kFrameHeaderBytes = 9;
constexpr std::size_t kMinMaxFrameBytes = 16384;
constexpr std::size_t kMaxMaxFrameBytes = 0xffffff;
constexpr std::int64_t kDefaultWindow = 65535;
constexpr std::int64_t kMaxWindow = 0x7fffffff;
constexpr std::uint32_t kMaxStream = 0x7fffffff;

enum class FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

constexpr std::uint8_t kEndStream = 0x1;
constexpr std::uint8_t kAck = 0x1;
constexpr std::uint8_t kEndHeaders = 0x4;
constexpr std::uint8_t kPadded = 0x8;
constexpr std::uint8_t kPriorityFields = 0x20;

enum class Setting : std::uint16_t {
  kHeaderTableSize = 1,
  kEnablePush = 2,
  kMaxConcurrentStreams = 3,
  kInitialWindowSize = 4,
  kMaxFrameSize = 5,
  kMaxHeaderListSize = 6,
};

using Settings = std::vector<std::pair<Setting, std::uint32_t>>;

struct Frame {
  bool Has(std::uint8_t flag) const { return (flags & flag) != 0; }

  FrameType type;
  std::uint8_t flags;
  std::uint32_t stream;
  std::string_view payload;
};

struct GoAway {
  std::uint32_t last_stream;
  Http2Code code;
};

// The frame at the front of `bytes`, none while it is not there as a whole. Like the other functions that read, throws
// Http2Error for what RFC 9113 forbids.
std::optional<Frame> ParseFrame(std::string_view bytes, std::size_t max_frame_bytes);

// The payload of DATA or HEADERS without padding and priority.
std::string_view Content(const Frame& frame);

// Values are checked; unknown settings are kept.
Settings ParseSettings(const Frame& frame);
std::uint32_t ParseWindowUpdate(const Frame& frame);
Http2Code ParseRstStream(const Frame& frame);
GoAway ParseGoAway(const Frame& frame);
void CheckPing(const Frame& frame);
void CheckPriority(const Frame& frame);

void AppendFrameHeader(std::size_t size, FrameType type, std::uint8_t flags, std::uint32_t stream, std::string* out);
void AppendSettings(const Settings& settings, std::string* out);
void AppendSettingsAck(std::string* out);
void AppendPingAck(std::string_view payload, std::string* out);
void AppendWindowUpdate(std::uint32_t stream, std::uint32_t increment, std::string* out);
void AppendRstStream(std::uint32_t stream, Http2Code code, std::string* out);
void AppendGoAway(std::uint32_t last_stream, Http2Code code, std::string* out);
// HEADERS, and CONTINUATION for what goes beyond one frame.
void AppendHeaderBlock(std::string_view block, bool end_stream, std::uint32_t stream, std::size_t max_frame_bytes,
                       std::string* out);

}  // namespace mexport::http2
