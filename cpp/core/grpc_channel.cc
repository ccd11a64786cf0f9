#include "core/grpc_channel.h"

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/grpc_message.h"
#include "core/http2_connection.h"

namespace mexport {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxIdle = 64;
constexpr std::chrono::seconds kMaxIdleTime{60};
constexpr int kMaxIdleReads = 16;
// Longer deadlines are as good as none.
constexpr std::chrono::milliseconds kMaxDeadline = std::chrono::hours(24 * 365);
// A server that refuses again and again before it begins the call.
constexpr int kMaxAttempts = 5;

// How one attempt at a call ended.
struct Outcome {
  RpcStatus status;
  bool again = false;  // the call has not begun: another connection may do
};

RpcStatus TooLate() { return {rpc_code::kDeadlineExceeded, "the deadline passed"}; }

// What the server's headers and trailers say.
RpcStatus StatusOf(Http2Stream* stream, std::string* response) {
  if (!stream->refused.ok()) return stream->refused;
  if (stream->reset && !stream->remote_done) {
    return {grpc::CodeOfReset(*stream->reset),
            "the server reset the stream with code " + std::to_string(static_cast<std::uint32_t>(*stream->reset))};
  }
  const HeaderList& headers = *stream->headers;
  const HeaderList& last = stream->trailers.empty() ? headers : stream->trailers;
  const HeaderField* const code = FindHeader(last, "grpc-status");
  if (code == nullptr) {
    const HeaderField* const http_status = FindHeader(headers, ":status");
    const std::string text = http_status == nullptr ? "none" : http_status->value;
    if (text != "200") return {grpc::CodeOfHttpStatus(text), "got HTTP status " + text + ", want 200"};
    return {rpc_code::kUnknown, "got no grpc-status"};
  }
  if (const int number = grpc::DecodeStatusCode(code->value); number != rpc_code::kOk) {
    const HeaderField* const text = FindHeader(last, "grpc-message");
    return {number, text == nullptr ? std::string() : grpc::DecodeStatusText(text->value)};
  }
  const HeaderField* const type = FindHeader(headers, "content-type");
  if (type == nullptr || !grpc::IsGrpcContentType(type->value)) {
    return {rpc_code::kUnknown, "got another content-type than application/grpc"};
  }
  RpcStatus status = stream->received.Finish();
  if (status.ok()) *response = std::move(stream->received.message());
  return status;
}

// A connection and what it is good for.
struct Line {
  explicit Line(Http2Connection made) : connection(std::move(made)) {}
  Http2Connection connection;
  TimePoint idle_since{};
};

// Whether a kept connection may serve another call: takes in what came meanwhile.
bool IsFresh(Line* line) {
  if (Clock::now() - line->idle_since > kMaxIdleTime) return false;
  try {
    // One that talks without end is not idle.
    for (int i = 0; i < kMaxIdleReads; ++i) {
      if (line->connection.Pump(kNoWait) != Http2Connection::Event::kProgress) return line->connection.usable();
    }
  } catch (const ConnectionLost&) {
  } catch (const Http2Error&) {
  }
  return false;
}

}  // namespace

// Idle connections.
class GrpcChannel::Pool {
 public:
  explicit Pool(SocketAddress address) : address_(std::move(address)), process_(::getpid()) {}

  const SocketAddress& address() const { return address_; }

  // A connection that may serve a call, or none.
  std::unique_ptr<Line> Take() {
    for (;;) {
      std::unique_ptr<Line> line;
      {
        const std::lock_guard lock(mutex_);
        ForgetParents();
        if (idle_.empty()) return nullptr;
        line = std::move(idle_.back());
        idle_.pop_back();
      }
      if (IsFresh(line.get())) return line;
    }
  }

  void Keep(std::unique_ptr<Line> line) {
    if (!line->connection.usable() || !line->connection.all_sent()) return;
    line->idle_since = Clock::now();
    const std::lock_guard lock(mutex_);
    ForgetParents();
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(line));
  }

 private:
  // After a fork both processes would read from the same connections.
  void ForgetParents() {
    if (const pid_t process = ::getpid(); std::exchange(process_, process) != process) idle_.clear();
  }

  const SocketAddress address_;
  std::mutex mutex_;
  pid_t process_;
  std::vector<std::unique_ptr<Line>> idle_;  // the last used last
};

namespace {

// One call, on one connection after the other until one of them takes it.
class Attempt {
 public:
  Attempt(std::string_view method, std::string_view request, TimePoint deadline, std::size_t max_response)
      : method_(method), request_(request), deadline_(deadline), max_response_(max_response) {}

  // `kept`: another call has been made on the connection.
  Outcome Run(const SocketAddress& address, Line* line, bool kept, std::string* response, bool* reusable) const {
    Http2Connection& connection = line->connection;
    const std::uint64_t received = connection.bytes_received();
    try {
      return Exchange(address, &connection, response, reusable);
    } catch (const ConnectionLost& error) {
      // A server that ends an idle connection may do so just as a call is sent on it.
      return {{rpc_code::kUnavailable, address.text + ": " + error.what()},
              kept && connection.bytes_received() == received};
    } catch (const Http2Error& error) {
      if (!connection.greeted()) {
        return {{rpc_code::kUnavailable, address.text + ": not an HTTP/2 server: " + error.what()}};
      }
      connection.GoAway(error.code());
      SayLast(&connection);
      const bool calm = error.code() == Http2Code::kEnhanceYourCalm;
      return {{calm ? rpc_code::kResourceExhausted : rpc_code::kInternal, address.text + ": " + error.what()}};
    }
  }

 private:
  HeaderList Headers(const SocketAddress& address) const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
    return {
        {":method", "POST"},
        {":scheme", "http"},
        {":path", std::string(method_)},
        {":authority", address.is_path() ? "localhost" : address.text},
        {"te", "trailers"},
        {"content-type", std::string(grpc::kContentType)},
        {"grpc-accept-encoding", "identity"},
        {"user-agent", "mexport-pb"},
        {"grpc-timeout", grpc::EncodeTimeout(left)},
    };
  }

  // What is left to say goes out as far as that takes no time.
  static void SayLast(Http2Connection* connection) {
    try {
      connection->Pump(kNoWait);
    } catch (const ConnectionLost&) {
    } catch (const Http2Error&) {
    }
  }

  Outcome Exchange(const SocketAddress& address, Http2Connection* connection, std::string* response,
                   bool* reusable) const {
    const std::uint32_t id = connection->Open(Headers(address), request_, max_response_);
    Http2Stream& stream = connection->streams().at(id);
    while (!stream.over()) {
      if (const auto last = connection->peer_goes_away(); last && *last < id) {
        return {{rpc_code::kUnavailable, address.text + ": the server goes away"}, true};
      }
      if (Clock::now() >= deadline_ || connection->Pump(deadline_) == Http2Connection::Event::kDeadline) {
        connection->Close(id, Http2Code::kCancel);
        SayLast(connection);
        return {TooLate()};
      }
    }
    Outcome outcome{StatusOf(&stream, response)};
    if (stream.reset == Http2Code::kRefusedStream) outcome.again = true;
    // The server's clock may be the first to see that the time is over.
    if (outcome.status.code == rpc_code::kCancelled && Clock::now() >= deadline_) outcome.status = TooLate();
    connection->Close(id, Http2Code::kCancel);
    SayLast(connection);
    *reusable = true;
    return outcome;
  }

  std::string_view method_;
  std::string_view request_;
  TimePoint deadline_;
  std::size_t max_response_;
};

}  // namespace

GrpcChannel::GrpcChannel(std::string address)
    : address_(std::move(address)), pool_(std::make_unique<Pool>(SocketAddress::Parse(address_, false))) {}

GrpcChannel::~GrpcChannel() = default;

RpcStatus GrpcChannel::Call(std::string_view method, std::string_view request, std::chrono::milliseconds deadline,
                            std::string* response, std::size_t max_response) {
  response->clear();
  if (request.size() > kMaxMessageBytes) {
    return {rpc_code::kResourceExhausted, "message: got " + std::to_string(request.size()) + " bytes, want at most " +
                                              std::to_string(kMaxMessageBytes)};
  }
  const TimePoint until = Clock::now() + std::clamp(deadline, std::chrono::milliseconds(0), kMaxDeadline);
  const Attempt attempt(method, request, until, max_response);
  Outcome outcome;
  bool look_for_kept = true;
  for (int i = 0; i < kMaxAttempts; ++i) {
    if (Clock::now() >= until) return TooLate();
    std::unique_ptr<Line> line = look_for_kept ? pool_->Take() : nullptr;
    const bool kept = line != nullptr;
    if (!kept) {
      Socket socket;
      if (RpcStatus status = Socket::Connect(pool_->address(), until, &socket); !status.ok()) return status;
      line = std::make_unique<Line>(Http2Connection(std::move(socket), Http2Connection::Role::kClient));
    }
    bool reusable = false;
    outcome = attempt.Run(pool_->address(), line.get(), kept, response, &reusable);
    if (reusable) pool_->Keep(std::move(line));
    if (!outcome.again) break;
    look_for_kept = false;  // the others may be as dead
  }
  return outcome.status;
}

}  // namespace mexport
