// Stream sockets that never block: waiting is poll() until a point in time.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/rpc_status.h"
#include "core/socket_address.h"

namespace mexport {

using TimePoint = std::chrono::steady_clock::time_point;

// Deadlines: has passed; never passes.
constexpr TimePoint kNoWait{};
constexpr TimePoint kForever = TimePoint::max();

// A peer went away, or the network did. Never leaves core: GrpcChannel makes a status of it.
class ConnectionLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// "connection refused", for a message.
std::string ErrorText(int error_number);

// Waits for one of the events until `deadline`, signals or not; whether one came.
bool PollUntil(std::span<pollfd> events, TimePoint deadline);

// Owns one descriptor, which child processes do not inherit.
class Socket {
 public:
  Socket() = default;
  // Takes `fd` over. -1: none.
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket();

  // Tries every address that the host has. Not ok: kUnavailable or kDeadlineExceeded, and why.
  static RpcStatus Connect(const SocketAddress& address, TimePoint deadline, Socket* socket);
  // Throws IoError when it cannot be listened on, Error(kInvalidArgument) for a host that has no address.
  static Socket Listen(const SocketAddress& address);
  // The next connection of a listening socket; none when there is none yet. `error_number` says why else.
  Socket Accept(int* error_number) const;

  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  // Of a listening socket; 0 for a path.
  int Port() const;

  // What is there now; none if that is nothing yet, 0 bytes at the end. Throws ConnectionLost.
  std::optional<std::size_t> Receive(std::span<char> buffer) const;
  // What goes out now, maybe nothing. Throws ConnectionLost; raises no SIGPIPE.
  std::size_t Send(std::string_view bytes) const;
  // The peer sees the end once it has read all.
  void EndSending() const;
  // Bytes, the end among them, that the peer's system does not have yet.
  int Unacknowledged() const;

 private:
  int fd_ = -1;
};

}  // namespace mexport
