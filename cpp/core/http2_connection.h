// One HTTP/2 connection that carries gRPC calls, at either end. Belongs to one thread at a time; nothing happens on it
// but in Pump().
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/grpc_message.h"
#include "core/hpack.h"
#include "core/http2_frame.h"
#include "core/http2_window.h"
#include "core/socket.h"

namespace mexport {

// One call. What came from the peer is for the connection's user to look at after each Pump().
struct Http2Stream {
  Http2Stream(std::int64_t peer_window, grpc::MessageReader reader)
      : received(std::move(reader)), send_window(peer_window) {}

  // Nothing more will come.
  bool over() const { return remote_done || reset || !refused.ok(); }

  // From the peer.
  std::optional<HeaderList> headers;
  HeaderList trailers;
  grpc::MessageReader received;
  RpcStatus refused;  // what this end does not take, if anything
  std::optional<Http2Code> reset;
  bool remote_done = false;  // END_STREAM came
  TimePoint began;

  // To the peer.
  std::optional<grpc::MessageWriter> unsent;
  std::string last_block;   // the trailers; none from a client
  bool local_done = false;  // END_STREAM is on its way
  std::string response;     // the server's, which `unsent` refers to

  http2::SendWindow send_window;
  http2::ReceiveWindow receive_window;
};

class Http2Connection {
 public:
  enum class Role { kClient, kServer };
  enum class Event { kProgress, kDeadline, kWoken };

  // `max_message`: of what is received; a client says it for each call.
  Http2Connection(Socket socket, Role role, std::size_t max_message = 0);

  // Sends what it may, waits for the peer until `deadline` and takes in what came. kWoken: `wake_fd` became readable.
  // Throws ConnectionLost, or Http2Error when the peer broke the protocol.
  Event Pump(TimePoint deadline, int wake_fd = -1);

  // By id. Those of a server appear in the order of their ids.
  std::map<std::uint32_t, Http2Stream>& streams() { return streams_; }
  const std::map<std::uint32_t, Http2Stream>& streams() const { return streams_; }

  // A client's call: id of its stream. `message` must live until that is closed. REQUIRES: usable().
  std::uint32_t Open(const HeaderList& headers, std::string_view message, std::size_t max_message);
  // A server's answer; it goes out in Pump(), which closes the stream then.
  void Respond(std::uint32_t id, const HeaderList& headers, std::string response, const HeaderList& trailers);
  // An answer without a message.
  void Respond(std::uint32_t id, const HeaderList& headers);
  // Forgets a stream; the peer is told by RST_STREAM if it is not through at both ends.
  void Close(std::uint32_t id, Http2Code code);

  // Tells the peer that no stream but those that are there will be served.
  void GoAway(Http2Code code);
  // Whether the peer takes new streams.
  bool usable() const { return !peer_goes_away_ && next_stream_ <= http2::kMaxStream; }
  // The last stream that the peer serves, once it has said so.
  std::optional<std::uint32_t> peer_goes_away() const { return peer_goes_away_; }

  // Whether all that was said is with the system.
  bool all_sent() const { return out_.size() == out_sent_; }
  std::uint64_t bytes_received() const { return bytes_received_; }
  // Whether the peer has begun as HTTP/2 does.
  bool greeted() const { return settings_seen_; }
  const Socket& socket() const { return socket_; }

 private:
  bool is_client() const { return role_ == Role::kClient; }

  // Sending.
  void Send();
  void QueueData();
  void QueueData(std::uint32_t id, Http2Stream& stream);
  void AppendBlock(std::uint32_t id, const HeaderList& list, bool end_stream);
  std::string EncodeBlock(const HeaderList& list);

  // Receiving.
  void Receive();
  void Parse();
  void Dispatch(const http2::Frame& frame);
  void OnData(const http2::Frame& frame);
  void OnHeaders(const http2::Frame& frame);
  void OnContinuation(const http2::Frame& frame);
  void OnBlock();
  void OnFields(Http2Stream& stream, HeaderList fields, bool whole);
  void OnSettings(const http2::Frame& frame);
  void OnWindowUpdate(const http2::Frame& frame);
  void OnReset(const http2::Frame& frame);
  Http2Stream* Find(std::uint32_t id);
  Http2Stream* Accept(std::uint32_t id);
  // Whether neither end has opened that stream yet.
  bool IsIdle(std::uint32_t id) const;

  Socket socket_;
  Role role_;
  std::size_t max_message_;
  std::map<std::uint32_t, Http2Stream> streams_;
  std::uint32_t next_stream_ = 1;       // of this client
  std::uint32_t last_peer_stream_ = 0;  // of the peer's
  bool going_away_ = false;
  std::optional<std::uint32_t> peer_goes_away_;

  std::string out_;
  std::size_t out_sent_ = 0;
  bool send_failed_ = false;
  bool table_size_said_ = false;
  http2::SendWindow send_window_;
  std::int64_t peer_initial_window_ = http2::kDefaultWindow;

  std::string in_;
  std::uint64_t bytes_received_ = 0;
  bool preface_seen_;
  bool settings_seen_ = false;
  http2::ReceiveWindow receive_window_;
  HpackDecoder decoder_;
  // The header block that is under way.
  std::uint32_t block_stream_ = 0;  // 0: none
  bool block_ends_stream_ = false;
  int block_frames_ = 0;
  std::string block_;
};

}  // namespace mexport
