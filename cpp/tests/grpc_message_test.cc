#include "core/grpc_message.h"

#include <utility>

#include "tests/http2_testing.h"

namespace mexport::grpc {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(GrpcMessage, ReadsAMessageCutAnywhere) {
  const std::string bytes = Message("hello");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    MessageReader reader(5, 12);
    EXPECT_TRUE(reader.Append(bytes.substr(0, cut)).ok());
    EXPECT_EQ(reader.Finish().ok(), cut == bytes.size());
    EXPECT_TRUE(reader.Append(bytes.substr(cut)).ok());
    EXPECT_TRUE(reader.Finish().ok());
    EXPECT_EQ(reader.message(), "hello");
  }
}

TEST(GrpcMessage, RefusesOthers) {
  const auto refusal = [](const std::string& bytes) {
    MessageReader reader(5, 12);
    const RpcStatus status = reader.Append(bytes);
    return std::pair{status.code, status.message};
  };
  EXPECT_EQ(refusal(Message("123456")), std::pair(8, std::string("message: got 6 bytes, want at most 5")));
  EXPECT_EQ(refusal(FromHex("00 ff ff ff ff")),
            std::pair(8, std::string("message: got 4294967295 bytes, want at most 5")));
  EXPECT_EQ(refusal(FromHex("01 00 00 00 00")),
            std::pair(12, std::string("message: got a compressed one, want none of them")));
  EXPECT_EQ(refusal(FromHex("02 00 00 00 00")).first, rpc_code::kInternal);
  EXPECT_EQ(refusal(Message("12345") + "x"), std::pair(13, std::string("message: got more than one")));
  EXPECT_EQ(MessageReader(5, 12).Finish().message, "message: got none, want one");
  MessageReader cut(5, 12);
  EXPECT_TRUE(cut.Append(FromHex("00 00 00 00 05 31")).ok());
  EXPECT_EQ(cut.Finish().message, "message: got one that is cut");
}

TEST(GrpcMessage, TakesNoMemoryForWhatALengthSays) {
  MessageReader reader(std::size_t{1} << 40, 12);
  EXPECT_TRUE(reader.Append(FromHex("00 ff ff ff ff") + std::string(1000, 'x')).ok());
  EXPECT_LE(reader.message().capacity(), 4096u);
}

TEST(GrpcMessage, WritesAMessageInPieces) {
  const std::string bytes = Message("hello");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    MessageWriter writer("hello");
    std::string out;
    writer.Take(cut, &out);
    EXPECT_EQ(writer.left(), bytes.size() - cut);
    writer.Take(writer.left(), &out);
    EXPECT_EQ(out, bytes);
  }
}

TEST(GrpcMessage, StatusTexts) {
  EXPECT_EQ(EncodeStatusText("a b%~\x7f\n"), "a b%25~%7F%0A");
  EXPECT_EQ(EncodeStatusText("ä"), "%C3%A4");
  EXPECT_EQ(DecodeStatusText("a%20b%25%c3%A4"), "a b%ä");
  EXPECT_EQ(DecodeStatusText("%, %2, %zz, %2"), "%, %2, %zz, %2");
  const std::string text = "漢字\t100 %";
  EXPECT_EQ(DecodeStatusText(EncodeStatusText(text)), text);
  // No half of a character at the end.
  EXPECT_EQ(EncodeStatusText(std::string(4091, 'x') + "ä"), std::string(4091, 'x'));
  EXPECT_EQ(EncodeStatusText(std::string(4090, 'x') + "ä").size(), 4096u);
}

TEST(GrpcMessage, Timeouts) {
  EXPECT_EQ(EncodeTimeout(milliseconds(0)), "1m");
  EXPECT_EQ(EncodeTimeout(milliseconds(99'999'999)), "99999999m");
  EXPECT_EQ(EncodeTimeout(milliseconds(100'000'001)), "100001S");
  EXPECT_EQ(EncodeTimeout(hours(50'000)), "3000000M");
  EXPECT_EQ(EncodeTimeout(hours(20'000'000)), "20000000H");
  EXPECT_EQ(EncodeTimeout(hours(2'000'000'000)), "99999999H");
  EXPECT_EQ(DecodeTimeout("1n"), nanoseconds(1));
  EXPECT_EQ(DecodeTimeout("20u"), nanoseconds(20'000));
  EXPECT_EQ(DecodeTimeout("99999999m"), milliseconds(99'999'999));
  EXPECT_EQ(DecodeTimeout("3S"), seconds(3));
  EXPECT_EQ(DecodeTimeout("3M"), seconds(180));
  EXPECT_EQ(DecodeTimeout("3H"), hours(3));
  EXPECT_EQ(DecodeTimeout("99999999H"), nanoseconds::max());
  for (const char* const text : {"", "m", "1", "1s", "-1m", "+1m", "1 m", "1.5S", "100000000m"}) {
    EXPECT_EQ(DecodeTimeout(text), std::nullopt) << text;
  }
}

TEST(GrpcMessage, Codes) {
  EXPECT_EQ(DecodeStatusCode("0"), 0);
  EXPECT_EQ(DecodeStatusCode("16"), 16);
  for (const char* const text : {"", "17", "-1", "x", "1x", "99999999999999999999"}) {
    EXPECT_EQ(DecodeStatusCode(text), rpc_code::kUnknown) << text;
  }
  EXPECT_EQ(CodeOfHttpStatus("404"), rpc_code::kUnimplemented);
  EXPECT_EQ(CodeOfHttpStatus("500"), rpc_code::kUnknown);
  EXPECT_EQ(CodeOfReset(Http2Code::kRefusedStream), rpc_code::kUnavailable);
  EXPECT_EQ(CodeOfReset(Http2Code::kCancel), rpc_code::kCancelled);
  EXPECT_EQ(CodeOfReset(Http2Code{1000}), rpc_code::kInternal);
  EXPECT_TRUE(IsGrpcContentType("application/grpc"));
  EXPECT_TRUE(IsGrpcContentType("application/grpc+proto"));
  EXPECT_TRUE(IsGrpcContentType("application/grpc;x=y"));
  EXPECT_FALSE(IsGrpcContentType("application/grpc-web"));
  EXPECT_FALSE(IsGrpcContentType("text/html"));
}

}  // namespace
}  // namespace mexport::grpc
