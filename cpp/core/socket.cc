#include "core/socket.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"

namespace mexport {
namespace {

constexpr int kType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
constexpr int kBacklog = 128;

using Clock = std::chrono::steady_clock;
using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

// The addresses of a host, or the reason why there are none.
Addresses Resolve(const SocketAddress& address, int flags, std::string* why) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  if (error != 0) *why = error == EAI_SYSTEM ? ErrorText(errno) : ::gai_strerror(error);
  return {error == 0 ? found : nullptr, &::freeaddrinfo};
}

sockaddr_un PathAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

void SetOption(int fd, int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); }

// 0, or the errno of a connection that was not made until `deadline`.
int ConnectOne(int family, const sockaddr* address, socklen_t size, TimePoint deadline, Socket* socket) {
  Socket attempt(::socket(family, kType, 0));
  if (!attempt) return errno;
  if (::connect(attempt.fd(), address, size) != 0) {
    // Interrupted, it goes on as well.
    if (errno != EINPROGRESS && errno != EINTR) return errno;
    pollfd event = {attempt.fd(), POLLOUT, 0};
    if (!PollUntil({&event, 1}, deadline)) return ETIMEDOUT;
    int error_number = 0;
    socklen_t length = sizeof error_number;
    if (::getsockopt(attempt.fd(), SOL_SOCKET, SO_ERROR, &error_number, &length) != 0) return errno;
    if (error_number != 0) return error_number;
  }
  // Frames are written as a whole; none waits for another.
  if (family != AF_UNIX) SetOption(attempt.fd(), IPPROTO_TCP, TCP_NODELAY, 1);
  *socket = std::move(attempt);
  return 0;
}

// 0, or errno.
int ListenOne(int family, const sockaddr* address, socklen_t size, Socket* socket) {
  Socket attempt(::socket(family, kType, 0));
  if (!attempt) return errno;
  if (family != AF_UNIX) SetOption(attempt.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
  // [::] takes IPv4 as well, as it does in other servers.
  if (family == AF_INET6) SetOption(attempt.fd(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (::bind(attempt.fd(), address, size) != 0 || ::listen(attempt.fd(), kBacklog) != 0) return errno;
  *socket = std::move(attempt);
  return 0;
}

}  // namespace

std::string ErrorText(int error_number) {
  std::string text = std::generic_category().message(error_number);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

bool PollUntil(std::span<pollfd> events, TimePoint deadline) {
  for (;;) {
    const auto left = deadline - Clock::now();
    // Long waits are cut into hours, whose milliseconds poll() takes.
    const auto wait = std::clamp<Clock::duration>(left, Clock::duration::zero(), std::chrono::hours(1));
    const int milliseconds = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wait).count());
    const int ready = ::poll(events.data(), events.size(), milliseconds);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR && errno != ENOMEM) throw ConnectionLost("poll: " + ErrorText(errno));
    if (ready == 0 && Clock::now() >= deadline) return false;
  }
}

Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

RpcStatus Socket::Connect(const SocketAddress& address, TimePoint deadline, Socket* socket) {
  const auto failure = [&](int error_number) -> RpcStatus {
    if (error_number == 0) return {};
    const bool late = error_number == ETIMEDOUT && Clock::now() >= deadline;
    return {late ? rpc_code::kDeadlineExceeded : rpc_code::kUnavailable,
            address.text + ": " + (late ? "no connection before the deadline" : ErrorText(error_number))};
  };
  if (address.is_path()) {
    const sockaddr_un path = PathAddress(address.path);
    return failure(ConnectOne(AF_UNIX, reinterpret_cast<const sockaddr*>(&path), sizeof path, deadline, socket));
  }
  std::string why;
  const Addresses found = Resolve(address, 0, &why);
  if (!found) return {rpc_code::kUnavailable, address.text + ": " + why};
  int left = 0;
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) ++left;
  int error_number = 0;
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next, --left) {
    // An address that does not answer leaves its share of the time to the others.
    const TimePoint now = Clock::now();
    const TimePoint until = left == 1 || deadline <= now ? deadline : now + (deadline - now) / left;
    error_number = ConnectOne(one->ai_family, one->ai_addr, one->ai_addrlen, until, socket);
    if (error_number == 0) break;
  }
  return failure(error_number);
}

Socket Socket::Listen(const SocketAddress& address) {
  Socket socket;
  int error_number = 0;
  if (address.is_path()) {
    const sockaddr_un path = PathAddress(address.path);
    error_number = ListenOne(AF_UNIX, reinterpret_cast<const sockaddr*>(&path), sizeof path, &socket);
    if (error_number != 0) throw IoError(error_number, address.text);
    return socket;
  }
  // The first of them takes IPv4 as well; not every machine has it.
  const std::vector<std::string> every = {"::", "0.0.0.0"};
  for (const std::string& host : address.host.empty() ? every : std::vector<std::string>{address.host}) {
    SocketAddress candidate = address;
    candidate.host = host;
    std::string why;
    const Addresses found = Resolve(candidate, AI_PASSIVE, &why);
    if (!found) throw Error(ErrorKind::kInvalidArgument, "address: '" + address.text + "': " + why);
    for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
      error_number = ListenOne(one->ai_family, one->ai_addr, one->ai_addrlen, &socket);
      if (error_number == 0) return socket;
    }
  }
  throw IoError(error_number, address.text);
}

Socket Socket::Accept(int* error_number) const {
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  *error_number = fd < 0 ? errno : 0;
  // Fails for a unix socket, which needs none.
  if (fd >= 0) SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  return Socket(fd);
}

int Socket::Port() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  // The port is at the same place for both.
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) return 0;
  sockaddr_in internet;
  std::memcpy(&internet, &address, sizeof internet);
  return ntohs(internet.sin_port);
}

std::optional<std::size_t> Socket::Receive(std::span<char> buffer) const {
  for (;;) {
    const ssize_t size = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == EAGAIN) return std::nullopt;
    if (errno != EINTR) throw ConnectionLost(ErrorText(errno));
  }
}

std::size_t Socket::Send(std::string_view bytes) const {
  for (;;) {
    const ssize_t size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) throw ConnectionLost(ErrorText(errno));
  }
}

void Socket::EndSending() const { ::shutdown(fd_, SHUT_WR); }

int Socket::Unacknowledged() const {
  int bytes = 0;
  // What is sent to a unix socket is with the peer's system at once.
  if (Port() == 0) return 0;
  return ::ioctl(fd_, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

}  // namespace mexport
