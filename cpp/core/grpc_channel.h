// The client of unary gRPC calls over cleartext HTTP/2. This header is C++17, as the kernels of the ops are.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "core/rpc_status.h"

namespace mexport {

// Calls to one address. Threads may share a channel; each call in flight has a connection of its own, and idle
// connections are kept for later calls. A forked child leaves its parent's connections alone and makes new ones.
class GrpcChannel {
 public:
  static constexpr std::size_t kMaxMessageBytes = 0x7fffffff;

  // "host:port", "[::1]:port" or "unix:/path"; nothing is connected yet. Throws Error(kInvalidArgument) for others.
  explicit GrpcChannel(std::string address);
  GrpcChannel(const GrpcChannel&) = delete;
  GrpcChannel& operator=(const GrpcChannel&) = delete;
  // REQUIRES: no call is running.
  ~GrpcChannel();

  const std::string& address() const { return address_; }

  // Calls `method` ("/package.Service/Method") and returns what the server said. Failures are statuses as well:
  // kUnavailable when no connection can be made or it breaks, kDeadlineExceeded when `deadline` from now has passed
  // (the host's name is looked up by the system, which no deadline cuts short), kResourceExhausted for a response of
  // more than `max_response` bytes. `response` is empty unless the status is ok. A call on a kept connection that
  // turns out to be dead before the server sent anything is made again on a new one. Throws nothing but
  // std::bad_alloc.
  RpcStatus Call(std::string_view method, std::string_view request, std::chrono::milliseconds deadline,
                 std::string* response, std::size_t max_response = kMaxMessageBytes);

 private:
  class Pool;

  std::string address_;
  std::unique_ptr<Pool> pool_;
};

}  // namespace mexport
