#include <utility>

#include "core/http2_connection.h"
#include "core/http2_limits.h"

namespace mexport {

using http2::Frame;
using http2::FrameType;

namespace {

[[noreturn]] void Fail(Http2Code code, const char* message) { throw Http2Error(code, message); }

}  // namespace

void Http2Connection::Receive() {
  constexpr std::size_t kReadBytes = 64 << 10;
  const std::size_t before = in_.size();
  in_.resize(before + kReadBytes);
  const std::optional<std::size_t> size = socket_.Receive({in_.data() + before, kReadBytes});
  in_.resize(before + size.value_or(0));
  if (!size) return;
  if (*size == 0) throw ConnectionLost("the peer closed the connection");
  bytes_received_ += *size;
  Parse();
}

void Http2Connection::Parse() {
  std::string_view rest = in_;
  if (!preface_seen_) {
    const std::string_view front = rest.substr(0, http2::kPreface.size());
    if (!http2::kPreface.starts_with(front)) Fail(Http2Code::kProtocolError, "got no HTTP/2 preface");
    if (front.size() < http2::kPreface.size()) return;
    preface_seen_ = true;
    rest.remove_prefix(front.size());
  }
  while (const std::optional<Frame> frame = http2::ParseFrame(rest, http2::kMinMaxFrameBytes)) {
    Dispatch(*frame);
    rest.remove_prefix(http2::kFrameHeaderBytes + frame->payload.size());
  }
  in_.erase(0, in_.size() - rest.size());
}

void Http2Connection::Dispatch(const Frame& frame) {
  if (!settings_seen_ && (frame.type != FrameType::kSettings || frame.Has(http2::kAck))) {
    Fail(Http2Code::kProtocolError, "got a frame before SETTINGS");
  }
  if (block_stream_ != 0 && frame.type != FrameType::kContinuation) {
    Fail(Http2Code::kProtocolError, "got a frame within a header block");
  }
  switch (frame.type) {
    case FrameType::kData:
      return OnData(frame);
    case FrameType::kHeaders:
      return OnHeaders(frame);
    case FrameType::kPriority:
      return http2::CheckPriority(frame);
    case FrameType::kRstStream:
      return OnReset(frame);
    case FrameType::kSettings:
      return OnSettings(frame);
    case FrameType::kPushPromise:
      Fail(Http2Code::kProtocolError, "got PUSH_PROMISE");
    case FrameType::kPing:
      http2::CheckPing(frame);
      if (!frame.Has(http2::kAck)) http2::AppendPingAck(frame.payload, &out_);
      return;
    case FrameType::kGoAway:
      peer_goes_away_ = http2::ParseGoAway(frame).last_stream;
      return;
    case FrameType::kWindowUpdate:
      return OnWindowUpdate(frame);
    case FrameType::kContinuation:
      return OnContinuation(frame);
  }
  // Frames of other types say nothing.
}

Http2Stream* Http2Connection::Find(std::uint32_t id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : &found->second;
}

bool Http2Connection::IsIdle(std::uint32_t id) const {
  if (id % 2 == 0) return true;  // of a server, which opens none
  return is_client() ? id >= next_stream_ : id > last_peer_stream_;
}

void Http2Connection::OnData(const Frame& frame) {
  const std::string_view content = http2::Content(frame);
  if (IsIdle(frame.stream)) Fail(Http2Code::kProtocolError, "got DATA on a stream that is not open");
  // Padding counts, and so does what is for a stream that this end has closed.
  const std::size_t size = frame.payload.size();
  if (const std::uint32_t refill = receive_window_.Take(size); refill > 0) http2::AppendWindowUpdate(0, refill, &out_);
  Http2Stream* const stream = Find(frame.stream);
  if (stream == nullptr) return;
  if (stream->remote_done) Fail(Http2Code::kStreamClosed, "got DATA after the end of a stream");
  if (!stream->headers) Fail(Http2Code::kProtocolError, "got DATA before HEADERS");
  if (stream->refused.ok()) stream->refused = stream->received.Append(content);
  if (frame.Has(http2::kEndStream)) {
    stream->remote_done = true;
  } else if (const std::uint32_t refill = stream->receive_window.Take(size); refill > 0) {
    http2::AppendWindowUpdate(frame.stream, refill, &out_);
  }
}

void Http2Connection::OnHeaders(const Frame& frame) {
  block_ = http2::Content(frame);
  const bool known = is_client() ? !IsIdle(frame.stream) : frame.stream % 2 == 1;
  if (!known) Fail(Http2Code::kProtocolError, "got HEADERS on a stream that is not open");
  block_stream_ = frame.stream;
  block_ends_stream_ = frame.Has(http2::kEndStream);
  block_frames_ = 0;
  if (frame.Has(http2::kEndHeaders)) OnBlock();
}

void Http2Connection::OnContinuation(const Frame& frame) {
  if (block_stream_ == 0 || frame.stream != block_stream_) {
    Fail(Http2Code::kProtocolError, "got CONTINUATION without HEADERS");
  }
  if (++block_frames_ > http2::kMaxBlockFrames || block_.size() + frame.payload.size() > http2::kMaxBlockBytes) {
    Fail(Http2Code::kEnhanceYourCalm, "got a header block that is too long");
  }
  block_ += frame.payload;
  if (frame.Has(http2::kEndHeaders)) OnBlock();
}

void Http2Connection::OnBlock() {
  const std::uint32_t id = std::exchange(block_stream_, 0);
  // Decoded in any case: the table must stay what the peer thinks that it is.
  HeaderList fields;
  const bool whole = decoder_.Decode(block_, http2::kMaxHeaderListBytes, &fields);
  block_.clear();
  Http2Stream* stream = Find(id);
  if (stream == nullptr && !is_client() && id > last_peer_stream_) stream = Accept(id);
  if (stream == nullptr) return;
  if (stream->remote_done) Fail(Http2Code::kStreamClosed, "got HEADERS after the end of a stream");
  OnFields(*stream, std::move(fields), whole);
}

// A new stream of a client, none if it is not to be served.
Http2Stream* Http2Connection::Accept(std::uint32_t id) {
  last_peer_stream_ = id;
  if (going_away_) return nullptr;  // GOAWAY has told the peer
  if (streams_.size() >= http2::kMaxStreams) {
    http2::AppendRstStream(id, Http2Code::kRefusedStream, &out_);
    return nullptr;
  }
  Http2Stream& stream =
      streams_.try_emplace(id, peer_initial_window_, grpc::MessageReader(max_message_, rpc_code::kUnimplemented))
          .first->second;
  stream.began = std::chrono::steady_clock::now();
  return &stream;
}

void Http2Connection::OnFields(Http2Stream& stream, HeaderList fields, bool whole) {
  stream.remote_done = block_ends_stream_;
  if (!whole && stream.refused.ok()) {
    stream.refused = {rpc_code::kResourceExhausted,
                      "got metadata of more than " + std::to_string(http2::kMaxHeaderListBytes) + " bytes"};
  }
  if (!stream.headers) {
    const HeaderField* const status = is_client() ? FindHeader(fields, ":status") : nullptr;
    // An interim response (1xx) comes before the real one.
    if (status != nullptr && status->value.starts_with('1') && !stream.remote_done) return;
    stream.headers = std::move(fields);
    return;
  }
  if (!stream.remote_done) Fail(Http2Code::kProtocolError, "got HEADERS within a stream");
  stream.trailers = std::move(fields);
}

void Http2Connection::OnSettings(const Frame& frame) {
  const http2::Settings settings = http2::ParseSettings(frame);
  if (frame.Has(http2::kAck)) return;
  settings_seen_ = true;
  for (const auto& [setting, value] : settings) {
    // Frames of the least MAX_FRAME_SIZE suit every peer, and a table of size 0 every HEADER_TABLE_SIZE.
    if (setting != http2::Setting::kInitialWindowSize) continue;
    const std::int64_t change = value - peer_initial_window_;
    for (auto& [id, stream] : streams_) stream.send_window.Add(change);
    peer_initial_window_ = value;
  }
  http2::AppendSettingsAck(&out_);
}

void Http2Connection::OnWindowUpdate(const Frame& frame) {
  const std::uint32_t increment = http2::ParseWindowUpdate(frame);
  if (frame.stream == 0) return send_window_.Add(increment);
  if (IsIdle(frame.stream)) Fail(Http2Code::kProtocolError, "got WINDOW_UPDATE on a stream that is not open");
  if (Http2Stream* const stream = Find(frame.stream)) stream->send_window.Add(increment);
}

void Http2Connection::OnReset(const Frame& frame) {
  const Http2Code code = http2::ParseRstStream(frame);
  if (IsIdle(frame.stream)) Fail(Http2Code::kProtocolError, "got RST_STREAM on a stream that is not open");
  Http2Stream* const stream = Find(frame.stream);
  if (stream == nullptr) return;
  stream->reset = code;
  if (!is_client()) streams_.erase(frame.stream);
}

}  // namespace mexport
