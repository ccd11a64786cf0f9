#include "core/grpc_server_connection.h"

#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "core/grpc_message.h"

namespace mexport {
namespace {

using Clock = std::chrono::steady_clock;
using Event = Http2Connection::Event;

// For the peer to begin as HTTP/2 does.
constexpr std::chrono::seconds kGreetingTime{20};
// For a peer to take more of an answer that it asked for.
constexpr std::chrono::seconds kStallTime{60};
// For answers to go out when the server stops.
constexpr std::chrono::seconds kDrainTime{2};
constexpr std::chrono::milliseconds kAcknowledgementStep{2};

HeaderList ResponseHeaders() {
  return {{":status", "200"}, {"content-type", std::string(grpc::kContentType)}, {"grpc-accept-encoding", "identity"}};
}

void AddStatus(const RpcStatus& status, HeaderList* list) {
  list->push_back({"grpc-status", std::to_string(status.code)});
  if (!status.message.empty()) list->push_back({"grpc-message", grpc::EncodeStatusText(status.message)});
}

// The HTTP status of what is no gRPC request, if it is none.
std::optional<std::string> NotGrpc(const HeaderList& headers) {
  const HeaderField* const method = FindHeader(headers, ":method");
  if (method == nullptr || method->value != "POST") return "405";
  const HeaderField* const type = FindHeader(headers, "content-type");
  if (type == nullptr || !grpc::IsGrpcContentType(type->value)) return "415";
  return std::nullopt;
}

// Whether the client has stopped waiting.
bool IsLate(const Http2Stream& stream) {
  const HeaderField* const field = FindHeader(*stream.headers, "grpc-timeout");
  const auto timeout = field == nullptr ? std::nullopt : grpc::DecodeTimeout(field->value);
  return timeout && Clock::now() - stream.began > *timeout;
}

}  // namespace

bool GrpcServerConnection::Busy() const {
  if (!connection_.all_sent()) return true;
  for (const auto& [id, stream] : connection_.streams()) {
    if (stream.unsent) return true;
  }
  return false;
}

TimePoint GrpcServerConnection::Deadline() const {
  if (!connection_.greeted()) return began_ + kGreetingTime;
  return Busy() ? Clock::now() + kStallTime : kForever;
}

void GrpcServerConnection::Serve(int stop_fd) {
  try {
    for (;;) {
      // What came meanwhile (windows, cancelled calls, pings) before the next call.
      const Event event = connection_.Pump(Deadline(), stop_fd);
      if (event == Event::kDeadline && (Busy() || !connection_.greeted())) return;
      if (event == Event::kWoken) return Drain();
      while (AnswerOne()) {
        if (connection_.Pump(kNoWait, stop_fd) == Event::kWoken) return Drain();
      }
    }
  } catch (const ConnectionLost&) {  // nobody is left to tell
  } catch (const Http2Error& error) {
    try {
      connection_.GoAway(error.code());
      connection_.Pump(kNoWait);
    } catch (const std::exception&) {
    }
  } catch (const std::bad_alloc&) {  // costs the connection, not the server
  }
}

bool GrpcServerConnection::AnswerOne() {
  for (auto& [id, stream] : connection_.streams()) {
    if (stream.unsent || stream.local_done || !stream.over()) continue;
    Answer(id, stream);
    return true;
  }
  return false;
}

void GrpcServerConnection::Answer(std::uint32_t id, Http2Stream& stream) {
  if (const auto http_status = NotGrpc(*stream.headers)) {
    return connection_.Respond(id, {{":status", *http_status}});
  }
  RpcStatus status = stream.refused;
  if (status.ok()) status = stream.received.Finish();
  if (status.ok() && IsLate(stream))
    status = {rpc_code::kDeadlineExceeded, "the deadline passed before the call's turn"};
  std::string response;
  if (status.ok()) {
    const HeaderField* const path = FindHeader(*stream.headers, ":path");
    const std::string request = std::move(stream.received.message());
    status = Handle(path == nullptr ? std::string() : path->value, request, &response);
  }
  if (!status.ok()) return Fail(id, status);
  HeaderList trailers;
  AddStatus(status, &trailers);
  connection_.Respond(id, ResponseHeaders(), std::move(response), trailers);
}

void GrpcServerConnection::Fail(std::uint32_t id, const RpcStatus& status) {
  HeaderList headers = ResponseHeaders();
  AddStatus(status, &headers);
  connection_.Respond(id, headers);
}

RpcStatus GrpcServerConnection::Handle(const std::string& method, const std::string& request,
                                       std::string* response) const {
  try {
    RpcStatus status = (*handler_)(method, request, response);
    if (status.ok() && response->size() > GrpcServer::kMaxMessageBytes) {
      return {rpc_code::kResourceExhausted, "message: got " + std::to_string(response->size()) +
                                                " bytes, want at most " + std::to_string(GrpcServer::kMaxMessageBytes)};
    }
    return status;
  } catch (const std::exception& error) {
    return {rpc_code::kUnknown, error.what()};
  } catch (...) {
    return {rpc_code::kUnknown, "the handler failed"};
  }
}

// Calls that have not begun may be made elsewhere.
void GrpcServerConnection::Drain() {
  auto& streams = connection_.streams();
  for (auto at = streams.begin(); at != streams.end();) {
    const auto [id, stream] = std::pair{at->first, &at->second};
    ++at;
    if (stream->unsent || stream->local_done) continue;
    connection_.Close(id, Http2Code::kRefusedStream);
  }
  connection_.GoAway(Http2Code::kNoError);
  connection_.Pump(kNoWait);
  const TimePoint deadline = Clock::now() + kDrainTime;
  while (Busy() && Clock::now() < deadline && connection_.Pump(deadline) == Event::kProgress) {
  }
  // A socket that is closed while bytes come in drops what has not gone out.
  connection_.socket().EndSending();
  while (connection_.socket().Unacknowledged() > 0 && Clock::now() < deadline) {
    connection_.Pump(Clock::now() + kAcknowledgementStep);
  }
}

}  // namespace mexport
