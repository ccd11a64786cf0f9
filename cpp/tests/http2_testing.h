// What the tests of HTTP/2 share: frames as bytes, and a connection whose other end they hold.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/hpack.h"
#include "core/http2_connection.h"
#include "core/http2_frame.h"
#include "tests/testing.h"

namespace mexport {

using http2::FrameType;

inline std::string MakeFrame(FrameType type, int flags, std::uint32_t stream, std::string_view payload) {
  std::string frame;
  http2::AppendFrameHeader(payload.size(), type, static_cast<std::uint8_t>(flags), stream, &frame);
  return frame.append(payload);
}

inline std::string Block(const HeaderList& list) {
  std::string block;
  hpack::EncodeHeaders(list, &block);
  return block;
}

inline std::string Settings(std::string_view payload = {}) { return MakeFrame(FrameType::kSettings, 0, 0, payload); }

inline std::string ClientGreeting() { return std::string(http2::kPreface) + Settings(); }

inline HeaderList RequestHeaders(const std::string& method = "/S/M") {
  return {{":method", "POST"}, {":scheme", "http"}, {":path", method},
          {":authority", "x"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
}

// A message as DATA carries it. REQUIRES: less than 256 bytes.
inline std::string Message(std::string_view text) {
  std::string message(5, '\0');
  message[4] = static_cast<char>(text.size());
  return message.append(text);
}

inline std::string Request(std::uint32_t stream, std::string_view text, const std::string& method = "/S/M") {
  return MakeFrame(FrameType::kHeaders, http2::kEndHeaders, stream, Block(RequestHeaders(method))) +
         MakeFrame(FrameType::kData, http2::kEndStream, stream, Message(text));
}

// Two ends of a line; what the connection does is up to what the test sends from the other.
class Peer {
 public:
  explicit Peer(Http2Connection::Role role) : Peer(Ends(), role) {}

  Http2Connection& connection() { return connection_; }

  // Has the connection take it all in; the code of the Http2Error that it threw, if it did.
  std::optional<Http2Code> Feed(std::string_view bytes) {
    try {
      do {
        bytes.remove_prefix(end_.Send(bytes));
        while (connection_.Pump(kNoWait) == Http2Connection::Event::kProgress) {
        }
      } while (!bytes.empty());
    } catch (const Http2Error& error) {
      last_error = error.what();
      return error.code();
    }
    return std::nullopt;
  }
  // The connection's other end goes away.
  void HangUp() { end_ = Socket(); }
  // What the connection has sent since the last time.
  std::string Read() {
    std::string bytes(1 << 20, '\0');
    std::size_t size = 0;
    while (const auto more = end_.Receive({bytes.data() + size, bytes.size() - size})) {
      if (*more == 0) break;
      size += *more;
    }
    bytes.resize(size);
    return bytes;
  }
  const Socket& end() const { return end_; }

  std::string last_error;

 private:
  static std::pair<Socket, Socket> Ends() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
      throw std::runtime_error("no socketpair");
    }
    return {Socket(fds[0]), Socket(fds[1])};
  }
  Peer(std::pair<Socket, Socket> ends, Http2Connection::Role role)
      : end_(std::move(ends.first)), connection_(std::move(ends.second), role, 1 << 20) {}

  Socket end_;
  Http2Connection connection_;
};

}  // namespace mexport
