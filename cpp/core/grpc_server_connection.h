// One connection of a GrpcServer, served by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/grpc_server.h"
#include "core/http2_connection.h"

namespace mexport {

class GrpcServerConnection {
 public:
  // `handler` must outlive this.
  GrpcServerConnection(Socket socket, const GrpcServer::Handler* handler, std::size_t max_request)
      : connection_(std::move(socket), Http2Connection::Role::kServer, max_request), handler_(handler) {}

  // Answers calls until the peer goes away, breaks the protocol or does not read what it asked for, or until
  // `stop_fd` becomes readable; then sends what was answered.
  void Serve(int stop_fd);

 private:
  TimePoint Deadline() const;
  // Answers the first call that is complete; whether there was one.
  bool AnswerOne();
  void Answer(std::uint32_t id, Http2Stream& stream);
  void Fail(std::uint32_t id, const RpcStatus& status);
  RpcStatus Handle(const std::string& method, const std::string& request, std::string* response) const;
  // Whether answers are under way.
  bool Busy() const;
  void Drain();

  Http2Connection connection_;
  const GrpcServer::Handler* handler_;
  TimePoint began_ = std::chrono::steady_clock::now();
};

}  // namespace mexport
