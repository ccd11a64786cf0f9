// HTTP/2 from a peer. Input: a choice; then a header block, or what a client or a server sends after its greeting.
#include <sys/socket.h>

#include <stdexcept>

#include "core/http2_connection.h"
#include "core/http2_limits.h"
#include "fuzz/fuzzing.h"

namespace mexport {
namespace {

constexpr std::size_t kMaxMessage = 4096;
// A byte of a block may stand for a whole field of the table.
constexpr std::size_t kMaxList = 1 << 16;

void TryBlocks(std::string_view rest) {
  HpackDecoder decoder;
  for (int i = 0; i < 2; ++i) {  // the second block meets the table of the first
    HeaderList list;
    bool whole = false;
    try {
      whole = decoder.Decode(rest, kMaxList, &list);
    } catch (const Http2Error& error) {
      MEXPORT_FUZZ_CHECK(error.code() == Http2Code::kCompressionError);
      return;
    }
    MEXPORT_FUZZ_CHECK(decoder.table_bytes() <= hpack::kDefaultTableBytes);
    std::size_t list_bytes = 0;
    for (const HeaderField& field : list) list_bytes += field.name.size() + field.value.size() + hpack::kFieldOverhead;
    MEXPORT_FUZZ_CHECK(list_bytes <= kMaxList);
    if (!whole) continue;
    std::string block;
    hpack::EncodeHeaders(list, &block);
    HeaderList again;
    MEXPORT_FUZZ_CHECK(HpackDecoder().Decode(block, kMaxList, &again));
    MEXPORT_FUZZ_CHECK(again == list);
  }
}

class Line {
 public:
  explicit Line(Http2Connection::Role role) : Line(Ends(), role) {}

  Http2Connection& connection() { return connection_; }

  // Whether the connection has taken in all of it.
  bool Feed(std::string_view bytes) {
    try {
      while (!bytes.empty()) {
        bytes.remove_prefix(end_.Send(bytes));
        while (connection_.Pump(kNoWait) == Http2Connection::Event::kProgress) {
        }
        char replies[4096];
        while (end_.Receive(replies)) {
        }
      }
    } catch (const Http2Error&) {
      return false;
    }
    return true;
  }

 private:
  static std::pair<Socket, Socket> Ends() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
      throw std::runtime_error("no socketpair");
    }
    return {Socket(fds[0]), Socket(fds[1])};
  }
  Line(std::pair<Socket, Socket> ends, Http2Connection::Role role)
      : end_(std::move(ends.first)), connection_(std::move(ends.second), role, kMaxMessage) {}

  Socket end_;
  Http2Connection connection_;
};

void TryClient(std::string_view rest) {
  Line line(Http2Connection::Role::kServer);
  Http2Connection& server = line.connection();
  bool open = line.Feed(std::string(http2::kPreface) + std::string("\0\0\0\4\0\0\0\0\0", 9));
  MEXPORT_FUZZ_CHECK(open);
  open = line.Feed(rest);
  MEXPORT_FUZZ_CHECK(server.streams().size() <= http2::kMaxStreams);
  for (auto& [id, stream] : server.streams()) {
    if (!stream.over() || stream.unsent) continue;
    MEXPORT_FUZZ_CHECK(stream.headers);
    if (stream.refused.ok() && stream.received.Finish().ok()) {
      MEXPORT_FUZZ_CHECK(stream.received.message().size() <= kMaxMessage);
      server.Respond(id, *stream.headers, std::move(stream.received.message()), {{"grpc-status", "0"}});
    } else {
      server.Respond(id, *stream.headers);
    }
  }
  if (open) line.Feed(rest);  // windows and cancellations for the answers, perhaps
}

void TryServer(std::string_view rest) {
  Line line(Http2Connection::Role::kClient);
  const std::uint32_t id = line.connection().Open({{":method", "POST"}}, "message", kMaxMessage);
  line.Feed(rest);
  const Http2Stream& stream = line.connection().streams().at(id);
  MEXPORT_FUZZ_CHECK(!stream.remote_done || stream.headers);
}

}  // namespace
}  // namespace mexport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mexport::FuzzInput input(data, size);
  switch (input.TakeByte() % 3) {
    case 0:
      mexport::TryBlocks(input.rest());
      break;
    case 1:
      mexport::TryClient(input.rest());
      break;
    case 2:
      mexport::TryServer(input.rest());
      break;
  }
  return 0;
}
