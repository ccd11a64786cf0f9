#include "core/grpc_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/grpc_server_connection.h"
#include "core/socket.h"

namespace mexport {
namespace {

constexpr std::size_t kMaxConnections = 1024;
constexpr std::chrono::milliseconds kPauseWithoutDescriptors{50};

// Readable from Set() on, for any number of threads.
class Flag {
 public:
  Flag() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw IoError(errno, "eventfd");
  }
  Flag(const Flag&) = delete;
  Flag& operator=(const Flag&) = delete;
  ~Flag() { ::close(fd_); }

  int fd() const { return fd_; }
  void Set() const { ::eventfd_write(fd_, 1); }

 private:
  int fd_;
};

}  // namespace

class GrpcServer::Listener {
 public:
  Listener(const std::string& address, Handler handler, std::size_t max_request)
      : address_(SocketAddress::Parse(address, true)),
        handler_(std::move(handler)),
        max_request_(max_request),
        socket_(Socket::Listen(address_)),
        port_(socket_.Port()),
        thread_([this] { Run(); }) {}

  ~Listener() { Shutdown(); }

  int port() const { return port_; }

  void Shutdown() {
    stop_.Set();
    const std::lock_guard lock(shutdown_);
    if (!thread_.joinable()) return;
    thread_.join();
    socket_ = Socket();
    for (Connection& connection : connections_) connection.thread.join();
    connections_.clear();
    if (address_.is_path()) ::unlink(address_.path.c_str());
  }

 private:
  struct Connection {
    std::atomic<bool> done = false;
    std::thread thread;
  };

  void Run() {
    for (;;) {
      std::array<pollfd, 2> events = {{{socket_.fd(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}}};
      PollUntil(events, kForever);
      if (events[1].revents != 0) return;
      int error_number = 0;
      Socket accepted = socket_.Accept(&error_number);
      // Until there are descriptors again, the next would fail as well.
      if (error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS || error_number == ENOMEM) {
        PollUntil({&events[1], 1}, std::chrono::steady_clock::now() + kPauseWithoutDescriptors);
      }
      Reap();
      if (accepted && connections_.size() < kMaxConnections) Start(std::move(accepted));
    }
  }

  void Reap() {
    for (auto at = connections_.begin(); at != connections_.end();) {
      const auto one = at++;
      if (!one->done) continue;
      one->thread.join();
      connections_.erase(one);
    }
  }

  void Start(Socket accepted) {
    try {
      std::list<Connection> one(1);
      one.front().thread = std::thread([this, done = &one.front().done, socket = std::move(accepted)]() mutable {
        GrpcServerConnection(std::move(socket), &handler_, max_request_).Serve(stop_.fd());
        *done = true;
      });
      connections_.splice(connections_.end(), one);
    } catch (const std::exception&) {  // no thread or no memory: the peer sees the connection end
    }
  }

  const SocketAddress address_;
  const Handler handler_;
  const std::size_t max_request_;
  Flag stop_;
  Socket socket_;
  const int port_;
  std::list<Connection> connections_;  // the listening thread's, then Shutdown()'s
  std::mutex shutdown_;
  std::thread thread_;  // the last: it uses the others
};

GrpcServer::GrpcServer(const std::string& address, Handler handler, std::size_t max_request)
    : listener_(std::make_unique<Listener>(address, std::move(handler), max_request)) {}

GrpcServer::~GrpcServer() = default;

int GrpcServer::port() const { return listener_->port(); }

void GrpcServer::Shutdown() { listener_->Shutdown(); }

}  // namespace mexport
