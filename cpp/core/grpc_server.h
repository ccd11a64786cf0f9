// The server of unary gRPC calls over cleartext HTTP/2. This header is C++17, as the kernels of the ops are.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/rpc_status.h"

namespace mexport {

// Listens from construction until Shutdown(). Each connection has a thread, which answers its calls one after the
// other.
class GrpcServer {
 public:
  static constexpr std::size_t kMaxMessageBytes = 0x7fffffff;

  // Answers the call of `method` ("/package.Service/Method") with a status and, when that is ok, a response. Called
  // from several threads at a time. What it throws becomes the status kUnknown. It must return for Shutdown() to
  // return.
  using Handler = std::function<RpcStatus(std::string_view method, std::string_view request, std::string* response)>;

  // "host:port", "[::1]:port", ":port" (every interface) or "unix:/path"; port 0 takes a free one. Throws
  // Error(kInvalidArgument) for an address of another form, IoError when it cannot be listened on.
  GrpcServer(const std::string& address, Handler handler, std::size_t max_request = kMaxMessageBytes);
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;
  ~GrpcServer();

  // The port that it listens on; 0 for a path.
  int port() const;

  // Takes no more calls, lets running handlers finish and sends their answers, then closes. No thread is left when it
  // returns. Any thread but a handler's may call it, and call it again.
  void Shutdown();

 private:
  class Listener;

  std::unique_ptr<Listener> listener_;
};

}  // namespace mexport
