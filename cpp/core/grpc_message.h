// gRPC's own layer (docs/formats/grpc.md): messages in their frames of 5 bytes, status texts, times, codes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/http2_error.h"
#include "core/rpc_status.h"

namespace mexport::grpc {

constexpr std::string_view kContentType = "application/grpc";
constexpr std::size_t kPrefixBytes = 5;
constexpr std::size_t kMaxStatusText = 4096;

// Puts the one message of a direction together, from DATA that is cut anywhere.
class MessageReader {
 public:
  // `compressed_code`: the status of a message that is compressed.
  MessageReader(std::size_t max_bytes, int compressed_code)
      : max_bytes_(max_bytes), compressed_code_(compressed_code) {}

  // Whether the bytes may go on; not when what came so far is refused.
  RpcStatus Append(std::string_view bytes);
  // What the end of the stream makes of it: ok if the message came as a whole.
  RpcStatus Finish() const;
  // REQUIRES: Finish() is ok.
  std::string& message() { return message_; }

 private:
  bool has_prefix() const { return prefix_.size() == kPrefixBytes; }

  std::size_t max_bytes_;
  int compressed_code_;
  std::string prefix_;
  std::size_t size_ = 0;
  std::string message_;
};

// Hands the one message of a direction out, piece by piece.
class MessageWriter {
 public:
  // `message` is not copied. REQUIRES: it has less than 2^32 bytes.
  explicit MessageWriter(std::string_view message);

  std::size_t left() const { return prefix_.size() + message_.size(); }
  void Take(std::size_t bytes, std::string* out);

 private:
  std::string prefix_;
  std::string_view message_;
};

// `grpc-message`; the encoded text ends before a character that would make it longer than kMaxStatusText.
std::string EncodeStatusText(std::string_view text);
std::string DecodeStatusText(std::string_view encoded);

// `grpc-timeout`. A time that is too long for the field is the longest; none if `text` is no time.
std::string EncodeTimeout(std::chrono::milliseconds time);
std::optional<std::chrono::nanoseconds> DecodeTimeout(std::string_view text);

// `grpc-status`; what is none is kUnknown.
int DecodeStatusCode(std::string_view text);
// The code of a response without a `grpc-status`, from its `:status`.
int CodeOfHttpStatus(std::string_view http_status);
int CodeOfReset(Http2Code code);

bool IsGrpcContentType(std::string_view content_type);

}  // namespace mexport::grpc
