// How a remote call ended: gRPC's codes (docs/formats/grpc.md). This header is C++17, as the kernels of the ops are.
#pragma once

#include <string>
#include <utility>

namespace mexport {

namespace rpc_code {

constexpr int kOk = 0;
constexpr int kCancelled = 1;
constexpr int kUnknown = 2;
constexpr int kInvalidArgument = 3;
constexpr int kDeadlineExceeded = 4;
constexpr int kNotFound = 5;
constexpr int kPermissionDenied = 7;
constexpr int kResourceExhausted = 8;
constexpr int kUnimplemented = 12;
constexpr int kInternal = 13;
constexpr int kUnavailable = 14;
constexpr int kUnauthenticated = 16;

}  // namespace rpc_code

struct RpcStatus {
  RpcStatus() = default;
  RpcStatus(int status_code, std::string text) : code(status_code), message(std::move(text)) {}

  bool ok() const { return code == rpc_code::kOk; }

  int code = rpc_code::kOk;  // 0 to 16; what a peer sends beyond them is kUnknown
  std::string message;
};

}  // namespace mexport
