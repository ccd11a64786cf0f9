// What a peer did wrong on a connection, and how it is told so (RFC 9113, section 7).
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace mexport {

enum class Http2Code : std::uint32_t {
  kNoError = 0,
  kProtocolError = 1,
  kInternalError = 2,
  kFlowControlError = 3,
  kStreamClosed = 5,
  kFrameSizeError = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompressionError = 9,
  kEnhanceYourCalm = 11,
  kInadequateSecurity = 12,
};

// The peer broke the protocol; the connection is of no more use. Never leaves core: GrpcChannel makes a status of it.
class Http2Error : public std::runtime_error {
 public:
  Http2Error(Http2Code code, const std::string& message) : std::runtime_error(message), code_(code) {}

  Http2Code code() const { return code_; }

 private:
  Http2Code code_;
};

}  // namespace mexport
