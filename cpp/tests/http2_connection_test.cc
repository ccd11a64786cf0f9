// The connection against peers that break the protocol, or only bend it.
#include "core/http2_connection.h"

#include "tests/http2_testing.h"

namespace mexport {
namespace {

using http2::kAck;
using http2::kEndHeaders;
using http2::kEndStream;
using http2::kPadded;
using http2::kPriorityFields;
using Role = Http2Connection::Role;

const std::string kRequestBlock = Block(RequestHeaders());

std::string Open(std::uint32_t stream, int flags = kEndHeaders) {
  return MakeFrame(FrameType::kHeaders, flags, stream, kRequestBlock);
}

std::string Setting(const char* hex) { return Settings(FromHex(hex)); }

struct Breach {
  const char* name;
  std::string bytes;  // after the greeting
  Http2Code code;
  const char* text;
};

// What RFC 9113 forbids a client, with the code that it wants for each.
std::vector<Breach> Breaches() {
  using enum FrameType;
  constexpr auto kProtocol = Http2Code::kProtocolError;
  constexpr auto kSize = Http2Code::kFrameSizeError;
  constexpr auto kFlow = Http2Code::kFlowControlError;
  const std::string end_of_1 = Open(1, kEndHeaders | kEndStream);
  std::string endless = Open(1, 0);
  for (int i = 0; i < 65; ++i) endless += MakeFrame(kContinuation, 0, 1, "");
  std::string long_block = Open(1, 0);
  for (int i = 0; i < 8; ++i) long_block += MakeFrame(kContinuation, 0, 1, std::string(16384, '\x82'));
  return {
      {"settings with a wrong length", Setting("00 04 00 00 00"), kSize, "SETTINGS"},
      {"settings of a stream", MakeFrame(kSettings, 0, 1, ""), kProtocol, "SETTINGS"},
      {"settings that acknowledge", MakeFrame(kSettings, kAck, 0, "123456"), kSize, "acknowledgement"},
      {"push", Setting("00 02 00 00 00 02"), kProtocol, "ENABLE_PUSH"},
      {"window setting", Setting("00 04 80 00 00 00"), kFlow, "INITIAL_WINDOW_SIZE"},
      {"frame setting low", Setting("00 05 00 00 3f ff"), kProtocol, "MAX_FRAME_SIZE"},
      {"frame setting high", Setting("00 05 01 00 00 00"), kProtocol, "MAX_FRAME_SIZE"},
      {"ping length", MakeFrame(kPing, 0, 0, "1234567"), kSize, "PING"},
      {"ping stream", MakeFrame(kPing, 0, 1, "12345678"), kProtocol, "PING"},
      {"goaway length", MakeFrame(kGoAway, 0, 0, "1234567"), kSize, "GOAWAY"},
      {"goaway stream", MakeFrame(kGoAway, 0, 1, "12345678"), kProtocol, "GOAWAY"},
      {"reset length", Open(1) + MakeFrame(kRstStream, 0, 1, "123"), kSize, "RST_STREAM"},
      {"reset 0", MakeFrame(kRstStream, 0, 0, "1234"), kProtocol, "RST_STREAM"},
      {"reset idle", MakeFrame(kRstStream, 0, 1, "1234"), kProtocol, "not open"},
      {"window length", MakeFrame(kWindowUpdate, 0, 0, "12345"), kSize, "WINDOW_UPDATE"},
      {"window 0", MakeFrame(kWindowUpdate, 0, 0, FromHex("80 00 00 00")), kProtocol, "increment of 0"},
      {"window idle", MakeFrame(kWindowUpdate, 0, 1, FromHex("00 00 00 01")), kProtocol, "not open"},
      {"window overflow", MakeFrame(kWindowUpdate, 0, 0, FromHex("7f ff 00 01")), kFlow, "2^31"},
      {"stream's overflow", Open(1) + MakeFrame(kWindowUpdate, 0, 1, FromHex("7f ff 00 01")), kFlow, "2^31"},
      {"overflow by settings",
       Open(1) + MakeFrame(kWindowUpdate, 0, 1, FromHex("7f ff 00 00")) + Setting("00 04 00 01 00 00"), kFlow, "2^31"},
      {"data 0", MakeFrame(kData, 0, 0, "x"), kProtocol, "stream 0"},
      {"data idle", MakeFrame(kData, 0, 1, "x"), kProtocol, "not open"},
      {"data even", Open(3) + MakeFrame(kData, 0, 2, "x"), kProtocol, "not open"},
      {"data late", end_of_1 + MakeFrame(kData, 0, 1, "x"), Http2Code::kStreamClosed, "after the end"},
      {"data padded", Open(1) + MakeFrame(kData, kPadded, 1, ""), kSize, "length of padding"},
      {"data padding", Open(1) + MakeFrame(kData, kPadded, 1, "\x03pp"), kProtocol, "more padding"},
      {"headers 0", Open(0), kProtocol, "stream 0"},
      {"headers even", Open(2), kProtocol, "not open"},
      {"headers priority", MakeFrame(kHeaders, kEndHeaders | kPriorityFields, 1, "1234"), kSize, "priority"},
      {"headers padding", MakeFrame(kHeaders, kEndHeaders | kPadded, 1, "\x02p"), kProtocol, "more padding"},
      {"headers twice", Open(1) + Open(1), kProtocol, "within a stream"},
      {"headers late", end_of_1 + Open(1), Http2Code::kStreamClosed, "after the end"},
      {"hpack", MakeFrame(kHeaders, kEndHeaders, 1, "\x80"), Http2Code::kCompressionError, "index 0"},
      {"continuation", MakeFrame(kContinuation, kEndHeaders, 1, ""), kProtocol, "without HEADERS"},
      {"continuation late", Open(1) + MakeFrame(kContinuation, kEndHeaders, 1, ""), kProtocol, "without HEADERS"},
      {"continuation's stream", Open(1, 0) + MakeFrame(kContinuation, kEndHeaders, 3, ""), kProtocol, "without"},
      {"within a block", Open(1, 0) + MakeFrame(kPing, 0, 0, "12345678"), kProtocol, "within a header block"},
      {"unknown in a block", Open(1, 0) + MakeFrame(FrameType{77}, 0, 0, ""), kProtocol, "within a header block"},
      {"endless", endless, Http2Code::kEnhanceYourCalm, "too long"},
      {"long block", long_block, Http2Code::kEnhanceYourCalm, "too long"},
      {"push promise", MakeFrame(kPushPromise, kEndHeaders, 1, "1234"), kProtocol, "PUSH_PROMISE"},
      {"priority length", MakeFrame(kPriority, 0, 1, "1234"), kSize, "PRIORITY"},
      {"priority 0", MakeFrame(kPriority, 0, 0, "12345"), kProtocol, "PRIORITY"},
      {"long frame", FromHex("00 40 01 06 00 00 00 00 00"), kSize, "longer than the setting"},
  };
}

TEST(Http2Connection, EndsWithTheCodeForEachBreach) {
  for (const Breach& breach : Breaches()) {
    Peer peer(Role::kServer);
    EXPECT_EQ(peer.Feed(ClientGreeting() + breach.bytes), breach.code) << breach.name;
    EXPECT_THAT(peer.last_error, testing::HasSubstr(breach.text)) << breach.name;
  }
}

TEST(Http2Connection, WantsTheGreeting) {
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("PRI * HTTP/2.1"),
                                   http2::kPreface.data() + MakeFrame(FrameType::kPing, 0, 0, "12345678"),
                                   http2::kPreface.data() + MakeFrame(FrameType::kSettings, kAck, 0, "")}) {
    Peer peer(Role::kServer);
    EXPECT_EQ(peer.Feed(bytes), Http2Code::kProtocolError) << bytes;
    EXPECT_FALSE(peer.connection().greeted());
  }
}

TEST(Http2Connection, WantsRepliesToBeRead) {
  Peer peer(Role::kServer);
  peer.Feed(ClientGreeting());
  std::string pings;
  for (int i = 0; i < 1000; ++i) pings += MakeFrame(FrameType::kPing, 0, 0, "12345678");
  std::optional<Http2Code> code;
  for (int i = 0; i < 1000 && !code; ++i) code = peer.Feed(pings);
  EXPECT_EQ(code, Http2Code::kEnhanceYourCalm);
}

// Every frame that means something, padding and priority, headers in three frames, two calls that mix.
std::string Conversation() {
  using enum FrameType;
  const std::string message = Message("hello, world");
  return ClientGreeting() + Setting("00 03 00 00 00 01  00 04 00 00 00 0a  ab cd 00 00 00 00") +
         MakeFrame(kSettings, kAck, 0, "") + MakeFrame(kPing, 0, 0, "pingpong") +
         MakeFrame(kHeaders, kPadded | kPriorityFields, 1,
                   std::string("\x04") + "prior" + kRequestBlock.substr(0, 3) + "pppp") +
         MakeFrame(kContinuation, 0, 1, kRequestBlock.substr(3, 10)) +
         MakeFrame(kContinuation, kEndHeaders, 1, kRequestBlock.substr(13)) + Open(3) +
         MakeFrame(kData, kPadded, 1, "\x02" + message.substr(0, 3) + "pp") + MakeFrame(kData, 0, 3, message) +
         MakeFrame(kWindowUpdate, 0, 1, FromHex("00 00 00 01")) + MakeFrame(kPriority, 0, 9, "12345") +
         MakeFrame(FrameType{99}, 255, 17, "unknown") + MakeFrame(kData, kEndStream, 1, message.substr(3)) +
         MakeFrame(kData, 0, 3, "") + MakeFrame(kHeaders, kEndHeaders | kEndStream, 3, Block({{"trailer", "1"}})) +
         Open(5) + MakeFrame(kRstStream, 0, 5, FromHex("00 00 00 08")) +
         MakeFrame(kGoAway, 0, 0, FromHex("00 00 00 00 00 00 00 00"));
}

void ExpectTheConversation(Peer* peer) {
  auto& streams = peer->connection().streams();
  ASSERT_EQ(streams.size(), 2u);
  for (const std::uint32_t id : {1u, 3u}) {
    Http2Stream& stream = streams.at(id);
    EXPECT_EQ(*stream.headers, RequestHeaders());
    EXPECT_TRUE(stream.remote_done);
    EXPECT_TRUE(stream.received.Finish().ok());
    EXPECT_EQ(stream.received.message(), "hello, world");
  }
  EXPECT_EQ(streams.at(3).trailers, (HeaderList{{"trailer", "1"}}));
  EXPECT_EQ(peer->connection().peer_goes_away(), 0u);
}

TEST(Http2Connection, TakesAConversationCutAnywhere) {
  const std::string bytes = Conversation();
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    Peer peer(Role::kServer);
    ASSERT_EQ(peer.Feed(bytes.substr(0, cut)), std::nullopt) << cut;
    ASSERT_EQ(peer.Feed(bytes.substr(cut)), std::nullopt) << cut;
    ExpectTheConversation(&peer);
  }
  Peer peer(Role::kServer);
  for (const char byte : bytes) ASSERT_EQ(peer.Feed({&byte, 1}), std::nullopt);
  ExpectTheConversation(&peer);
}

TEST(Http2Connection, AConversationThatEndsAnywhereIsALostConnection) {
  const std::string bytes = Conversation();
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    Peer peer(Role::kServer);
    ASSERT_EQ(peer.Feed(bytes.substr(0, size)), std::nullopt);
    peer.HangUp();
    EXPECT_THROW(peer.Feed({}), ConnectionLost) << size;
  }
}

TEST(Http2Connection, AChangedByteIsTakenOrRefused) {
  const std::string bytes = Conversation();
  int refused = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ (at % 2 == 0 ? 0x01 : 0xff));
    Peer peer(Role::kServer);
    if (peer.Feed(changed)) ++refused;
    EXPECT_LE(peer.connection().streams().size(), 4u);
  }
  EXPECT_GT(refused, 130);
}

TEST(Http2Connection, AcknowledgesAndAnswersPings) {
  Peer peer(Role::kServer);
  peer.Feed("");
  EXPECT_EQ(peer.Read(), FromHex("000012 04 00 00000000 0003 00000064 0004 00400000 0006 00010000"
                                 "000004 08 00 00000000 003f0001"));
  peer.Feed(ClientGreeting() + MakeFrame(FrameType::kPing, 0, 0, "pingpong") +
            MakeFrame(FrameType::kPing, kAck, 0, "whatever"));
  EXPECT_EQ(peer.Read(),
            MakeFrame(FrameType::kSettings, kAck, 0, "") + MakeFrame(FrameType::kPing, kAck, 0, "pingpong"));
}

TEST(Http2Connection, RefillsWindowsHalfUsed) {
  Peer peer(Role::kServer);
  peer.Feed(ClientGreeting() + Open(1));
  peer.Read();
  // A message of 16 MiB is larger than the window; the test's limit refuses it at once, and the bytes still count.
  const std::string frame = MakeFrame(FrameType::kData, 0, 1, std::string(16384, '\0'));
  std::string replies;
  for (int i = 0; i < 1024; ++i) {
    ASSERT_EQ(peer.Feed(frame), std::nullopt);
    replies += peer.Read();
  }
  std::string both;
  for (int i = 0; i < 8; ++i) {
    http2::AppendWindowUpdate(0, 2 << 20, &both);
    http2::AppendWindowUpdate(1, 2 << 20, &both);
  }
  EXPECT_EQ(replies, both);
}

TEST(Http2Connection, SendsWithinBothWindows) {
  Peer peer(Role::kClient);
  peer.Feed(Setting("00 04 00 00 00 0a"));
  peer.connection().Open({{":method", "POST"}}, std::string_view("0123456789abcdef"), 100);
  peer.Read();
  const auto data = [&](const std::string& fed) {
    peer.Feed(fed);
    std::string text;
    const std::string bytes = peer.Read();
    std::string_view rest = bytes;
    while (const auto frame = http2::ParseFrame(rest, 16384)) {
      rest.remove_prefix(http2::kFrameHeaderBytes + frame->payload.size());
      if (frame->type == FrameType::kData) text += std::string(frame->payload) + (frame->Has(kEndStream) ? "." : "|");
    }
    return text;
  };
  const auto update = [](std::uint32_t stream, std::uint32_t increment) {
    std::string frame;
    http2::AppendWindowUpdate(stream, increment, &frame);
    return frame;
  };
  EXPECT_EQ(data(""), Message("0123456789abcdef").substr(0, 5).replace(4, 1, "\x10") + "01234|");
  EXPECT_EQ(data(update(0, 5)), "");
  EXPECT_EQ(data(update(1, 2)), "56|");
  EXPECT_EQ(data(Setting("00 04 00 00 00 05")), "");  // now 5 less than nothing
  EXPECT_EQ(data(update(1, 5)), "");
  EXPECT_EQ(data(update(1, 1)), "7|");
  EXPECT_EQ(data(Setting("00 04 00 00 00 08")), "89a|");
  EXPECT_EQ(data(update(1, 100)), "bcdef.");
}

TEST(Http2Connection, RefusesStreamsBeyondTheLimit) {
  Peer peer(Role::kServer);
  std::string bytes = ClientGreeting();
  for (std::uint32_t id = 1; id <= 201; id += 2) bytes += Open(id);
  peer.Feed(bytes);
  EXPECT_EQ(peer.connection().streams().size(), 100u);
  std::string reset;
  http2::AppendRstStream(201, Http2Code::kRefusedStream, &reset);
  EXPECT_THAT(peer.Read(), testing::EndsWith(reset));
  peer.Feed(MakeFrame(FrameType::kData, kEndStream, 201, "late"));  // was under way
  peer.Feed(MakeFrame(FrameType::kRstStream, 0, 1, FromHex("00 00 00 08")) + Open(203));
  EXPECT_EQ(peer.connection().streams().count(203), 1u);
}

TEST(Http2Connection, TakesNoStreamAfterItsGoAway) {
  Peer peer(Role::kServer);
  peer.Feed(ClientGreeting() + Open(1));
  peer.connection().GoAway(Http2Code::kNoError);
  EXPECT_EQ(peer.Feed(Request(3, "x")), std::nullopt);
  EXPECT_EQ(peer.connection().streams().size(), 1u);
  peer.connection().GoAway(Http2Code::kNoError);  // once is enough
  peer.Feed({});
  EXPECT_THAT(peer.Read(), testing::EndsWith(MakeFrame(FrameType::kGoAway, 0, 0, FromHex("00000001 00000000"))));
}

TEST(Http2Connection, ALongHeaderListFailsItsCallOnly) {
  Peer peer(Role::kServer);
  const std::string large = Block({{"large", std::string(16000, 'x')}});
  std::string bytes = ClientGreeting() + Open(1, 0);
  for (int i = 0; i < 5; ++i) bytes += MakeFrame(FrameType::kContinuation, i == 4 ? kEndHeaders : 0, 1, large);
  EXPECT_EQ(peer.Feed(bytes + Request(3, "x")), std::nullopt);
  EXPECT_EQ(peer.connection().streams().at(1).refused.code, rpc_code::kResourceExhausted);
  EXPECT_TRUE(peer.connection().streams().at(1).over());
  EXPECT_TRUE(peer.connection().streams().at(3).refused.ok());
}

TEST(Http2Connection, ForgetsWhatThePeerResets) {
  Peer peer(Role::kServer);
  peer.Feed(ClientGreeting() + Request(1, "x") + MakeFrame(FrameType::kRstStream, 0, 1, FromHex("00 00 00 08")));
  EXPECT_TRUE(peer.connection().streams().empty());
  peer.connection().Respond(1, {{":status", "200"}}, "late", {});
  peer.connection().Respond(1, {{":status", "200"}});
  peer.Read();
  peer.Feed({});
  EXPECT_EQ(peer.Read(), "");
}

TEST(Http2Connection, SplitsALongHeaderBlock) {
  Peer peer(Role::kServer);
  peer.Feed(ClientGreeting() + Request(1, "x"));
  peer.Read();
  peer.connection().Respond(1, {{":status", "200"}, {"x", std::string(40000, 'y')}});
  peer.Feed({});
  Peer client(Role::kClient);
  const std::uint32_t id = client.connection().Open({}, "", 100);
  client.Feed(Settings() + peer.Read());
  EXPECT_EQ(client.connection().streams().at(id).headers->back().value, std::string(40000, 'y'));
  EXPECT_TRUE(client.connection().streams().at(id).remote_done);
}

}  // namespace
}  // namespace mexport
