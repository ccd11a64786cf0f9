#include "core/grpc_server.h"

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <latch>
#include <thread>

#include "core/grpc_channel.h"
#include "tests/http2_testing.h"

namespace mexport {
namespace {

using http2::kEndHeaders;
using http2::kEndStream;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kWait{20};

RpcStatus Echo(std::string_view method, std::string_view request, std::string* response) {
  if (method == "/S/Throw") throw std::runtime_error("thrown");
  if (method == "/S/ThrowOdd") throw 7;
  if (method == "/S/Fail") return {3, std::string(request)};
  response->assign(request);
  return {};
}

std::string AddressOf(const GrpcServer& server) { return "127.0.0.1:" + std::to_string(server.port()); }

std::ptrdiff_t ThreadCount() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
}

TEST(GrpcServer, AnswersCalls) {
  for (const char* const address : {"127.0.0.1:0", ":0", "localhost:0"}) {
    GrpcServer server(address, Echo);
    GrpcChannel channel("localhost:" + std::to_string(server.port()));
    std::string response;
    for (const std::size_t size : {0u, 1u, 16384u, 5u << 20}) {
      const std::string request = Noise(size);
      const RpcStatus status = channel.Call("/S/M", request, kWait, &response);
      EXPECT_TRUE(status.ok()) << status.message;
      EXPECT_TRUE(response == request);
    }
    const RpcStatus status = channel.Call("/S/Fail", "100 % ä", kWait, &response);
    EXPECT_EQ(status.code, 3);
    EXPECT_EQ(status.message, "100 % ä");
    EXPECT_EQ(channel.Call("/S/Throw", "", kWait, &response).message, "thrown");
    EXPECT_EQ(channel.Call("/S/ThrowOdd", "", kWait, &response).message, "the handler failed");
  }
}

TEST(GrpcServer, RefusesALongRequest) {
  GrpcServer server("127.0.0.1:0", Echo, 1000);
  GrpcChannel channel(AddressOf(server));
  std::string response;
  EXPECT_EQ(channel.Call("/S/M", std::string(1000, 'x'), kWait, &response).code, 0);
  // Refused while it is sent.
  const RpcStatus status = channel.Call("/S/M", std::string(8 << 20, 'x'), kWait, &response);
  EXPECT_EQ(status.code, rpc_code::kResourceExhausted);
  EXPECT_EQ(status.message, "message: got 8388608 bytes, want at most 1000");
  EXPECT_EQ(channel.Call("/S/M", "x", kWait, &response).code, 0);
}

TEST(GrpcServer, ServesManyAtATime) {
  GrpcServer server("127.0.0.1:0", Echo);
  GrpcChannel channel(AddressOf(server));
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (unsigned thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (unsigned i = 0; i < 20; ++i) {
        const std::string request = Noise(1000 * i, thread);
        std::string response;
        if (channel.Call("/S/M", request, kWait, &response).ok() && response == request) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 160);
}

TEST(GrpcServer, ShutdownWhileCallsRun) {
  std::thread([] {}).join();  // ThreadSanitizer adds a thread of its own with the first one
  const std::ptrdiff_t before = ThreadCount();
  std::latch running(3);
  std::atomic<bool> go_on = false;
  auto server = std::make_unique<GrpcServer>(
      "127.0.0.1:0", [&](std::string_view, std::string_view request, std::string* response) -> RpcStatus {
        running.count_down();
        while (!go_on) std::this_thread::sleep_for(milliseconds(1));
        response->assign(request);
        return {};
      });
  GrpcChannel channel(AddressOf(*server));
  std::vector<std::thread> threads;
  std::atomic<int> answered = 0;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      const std::string request = Noise(1 << 20);
      std::string response;
      if (channel.Call("/S/M", request, kWait, &response).ok() && response == request) ++answered;
    });
  }
  running.wait();
  std::thread first([&] { server->Shutdown(); });
  std::thread second([&] { server->Shutdown(); });
  go_on = true;
  first.join();
  second.join();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 3);  // what had begun is answered
  std::string response;
  EXPECT_EQ(channel.Call("/S/M", "", kWait, &response).code, rpc_code::kUnavailable);
  server.reset();
  // A thread that was joined may be listed for a moment more.
  for (int tries = 0; tries < 1000 && ThreadCount() != before; ++tries) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(ThreadCount(), before);
}

TEST(GrpcServer, EveryCallAroundAShutdownHasAnEnd) {
  for (int round = 0; round < 5; ++round) {
    GrpcServer server("127.0.0.1:0", Echo);
    GrpcChannel channel(AddressOf(server));
    std::atomic<int> answered = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (;;) {
          std::string response;
          const RpcStatus status = channel.Call("/S/M", "x", kWait, &response);
          if (!status.ok()) {
            EXPECT_EQ(status.code, rpc_code::kUnavailable) << status.message;
            return;
          }
          ++answered;
        }
      });
    }
    while (answered < 20) std::this_thread::yield();
    server.Shutdown();
    for (std::thread& thread : threads) thread.join();
  }
}

// A client whose frames the test writes.
class RawClient {
 public:
  explicit RawClient(const GrpcServer& server) {
    const auto address = SocketAddress::Parse(AddressOf(server), false);
    EXPECT_TRUE(Socket::Connect(address, std::chrono::steady_clock::now() + kWait, &socket_).ok());
  }

  void Send(std::string_view bytes) { socket_.Send(bytes); }
  // What the server sends until that ends in `end`, or until it closes.
  std::string Read(std::string_view end) {
    std::string bytes;
    while (!bytes.ends_with(end) || end.empty()) {
      pollfd event = {socket_.fd(), POLLIN, 0};
      if (!PollUntil({&event, 1}, std::chrono::steady_clock::now() + kWait)) break;
      const std::size_t size = bytes.size();
      bytes.resize(size + 65536);
      try {
        const std::size_t more = socket_.Receive({bytes.data() + size, 65536}).value_or(0);
        bytes.resize(size + more);
        if (more == 0) break;
      } catch (const ConnectionLost&) {
        bytes.resize(size);
        break;
      }
    }
    return bytes;
  }

 private:
  Socket socket_;
};

TEST(GrpcServer, AnswersTheWorkedExample) {
  GrpcServer server("127.0.0.1:0", Echo);
  RawClient client(server);
  client.Send(ClientGreeting() + Request(1, "hi"));
  const std::string end = FromHex("00 0b 67 72 70 63 2d 73 74 61 74 75 73 01 30");
  EXPECT_EQ(client.Read(end),
            FromHex("00 00 12 04 00 00 00 00 00 00 03 00 00 00 64 00 04 00 40 00 00 00 06 00 01 00 00"
                    "00 00 04 08 00 00 00 00 00 00 3f 00 01 00 00 00 04 01 00 00 00 00"
                    "00 00 34 01 04 00 00 00 01"
                    "20 88 0f 10 10 61 70 70 6c 69 63 61 74 69 6f 6e 2f 67 72 70 63"
                    "00 14 67 72 70 63 2d 61 63 63 65 70 74 2d 65 6e 63 6f 64 69 6e 67 08 69 64 65 6e 74 69 74 79"
                    "00 00 07 00 00 00 00 00 01 00 00 00 00 02 68 69"
                    "00 00 0f 01 05 00 00 00 01") +
                end);
}

TEST(GrpcServer, AnswersInTheOrderOfCompletion) {
  GrpcServer server("127.0.0.1:0", Echo);
  RawClient client(server);
  const std::string open = MakeFrame(FrameType::kHeaders, kEndHeaders, 1, Block(RequestHeaders()));
  client.Send(ClientGreeting() + open + Request(3, "three"));
  EXPECT_THAT(client.Read(Block({{"grpc-status", "0"}})), testing::HasSubstr("three"));
  client.Send(MakeFrame(FrameType::kData, kEndStream, 1, Message("one")));
  EXPECT_THAT(client.Read(Block({{"grpc-status", "0"}})), testing::HasSubstr("one"));
}

TEST(GrpcServer, RefusesWhatIsNoGrpc) {
  GrpcServer server("127.0.0.1:0", Echo);
  RawClient client(server);
  client.Send(ClientGreeting());
  const auto answer = [&](std::uint32_t id, const HeaderList& headers, const std::string& data,
                          const HeaderField& last) {
    client.Send(MakeFrame(FrameType::kHeaders, kEndHeaders, id, Block(headers)) +
                MakeFrame(FrameType::kData, kEndStream, id, data));
    const std::string end = Block({last});
    return client.Read(end).ends_with(end);
  };
  HeaderList headers = RequestHeaders();
  EXPECT_TRUE(answer(1, {{":method", "GET"}, {":path", "/"}}, "", {":status", "405"}));
  EXPECT_TRUE(answer(3, {{":method", "POST"}, {":path", "/"}}, "", {":status", "415"}));
  EXPECT_TRUE(answer(5, headers, "", {"grpc-message", "message: got none, want one"}));
  EXPECT_TRUE(answer(7, headers, Message("x").substr(0, 3), {"grpc-message", "message: got one that is cut"}));
  EXPECT_TRUE(answer(9, headers, "\x01", {"grpc-message", "message: got one that is cut"}));
  EXPECT_TRUE(answer(11, headers, FromHex("01 00 00 00 00"),
                     {"grpc-message", "message: got a compressed one, want none of them"}));
  headers.push_back({"grpc-timeout", "1n"});
  EXPECT_TRUE(answer(13, headers, Message("x"), {"grpc-message", "the deadline passed before the call's turn"}));
}

TEST(GrpcServer, SaysGoodbyeToThoseWhoBreakTheProtocol) {
  GrpcServer server("127.0.0.1:0", Echo);
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ClientGreeting() + MakeFrame(FrameType::kData, 0, 0, "x")}) {
    RawClient client(server);
    client.Send(bytes);
    EXPECT_THAT(client.Read(""), testing::EndsWith(MakeFrame(FrameType::kGoAway, 0, 0, FromHex("00000000 00000001"))));
  }
}

TEST(GrpcServer, Addresses) {
  EXPECT_THAT(Caught([] { GrpcServer server("nowhere", Echo); }), Is(ErrorKind::kInvalidArgument, "want host:port"));
  EXPECT_THAT(Caught([] { GrpcServer server("no.such.host.invalid:0", Echo); }),
              Is(ErrorKind::kInvalidArgument, "no.such.host.invalid:0"));
  GrpcServer server("127.0.0.1:0", Echo);
  try {
    GrpcServer other(AddressOf(server), Echo);
    ADD_FAILURE() << "two listen on one port";
  } catch (const IoError& error) {
    EXPECT_EQ(error.error_number(), EADDRINUSE);
    EXPECT_EQ(error.path(), AddressOf(server));
  }
  const TempDir dir;
  GrpcServer path("unix:" + (dir / "s"), Echo);
  EXPECT_EQ(path.port(), 0);
  path.Shutdown();
  EXPECT_FALSE(std::filesystem::exists(dir / "s"));
}

}  // namespace
}  // namespace mexport
