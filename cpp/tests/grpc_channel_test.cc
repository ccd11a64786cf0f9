// The client against a server that says what the test has written for it.
#include "core/grpc_channel.h"

#include <atomic>
#include <functional>
#include <thread>

#include "tests/http2_testing.h"

namespace mexport {
namespace {

using http2::kEndHeaders;
using http2::kEndStream;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kBoth = kEndHeaders | kEndStream;
const HeaderList kResponseHeaders = {{":status", "200"}, {"content-type", "application/grpc"}};

std::string Headers(const HeaderList& list, std::uint32_t stream = 1) {
  return MakeFrame(FrameType::kHeaders, kEndHeaders, stream, Block(list));
}

std::string Last(const HeaderList& list, std::uint32_t stream = 1) {
  return MakeFrame(FrameType::kHeaders, kBoth, stream, Block(list));
}

std::string Data(std::string_view bytes, std::uint32_t stream = 1) {
  return MakeFrame(FrameType::kData, 0, stream, bytes);
}

std::string Reset(Http2Code code) {
  std::string frame;
  http2::AppendRstStream(1, code, &frame);
  return frame;
}

std::string GoAway(std::uint32_t last_stream) {
  std::string frame;
  http2::AppendGoAway(last_stream, Http2Code::kNoError, &frame);
  return frame;
}

// A response with the given message.
std::string Good(const std::string& text, std::uint32_t stream = 1) {
  return Headers(kResponseHeaders, stream) + Data(Message(text), stream) + Last({{"grpc-status", "0"}}, stream);
}

// Listens on a socket of its own. For each connection in turn: waits for requests that end in `end`, answers each with
// the next of the connection's texts, closes when there is none left.
class Script {
 public:
  using Connections = std::vector<std::vector<std::string>>;

  explicit Script(Connections connections, char end = '?')
      : end_(end), listening_(Socket::Listen(SocketAddress::Parse(address(), true))), thread_([this, connections] {
          for (const auto& texts : connections) Serve(texts);
        }) {}
  ~Script() {
    stop_ = true;
    thread_.join();
  }

  std::string address() const { return "unix:" + (dir_ / "s"); }
  int accepted() const { return accepted_; }
  // What all clients sent. REQUIRES: they have been answered.
  const std::string& received() const { return received_; }

 private:
  bool Wait(const Socket& socket) const {
    pollfd event = {socket.fd(), POLLIN, 0};
    while (!stop_) {
      if (PollUntil({&event, 1}, std::chrono::steady_clock::now() + milliseconds(2))) return true;
    }
    return false;
  }
  void Serve(const std::vector<std::string>& texts) {
    if (!Wait(listening_)) return;
    int error_number = 0;
    const Socket socket = listening_.Accept(&error_number);
    ++accepted_;
    try {
      for (const std::string& text : texts) {
        for (std::string last; last.empty() || last.back() != end_;) {
          if (!Wait(socket)) return;
          last.resize(1 << 16);
          last.resize(socket.Receive(last).value_or(0));
          if (last.empty()) return;
          received_ += last;
        }
        socket.Send(text);
      }
    } catch (const ConnectionLost&) {
    }
  }

  char end_;
  TempDir dir_;
  Socket listening_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> accepted_ = 0;
  std::string received_;
  std::thread thread_;
};

struct Result {
  bool operator==(const Result&) const = default;

  int code;
  std::string text;  // or the response
};

void PrintTo(const Result& result, std::ostream* out) { *out << result.code << " '" << result.text << "'"; }

Result Call(GrpcChannel* channel, std::size_t max_response = 100, milliseconds deadline = seconds(20)) {
  std::string response = "what was there";
  const RpcStatus status = channel->Call("/S/M", "ready?", deadline, &response, max_response);
  EXPECT_TRUE(status.ok() || response.empty());
  return {status.code, status.ok() ? response : status.message};
}

Result Answered(const std::string& text) {
  const Script script({{Settings() + text}});
  GrpcChannel channel(script.address());
  return Call(&channel);
}

TEST(GrpcChannel, ReadsWhatServersSay) {
  const std::string headers = Headers(kResponseHeaders);
  const std::string ok = Last({{"grpc-status", "0"}});
  EXPECT_EQ(Answered(Good("hi")), (Result{0, "hi"}));
  EXPECT_EQ(Answered(Headers({{":status", "103"}, {"link", "x"}}) + Good("hi")), (Result{0, "hi"}));
  EXPECT_EQ(Answered(Last({{":status", "200"}, {"grpc-status", "5"}, {"grpc-message", "no %C3%A4"}})),
            (Result{5, "no ä"}));
  EXPECT_EQ(Answered(headers + Last({{"grpc-status", "7"}})), (Result{7, ""}));
  EXPECT_EQ(Answered(headers + Last({{"grpc-status", "99"}, {"grpc-message", "x"}})), (Result{2, "x"}));
  EXPECT_EQ(Answered(headers + Last({{"x", "y"}})), (Result{2, "got no grpc-status"}));
  EXPECT_EQ(Answered(headers + MakeFrame(FrameType::kData, kEndStream, 1, Message("x"))),
            (Result{2, "got no grpc-status"}));
  EXPECT_EQ(Answered(Last({{":status", "503"}})), (Result{14, "got HTTP status 503, want 200"}));
  EXPECT_EQ(Answered(Headers({{":status", "404"}}) + MakeFrame(FrameType::kData, kEndStream, 1, "<html>")).code, 13);
  EXPECT_EQ(Answered(Last({{"x", "y"}})), (Result{2, "got HTTP status none, want 200"}));
  EXPECT_EQ(Answered(Headers({{":status", "200"}}) + Data(Message("x")) + ok).code, 2);
  EXPECT_EQ(Answered(headers + ok), (Result{13, "message: got none, want one"}));
  EXPECT_EQ(Answered(headers + Data(Message("x").substr(0, 5)) + ok), (Result{13, "message: got one that is cut"}));
  EXPECT_EQ(Answered(headers + Data(Message("x") + Message("y")) + ok), (Result{13, "message: got more than one"}));
  EXPECT_EQ(Answered(headers + Data(FromHex("01 00 00 00 00")) + ok).code, 13);
  EXPECT_EQ(Answered(headers + Data(FromHex("00 00 00 00 65"))),
            (Result{8, "message: got 101 bytes, want at most 100"}));
  EXPECT_EQ(Answered(Reset(Http2Code::kCancel)), (Result{1, "the server reset the stream with code 8"}));
  EXPECT_EQ(Answered(Good("hi") + Reset(Http2Code::kNoError)), (Result{0, "hi"}));
  EXPECT_EQ(Answered(headers + Reset(Http2Code::kEnhanceYourCalm)).code, 8);
}

TEST(GrpcChannel, ServersThatBreakOff) {
  EXPECT_EQ(Answered("").code, rpc_code::kUnavailable);
  EXPECT_EQ(Answered(Headers(kResponseHeaders) + Data(Message("x"))).code, rpc_code::kUnavailable);
  const Result broken = Answered(Data("before its headers"));
  EXPECT_EQ(broken.code, rpc_code::kInternal);
  EXPECT_THAT(broken.text, testing::HasSubstr("got DATA before HEADERS"));
  EXPECT_EQ(Answered(MakeFrame(FrameType::kPushPromise, 0, 1, "1234")).code, rpc_code::kInternal);
  EXPECT_EQ(Answered(Headers(kResponseHeaders, 3)).code, rpc_code::kInternal);

  const Script web({{"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"}});
  GrpcChannel channel(web.address());
  const Result result = Call(&channel);
  EXPECT_EQ(result.code, rpc_code::kUnavailable);
  EXPECT_THAT(result.text, testing::HasSubstr("not an HTTP/2 server"));
}

TEST(GrpcChannel, TakesAResponseCutAnywhere) {
  const std::string good = Settings() + Good("hi");
  Script::Connections connections;
  for (std::size_t size = 0; size < good.size(); ++size) connections.push_back({good.substr(0, size)});
  const Script script(connections);
  for (std::size_t size = 0; size < good.size(); ++size) {
    GrpcChannel channel(script.address());
    EXPECT_EQ(Call(&channel).code, rpc_code::kUnavailable) << size;
  }
  EXPECT_EQ(script.accepted(), static_cast<int>(good.size()));  // none of them twice
}

TEST(GrpcChannel, KeepsAConnection) {
  const Script script({{Settings() + Good("1"), Good("2", 3), Good("3", 5)}});
  GrpcChannel channel(script.address());
  for (const char* const text : {"1", "2", "3"}) EXPECT_EQ(Call(&channel), (Result{0, text}));
  EXPECT_EQ(script.accepted(), 1);
}

TEST(GrpcChannel, MakesAnotherConnectionWhenAKeptOneIsDead) {
  // The first says nothing when it has the second call, as one that is closed while the call is under way.
  const Script script(
      {{Settings() + Good("1"), ""}, {Settings() + Good("2")}, {Settings() + GoAway(1) + Good("3")}, {}});
  GrpcChannel channel(script.address());
  for (const char* const text : {"1", "2", "3"}) EXPECT_EQ(Call(&channel), (Result{0, text}));
  EXPECT_EQ(script.accepted(), 3);
  EXPECT_EQ(Call(&channel).code, rpc_code::kUnavailable);  // a new one that is dead
  EXPECT_EQ(script.accepted(), 4);
}

TEST(GrpcChannel, DoesNotRepeatACallThatMayHaveBegun) {
  const Script script({{Settings() + Good("1"), Headers(kResponseHeaders, 3)}, {Settings() + Good("never")}});
  GrpcChannel channel(script.address());
  EXPECT_EQ(Call(&channel).code, 0);
  EXPECT_EQ(Call(&channel).code, rpc_code::kUnavailable);
}

TEST(GrpcChannel, RepeatsACallThatHasNotBegun) {
  const Script script(
      {{Settings() + GoAway(0), ""}, {Settings() + Reset(Http2Code::kRefusedStream)}, {Settings() + Good("x")}});
  GrpcChannel channel(script.address());
  EXPECT_EQ(Call(&channel), (Result{0, "x"}));
  const Script never(Script::Connections(9, {Settings() + Reset(Http2Code::kRefusedStream)}));
  GrpcChannel refused(never.address());
  EXPECT_EQ(Call(&refused).code, rpc_code::kUnavailable);
  EXPECT_EQ(never.accepted(), 5);
}

TEST(GrpcChannel, StopsAtTheDeadline) {
  const milliseconds deadline(30);
  const auto begin = std::chrono::steady_clock::now();
  const Script silent(Script::Connections{{std::string(), std::string()}});
  GrpcChannel channel(silent.address());
  std::string response;
  // The script waits for a second request, which does not come.
  EXPECT_EQ(Call(&channel, 100, deadline).code, rpc_code::kDeadlineExceeded);
  EXPECT_EQ(Call(&channel, 100, milliseconds(0)).code, rpc_code::kDeadlineExceeded);
  EXPECT_EQ(Call(&channel, 100, milliseconds(-5)).code, rpc_code::kDeadlineExceeded);
  EXPECT_EQ(silent.accepted(), 1);
  // One that never takes the connection, nor reads what is sent.
  const TempDir dir;
  const Socket deaf = Socket::Listen(SocketAddress::Parse("unix:" + (dir / "s"), true));
  GrpcChannel unheard("unix:" + (dir / "s"));
  EXPECT_EQ(unheard.Call("/S/M", std::string(1 << 20, 'x'), deadline, &response).code, rpc_code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(10));
}

TEST(GrpcChannel, StopsAtTheDeadlineOfAPeerThatIsNeverSilent) {
  const TempDir dir;
  const Socket listening = Socket::Listen(SocketAddress::Parse("unix:" + (dir / "s"), true));
  std::atomic<bool> stop = false;
  std::thread dripping([&] {
    pollfd event = {listening.fd(), POLLIN, 0};
    PollUntil({&event, 1}, kForever);
    int error_number = 0;
    const Socket socket = listening.Accept(&error_number);
    try {
      socket.Send(Settings());
      while (!stop) socket.Send(MakeFrame(FrameType{99}, 0, 0, "drip"));
    } catch (const ConnectionLost&) {
    }
  });
  GrpcChannel channel("unix:" + (dir / "s"));
  EXPECT_EQ(Call(&channel, 100, milliseconds(30)).code, rpc_code::kDeadlineExceeded);
  stop = true;
  dripping.join();
}

TEST(GrpcChannel, NobodyListens) {
  const TempDir dir;
  GrpcChannel path("unix:" + (dir / "s"));
  EXPECT_EQ(Call(&path), (Result{14, path.address() + ": no such file or directory"}));
  int port = 0;
  port = Socket::Listen(SocketAddress::Parse("127.0.0.1:0", true)).Port();
  GrpcChannel closed("127.0.0.1:" + std::to_string(port));
  EXPECT_EQ(Call(&closed), (Result{14, closed.address() + ": connection refused"}));
}

TEST(GrpcChannel, Addresses) {
  for (const char* const good : {"localhost:80", "127.0.0.1:65535", "[::1]:80", "unix:/tmp/x", "a-b.c_d:1"}) {
    EXPECT_EQ(GrpcChannel(good).address(), good);
  }
  const std::string long_path = "unix:/" + std::string(200, 'x');
  for (const std::string& bad :
       {std::string(), std::string("host"), std::string("host:"), std::string(":80"), std::string("::1:80"),
        std::string("[::1]"), std::string("[]:80"), std::string("h:0"), std::string("h:65536"), std::string("h:-1"),
        std::string("h:8x"), std::string("a b:80"), std::string("http://h:80"), std::string("unix:"), long_path}) {
    EXPECT_THAT(Caught([&] { GrpcChannel channel(bad); }), Is(ErrorKind::kInvalidArgument, "want host:port")) << bad;
  }
  for (const std::string& null : {std::string("h\0:80", 5), std::string("unix:/\0x", 8)}) {
    EXPECT_THAT(Caught([&] { GrpcChannel channel(null); }), Is(ErrorKind::kInvalidArgument, "address"));
  }
}

TEST(GrpcChannel, SendsTheWorkedExample) {
  std::string received;
  {
    const Script script({{Settings() + Good("hi")}}, 'i');
    GrpcChannel channel(script.address());
    std::string response;
    EXPECT_TRUE(channel.Call("/S/M", "hi", std::chrono::hours(28), &response).ok());
    EXPECT_EQ(response, "hi");
    received = script.received();
  }
  EXPECT_EQ(
      received,
      std::string(http2::kPreface) +
          FromHex("00 00 12 04 00 00 00 00 00 00 02 00 00 00 00 00 04 00 40 00 00 00 06 00 01 00 00"
                  "00 00 04 08 00 00 00 00 00 00 3f 00 01"
                  "00 00 76 01 04 00 00 00 01"
                  "20 83 86 04 04 2f 53 2f 4d 01 09 6c 6f 63 61 6c 68 6f 73 74"
                  "00 02 74 65 08 74 72 61 69 6c 65 72 73 0f 10 10 61 70 70 6c 69 63 61 74 69 6f 6e 2f 67 72 70 63"
                  "00 14 67 72 70 63 2d 61 63 63 65 70 74 2d 65 6e 63 6f 64 69 6e 67 08 69 64 65 6e 74 69 74 79"
                  "0f 2b 0a 6d 65 78 70 6f 72 74 2d 70 62"
                  "00 0c 67 72 70 63 2d 74 69 6d 65 6f 75 74 07 31 30 30 38 30 30 53"
                  "00 00 07 00 01 00 00 00 01 00 00 00 00 02 68 69"));
}

}  // namespace
}  // namespace mexport
